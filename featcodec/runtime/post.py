"""Post: requests whose callers wait, on one stream that stays open: opening a call takes longer than sending a message."""

from __future__ import annotations

import queue
import threading

from featcodec.errors import EdgeDeadlineError, EdgeError
from featcodec.runtime.edge_pb2 import Request
from featcodec.runtime.line import Line
from featcodec.runtime.transport import Flight, Metadata, Outcome


class Post:
    """Hands each answer to the thread that asked for it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._flight: Flight | None = None
        self._waiting: dict[int, queue.SimpleQueue[Outcome]] = {}
        self._lock = threading.Lock()

    def ask(self, request: Request, metadata: Metadata, stream_metadata: Metadata, timeout_s: float) -> Outcome:
        """Send a request and wait for its answer."""
        arrived: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        request.alone = not self._waiting
        self._waiting[request.id] = arrived
        try:
            self._opened(stream_metadata).send(request, metadata, timeout_s)
            return arrived.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return EdgeDeadlineError(f"no answer to request {request.id} before its deadline")
        finally:
            del self._waiting[request.id]

    def close(self) -> None:
        """Give up what is on its way."""
        with self._lock:
            if self._flight is not None:
                self._flight.close()

    def _opened(self, metadata: Metadata) -> Flight:
        with self._lock:
            if self._flight is None:
                self._flight = self._line.transport.flight(metadata, True, self._done)
            return self._flight

    def _done(self, request_id: int, outcome: Outcome) -> None:
        waiting = self._waiting.get(request_id)
        if waiting is not None:
            waiting.put(outcome)
        elif not isinstance(outcome, EdgeError):
            self._line.link.count(strays=1)
