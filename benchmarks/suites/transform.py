"""The transform beside codecs that need no training, and the trained ones: bytes at equal loss on two networks, and speed.

ResNet-20 is measured on the 10,000 test pictures of CIFAR-10, EfficientNet-lite0 on labelled stamps. Codecs are calibrated, and
their settings chosen, on training pictures and photographs. Rows are kept in --scratch as they come: a run that was stopped
goes on. A row is taken from there where a codec of its config writes the same packets for training pictures, and decodes them
to the same values, whatever else has changed; each says at which commit it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import featcodec as fc
from benchmarks import efficientnet, photographs, transform_report, transform_speed
from benchmarks.cut_jobs import Job, Place, cut_of, job, run_jobs
from benchmarks.cut_networks import NETWORKS
from benchmarks.entropy_goals import goals_table
from benchmarks.transform_goals import PCA, PLAIN, cells_of, goals, sizes_of
from benchmarks.transform_plans import STEPS, Calibrated, plain, plans, run_plans
from benchmarks.transform_series import KL_RANGES, LITE0_RANGE, Series, contexts, rivals, steps, transforms
from featcodec.bench.pretrained import trained_codecs
from featcodec.bench.report import machine

Cut = tuple[str, str]

_FEW = 5
_SLOW = ("heif", "fcm")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ModuleNotFoundError, ValueError) as e:
        print(f"bench-transform: {e}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    transform_report.plot(result, args.out)
    print(goals_table(result["goals"]), transform_report.summary(result), sep="\n")
    print(f"written: results.json and the figures in {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-transform", description=__doc__)
    p.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    p.add_argument("--layers", nargs="+", help="of all networks' cuts, these (default: all)")
    p.add_argument("--series", nargs="+", help="of all curves, these (default: all)")
    p.add_argument(
        "--rows", type=int, default=11, help=f"of an image codec or a transform at a cut; of slow ones {_FEW} at most"
    )
    p.add_argument("--samples", type=int, help="test pictures, from the first (default: all)")
    p.add_argument("--calibration", type=int, help="calibration pictures at most (default: what each calibration wants)")
    p.add_argument("--sweep", type=int, default=250, help="training pictures that settings are chosen on")
    p.add_argument("--rounds", type=int, default=100, help="of the timing")
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, each of one thread")
    p.add_argument("--stamps", type=Path, help="folder of tuxpaint's stamps (default: Debian's package, downloaded)")
    p.add_argument("--scratch", type=Path, default=Path("out/transform/scratch"), help="features, packages and measured rows")
    p.add_argument("--out", type=Path, default=Path("out/transform"))
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Calibrate, choose the settings, measure every row, and compare."""
    start = time.time()
    say = partial(_say, start)
    torch.set_num_threads(1)
    if "lite0" in args.networks:
        os.environ[efficientnet.PICTURES] = str(photographs.fetch(args.scratch, args.stamps).resolve())
    limits = {"train": args.sweep, "test": args.samples, "calibration": args.calibration}
    place = Place(args.scratch, args.scratch / "rows", tuple(limits.items()))
    cuts = [(name, layer) for name in args.networks for layer in NETWORKS[name].layers if layer in (args.layers or [layer])]
    if not cuts:
        raise ValueError(f"no cut of {', '.join(args.networks)} is at {', '.join(args.layers)}")
    for cut in cuts:
        for pictures in ("train", "test"):
            cut_of(place, *cut, pictures)
        say(f"features of {' '.join(cut)}")
    wanted = [plan for cut in cuts for plan in plans(*cut) if plan.series in (args.series or [plan.series])]
    found = run_plans(place, wanted, args.workers, say)
    if PCA in (args.series or [PCA]):
        found += run_plans(place, [plain(one) for one in found if one.plan.series == PLAIN], args.workers, say)
    jobs = chosen_jobs(place, cuts, found, args, say)
    cut_of.cache_clear()
    rows = run_jobs(place, jobs, args.workers, say, first=_SLOW)
    speed = transform_speed.measure(place, list(zip(jobs, rows, strict=True)), args.rounds)
    measured = {"rows": [row.figures for row in rows], "sizes": sizes_of(rows), "cells": cells_of(rows), "speed": speed}
    return {
        "machine": machine(),
        "settings": {"workers": args.workers, "sweep": args.sweep, "seconds": round(time.time() - start)},
        "calibrations": [one.figures() for one in found],
        **measured,
        "goals": goals(measured),
    }


def _say(start: float, text: str) -> None:
    print(f"{time.time() - start:7.0f} s  {text}", file=sys.stderr, flush=True)


def chosen_jobs(
    place: Place,
    cuts: Sequence[Cut],
    found: Sequence[Calibrated],
    args: argparse.Namespace,
    say: Callable[[str], None],
) -> list[Job]:
    """Sweep training pictures, choose the settings of every series, and return the test pictures' jobs."""
    series = {cut: _series(place, cut, found, args) for cut in cuts}
    sweeps = [one for cut, many in series.items() for each in many for one in each.sweep((*cut, "train"))]
    rows = iter(run_jobs(place, sweeps, args.workers, say))
    jobs: list[Job] = []
    for cut, many in series.items():
        reach = LITE0_RANGE if cut[0] == "lite0" else KL_RANGES[cut[1]]
        for each in many:
            settings = each.chosen([next(rows).figures["kl"] for _ in each.swept()], reach)
            say(f"{' '.join(cut)} {each.name}: {', '.join(map(str, settings)) or 'nothing in reach'}")
            jobs += [each.make((*cut, "test"), setting) for setting in settings]
        jobs += [one for one in trained_jobs(cut) if one.series in (args.series or [one.series])]
    return jobs


def _series(place: Place, cut: Cut, found: Sequence[Calibrated], args: argparse.Namespace) -> list[Series]:
    """Return the curves of a cut, of the whole image codecs' and transforms' rows or, at the last layer, about half of them."""
    many, few = (args.rows, _FEW) if cut[1] != "layer3" else (max(2, args.rows // 2), max(2, _FEW // 2 + 1))
    states = [(one.plan.series, one.path) for one in found if (one.plan.network, one.plan.layer) == cut]
    ours = transforms([state for state in states if state[0] != STEPS], many)
    calibration, _ = cut_of(place, *cut, "train")
    features = torch.from_numpy(np.array(calibration.features))
    others = rivals(features, many, min(many, few)) if cut[0] == "resnet20" else contexts()
    others += [one for state in states if state[0] == STEPS for one in steps(features, *state, features.shape[1], few)]
    return [each for each in (*ours, *others) if each.name in (args.series or [each.name])]


def trained_jobs(cut: Cut) -> list[Job]:
    """Return the trained codecs that ship for a cut, those that send bits."""
    found = [] if cut[0] != "resnet20" else [one for one in trained_codecs(cut[1]) if not one.is_control]
    digital = [one for one in found if not one.record["row"]["stats"]["real_symbols_per_sample"]]
    return [job((*cut, "test"), f"{one.name.partition('-')[2]} (trained)", {"trained": one.name}) for one in digital]


if __name__ == "__main__":
    sys.exit(main())
