"""EdgeSession: inputs in, results out, by what one client and one server agreed on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from featcodec.errors import EdgeError
from featcodec.runtime.edge_pb2 import Welcome
from featcodec.runtime.exchange import Exchange, Manners
from featcodec.runtime.line import Line
from featcodec.runtime.mapping import mapped
from featcodec.runtime.pending import Pending
from featcodec.runtime.refusals import Cause
from featcodec.runtime.result import Result
from featcodec.runtime.sender import Sender

_STATE_CAUSES = tuple(cause.word for cause in (Cause.UNKNOWN_SESSION, Cause.STATE_LOST, Cause.POSITION))


class EdgeSession:
    """One cut and its codecs, at one of a server's tails. Made by `Client` and `Client.session`; threads may share it.

    Attributes
    ----------
    position
        How many steps a stateful session has done.
    """

    def __init__(self, line: Line, sender: Sender, entry: str, manners: Manners) -> None:
        self._exchange = Exchange(line, sender, entry, manners)
        self._stepping = threading.Lock()
        self._gone: EdgeError | None = None
        self.position = 0
        self._exchange.open()

    def __enter__(self) -> EdgeSession:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    @property
    def welcome(self) -> Welcome | None:
        """The server's answer to the hello: its limits. None before there was one."""
        return self._exchange.welcome

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._exchange.closed

    def infer(self, x: Any, *, deadline_s: float | None = None) -> Result:
        """Return the model's output for one input.

        Parameters
        ----------
        x
            What the head takes: a tensor or array, a tuple of them, or a mapping of them by name.
        deadline_s
            Until when there is to be a result, in seconds from now; the client's unless given. A fallback is asked when it has
            passed.

        Raises
        ------
        EdgeError
            The server refused, or was lost, or no answer came in time, and no fallback stood by.
        FeatcodecError
            The input is not the head's, or what it gives is no feature.
        """
        pending = self._exchange.began(x, deadline_s)
        self._through(pending)
        return _raised(pending)

    def ask(self, x: Any, *, deadline_s: float | None = None) -> Result:
        """Return what the edge answers, as `infer` does; no fallback is asked."""
        pending = self._exchange.began(x, deadline_s)
        pending.fallback = None
        self._through(pending)
        return _raised(pending)

    def map(
        self, inputs: Iterable[Any], *, in_flight: int = 8, ordered: bool = True, deadline_s: float | None = None
    ) -> Iterator[Result]:
        """Yield a result for each input, the head working on the next ones while others are on their way.

        An input that fails does not end the others: its result has `error`, and raises it where its `output` is read. What the
        iterable itself raises comes after the results of what it gave before. Leaving the iterator gives up what is on its way.

        Parameters
        ----------
        in_flight
            How many inputs may be begun and not yet yielded, at least 1; fewer where the server wants fewer.
        ordered
            Results in the order of the inputs; else as they come.
        deadline_s
            Of each input, from when the head begins with it.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight must be at least 1, got {in_flight}")
        return mapped(self._exchange, inputs, in_flight, ordered, deadline_s)

    def step(self, x: Any, *, deadline_s: float | None = None) -> Result:
        """Return the output of the next step of a stateful session: what the tail keeps has seen all steps before it.

        No fallback is asked: it has not seen them.

        Raises
        ------
        EdgeError
            As for `infer`. Once a step was sent and not answered the state may have seen it or not: this session does no
            further step, begin another one. That the server is full, or the input is no input, changes no state.
        """
        with self._stepping:
            if self._gone is not None:
                raise EdgeError(f"the session's state is gone: {self._gone}", "state")
            pending = self._exchange.began(x, deadline_s)
            pending.position, pending.fallback = self.position, None
            self._through(pending)
            self._keep_state(pending)
            return _raised(pending)

    def _keep_state(self, pending: Pending) -> None:
        """Count a step that was done; remember where the state has gone."""
        error = None if pending.result is None else pending.result.error
        if error is None:
            self.position += 1
        elif isinstance(error, EdgeError) and pending.attempts and error.retry_after_s is None:
            self._gone = error
            if error.cause in _STATE_CAUSES:
                raise EdgeError(f"the server keeps no state of this session: {error}", "state") from error

    def close(self) -> None:
        """Tell the server that the session is over."""
        self._exchange.close()

    def _through(self, pending: Pending) -> None:
        """Send a request until it has a result."""
        exchange = self._exchange
        while pending.result is None:
            if pending.resend_s is not None:
                time.sleep(max(pending.resend_s - time.monotonic(), 0.0))
            if pending.left_s() <= 0:
                exchange.expire(pending)
                return
            try:
                request, metadata = exchange.request(pending)
                outcome: Any = exchange.ask(request, metadata, pending.left_s())
            except EdgeError as e:
                outcome = e
            exchange.settle(pending, outcome, time.perf_counter_ns())


def _raised(pending: Pending) -> Result:
    """The result, or its error raised."""
    result = pending.result
    if result is None:
        raise RuntimeError("a request ended without a result")
    if result.failed and result.error is not None:
        raise result.error
    return result
