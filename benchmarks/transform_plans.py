"""Calibrations: each transform that is measured, made once a cut and kept in a file for all its rows."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

import featcodec as fc
from benchmarks.cut_jobs import Place
from benchmarks.cut_networks import network
from benchmarks.row_store import name_of
from benchmarks.transform_goals import LARGEST, PCA, PLAIN
from featcodec.bench.report import machine
from featcodec.spec import format_spec

JOINT = "transform, 2^20"
_BATCH = {"resnet20": 128, "lite0": 16}


@dataclass(frozen=True)
class Plan:
    """A calibration.

    Attributes
    ----------
    codec_id
        Of a fresh codec.
    log_table
        Numbers of the tables a side at most, as a power of two; 0 for features alone, without the tail.
    samples
        Calibration pictures; fewer where there are fewer.
    flips
        Whether their mirror images come on top.
    """

    network: str
    layer: str
    series: str
    codec_id: str = "transform"
    log_table: int = 18
    samples: int = 1024
    flips: bool = False


def plans(name: str, layer: str) -> list[Plan]:
    """Return the transforms of a cut."""
    found = [Plan(name, layer, PLAIN), Plan(name, layer, PCA, log_table=0)]
    if name == "resnet20":
        found += [Plan(name, layer, JOINT, log_table=20, flips=True), Plan(name, layer, LARGEST, log_table=22, flips=True)]
    return found


def calibrated(place: Place, plan: Plan) -> dict[str, Any]:
    """Calibrate, or find the file of the same plan at the same commit; return what the result says of it, and the file."""
    torch.set_num_threads(1)
    commit = machine()["commit"] or ""
    key = name_of({"plan": repr(plan), "commit": commit})
    path = place.scratch / f"state-{key}.safetensors"
    seconds = 0.0
    if not path.is_file() or commit.endswith("-dirty"):
        start = perf_counter()
        _calibrate(plan, place.limit("calibration")).save(path)
        seconds = perf_counter() - start
    config = format_spec(fc.load_codec(path).config())
    where = {"network": plan.network, "layer": plan.layer, "series": plan.series}
    return {**where, "config": config, "samples": plan.samples * (1 + plan.flips), "seconds": seconds, "path": str(path)}


def _calibrate(plan: Plan, limit: int | None) -> fc.Codec:
    found = network(plan.network)
    inputs, _ = found.pictures("calibration", min(plan.samples, limit or plan.samples))
    pictures = torch.cat([inputs, inputs.flip(3)]) if plan.flips else inputs
    model, codec = found.model().eval(), fc.get_codec(plan.codec_id)
    if plan.log_table == 0:
        head, _ = fc.split(model, plan.layer, pictures[:2])
        with torch.no_grad():
            return codec.calibrate([head(x) for x in pictures.split(_BATCH[plan.network])])
    loader = list(_batches(pictures, _BATCH[plan.network]))
    return fc.calibrate(model, plan.layer, codec, loader, samples=len(pictures), max_table=1 << plan.log_table)


def _batches(pictures: Tensor, size: int) -> Iterator[Tensor]:
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    yield from pictures[order].split(size)


def run_plans(place: Place, wanted: Sequence[Plan], workers: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Run calibrations side by side; return what each says, in order."""
    with ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("spawn")) as pool:
        found = []
        for done in pool.map(partial(calibrated, place), wanted):
            say(f"{done['network']} {done['layer']} {done['series']}: {done['config']}, {done['seconds']:.0f} s")
            found.append(done)
        return found


def forget(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what calibrations say without the files, which are this machine's."""
    return [{key: value for key, value in done.items() if key != "path"} for done in found]


def state_of(found: Sequence[dict[str, Any]], plan: Plan) -> Path:
    """Return the file of a plan."""
    wanted = (plan.network, plan.layer, plan.series)
    return next(Path(done["path"]) for done in found if (done["network"], done["layer"], done["series"]) == wanted)
