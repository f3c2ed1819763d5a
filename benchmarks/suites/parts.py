"""Parts: what exporting costs, how fast a loaded tail is beside the model's own, and how many cuts of real models hold."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

import featcodec as fc
from benchmarks.part_models import CASES, built
from benchmarks.timing import Effort, Timed, time_in_turn
from featcodec.bench.models import resnet20
from featcodec.bench.report import machine
from featcodec.inputs import call
from featcodec.layouts import plain
from featcodec.outputs import same
from featcodec.parts.assemble import joined, pair_of_cut
from featcodec.parts.cut import cut_at
from featcodec.parts.trace import arguments, trace

LAYER = "layer2"
BATCHES = (1, 32)
GOALS = {"export_s": 5.0, "slower": 1.05}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # it rounds otherwise than what is exported
    result = {"machine": machine("cpu"), "goals": GOALS, **speeds(args.rounds), "cuts": [cuts(name) for name in args.models]}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    print(f"written: results.json in {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-parts", description=__doc__)
    p.add_argument("--rounds", type=int, default=60)
    p.add_argument("--models", nargs="*", default=list(CASES), help="whose every module is cut (default: all)")
    p.add_argument("--out", type=Path, default=Path("out/parts"))
    return p


def speeds(rounds: int) -> dict[str, Any]:
    """Export the embedded ResNet-20; time its loaded tail beside the model's own modules behind the layer."""
    model, example = resnet20().eval(), torch.randn(2, 3, 32, 32)
    fc.export(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), "0", torch.randn(2, 2))  # what torch imports the first time
    start = perf_counter()
    parts = fc.export(model, LAYER, example)
    export_s = perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        parts.save(folder)
        files = {path.name: path.stat().st_size for path in sorted(Path(folder).iterdir())}
        start = perf_counter()
        tail = fc.load_part(Path(folder) / "tail.fcz")
        load_s = perf_counter() - start
    behind = nn.Sequential(model.layer3, model.avgpool, nn.Flatten(), model.fc).eval()
    compiled = torch.compile(tail.module(), fullgraph=True, dynamic=True)
    rows = []
    for batch in BATCHES:
        crossing = parts.head(torch.randn(batch, 3, 32, 32))
        feature = crossing["feature"]
        jobs = [
            Timed("eager", {"run": without_gradients(behind, feature)}, torch.no_grad),
            Timed("loaded tail", {"run": partial(tail, crossing)}, torch.no_grad),
            Timed("loaded tail as a module", {"run": without_gradients(tail.module(), feature)}, torch.no_grad),
            Timed("loaded tail, torch.compile", {"run": without_gradients(compiled, feature)}, torch.no_grad),
        ]
        time_in_turn(jobs, Effort(rounds, 60.0, 10.0))
        times = {job.label: job.median_us("run") for job in jobs}
        with torch.no_grad():
            equal = torch.equal(behind(feature), tail(crossing))
        rows.append({"batch": batch, "us": times, "slower": times["loaded tail"] / times["eager"], "equal": equal})
    return {"export_s": export_s, "load_s": load_s, "files": files, "tails": rows}


def without_gradients(module: Callable[..., Any], x: torch.Tensor) -> Callable[[], Any]:
    """Return a call of a module; the context that is around it takes no gradients."""
    return partial(module, x)


def cuts(name: str) -> dict[str, Any]:
    """Cut a model at every module, run all halves on two batches through messages, and count."""
    case, model = CASES[name], built(name)
    start = perf_counter()
    layers = [layer for layer, _ in model.named_modules() if layer]
    graph = trace(model, layers, case.example(2, *case.sizes[0]), case.fixed)
    export_s = perf_counter() - start
    inputs = [case.example(2, *case.sizes[0]), case.example(5, *case.sizes[-1])]
    with torch.no_grad():
        wanted = [plain(call(model, x)) for x in inputs]
    row: dict[str, Any] = {"model": name, "export_s": export_s, "modules": len(layers), "cuts": 0, "equal": 0, "refused": {}}
    for layer, called in graph.calls.items():
        try:
            pair = pair_of_cut(cut_at(graph, layer, 0 if called > 1 else None), layer)
        except fc.LayerError as e:
            reason = str(e).replace(repr(layer), "...")
            row["refused"][reason] = row["refused"].get(reason, 0) + 1
            continue
        head, tail = joined(pair, name, layer, "raw")
        row["cuts"] += 1
        row["equal"] += all(_holds(head, tail, x, y) for x, y in zip(inputs, wanted, strict=True))
    return row


def _holds(head: fc.Head, tail: fc.Tail, x: Any, wanted: Any) -> bool:
    args, kwargs = arguments(x)
    crossing = head(*args, **kwargs)
    arrived = tail.decode(head.pack(crossing))
    arrived.known = crossing.known  # what the head returns itself
    return same(wanted, tail(arrived))


def table(result: dict[str, Any]) -> str:
    """Return what was measured as lines of text."""
    load_ms = 1e3 * result["load_s"]
    lines = [
        f"export of ResNet-20 at {LAYER}: {result['export_s']:.2f} s (goal {GOALS['export_s']}), load {load_ms:.1f} ms",
        f"files: {', '.join(f'{name} {size} bytes' for name, size in result['files'].items())}",
    ]
    for row in result["tails"]:
        times = ", ".join(f"{label} {us:.0f} us" for label, us in row["us"].items())
        lines.append(
            f"batch {row['batch']}: {times}; loaded / eager {row['slower']:.3f} (goal {GOALS['slower']}), equal {row['equal']}"
        )
    for row in result["cuts"]:
        refused = "; ".join(f"{count} {reason}" for reason, count in row["refused"].items())
        lines.append(
            f"{row['model']:<13} traced in {row['export_s']:5.1f} s: {row['modules']} modules, "
            f"{row['equal']} of {row['cuts']} cuts equal" + (f"; refused: {refused}" if refused else "")
        )
    total = [sum(row[key] for row in result["cuts"]) for key in ("equal", "cuts")]
    return "\n".join([*lines, f"all: {total[0]} of {total[1]} cuts equal, of {len(result['cuts'])} models"])


if __name__ == "__main__":
    sys.exit(main())
