"""State: what a stateful tail keeps of a session between two steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.refusals import Cause, RefusedError

_MAX_DEPTH = 12


class State:
    """What a session's tail keeps, and how many steps it has seen.

    Attributes
    ----------
    value
        The tail's; None before the first step.
    following
        The tail's next one, until the step's answer is ready.
    position
        Steps that it has seen.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.following: Any = None
        self.position = 0
        self._last: tuple[int, bytes, Answer] | None = None
        self._lost: str | None = None

    @property
    def kept(self) -> bool:
        """Whether there is something to keep."""
        return self._lost is None and self.position > 0

    def repeated(self, number: int, digest: bytes) -> Answer | None:
        """Return the last step's answer where this is the last step again."""
        if self._last is None or self._last[0] != number:
            return None
        if self._last[1] != digest:
            raise RefusedError(Cause.REUSED_ID, f"request {number} came before, with another body")
        return self._last[2]

    def check(self, position: int) -> None:
        """Raise RefusedError where a step at this position is not the next one."""
        if self._lost is not None:
            raise RefusedError(
                Cause.STATE_LOST, f"the session's state is gone, {self._lost}: open another session and begin again"
            )
        if position != self.position:
            raise RefusedError(
                Cause.POSITION, f"the request is for a state that has seen {position} steps, this one has seen {self.position}"
            )

    def advance(self, number: int, digest: bytes, answer: Answer) -> None:
        """Take the next state, with the answer of the step that led to it."""
        self.value, self.following, self._last = self.following, None, (number, digest, answer)
        self.position += 1

    def lose(self, why: str) -> None:
        """Drop it: the session cannot go on."""
        self.value, self.following, self._last, self._lost = None, None, None, why


def state_bytes(value: Any, depth: int = 0, seen: set[int] | None = None) -> int:
    """Return the bytes of all tensors in a value: in containers, dataclasses and objects' attributes, at most 12 deep."""
    seen = set() if seen is None else seen
    if depth > _MAX_DEPTH or id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, Tensor):
        return value.nbytes
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = value
    elif not isinstance(value, type) and (dataclasses.is_dataclass(value) or hasattr(value, "__dict__")):
        inner = vars(value).values()
    return sum(state_bytes(item, depth + 1, seen) for item in inner)
