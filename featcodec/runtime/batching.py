"""Batcher: one thread that takes requests as they come, as many together as fit, and hands back their answers."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter_ns
from typing import Protocol, TypeAlias

from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.jobs import Job
from featcodec.runtime.limits import Limits
from featcodec.runtime.refusals import Cause, RefusedError
from featcodec.runtime.running import run_jobs

Deliver: TypeAlias = "Callable[[list[tuple[Job, Answer]]], None]"

_LOG = logging.getLogger(__name__)


class Batching(Protocol):
    """What runs requests. It is made with a function that takes their answers, and with the server's limits."""

    def submit(self, job: Job) -> None:
        """Take a request; its answer will be delivered."""

    def finish(self) -> None:
        """Take nothing more, and let nothing wait."""

    def join(self) -> None:
        """Return once everything that was taken is delivered."""


def answers_of(jobs: list[Job], limits: Limits) -> list[tuple[Job, Answer]]:
    """Return the answers of requests of one key, whatever happens."""
    try:
        return run_jobs(jobs, limits)
    except Exception:  # who runs them must live: these requests are refused, others go on
        _LOG.exception("a batch failed")
        refused = RefusedError(Cause.TAIL_FAILED, "the server failed")
        return [(job, job.refusal(refused)) for job in jobs]


class Batcher:
    """A queue, and the thread that works it off.

    Parameters
    ----------
    deliver
        Is called in the thread with the answers of what was run together.
    max_batch
        Samples that are run together at most; a request of more than that is run by itself.
    max_wait_ms
        How long a request waits for others to be run with. By default it does not wait: what comes while others are run is
        run together after them.
    """

    def __init__(self, deliver: Deliver, limits: Limits, *, max_batch: int, max_wait_ms: float) -> None:
        if isinstance(max_batch, bool) or not isinstance(max_batch, int) or max_batch < 1:
            raise ValueError(f"max_batch must be an integer of at least 1, got {max_batch!r}")
        if not 0 <= max_wait_ms <= 60_000:
            raise ValueError(f"max_wait_ms must be 0..60000, got {max_wait_ms!r}")
        self._deliver, self._limits = deliver, limits
        self._max_batch, self._max_wait_ns = max_batch, int(max_wait_ms * 1e6)
        self._arriving: SimpleQueue[Job | None] = SimpleQueue()  # None: no more will come
        self._queue: deque[Job] = deque()  # the thread's alone
        self._stopped = False
        self._thread = Thread(target=self._work, name="featcodec-batcher", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a request at the end of the queue."""
        self._arriving.put(job)

    def finish(self) -> None:
        """Say that nothing more will come: nothing waits any more, and the thread ends behind the last request."""
        self._arriving.put(None)

    def join(self) -> None:
        """Return once the thread has ended."""
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            self._deliver(answers_of(jobs, self._limits))

    def _next(self) -> list[Job]:
        """What is run next; nothing once the server stops and the queue is empty."""
        while not self._queue and not self._stopped:
            self._take(None)
        self._take_all()
        if not self._queue:
            return []
        jobs = [self._queue.popleft()]
        self._gather(jobs)
        joins = jobs[0].key[0] is not jobs[0]
        until = jobs[0].arrived_ns + self._max_wait_ns
        while joins and not self._stopped and self._room(jobs) > 0 and (left := until - perf_counter_ns()) > 0:
            self._take(left / 1e9)
            self._gather(jobs)
        return jobs

    def _take(self, timeout_s: float | None) -> None:
        """Wait for a request; for ever where no time is given."""
        try:
            job = self._arriving.get(timeout=timeout_s)
        except Empty:
            return
        if job is None:
            self._stopped = True
        else:
            self._queue.append(job)

    def _take_all(self) -> None:
        while not self._arriving.empty():
            self._take(None)

    def _room(self, jobs: list[Job]) -> int:
        return self._max_batch - sum(job.samples for job in jobs)

    def _gather(self, jobs: list[Job]) -> None:
        """Take from the queue, in order, what can be run with the first."""
        room = self._room(jobs)
        elements = self._limits.elements - sum(job.elements for job in jobs)
        left: deque[Job] = deque()
        while self._queue and room > 0:
            job = self._queue.popleft()
            if job.key == jobs[0].key and job.samples <= room and job.elements <= elements:
                jobs.append(job)
                room, elements = room - job.samples, elements - job.elements
            else:
                left.append(job)
        self._queue.extendleft(reversed(left))
