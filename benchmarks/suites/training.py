"""Training: what a step costs with a codec inserted, and what the trained codecs cost and lose."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

import featcodec as fc
from benchmarks.training_report import curves, goals, steps_table, symbols_plot, symbols_table, trained_table
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20
from featcodec.bench.pretrained import CODECS, Trained, trained_codecs
from featcodec.bench.report import machine
from featcodec.spec import format_spec

# "codec @ channel": with packets, or their likes on the device, damaged in training
SPECS = (
    "bottlenet",
    "bottlenet++",
    "bottlenet++ @ bec:p=0.1",
    "bottlenet++:mode=analog @ awgn:psnr_db=20",
    "dsc",
    "entropic",
    "jscc @ awgn:psnr_db=20",
    "learned_scalar",
    "variable-rate:levels=(dsc;entropic)",
    "vfe @ awgn:psnr_db=20",
    "vq",
)
RECORDS = Path(__file__).resolve().parents[1] / "results" / "training" / "records"
LAYERS = ("layer1", "layer2", "layer3")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError) as e:
        print(f"bench-training: {e}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    curves(records(args), args.out / "curves.png")
    symbols_plot(result["trained"], args.out / "symbols.png")
    print(steps_table(result), trained_table(result), symbols_table(result), sep="\n")
    print(f"written: results.json, curves.png and symbols.png in {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-training", description=__doc__)
    p.add_argument("--layers", nargs="+", default=list(LAYERS))
    p.add_argument("--codec", nargs="+", default=None, help="specs, or 'spec @ channel' (default: every learned codec)")
    p.add_argument("--rounds", type=int, default=9, help="training steps of each codec, in turn with the step without")
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--device", default="cpu")
    p.add_argument("--codecs", type=Path, default=CODECS, help="folder of trained codecs and their records")
    p.add_argument("--more", type=Path, default=RECORDS, help="folder of records of codecs that do not ship")
    p.add_argument("--out", type=Path, default=Path("out/training"))
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Time the steps, collect the records."""
    if args.rounds < 1 or args.batch_size < 2:
        raise ValueError("--rounds must be at least 1, --batch-size at least 2")
    steps = [row for layer in args.layers for row in step_costs(layer, args.codec or SPECS, args)]
    trained = [row_of(found.name, found.record, args.codecs) for found in records(args)]
    return {
        "machine": machine(args.device),
        "settings": {"rounds": args.rounds, "batch_size": args.batch_size, "model": "ResNet-20 (embedded)"},
        "steps": steps,
        "trained": trained,
        "goals": goals(steps, trained),
    }


def records(args: argparse.Namespace) -> list[Trained]:
    """Return every record: of the codecs that ship, then of the others."""
    return [*trained_codecs(folder=args.codecs), *trained_codecs(folder=args.more)]


def step_costs(layer: str, specs: Sequence[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a training step of the whole model with each codec at a layer, in turn with the step without: medians."""
    images, labels = next(embedded().head(args.batch_size).batches(args.batch_size, "cifar10"))
    images, labels = images.to(args.device), labels.to(args.device)
    bare = stepper(None, layer, images, labels, args.device)
    calls = {spec: stepper(spec, layer, images, labels, args.device) for spec in specs}
    for call in (bare, *calls.values()):
        call()
    rows = []
    for spec, call in calls.items():
        ratios, base, cost = [], [], []
        for _ in range(args.rounds):
            # a step without on either side: what slows the machine meets both
            before, with_codec, after = timed(bare), timed(call), timed(bare)
            ratios.append(2 * with_codec / (before + after))
            base += [before, after]
            cost.append(with_codec)
        rows.append(
            {
                "layer": layer,
                "codec": spec,
                "ratio": statistics.median(ratios),
                "ratio_least": min(ratios),
                "ratio_most": max(ratios),
                "step_ms": statistics.median(cost),
                "bare_ms": statistics.median(base),
            }
        )
    return rows


def stepper(spec: str | None, layer: str, images: Tensor, labels: Tensor, device: str) -> Callable[[], None]:
    """Return a training step of a model of its own: forward, backward and update of everything."""
    torch.manual_seed(0)
    model = resnet20().to(device)
    if spec is not None:
        codec, _, channel = spec.partition(" @ ")
        fc.insert(model, layer, codec, channel or None, example=images[:1])
    model.train()
    codecs = [module for module in model.modules() if isinstance(module, fc.Codec)]
    optimizer = torch.optim.Adam(model.parameters(), 1e-6)

    def step() -> None:
        loss = nn.functional.cross_entropy(model(images), labels)
        for codec in codecs[:1]:
            loss = loss + 1e-3 * sum(codec.losses().values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return step


def timed(call: Callable[[], None]) -> float:
    """Return the milliseconds of a call."""
    start = perf_counter_ns()
    call()
    return (perf_counter_ns() - start) / 1e6


def row_of(name: str, record: dict[str, Any], shipped: Path) -> dict[str, Any]:
    """Return what the tables show of a training's record; `shipped`: the folder of codecs that ship."""
    row, stats = record["row"], record["row"]["stats"]
    over = sorted([row, *record.get("over", [])], key=lambda r: json.dumps(r["channel"]))
    return {
        "name": name,
        "layer": row["layer"],
        "id": row["codec"]["id"],
        "codec": format_spec(row["codec"]),
        "channel": _channel(row),
        "over": {_channel(other): other["metric"] for other in over if other["channel"] is not None},
        "ships": (shipped / f"{name}.safetensors").is_file(),
        "control": not fc.codec_class(row["codec"]["id"]).learned,
        "trains": sorted({phase["train"] for phase in record["run"]["schedule"]}),
        "epochs": sum(phase["epochs"] for phase in record["run"]["schedule"]),
        "accuracy": row["metric"],
        "backbone": record["backbone"]["metric"],
        "samples": row["samples"],
        "elements": stats["elements_per_sample"],
        "wire_bits": stats["bits_per_sample"],
        "payload_bits": stats["payload_bits_per_sample"],
        "symbols": stats["real_symbols_per_sample"] or None,
        "parameters": record["parameters"],
        "command": record["command"],
    }


def _channel(row: dict[str, Any]) -> str | None:
    return (
        None
        if row["channel"] is None
        else format_spec({k: v for k, v in row["channel"].items() if k in ("id", "psnr_db", "p")})
    )


if __name__ == "__main__":
    sys.exit(main())
