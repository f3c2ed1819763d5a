"""mapped: many inputs, a bounded number of them on their way, the head working while others are."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from typing import Any

from featcodec.errors import EdgeError
from featcodec.runtime.exchange import Exchange
from featcodec.runtime.pending import Pending
from featcodec.runtime.result import Result
from featcodec.runtime.transport import Flight, Outcome


def mapped(
    exchange: Exchange, inputs: Iterable[Any], in_flight: int, ordered: bool, deadline_s: float | None
) -> Iterator[Result]:
    """Yield the results; see `EdgeSession.map`."""
    mapping = _Mapping(exchange, ordered, deadline_s)
    source = iter(inputs)
    ended: BaseException | None = None
    try:
        while True:
            while ended is None and mapping.has_room(in_flight):
                try:
                    x = next(source)
                except StopIteration as e:
                    ended = e
                except Exception as e:
                    ended = e
                else:
                    mapping.begin(x)
            if not mapping.begun:
                break
            yield mapping.next_result()
    finally:
        mapping.close()
    if not isinstance(ended, StopIteration) and ended is not None:
        raise ended


class _Mapping:
    """The inputs that are begun and not yet yielded, in order."""

    def __init__(self, exchange: Exchange, ordered: bool, deadline_s: float | None) -> None:
        self.begun: list[Pending] = []
        self._exchange, self._ordered, self._deadline_s = exchange, ordered, deadline_s
        self._waiting: dict[int, Pending] = {}
        self._arrived: queue.SimpleQueue[tuple[int, Outcome, int]] = queue.SimpleQueue()
        self._flight: Flight | None = None

    def has_room(self, in_flight: int) -> bool:
        """Whether another input is begun before a result is yielded: not where one is there already."""
        self._settle_arrived()
        welcome = self._exchange.welcome
        most = in_flight if welcome is None else min(in_flight, welcome.max_in_flight or in_flight)
        return not self.begun or (len(self.begun) < most and self._ready() is None)

    def begin(self, x: Any) -> None:
        """Run the head for an input and send what it gives."""
        try:
            pending = self._exchange.began(x, self._deadline_s)
        except Exception as e:  # whatever a head raises is this input's alone
            pending = Pending(x, time.monotonic())
            pending.failed(e)
        self.begun.append(pending)
        self._send(pending)

    def next_result(self) -> Result:
        """Wait for the result that comes next."""
        while (ready := self._ready()) is None:
            self._wait()
        self.begun.remove(ready)
        self._waiting.pop(ready.id, None)
        if ready.result is None:
            raise RuntimeError("an input was ready without a result")
        return ready.result

    def close(self) -> None:
        """Give up what is on its way."""
        if self._flight is not None:
            self._flight.close()

    def _ready(self) -> Pending | None:
        candidates = self.begun[:1] if self._ordered else self.begun
        return next((pending for pending in candidates if pending.result is not None), None)

    def _send(self, pending: Pending) -> None:
        if pending.result is not None:
            return
        try:
            request, metadata = self._exchange.request(pending)
            self._waiting[pending.id] = pending
            self._opened().send(request, metadata, max(pending.left_s(), 1e-3))
        except EdgeError as e:
            self._exchange.settle(pending, e, time.perf_counter_ns())
        except Exception as e:  # what the head gave is no feature, or a codec says no
            pending.failed(e)

    def _opened(self) -> Flight:
        if self._flight is None:
            welcome = self._exchange.welcome
            streams = welcome is not None and welcome.streams
            self._flight = self._exchange.line.transport.flight(self._exchange.stream_metadata, streams, self._done)
        return self._flight

    def _done(self, request_id: int, outcome: Outcome) -> None:
        self._arrived.put((request_id, outcome, time.perf_counter_ns()))

    def _wait(self) -> None:
        """Wait for an answer, or until something is to be sent again or given up."""
        open_ones = [pending for pending in self.begun if pending.result is None]
        times = [pending.deadline_s if pending.resend_s is None else pending.resend_s for pending in open_ones]
        try:
            self._settle(*self._arrived.get(timeout=max(min(times) - time.monotonic(), 0.0)))
            self._settle_arrived()
        except queue.Empty:
            pass
        now = time.monotonic()
        for pending in open_ones:
            if pending.result is None and pending.deadline_s <= now:
                self._exchange.expire(pending)
            elif pending.resend_s is not None and pending.resend_s <= now:
                self._send(pending)

    def _settle_arrived(self) -> None:
        while not self._arrived.empty():
            self._settle(*self._arrived.get())

    def _settle(self, request_id: int, outcome: Outcome, arrived_ns: int) -> None:
        pending = self._waiting.get(request_id)
        if pending is None or pending.result is not None or pending.resend_s is not None:
            late_answer = not isinstance(outcome, EdgeError)
            self._exchange.line.link.count(strays=int(late_answer))
            return
        self._exchange.settle(pending, outcome, arrived_ns)
