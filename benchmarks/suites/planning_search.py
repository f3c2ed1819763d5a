"""A search of 12 trials by TPE beside all 24 points of its space: dsc at layer2 of ResNet-20, from cached features.

Points are validated on test images: the network has seen every training image, and is flattered by them.
Trials and points are kept in --out, and gone on from; a point that both ways measure is measured once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import featcodec as fc
from benchmarks.planning_report import DROPS, TOLERANCE, search_summary
from featcodec.bench.data import TRAIN_BATCHES, Images, cifar10, data_root
from featcodec.bench.models import resnet20
from featcodec.bench.report import machine
from featcodec.bench.search_picture import plot
from featcodec.bench.train import batches
from featcodec.planning.findings import Findings, Trial
from featcodec.planning.measuring import CodecTrial
from featcodec.planning.searching import search
from featcodec.planning.space import Point, point_name, read_space
from featcodec.training import Phase, show_progress

SPACE = ("layer=layer2", "codec=dsc", "reduced=2,4,8", "stride=1,2", "step=.5,1,2,4")
HELD_OUT = 5000
CHECKED = 500  # training images that no point is trained on, looked at after every epoch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError) as e:
        print(f"bench-planning: {e}", file=sys.stderr)
        return 2
    (args.out / "search.json").write_text(json.dumps(result, indent=1) + "\n")
    print(search_summary(result))
    print(f"written: {args.out / 'search.json'}, {args.out / 'search.png'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-planning-search", description=__doc__)
    p.add_argument("--trials", type=int, default=12)
    p.add_argument("--samplers", nargs="+", default=["tpe", "random"], help="each beside all points")
    p.add_argument("--train-samples", type=int, default=40000, help="each is seen mirrored, too")
    p.add_argument("--held-out", type=int, default=HELD_OUT, help="test images to validate on")
    p.add_argument("--epochs", type=int, nargs=3, default=[1, 1, 2], help="on the features, on the task, with the tail")
    p.add_argument("--no-amp", dest="amp", action="store_false", help="where bfloat16 is slow: the tail in single precision")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--replays", type=int, default=100, help="searches of other seeds over the points, once all are known")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--out", type=Path, default=Path("out/planning"))
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Search, then try all other points; compare."""
    torch.set_num_threads(args.threads)
    fc.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    whole = cifar10(TRAIN_BATCHES, data_root())
    held_out = cifar10(("test_batch",), data_root()).head(args.held_out)
    training = batches(with_mirrored(whole.part(0, args.train_samples)), 128, "cifar10", args.seed)
    measure = CodecTrial(
        resnet20().to(memory_format=torch.channels_last),
        training,
        batches(held_out, 250, "cifar10"),
        batches(whole.part(len(whole.images) - CHECKED, None), 250, "cifar10"),
        schedule=phases(*args.epochs),
        cache=args.out / "cache",
        seed=args.seed,
        progress=show_progress(every_s=60),
        amp=args.amp,
    )
    base = fc.evaluate(measure.model, batches(held_out, 250, "cifar10"))
    kept = Kept(measure, args.out / "points")
    found = {name: study(name, args.trials, kept, args) for name in (*args.samplers, "grid")}
    plot(found["tpe" if "tpe" in found else "grid"], args.out / "search.png")
    return {
        "machine": machine(),
        "settings": {
            name: getattr(args, name) for name in ("trials", "train_samples", "held_out", "epochs", "amp", "seed", "threads")
        },
        "space": list(SPACE),
        "base": base.to_dict()["metric"],
        "studies": {name: {**one.to_dict(), "seconds": kept.seconds(one)} for name, one in found.items()},
        "replays": replays(found["grid"], float(base.to_dict()["metric"]), args),
    }


def replays(grid: Findings, base: float, args: argparse.Namespace) -> dict[str, Any]:
    """Return the trials of searches of other seeds, by sampler: with all points known they cost nothing."""
    known = {point_name(trial.point): trial.figures for trial in grid.done()}
    found: dict[str, Any] = {"seeds": args.replays, "commit": machine()["commit"]}
    with tempfile.TemporaryDirectory() as folder:
        for name, least in [*((name, None) for name in args.samplers), ("tpe", base - DROPS[-1] - TOLERANCE)]:
            title = name if least is None else f"{name}, least_accuracy"
            found[title] = []
            for seed in range(args.replays):
                options: dict[str, Any] = {"trials": args.trials, "sampler": name, "seed": seed, "least_accuracy": least}
                storage = Path(folder) / f"{title}-{seed}.journal"
                one = search(read_space(SPACE), lambda point, _: dict(known[point_name(point)]), storage=storage, **options)
                found[title].append([[trial.figures["accuracy"], trial.figures["bytes"]] for trial in one.done()])
    return found


def with_mirrored(images: Images) -> Images:
    """Return images, and behind them the same from right to left: the network remembers those less."""
    both = np.concatenate([images.images, images.images[:, :, ::-1]])
    return Images(images.name, both, np.concatenate([images.labels, images.labels]))


def phases(features: int, task: int, tail: int) -> tuple[Phase, ...]:
    """Return the training of a trial: to give the feature back, then to give the answer, then together with the tail."""
    return (
        Phase(name="features", epochs=features, losses={"features": 1.0, "rate": 0.005}, lr=6e-3, final_lr=3e-3),
        Phase(name="task", epochs=task, losses={"task": 0.5, "kd": 0.5, "rate": 0.01}, lr=6e-3, final_lr=1e-3),
        Phase(name="tail", epochs=tail, train="tail", losses={"task": 0.3, "kd": 0.7, "rate": 0.01}, lr=1e-3, final_lr=2e-5),
    )


def study(sampler: str, trials: int, kept: Kept, args: argparse.Namespace) -> Findings:
    """Run one way of searching; the grid tries all there are."""

    def show(trial: Trial, done: int, of: int) -> None:
        print(
            f"{sampler} {done} of {of}: {point_name(trial.point)}: {trial.figures or trial.error}", file=sys.stderr, flush=True
        )

    space = read_space(SPACE)
    every = len(list(space.points() or ()))
    trials = every if sampler == "grid" else trials
    return search(
        space,
        kept,
        trials=trials,
        sampler=sampler,
        storage=args.out / "search.journal",
        study=sampler,
        seed=args.seed,
        about={"samples": args.train_samples, "held_out": args.held_out, "epochs": args.epochs, "amp": args.amp},
        progress=show,
    )


class Kept:
    """Measures a point once, however many studies try it, and keeps how long that took."""

    def __init__(self, measure: CodecTrial, folder: Path) -> None:
        self._measure, self._folder = measure, folder

    def __call__(self, point: Point, report: Any) -> dict[str, float]:
        """Return the figures that are there, or measure."""
        path = self._path(point)
        if not path.is_file():
            start = time.monotonic()
            figures = self._measure(point, report)
            self._folder.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(f".{os.getpid()}.part")
            scratch.write_text(json.dumps({"figures": figures, "seconds": time.monotonic() - start}) + "\n")
            os.replace(scratch, path)
        figures = json.loads(path.read_text())["figures"]
        return {name: float(value) for name, value in figures.items()}

    def _path(self, point: Point) -> Path:
        return self._folder / f"{point_name(point).replace(' ', '_')}.json"

    def seconds(self, found: Findings) -> float:
        """Return the time that measuring a study's points took, or would have taken without the other studies."""
        return float(sum(json.loads(self._path(trial.point).read_text())["seconds"] for trial in found.done()))


if __name__ == "__main__":
    sys.exit(main())
