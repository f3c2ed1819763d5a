"""Line: what all sessions of a client share."""

from __future__ import annotations

import secrets
import time
from itertools import count

from featcodec.errors import EdgeError
from featcodec.runtime.link import Link
from featcodec.runtime.transport import Outcome, Transport

_FIRST_ID_BITS = 31  # ids begin at random: an answer to another client's request is hardly ever to one of this client's


class Line:
    """A transport, what it measured, and the ids of requests.

    Attributes
    ----------
    transport, link
        How requests go, and what is known of it.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport, self.link = transport, Link()
        self._ids = count(1 + secrets.randbits(_FIRST_ID_BITS))
        self._lost_since_s: float | None = None

    def new_id(self) -> int:
        """Return an id that no other request of this client has."""
        return next(self._ids)

    def saw(self, outcome: Outcome) -> None:
        """Learn from an answer or an error whether there is a server."""
        if not isinstance(outcome, EdgeError):
            self._lost_since_s = None
        elif outcome.cause == "lost":
            self.link.count(losses=1)
            self._lost_since_s = self._lost_since_s or time.monotonic()

    def lost_for_s(self) -> float:
        """Return for how long there has been no server; 0 where there is one."""
        return 0.0 if self._lost_since_s is None else time.monotonic() - self._lost_since_s
