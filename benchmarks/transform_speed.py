"""What the transform takes through Python on one thread: beside the jpeg codec at equal top-1, and beside the head itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import featcodec as fc
from benchmarks.cut_jobs import Job, Place, build, cut_of
from benchmarks.cut_networks import network
from benchmarks.row_store import Row
from benchmarks.timing import Effort, Timed, time_in_turn
from benchmarks.transform_goals import PLAIN, change_of
from benchmarks.transform_plans import JOINT

WHERE = ("resnet20", "layer2")
BATCHES = (1, 32)
_LOSS = 1.0  # points of top-1


def measure(place: Place, rows: Sequence[tuple[Job, Row]], rounds: int) -> dict[str, Any] | None:
    """Time the rows of layer2 that lie nearest to one point; None where a series was not measured."""
    jobs = {name: _nearest(rows, name) for name in (PLAIN, JOINT, "jpeg")}
    if None in jobs.values():
        return None
    torch.set_num_threads(1)
    cut, _ = cut_of(place, *WHERE, "test")
    x = torch.from_numpy(cut.features[: max(BATCHES)].copy())
    picture, _ = network(WHERE[0]).pictures("test", 1)
    codecs = {name: build(found) for name, found in jobs.items() if found is not None}
    timed = {(name, size): _timed(name, codec, x[:size]) for name, codec in codecs.items() for size in BATCHES}
    head = Timed("head", {"run": lambda: cut.head(picture)}, torch.no_grad)
    time_in_turn([*timed.values(), head], Effort(rounds, 20.0, 1.0))
    found = [_row(name, size, job, x[:size]) for (name, size), job in timed.items()]
    for row in found:
        wanted = jobs[row["series"]]
        assert wanted is not None  # checked above
        row["quality"] = wanted.quality if wanted.quality is not None else json.loads(wanted.config)["quality"]
    head_us = head.median_us("run")
    speeds = {(row["series"], row["batch"]): row["values_per_s"] for row in found}
    return {
        "rows": found,
        "head_us": head_us,
        "ratio": min(speeds[PLAIN, size] / speeds["jpeg", size] for size in BATCHES),
        "head_share": timed[JOINT, 1].median_us("encode") / head_us,
    }


def _nearest(rows: Sequence[tuple[Job, Row]], name: str) -> Job | None:
    found = [(abs(change_of(row.figures)[0] + _LOSS), at) for at, (job, row) in enumerate(rows) if _is(job, name)]
    return rows[min(found)[1]][0] if found else None


def _is(job: Job, name: str) -> bool:
    return (job.network, job.layer, job.series, job.pictures) == (*WHERE, name, "test")


def _timed(name: str, codec: fc.Codec, x: torch.Tensor) -> Timed:
    packets = codec.encode(x)
    return Timed(name, {"encode": lambda: codec.encode(x), "decode": lambda: codec.decode(packets)}, contextlib.nullcontext)


def _row(name: str, size: int, job: Timed, x: torch.Tensor) -> dict[str, Any]:
    us = {call: job.median_us(call) for call in job.calls}
    figures: Mapping[str, float] = {f"{call}_us": value for call, value in us.items()}
    return {"series": name, "batch": size, **figures, "values_per_s": 1e6 * x.numel() / sum(us.values())}
