"""``python -m featcodec.device profile head.onnx --out device.json``: `featcodec.device.profile` from the shell."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from featcodec.device.profiling import profile
from featcodec.errors import FeatcodecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m featcodec.device", description="A head on a device without torch.")
    command = parser.add_subparsers(dest="command", required=True).add_parser("profile", help="time a head on this device")
    command.add_argument("head", help="the ONNX file")
    command.add_argument("--out", help="write the result to this file, as JSON; else it is printed")
    command.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    command.add_argument("--calls", type=int, default=100, help="that are timed")
    command.add_argument(
        "--shape", action="append", default=[], metavar="NAME=1,3,32,32", help="of an input that has axes of any size"
    )
    args = parser.parse_args(argv)
    try:
        shapes = {name: [int(dim) for dim in dims.split(",")] for name, _, dims in (text.partition("=") for text in args.shape)}
    except ValueError:
        parser.error(f"a shape is written NAME=1,3,32,32, got {' '.join(args.shape)}")
    try:
        result = profile(args.head, shapes=shapes, threads=args.threads, calls=args.calls, out=args.out)
    except (FeatcodecError, FileNotFoundError) as e:
        print(e, file=sys.stderr)
        return 2
    if args.out is None:
        print(json.dumps(result, indent=1))
    else:
        print(f"head {result['head_ms']['median']} ms, encode {result['encode_ms']['median']} ms: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
