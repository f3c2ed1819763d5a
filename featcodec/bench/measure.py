"""The main job: codecs x layers of a network on labelled images; accuracy, bits, ratio and times of each.

On the embedded network the trained codecs of each layer come along. Static tables are calibrated on images that are not
measured, where there are any.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import featcodec as fc
from featcodec.bench.data import Images, load
from featcodec.bench.frames import NORMALIZATIONS
from featcodec.bench.models import resnet20
from featcodec.bench.options import Collect, check_out
from featcodec.bench.pictures import plot
from featcodec.bench.pretrained import Trained, trained_codecs
from featcodec.bench.report import machine
from featcodec.bench.tables import table_lines
from featcodec.evaluation import top1
from featcodec.layers import find_layer
from featcodec.ops.host import usable_device
from featcodec.spec import format_spec, parse_spec
from featcodec.training.parts import feature_at

DEFAULT_LAYERS = ("layer1", "layer2", "layer3")
CALIBRATION_IMAGES = 64
TABLE_WIDTH = 100


class Scores:
    """Top-1 as `evaluate` wants it, which keeps every sample's score."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Score 1.0 where the largest logit (B, classes) is the target class (B,), else 0.0."""
        scores = top1(outputs, targets)
        self.batches.append(scores.cpu())
        return scores

    def right(self) -> Tensor:
        """Return which samples were right, (N,) bool, in the order they came in."""
        return torch.cat(self.batches) > 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        check_out(args.out)
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError, ImportError, AttributeError) as e:
        print(f"featcodec bench: {e}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    plot(result, args.out / "rate_accuracy.png")
    print("\n".join(table_lines(result, table_width(), everything=args.all or args.codec is not None)))
    print(f"written: {args.out / 'results.json'}, {args.out / 'rate_accuracy.png'}")
    return 0


def table_width() -> int:
    """Return how wide the table may be: a terminal's columns, 80 at the least and `TABLE_WIDTH` at most."""
    return min(TABLE_WIDTH, max(80, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else TABLE_WIDTH


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="featcodec bench", description=__doc__)
    p.add_argument("--model", help="package.module:function that returns an nn.Module (default: the embedded ResNet-20)")
    p.add_argument("--layer", nargs="+", action=Collect, help=f"split points (default: {' '.join(DEFAULT_LAYERS)})")
    p.add_argument("--codec", nargs="+", action=Collect, help="specs, such as huffman:bits=4 (default: every codec's examples)")
    p.add_argument("--data", default="embedded", help="embedded, cifar10, a .npz file, or a folder of class folders")
    p.add_argument(
        "--normalize", choices=sorted(NORMALIZATIONS), default=None, help="default: cifar10 for CIFAR-10, else imagenet"
    )
    p.add_argument("--image-size", type=int, default=224, help="side that pictures of class folders are brought to")
    p.add_argument("--samples", type=int, default=500, help="images, from the first")
    p.add_argument("--batch-size", type=int, default=100)
    p.add_argument("--device", default="cpu", help="cpu (default), cuda, ...; auto: a GPU where there is one")
    p.add_argument(
        "--all", action="store_true", help="show the rows behind each layer's Pareto front, too; always where codecs are named"
    )
    p.add_argument("--out", type=Path, default=Path("out"), help="folder for results.json and rate_accuracy.png")
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every row and return the result: machine, setting, baseline, rows."""
    if args.samples < 1 or args.batch_size < 1 or args.image_size < 1:
        raise ValueError("--samples, --batch-size and --image-size must be at least 1")
    device = usable_device(args.device)
    model = load_model(args.model).eval().to(device)
    layers = [find_layer(model, layer)[0] for layer in args.layer or DEFAULT_LAYERS]
    codecs, left_out = choose_codecs(args.codec)
    trained = [found for layer in layers for found in choose_trained(args, layer)]
    for found in trained:
        left_out.pop(found.record["row"]["codec"]["id"], None)
    whole = load(args.data, args.image_size)
    images, others = whole.head(args.samples), whole.part(args.samples, args.samples + CALIBRATION_IMAGES)
    normalization = args.normalize or ("cifar10" if images.name.startswith("CIFAR-10") else "imagenet")
    rows = []
    with progress_bar(len(images.images) * (1 + len(layers) * len(codecs) + len(trained))) as (progress, task):

        def measure(label: str, **cut: Any) -> tuple[dict[str, Any], Tensor]:
            progress.update(task, description=label)
            batches, scores = images.batches(args.batch_size, normalization), Scores()
            step = partial(progress.advance, task)
            report = fc.evaluate(model, batches, device=device, progress=step, metric=scores, **cut)
            return report.to_dict(), scores.right()

        def measure_row(label: str, **cut: Any) -> dict[str, Any]:
            """A row, and beside it what it gained and lost: images that one of codec and baseline alone got right."""
            row, right = measure(label, **cut)
            return {**row, "gained": int((right & ~bare).sum()), "lost": int((bare & ~right).sum())}

        baseline, bare = measure("baseline")
        for layer in layers:
            for config in codecs:
                codec = fc.get_codec(config)
                if codec.needs_calibration:
                    codec.calibrate(features(model, layer, others if len(others.images) else images, normalization))
                rows.append(measure_row(f"{layer} {format_spec(config)}", layer=layer, codec=codec))
            for found in (found for found in trained if found.layer == layer):
                row = measure_row(f"{layer} {found.name}", layer=layer, codec=found.codec())
                rows.append({**row, "trained": found.name.removeprefix(f"{layer}-")})
    return {
        "machine": machine(device),
        "setting": _setting(args, images, normalization),
        "left_out": left_out,
        "baseline": baseline,
        "rows": rows,
    }


def load_model(name: str | None) -> nn.Module:
    """Return the embedded network, or call the function that ``package.module:function`` names."""
    if name is None or name == "embedded":
        return resnet20()
    model = called(name, "--model")
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name} returned {type(model).__name__}, not an nn.Module")
    return model


def called(name: str, option: str) -> Any:
    """Return what the function that ``package.module:function`` names returns; the option is for messages."""
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(f"{option} is written package.module:function, got {name!r}")
    sys.path.insert(0, "")  # as python -m does: a module in the present folder counts
    try:
        return getattr(importlib.import_module(module), function)()
    finally:
        sys.path.remove("")


def choose_codecs(specs: Sequence[str] | None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the configs to run: the given specs, else every example of every codec, and what was left out and why.

    A codec asked for by name raises where its package is missing; of the default ones it is left out, with the reason.
    """
    if specs is not None:
        return [fc.get_codec(spec).config() for spec in specs], {}
    configs, left_out = [], {}
    for codec_id in fc.list_codecs():
        try:
            cls = fc.codec_class(codec_id)
        except fc.MissingDependencyError as e:
            left_out[codec_id] = str(e)
            continue
        if cls.protects:
            left_out[codec_id] = f"codec {codec_id!r} protects another one: it is measured on channels, by the suite of those"
            continue
        if cls.learned:
            left_out[codec_id] = f"codec {codec_id!r} is learned: its weights say nothing before they are trained"
            continue
        if cls.wants_sensitivity:
            left_out[codec_id] = f"codec {codec_id!r} is made for a layer by featcodec.calibrate, which takes its time"
            continue
        configs += [fc.get_codec(codec_id, **example).config() for example in cls.examples if not cls.wants_gradients(example)]
    return configs, left_out


def choose_trained(args: argparse.Namespace, layer: str) -> list[Trained]:
    """Return the trained codecs of a layer: of the embedded network's, where no codecs are named."""
    if args.model is not None or args.codec is not None:
        return []
    return [found for found in trained_codecs(layer) if not found.is_control]


def features(model: nn.Module, layer: str, images: Images, normalization: str) -> Tensor:
    """Return the layer's features of the first images, (B, ...)."""
    (inputs, _), device = next(images.batches(CALIBRATION_IMAGES, normalization)), next(model.parameters()).device
    return feature_at(model, find_layer(model, layer)[1], inputs.to(device)).cpu()


def _setting(args: argparse.Namespace, images: Images, normalization: str) -> dict[str, Any]:
    return {
        "model": args.model or "ResNet-20 (embedded)",
        "data": images.name,
        "samples": len(images.images),
        "batch_size": args.batch_size,
        "normalization": normalization,
        "codecs": [parse_spec(spec)[0] for spec in args.codec] if args.codec else "every codec's examples",
    }


@contextmanager
def progress_bar(total: int) -> Iterator[tuple[Progress, Any]]:
    """Show a bar of so many steps on standard error: what to call `update` and `advance` of, and the task to name."""
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress, progress.add_task("", total=total)
