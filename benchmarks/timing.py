"""Timing: codecs in turn, round after round, so that whatever slows the machine meets all of them."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

_LEAST_SAMPLE_NS = 1_000_000  # a round repeats short calls until the clock's own cost does not count
_LONG_NS = 20_000_000  # calls longer than this gain nothing from a warm-up


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    rounds
        Rounds of a case.
    patience_s
        Seconds that one job may take in one case: a slow one gets fewer rounds.
    longest_s
        Seconds of a single call above which a larger case is not tried (the smaller case foretells it).
    """

    rounds: int
    patience_s: float
    longest_s: float


@dataclass
class Timed:
    """One thing to time: calls without arguments, by name ("encode", "decode"), and what they took.

    Attributes
    ----------
    label
        Whose calls they are.
    around
        A context that every round runs in, such as the pin of an instruction set.
    first_ns
        Nanoseconds of calls that were made already, where they are known: a long one is not made again to warm up.
    """

    label: str
    calls: dict[str, Callable[[], Any]]
    around: Callable[[], Any]
    first_ns: dict[str, float] = field(default_factory=dict)
    samples_ns: dict[str, list[float]] = field(default_factory=dict)

    def median_us(self, call: str) -> float:
        """Microseconds of one call: the median of the rounds."""
        return statistics.median(self.samples_ns[call]) / 1e3

    def spread(self, call: str) -> float:
        """Slowest minus fastest round, as a share of the median."""
        samples = self.samples_ns[call]
        return (max(samples) - min(samples)) / statistics.median(samples)


def time_in_turn(jobs: Sequence[Timed], effort: Effort) -> None:
    """Time all calls of all jobs, a round of each in turn; fill `samples_ns`."""
    with _no_collection():
        plans = [(job, *_plan(job, effort)) for job in jobs]
        for job in jobs:
            job.samples_ns = {call: [] for call in job.calls}
        for turn in range(effort.rounds):
            for job, rounds, repeats in plans:
                if turn >= rounds:
                    continue
                with job.around():
                    for name, call in job.calls.items():
                        job.samples_ns[name].append(_sample_ns(call, repeats[name]))


def _plan(job: Timed, effort: Effort) -> tuple[int, dict[str, int]]:
    """Warm up; return rounds, and for each call how often a round repeats it."""
    repeats, round_ns = {}, 0.0
    with job.around():
        for name, call in job.calls.items():
            once = job.first_ns.get(name, 0.0)
            if once < _LONG_NS:
                once = min(_sample_ns(call, 1), _sample_ns(call, 1))
            repeats[name] = max(1, min(2000, int(_LEAST_SAMPLE_NS / once)))
            round_ns += once * repeats[name]
    return max(1, min(effort.rounds, int(effort.patience_s * 1e9 / round_ns))), repeats


def _sample_ns(call: Callable[[], Any], repeats: int) -> float:
    turns = range(repeats)
    start = perf_counter_ns()
    for _ in turns:
        call()
    return max(1.0, (perf_counter_ns() - start) / repeats)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
