"""``featcodec search``: the best splits and codecs of a network, tried one by one, by as many processes as are started.

Run the same command in several shells, or on several machines with --storage at a database, and they share the trials.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import featcodec as fc
from featcodec.bench.data import Images, embedded
from featcodec.bench.frames import NORMALIZATIONS
from featcodec.bench.measure import load_model, table_width
from featcodec.bench.options import Collect, check_out
from featcodec.bench.search_picture import plot
from featcodec.bench.train import batches, datasets, make_schedule
from featcodec.ops.host import usable_device
from featcodec.planning.findings import OBJECTIVES, Findings, Trial
from featcodec.planning.links import get_link
from featcodec.planning.measuring import CodecTrial
from featcodec.planning.pruning import FINAL, Pruning
from featcodec.planning.searching import SAMPLERS, read_findings, search
from featcodec.planning.space import point_name, read_space
from featcodec.training import Event
from featcodec.training.phase import SCHEDULES

# Of the embedded network: codecs that need no training.
DEFAULT_SPACE = ("layer=layer1,layer2,layer3", "codec=huffman,rans,context", "bits=1..8")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        found = read_findings(storage_of(args), args.study) if args.show else run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError, ImportError, AttributeError) as e:
        print(f"featcodec search: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"featcodec search: interrupted; the same command goes on with study {args.study!r}", file=sys.stderr)
        return 130
    print("\n".join(found.table_lines(table_width())))
    write(found, args.out)
    print(f"written: {args.out / f'{found.study}.json'}, {args.out / f'{found.study}.png'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="featcodec search", description=__doc__)
    p.add_argument("--model", help="package.module:function that returns a trained nn.Module (default: the embedded ResNet-20)")
    p.add_argument(
        "--space",
        nargs="+",
        action=Collect,
        default=None,
        metavar="NAME=VALUES",
        help="a,b,c or low..high or low..high:log: layer, codec (specs), parameters of the codecs, rate_weight, sparsity; "
        f"default: {' '.join(DEFAULT_SPACE)}",
    )
    p.add_argument("--objective", nargs="+", action=Collect, default=["accuracy", "bytes"], help=", ".join(OBJECTIVES))
    p.add_argument("--sampler", default="tpe", help=", ".join(SAMPLERS))
    p.add_argument("--trials", type=int, default=20, help="of the study, by all its workers")
    p.add_argument("--study", default="search", help="its name: the same name, storage and options go on with it")
    p.add_argument("--storage", help="a file, or the URL of a database that many machines share (default: a file in --out)")
    p.add_argument("--show", action="store_true", help="show what the study has found, and try nothing")
    p.add_argument("--least-accuracy", type=float, help="below it a trial is stopped early, and draws keep away")
    p.add_argument("--warm-up", type=int, default=1, help="epochs before a trial may be stopped")
    p.add_argument("--link", help="what latency_ms is taken over, as for featcodec plan: wifi:rtt=5ms, 10Mbit/s:rtt=5ms")
    p.add_argument("--slowdown", type=float, default=1.0, help="how many times as long as this machine the device takes")
    p.add_argument("--schedule", default="bottleneck-only", help=f"of learned codecs: {', '.join(SCHEDULES)}")
    p.add_argument("--set", nargs="*", action=Collect, default=[], metavar="NAME=VALUE", help="its arguments: epochs=8")
    p.add_argument("--weight", nargs="*", action=Collect, default=[], metavar="LOSS=VALUE", help="of the codecs' losses")
    p.add_argument("--prune-rounds", type=int, default=5, help="epochs in which a head is pruned to a sparsity")
    p.add_argument("--prune-epochs", type=int, default=2, help="of fine-tuning after them")
    p.add_argument("--data", help="as for featcodec train (default: FEATCODEC_DATA, else the embedded images)")
    p.add_argument("--normalize", choices=sorted(NORMALIZATIONS), help="default: cifar10 for CIFAR-10, else imagenet")
    p.add_argument("--image-size", type=int, default=224, help="side that pictures of class folders are brought to")
    p.add_argument("--train-samples", type=int, help="of what is not held out (default: all)")
    p.add_argument("--held-out", type=int, default=5000, help="samples of the training data that every trial is measured on")
    p.add_argument("--validation-samples", type=int, default=1000, help="of those, measured after every epoch")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--cache", type=Path, help="folder for head features and pruned models (default: one in --out)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--device", default="auto", help="cpu, cuda, ...; auto: a GPU where there is one")
    p.add_argument("--amp", action="store_true", help="bfloat16 outside the codecs in training; always on a GPU")
    p.add_argument("--threads", type=int, help="of torch and of the core")
    p.add_argument("--out", type=Path, default=Path("out/search"), help="folder for STUDY.json and STUDY.png")
    p.set_defaults(test_data=None, test_samples=None, train_channel=None)
    return p


def storage_of(args: argparse.Namespace) -> str | Path:
    """Return where the study is kept."""
    return args.out / f"{args.study}.journal" if args.storage is None else str(args.storage)


def run(args: argparse.Namespace) -> Findings:
    """Try points until the study has its trials; return what it has found."""
    if args.model is not None and args.space is None:
        raise ValueError("a model of your own needs --space layer=a,b codec=dsc,huffman ...: its layers are not known")
    check_out(args.out)
    space = read_space(args.space or DEFAULT_SPACE)
    if args.threads:
        torch.set_num_threads(args.threads)
        fc.set_num_threads(args.threads)
    device = usable_device(args.device)
    link = None if args.link is None else get_link(args.link)
    if "latency_ms" in args.objective and link is None:
        raise ValueError("latency_ms is taken over a link: give --link, such as 10Mbit/s:rtt=5ms")
    training, held_out = images_of(args)
    normalization = args.normalize or ("cifar10" if training.name.startswith("CIFAR-10") else "imagenet")
    schedule = make_schedule(args)
    measure = CodecTrial(
        load_model(args.model).eval().to(device),
        batches(training, args.batch_size, normalization, args.seed),
        batches(held_out, 250, normalization),
        batches(held_out.head(args.validation_samples), 250, normalization) if args.validation_samples else None,
        schedule=schedule,
        cache=None if any(phase.train == "all" for phase in schedule) else args.cache or args.out / "cache",
        pruning=Pruning(filters=0.5, rounds=args.prune_rounds, final=dataclasses.replace(FINAL, epochs=args.prune_epochs)),
        link=link,
        slowdown=args.slowdown,
        keep=args.out / "codecs",
        seed=args.seed,
        device=device,
        amp=args.amp or None,
    )
    about = {
        "model": args.model or "ResNet-20 (embedded)",
        "data": f"{training.name}, {len(training.images)} and {len(held_out.images)} held out",
        "schedule": [phase.to_dict() for phase in schedule],
        "pruning": [args.prune_rounds, args.prune_epochs],
        "amp": args.amp,
        "link": None if link is None else {**dataclasses.asdict(link), "slowdown": args.slowdown},
    }
    with _Live(args.trials) as live:
        measure.progress = live.event
        return search(
            space,
            measure,
            trials=args.trials,
            objectives=args.objective,
            sampler=args.sampler,
            storage=storage_of(args),
            study=args.study,
            least_accuracy=args.least_accuracy,
            warm_up=args.warm_up,
            seed=args.seed,
            about=about,
            progress=live.trial,
        )


def images_of(args: argparse.Namespace) -> tuple[Images, Images]:
    """Return images to train on and held-out ones: of the data set asked for, or of the embedded images."""
    if args.data is None and not os.environ.get("FEATCODEC_DATA"):
        images = embedded()
        held_out = min(args.held_out, 4 * len(images.images) // 10)
        return images.part(0, -held_out).head(args.train_samples), images.part(-held_out, None)
    training, held_out, _ = datasets(args)
    return training, held_out


class _Live:
    """A bar of the trials on standard error, with what is being trained; a line for each trial that is through."""

    def __init__(self, trials: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("trial", total=trials)

    def __enter__(self) -> _Live:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def event(self, event: Event) -> None:
        """Show where a training is."""
        step = f", step {event.step}/{event.steps}" if event.steps else ""
        self._bar.update(self._task, description=f"{event.phase} {event.epoch}/{event.epochs}{step}")

    def trial(self, trial: Trial, done: int, trials: int) -> None:
        """Show what came of a trial."""
        figures = [f"{name} {value:.4g}" for name, value in trial.figures.items() if name in OBJECTIVES]
        came = ", ".join(figures) or f"{trial.state}: {trial.error}"
        text = f"{done} of {trials}: {point_name(trial.point)}: {came}, {trial.seconds:.0f} s"
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=done, description="trial")


def write(found: Findings, folder: Path) -> None:
    """Write what was found as JSON and as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{found.study}.json.{os.getpid()}.part"
    scratch.write_text(json.dumps(found.to_dict(), indent=1) + "\n")
    os.replace(scratch, folder / f"{found.study}.json")
    plot(found, folder / f"{found.study}.png")


if __name__ == "__main__":
    sys.exit(main())
