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

_GAP_NS = 500_000  # requests of one client come closer behind one another than this
_MOST_GAPS_NS = 10_000_000
_FRUITLESS, _RARELY = 8, 16
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
        How long a request waits for others to be run with. By default it waits for those alone that come close behind it (half
        a millisecond, and no longer than the last batch took), and not where it is the only one; what comes while others
        are run is run together after them.
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
        self._last_ns = 0  # what the last batch took
        self._fruitless = 0  # how often in a row nobody came
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
            begin = perf_counter_ns()
            self._deliver(answers_of(jobs, self._limits))
            self._last_ns = perf_counter_ns() - begin

    def _next(self) -> list[Job]:
        """What is run next; nothing once the server stops and the queue is empty."""
        while not self._queue and not self._stopped:
            self._take(None)
        self._take_all()
        if not self._queue:
            return []
        jobs = [self._queue.popleft()]
        self._gather(jobs)
        if jobs[0].key[0] is not jobs[0]:
            self._wait_for_others(jobs)
        return jobs

    def _wait_for_others(self, jobs: list[Job]) -> None:
        """Wait as long as is asked for, or for those that are on their way."""
        if self._max_wait_ns:
            self._wait(jobs, jobs[0].arrived_ns + self._max_wait_ns, self._max_wait_ns)
        elif not jobs[0].alone and self._is_due():
            # where the loop and this thread share a core, the loop gets to read what has come only while this one waits
            before = len(jobs)
            self._wait(jobs, perf_counter_ns() + min(max(self._last_ns, _GAP_NS), _MOST_GAPS_NS), _GAP_NS)
            self._fruitless = self._fruitless + 1 if len(jobs) == before else 0

    def _is_due(self) -> bool:
        """Whether to look for others: rarely, once nobody came for a while."""
        return self._fruitless < _FRUITLESS or self._fruitless % _RARELY == 0

    def _wait(self, jobs: list[Job], until_ns: int, gap_ns: int) -> None:
        """Take what comes until a time, or until nothing comes for a while."""
        while not self._stopped and self._room(jobs) > 0 and (left := until_ns - perf_counter_ns()) > 0:
            if not self._take(min(left, gap_ns) / 1e9):
                return
            self._take_all()
            self._gather(jobs)

    def _take(self, timeout_s: float | None) -> bool:
        """Wait for a request, for ever where no time is given; return whether one came."""
        try:
            job = self._arriving.get(timeout=timeout_s)
        except Empty:
            return False
        if job is None:
            self._stopped = True
        else:
            self._queue.append(job)
        return job is not None

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
