"""Where a network can be cut: what crosses at each cut, and what both halves cost on this machine."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import featcodec as fc
from featcodec.bench.measure import called, load_model, table_width
from featcodec.bench.options import check_out
from featcodec.inputs import to_device
from featcodec.ops.host import usable_device
from featcodec.planning import draw_profile, profile, profile_lines

MOST_ELEMENTS = 1 << 28  # of the noise that a model is tried with: a gibibyte


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        check_out(args.out)
        device = usable_device(args.device)
        found = profile(
            load_model(args.model).to(device),
            to_device(example(args), device),
            max_tensors=args.max_tensors,
            device_profile=args.device_profile,
            busy_processes=args.busy,
            calls=args.calls,
        )
        args.out.mkdir(parents=True, exist_ok=True)
        found.write(args.out / "profile.json")
        draw_profile(found, args.out / "profile.png")
    except (fc.FeatcodecError, OSError, ValueError, ImportError, AttributeError) as e:
        print(f"featcodec profile: {e}", file=sys.stderr)
        return 2
    print("\n".join(profile_lines(found, table_width(), everything=args.all)))
    print(f"written: {args.out / 'profile.json'}, {args.out / 'profile.png'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="featcodec profile", description=__doc__)
    p.add_argument("--model", help="package.module:function that returns an nn.Module (default: the embedded ResNet-20)")
    p.add_argument("--input", default="3x32x32", help="shape of one sample, of which noise is made (default: 3x32x32)")
    p.add_argument("--example", help="package.module:function that returns a batch of inputs, in place of --input")
    p.add_argument("--max-tensors", type=int, default=1, help="how many tensors may cross (default: 1; a U-Net needs more)")
    p.add_argument("--device-profile", nargs="+", default=[], type=Path, help="files that featcodec.device profile wrote")
    p.add_argument("--busy", type=int, default=0, help="processes that compute beside the measurement (default: 0)")
    p.add_argument("--calls", type=int, default=50, help="that are timed (default: 50)")
    p.add_argument("--device", default="cpu", help="where the model is timed: cpu (default), cuda, ...; auto: a GPU if any")
    p.add_argument("--all", action="store_true", help="show the cuts that cost and send the same as one behind them, too")
    p.add_argument("--out", type=Path, default=Path("out"), help="folder for profile.json and profile.png")
    return p


def example(args: argparse.Namespace) -> Any:
    """Return the batch of inputs that the options name."""
    if args.example is not None:
        return called(args.example, "--example")
    if not re.fullmatch(r"\d+(x\d+)*", args.input):
        raise ValueError(f"--input is a shape such as 3x224x224, got {args.input!r}")
    shape = [int(size) for size in args.input.split("x")]
    if not 0 < math.prod(shape) <= MOST_ELEMENTS:
        raise ValueError(f"--input is a shape of 1..{MOST_ELEMENTS:,} elements, got {args.input}")
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
