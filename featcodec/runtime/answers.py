"""Answers: what was answered, kept a short while for requests that come again."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import NamedTuple

from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.limits import Limits


class _Kept(NamedTuple):
    digest: bytes
    answer: Answer
    size_bytes: int
    until_s: float


class Answers:
    """The last answers of a server; used from its loop alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[tuple[bytes, int], _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def get(self, session: bytes, number: int) -> tuple[bytes, Answer] | None:
        """Return the digest of a request's body, and its answer; None where it is not kept."""
        kept = self._kept.get((session, number))
        return None if kept is None else (kept.digest, kept.answer)

    def keep(self, session: bytes, number: int, digest: bytes, answer: Answer) -> None:
        """Keep an answer, and drop the oldest ones that are too many."""
        size = len(answer.output)
        if size > self._limits.answer_bytes or (session, number) in self._kept:
            return
        self._kept[session, number] = _Kept(digest, answer, size, monotonic() + self._limits.answer_s)
        self._bytes += size
        while len(self._kept) > self._limits.answers or self._bytes > self._limits.answer_bytes:
            self._drop()

    def expire(self) -> None:
        """Drop those that are too old."""
        now = monotonic()
        while self._kept and next(iter(self._kept.values())).until_s < now:
            self._drop()

    def _drop(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._bytes -= kept.size_bytes
