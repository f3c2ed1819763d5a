"""Pending: an input on its way from head to result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from featcodec.errors import EdgeError
from featcodec.runtime.edge_pb2 import Answer, Request
from featcodec.runtime.result import Result, Timing
from featcodec.runtime.waiting import computed


@dataclass(eq=False)
class Pending:
    """An input, what was made of it, and what has become of its request.

    Attributes
    ----------
    id
        Of the request, each time that it is sent; 0 before there is one.
    x, crossing
        The input, and what the head gave.
    body, position
        What is sent.
    stages
        What is known of its `Timing`.
    started_ns, deadline_s
        When the input came, on the clock of `time.perf_counter_ns`; and until when it wants its result, on `time.monotonic`.
    fallback
        Asked where the edge does not answer.
    attempts, sent_ns
        How often the request was sent, and when the last time.
    resend_s
        When it is to be sent again, on `time.monotonic`; None where it is on its way.
    introduced
        True once it was sent with the whole hello.
    trouble
        What the last attempt ended with; None where it has not.
    result
        What has become of it; None until then.
    """

    x: Any
    deadline_s: float
    fallback: Callable[[Any], Any] | None = None
    id: int = 0
    crossing: Any = None
    body: bytes = b""
    position: int = 0
    stages: dict[str, Any] = field(default_factory=dict)
    started_ns: int = field(default_factory=time.perf_counter_ns)
    attempts: int = 0
    sent_ns: int = 0
    resend_s: float | None = None
    introduced: bool = False
    trouble: EdgeError | None = None
    result: Result | None = None

    def left_s(self) -> float:
        """Return how much time is left until the deadline."""
        return self.deadline_s - time.monotonic()

    def request(self, session: bytes) -> Request:
        """Return the request, which is sent now."""
        self.attempts += 1
        self.resend_s = None
        timeout_ms = max(1, int(1000 * self.left_s()))
        self.sent_ns = time.perf_counter_ns()
        return Request(id=self.id, session=session, body=self.body, position=self.position, timeout_ms=timeout_ms)

    def answered(self, answer: Answer, network_ns: int, value: Any) -> Result:
        """Keep the edge's output as the result."""
        said = answer.timing
        self.stages |= {
            "network": network_ns / 1e6,
            "queue": said.queue / 1e6,
            "decode": said.decode / 1e6,
            "tail": said.tail / 1e6,
            "batch": said.batch,
        }
        return self._done("edge", value, None)

    def failed(self, error: Exception) -> Result:
        """Keep an error as the result."""
        return self._done("edge", None, error)

    def fall_back(self, error: Exception) -> Result:
        """Ask the fallback, and keep why."""
        if self.fallback is None:
            return self.failed(error)
        try:
            value = computed(self.fallback(self.x))
        except Exception as e:  # whatever a model raises
            return self.failed(e)
        return self._done("fallback", value, error)

    def _done(self, source: Literal["edge", "fallback"], value: Any, error: Exception | None) -> Result:
        wall = (time.perf_counter_ns() - self.started_ns) / 1e6
        timing = Timing(**self.stages, wall=wall, attempts=self.attempts)
        self.result = Result(self.id, source, timing, len(self.body), error, value)
        return self.result
