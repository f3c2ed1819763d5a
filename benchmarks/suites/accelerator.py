"""Accelerator: what a crossing costs where the model is on a GPU and the coder on the CPU, and where that time goes."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import featcodec as fc
from benchmarks.accelerator_report import crossing_table
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20
from featcodec.bench.report import machine
from featcodec.ops.clock import now
from featcodec.ops.host import to_host

SPECS = ("raw", "huffman:bits=4,tables=static", "context:bits=4")
WARM_UPS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, ValueError) as e:
        print(f"bench-accelerator: {e}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(crossing_table(result))
    print(f"written: results.json in {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-accelerator", description=__doc__)
    p.add_argument("--device", default="cuda")
    p.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    p.add_argument("--batch", type=int, nargs="+", default=[1, 8, 64])
    p.add_argument("--codec", nargs="+", default=list(SPECS))
    p.add_argument("--rounds", type=int, default=31)
    p.add_argument("--out", type=Path, default=Path("out/accelerator"))
    return p


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure every network at every batch size.

    Raises
    ------
    ValueError
        There is no such device, or nothing to measure.
    """
    if args.rounds < 1 or min(args.batch) < 1:
        raise ValueError("--rounds and --batch must be at least 1")
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no GPU here that torch can use: this suite measures one")
    rows = [row for network in args.network for size in args.batch for row in crossings(network, size, device, args)]
    return {"machine": machine(args.device), "settings": {"rounds": args.rounds}, "rows": rows}


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        sizes = ((in_maps, maps, 1, 1), (maps, maps, 3, stride), (maps, 4 * maps, 1, 1))
        parts = [[nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()] for a, b, k, s in sizes]
        self.body = nn.Sequential(*[module for part in parts for module in part][:-1])
        straight = in_maps == 4 * maps and stride == 1
        self.shortcut = nn.Identity() if straight else nn.Conv2d(in_maps, 4 * maps, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_maps, h, w) to (B, 4 maps, h / stride, w / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50(images: Tensor) -> nn.Module:
    """Return ResNet-50 with random weights; batch norm has met these images, so that features are of usual sizes."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    model, in_maps = nn.Sequential(), 64
    model.add_module("stem", stem)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        maps, parts = 64 << stage, nn.Sequential()
        for block in range(blocks):
            parts.append(Bottleneck(in_maps, maps, 2 if stage and not block else 1))
            in_maps = 4 * maps
        model.add_module(f"layer{stage + 1}", parts)
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_maps, 1000)])
    model.to(images.device).train()(images)
    return model.eval()


# by name: the layer of the cut, the images' side, the model
NETWORKS: dict[str, tuple[str, int, Callable[[Tensor], nn.Module]]] = {
    "ResNet-20": ("layer1", 32, lambda images: resnet20().to(images.device)),
    "ResNet-50": ("layer3", 224, resnet50),
}


@torch.no_grad()
def crossings(network: str, size: int, device: torch.device, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a forward pass without a codec, with each, and the parts of a crossing: medians of rounds, in turn."""
    layer, side, make = NETWORKS[network]
    images = nn.functional.interpolate(next(embedded().head(size).batches(size, "cifar10"))[0], side).to(device)
    model = make(images)
    feature: list[Tensor] = []
    with model.get_submodule(layer).register_forward_hook(lambda module, _, y: feature.append(y)):
        model(images)
    x = feature[0]
    host, rows = to_host(x).clone(), []
    for spec in args.codec:
        codec = fc.get_codec(spec).calibrate(x).eval()
        packets = codec.encode(x)
        y = codec.decode(packets)

        cut = copy.deepcopy(model)
        fc.insert(cut, layer, codec)
        calls: dict[str, Callable[[], Any]] = {
            "bare": lambda: model(images),
            "with": lambda cut=cut: cut(images),
            "to_host": lambda: to_host(x),
            "encode": lambda codec=codec: codec.encode_over(host, None),
            "decode": lambda codec=codec, packets=packets: codec.decode(packets),
            "to_device": lambda y=y: y.to(device),
        }
        wire = sum(packet.num_bits for packet in packets) / 8 / size
        about = {"network": network, "layer": layer, "shape": list(x.shape[1:]), "batch": size}
        rows.append({**about, "codec": spec, "wire_bytes": wire, **medians_ms(calls, device, args.rounds)})
    return rows


def medians_ms(calls: dict[str, Callable[[], Any]], device: torch.device, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each call, until the device has done its work."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(WARM_UPS + rounds):
        for name, call in calls.items():
            start = now(device)
            call()
            seconds = now(device) - start
            if turn >= WARM_UPS:
                found[name].append(1e3 * seconds)
    return {f"{name}_ms": statistics.median(times) for name, times in found.items()}


if __name__ == "__main__":
    sys.exit(main())
