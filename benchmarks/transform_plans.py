"""Calibrations: each transform that is measured, made once a cut and kept in a file for all its rows."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

import featcodec as fc
from benchmarks.cut_jobs import Place
from benchmarks.cut_networks import network
from benchmarks.row_store import name_of
from benchmarks.transform_goals import LARGEST, PCA, PLAIN
from featcodec.bench.report import machine
from featcodec.spec import format_spec

JOINT = "transform, 2^20"
STEPS = "context, steps by maps"
_BATCH = {"resnet20": 128, "lite0": 16}


@dataclass(frozen=True)
class Plan:
    """A calibration.

    Attributes
    ----------
    spec
        What is not said in it, calibration chooses.
    log_table
        Numbers of the tables a side at most, as a power of two; None for features alone, without the tail.
    samples
        Calibration pictures; fewer where there are fewer.
    flips
        Whether pictures are seen mirrored, too.
    """

    network: str
    layer: str
    series: str
    spec: str = "transform"
    log_table: int | None = 18
    samples: int = 1024
    flips: bool = False


@dataclass(frozen=True)
class Calibrated:
    """A calibrated codec.

    Attributes
    ----------
    path
        The file that `save` wrote.
    samples
        Pictures that it saw, mirror images not counted.
    seconds
        That it took.
    lines
        What calibration said.
    """

    plan: Plan
    path: str
    config: str
    samples: int
    seconds: float
    lines: list[str]

    def figures(self) -> dict[str, Any]:
        """Return what the result says of it."""
        plan = self.plan
        where = {"network": plan.network, "layer": plan.layer, "series": plan.series, "config": self.config}
        return {**where, "samples": self.samples, "flips": plan.flips, "seconds": self.seconds, "lines": self.lines}


def plans(name: str, layer: str) -> list[Plan]:
    """Return the transforms of a cut that see the tail."""
    found = [Plan(name, layer, PLAIN, flips=name == "lite0"), Plan(name, layer, STEPS, spec="context:step=1,axis=map")]
    if name == "resnet20" and layer != "layer3":  # where a handful of bytes loses nothing
        found += [Plan(name, layer, JOINT, log_table=20, flips=True), Plan(name, layer, LARGEST, log_table=22, flips=True)]
    return found


def plain(found: Calibrated) -> Plan:
    """Return the calibration of the same config on features alone."""
    return replace(found.plan, series=PCA, spec=found.config, log_table=None)


def calibrated(place: Place, plan: Plan) -> Calibrated:
    """Calibrate, or find the file of the same plan at the same commit."""
    torch.set_num_threads(1)
    commit = machine()["commit"] or "-dirty"
    path = place.scratch / f"state-{name_of({'plan': repr(plan), 'commit': commit})}.safetensors"
    said = path.with_suffix(".json")
    if not said.is_file() or commit.endswith("-dirty"):
        lines: list[str] = []
        found = network(plan.network)
        pictures, _ = found.pictures("calibration", min(plan.samples, place.limit("calibration") or plan.samples))
        start = perf_counter()
        _calibrate(plan, found.model(), pictures, lines.append).save(path)
        taken = {"samples": len(pictures), "seconds": round(perf_counter() - start, 1), "lines": lines}
        said.write_text(json.dumps(taken))
    return Calibrated(plan, str(path), format_spec(fc.load_codec(path).config()), **json.loads(said.read_text()))


def _calibrate(plan: Plan, model: nn.Module, pictures: Tensor, say: Callable[[str], None]) -> fc.Codec:
    if plan.network == "resnet20":  # crops stay in order: those held out, the last, are of photographs that are not fitted
        pictures = pictures[torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))]
    loader = pictures.split(_BATCH[plan.network])
    if plan.log_table is None:
        head, _ = fc.split(model, plan.layer, pictures[:2])
        with torch.no_grad():
            return fc.get_codec(plan.spec).calibrate([head(x) for x in loader])
    table = 1 << plan.log_table
    return fc.calibrate(model, plan.layer, plan.spec, loader, len(pictures), max_table=table, flips=plan.flips, report=say)


def run_plans(place: Place, wanted: Sequence[Plan], workers: int, say: Callable[[str], None]) -> list[Calibrated]:
    """Run calibrations side by side; return them in order."""
    with ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("spawn")) as pool:
        found = []
        for done in pool.map(partial(calibrated, place), wanted):
            say(f"{done.plan.network} {done.plan.layer} {done.plan.series}: {done.config}, {done.seconds:.0f} s")
            found.append(done)
        return found
