"""Pruning ResNet-20's head up to layer2: incremental, the two-step baseline, and the same fine-tuning without pruning.

Every round and every epoch is kept in --out, and gone on from.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import featcodec as fc
from benchmarks.planning_report import prune_summary
from featcodec.bench.data import TRAIN_BATCHES, cifar10, data_root
from featcodec.bench.measure import Scores
from featcodec.bench.models import resnet20
from featcodec.bench.report import machine
from featcodec.bench.train import batches
from featcodec.macs import profile
from featcodec.planning import prune, shrink
from featcodec.planning.pruning import FINAL, ROUND, Pruning
from featcodec.training import Batches, show_progress

HELD_OUT = 5000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError) as e:
        print(f"bench-planning: {e}", file=sys.stderr)
        return 2
    (args.out / "prune.json").write_text(json.dumps(result, indent=1) + "\n")
    print(prune_summary(result))
    print(f"written: {args.out / 'prune.json'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-planning-prune", description=__doc__)
    p.add_argument("--macs", type=float, nargs="+", default=[0.3, 0.5], help="shares of the head's MACs to save")
    p.add_argument("--methods", nargs="+", default=["incremental", "two-step"])
    p.add_argument("--layer", default="layer2")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--epochs", type=int, default=5, help="after the rounds")
    p.add_argument("--round-samples", type=int, default=10000, help="training images an epoch, others in each")
    p.add_argument("--lr", type=float, default=3e-4)
    p.add_argument("--test-samples", type=int, default=10000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", type=Path, default=Path("out/planning"))
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Prune in every way, measure each on the test set, and compare with what fine-tuning alone gives."""
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    test = cifar10(("test_batch",), data_root()).head(args.test_samples)
    base, right = measured(resnet20(), test)
    ways = [("fine-tuning alone", 0.0)] + [(method, macs) for macs in args.macs for method in args.methods]
    rows = []
    for method, macs in ways:
        kept = args.out / f"prune-{method.replace(' ', '-')}-{macs:g}.json"
        if not kept.is_file():
            kept.write_text(json.dumps(pruned_row(method, macs, args, test, right), indent=1) + "\n")
        rows.append(json.loads(kept.read_text()))
    settings = {
        name: getattr(args, name) for name in ("layer", "rounds", "epochs", "round_samples", "lr", "seed", "test_samples")
    }
    return {"machine": machine(), "settings": settings, "base": base, "rows": rows}


def pruned_row(method: str, macs: float, args: argparse.Namespace, test: Any, right: torch.Tensor) -> dict[str, Any]:
    """Prune once; return what it cost and what is left."""
    whole = cifar10(TRAIN_BATCHES, data_root())
    held_out = whole.part(len(whole.images) - HELD_OUT, None)
    training = Some(
        batches(whole.part(0, len(whole.images) - HELD_OUT), 128, "cifar10", args.seed, augment=True), args.round_samples
    )
    phase = dataclasses.replace(ROUND, lr=args.lr)
    pruning = Pruning(
        method="incremental" if macs == 0 else method,
        macs=macs or None,
        filters=None if macs else 0.0,
        rounds=args.rounds,
        phase=phase,
        final=dataclasses.replace(FINAL, lr=args.lr, epochs=args.epochs),
    )
    model = resnet20()
    done = prune(
        model,
        args.layer,
        training,
        pruning,
        validation=batches(held_out.head(1000), 250, "cifar10"),
        checkpoint=args.out / f"prune-{method.replace(' ', '-')}-{macs:g}.checkpoint",
        seed=args.seed,
        progress=show_progress(every_s=120),
    )
    example = next(test.head(8).batches(8, "cifar10"))[0]
    small = shrink(copy.deepcopy(model), done.graph, done.masks, example)
    masked, now = measured(model, test)
    dropped, _ = measured(small, test)
    done.masks.save(args.out / f"prune-{method.replace(' ', '-')}-{macs:g}.masks")
    return {
        "method": method,
        "wanted": macs,
        "saved": done.to_dict()["saved"],
        "dropped_macs": profile(small, example[:1]).layers[args.layer].head_macs,
        "parameters": sum(p.numel() for p in small.parameters()),
        "accuracy": masked,
        "accuracy_dropped": dropped,
        "gained": int((now & ~right).sum()),
        "lost": int((right & ~now).sum()),
        "samples": len(test.images),
        **done.to_dict(),
    }


class Some(Batches):
    """So many samples an epoch, others in each, out of all of a loader's."""

    def __init__(self, of: Batches, samples: int) -> None:
        options = {"seed": of.seed, "transform": of.transform, "augment": of.augment}
        super().__init__(of.inputs, of.targets, of.batch_size, **options)
        self._samples = min(samples, len(of.inputs))

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-self._samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Yield an epoch's batches."""
        return itertools.islice(super().__iter__(), len(self))


def measured(model: torch.nn.Module, test: Any) -> tuple[float, torch.Tensor]:
    """Return top-1 and which images were right."""
    scores = Scores()
    report = fc.evaluate(model, test.batches(250, "cifar10"), metric=scores)
    return float(report.to_dict()["metric"]), scores.right()


if __name__ == "__main__":
    sys.exit(main())
