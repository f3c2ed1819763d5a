"""Log: what a server says, an event a line, as JSON. No payloads, no tokens."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from time import monotonic, time

LOGGER = logging.getLogger("featcodec.runtime")
_EVERY_S = 1.0  # refusals of one cause: who is flooded must not flood the log


class Log:
    """Events of one server, on the logger "featcodec.runtime"."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def event(self, event: str, level: int = logging.INFO, **fields: object) -> None:
        """Write an event."""
        if LOGGER.isEnabledFor(level):
            LOGGER.log(level, json.dumps({"time": round(time(), 3), "event": event, **fields}, default=str))

    def refusal(self, cause: str, text: str, about: Mapping[str, object]) -> None:
        """Write a refusal: of each cause at most one a second, with how many were left out before it."""
        now = monotonic()
        if now - self._last.get(cause, -_EVERY_S) < _EVERY_S:
            self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
            return
        self._last[cause] = now
        self.event("refused", logging.WARNING, cause=cause, text=text, unsaid=self._unsaid.pop(cause, 0), **about)
