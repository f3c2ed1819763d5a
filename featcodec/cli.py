"""The command line: ``featcodec`` ``list``, ``bench``, ``train``, ``profile``, ``plan``, ``search``, ``serve``, ``infer``."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Sequence

import featcodec as fc

_READER_GONE = 141  # 128 + SIGPIPE: what a shell shows of a program whose reader has gone


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    try:
        try:
            return _main(argv)
        finally:
            sys.stdout.flush()  # what is left in the buffer, --help's too, meets a reader that has gone here
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more on its way out
        return _READER_GONE


def _main(argv: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="featcodec", description="Feature compression for split computing.")
    parser.add_argument("--version", action="version", version=f"featcodec {fc.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the codecs and their parameters")
    commands.add_parser("bench", help="measure codecs at layers of a network; see featcodec bench --help", add_help=False)
    commands.add_parser("train", help="train a codec at a layer; see featcodec train --help", add_help=False)
    commands.add_parser("profile", help="find where a network can be cut; see featcodec profile --help", add_help=False)
    commands.add_parser("plan", help="choose cut and codec for a link; see featcodec plan --help", add_help=False)
    commands.add_parser("search", help="try splits and codecs for the best ones; see featcodec search --help", add_help=False)
    commands.add_parser("serve", help="serve tails to heads on other machines; see featcodec serve --help", add_help=False)
    commands.add_parser("infer", help="run a head here and its tail on a server; see featcodec infer --help", add_help=False)
    args, rest = parser.parse_known_args(given)
    if args.command in _SUITES:
        return _run(args.command, rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _list()
    except fc.MissingDependencyError as e:
        print(e, file=sys.stderr)
        return 2


def _list() -> int:
    for codec_id in fc.list_codecs():
        try:
            cls = fc.codec_class(codec_id)
        except fc.MissingDependencyError as e:
            print(f"{codec_id:<14} not available: {e}")
            continue
        params = ", ".join(_show(p) for p in inspect.signature(cls).parameters.values() if p.kind is p.KEYWORD_ONLY)
        summary = (cls.__doc__ or "").strip().partition("\n")[0]
        print(f"{codec_id:<14} {summary}" + (f"  [{params}]" if params else ""))
    return 0


def _show(parameter: inspect.Parameter) -> str:
    """``name=default``, or the name alone of a parameter that must be given."""
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default}"


_SUITES = {
    "bench": "featcodec.bench.measure",
    "infer": "featcodec.bench.infer",
    "plan": "featcodec.bench.plan",
    "profile": "featcodec.bench.profile",
    "search": "featcodec.bench.search",
    "serve": "featcodec.runtime.serve",
    "train": "featcodec.bench.train",
}
# what brings a command's packages
_EXTRAS = {
    "bench": "bench",
    "infer": "runtime,image",
    "plan": "bench",
    "profile": "bench",
    "search": "search",
    "serve": "runtime,torch",
    "train": "bench",
}


def _run(command: str, argv: list[str]) -> int:
    try:
        suite = importlib.import_module(_SUITES[command])
    except ModuleNotFoundError as e:
        if e.name is not None and e.name.startswith("featcodec"):
            raise
        print(f"featcodec {command} needs {e.name}: pip install 'featcodec[{_EXTRAS[command]}]'", file=sys.stderr)
        return 2
    status: int = suite.main(argv)
    return status


if __name__ == "__main__":
    sys.exit(main())
