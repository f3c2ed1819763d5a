"""Goals: what the runtime is to reach, and what a run measured of it. A report, never a test."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.entropy_goals import NOT_MEASURED, Goal

OVERHEAD_MS, UNCOVERED = 1.0, 0.05
BATCHING, TAIL_LATENCY = 1.8, 5.0
FEWER_BYTES = 15.0
GROWTH = 0.05

Result = dict[str, Any]


def goals(result: Result) -> list[dict[str, Any]]:
    """Return every goal as a plain dict, fields as in `Goal`; parts that were not run are not measured."""
    found = [
        *_overhead(result.get("overhead")),
        *_load(result.get("load")),
        *_pickle(result.get("pickle")),
        _chaos(result.get("chaos")),
        _memory(result.get("memory")),
    ]
    return [asdict(goal) for goal in found]


def _goal(what: str, goal: str, wanted: float, value: float | None, measured: str, *, least: bool = False) -> Goal:
    if value is None:
        return Goal(what, goal, wanted, None, NOT_MEASURED, None)
    return Goal(what, goal, wanted, value, measured, value >= wanted if least else value <= wanted)


def _overhead(part: Result | None) -> list[Goal]:
    over, share = (None, None) if part is None else (part["overhead_ms"]["median"], part["uncovered"]["median"])
    return [
        _goal("a request over loopback, over one process", "<= 1.0 ms", OVERHEAD_MS, over, f"{over or 0:.2f} ms"),
        _goal("wall time that no stage covers", "<= 5 %", UNCOVERED, share, f"{100 * (share or 0):.1f} %"),
    ]


def _load(part: Result | None) -> list[Goal]:
    gain, slowest = (None, None) if part is None else (part["gain"]["median"], part["p99_to_median"]["median"])
    return [
        _goal("batching over one by one, requests/s", ">= 1.8", BATCHING, gain, f"{gain or 0:.2f}", least=True),
        _goal("p99 over median of a batched request", "<= 5", TAIL_LATENCY, slowest, f"{slowest or 0:.2f}"),
    ]


def _pickle(part: Result | None) -> list[Goal]:
    fewer, faster = (None, None) if part is None else (part["fewer_bytes"], part["faster"]["median"])
    return [
        _goal("bytes of torch.save over ours", ">= 15", FEWER_BYTES, fewer, f"{fewer or 0:.1f}", least=True),
        _goal("requests/s over torch.save's", "> 1", 1.0, faster, f"{faster or 0:.2f}", least=True),
    ]


def _chaos(part: Result | None) -> Goal:
    what = "requests that did not end in exactly one result or error, or in another's result"
    if part is None:
        return _goal(what, "0", 0.0, None, "")
    wrong = part["missing"] + part["twice"] + part["never_sent"] + part["strangers"]
    return _goal(what, "0", 0.0, wrong, f"{wrong} of {part['requests']:,}, {part['kills']} kills")


def _memory(part: Result | None) -> Goal:
    what = "server memory after the last request over that after the first tenth"
    if part is None or part["growth"] is None:
        return _goal(what, "within 5 %", GROWTH, None, "")
    return _goal(what, "within 5 %", GROWTH, abs(part["growth"]), f"{100 * part['growth']:+.1f} %")
