"""LDPC codes and channels: error rates beside the finite-length bound, speed beside the peers, features over a channel.

Each part can be run by itself; what the other parts left in --out stays. Error rates go on where they were broken off, from the
checkpoints in --checkpoints: delete these after a change to a decoder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

import featcodec as fc
from benchmarks import cliff, ldpc_speed
from benchmarks.channel_goals import goals
from benchmarks.channel_report import plot, summary
from benchmarks.entropy_goals import goals_table
from benchmarks.entropy_report import storable
from benchmarks.error_rates import FULL, QUICK, Checkpoints, Code, all_codes, erasure_codes, measure_errors
from benchmarks.ours import threads
from featcodec.bench.report import machine

PARTS = ("error", "speed", "features")
_PACKAGES = ("torch", "numpy")

Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, ValueError) as e:
        print(f"channel benchmark: {e}", file=sys.stderr)
        return 2
    text = summary(result) + "\n## Goals\n\n" + goals_table(result["goals"])
    (args.out / "results.json").write_text(json.dumps(storable(result), separators=(",", ":")) + "\n")
    (args.out / "summary.md").write_text(text)
    written = ["results.json", "summary.md", *plot(result, args.out)]
    print(text)
    print(f"written: {', '.join(str(args.out / name) for name in written)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.suites.channel", description=__doc__)
    p.add_argument("--quick", action="store_true", help="under a minute: few codes, coarse error rates, no claim to precision")
    p.add_argument("--parts", type=_parts, default=PARTS, help=f"comma-separated, of {','.join(PARTS)} (default: all)")
    p.add_argument("--codes", nargs="+", help="only codes whose name contains one of these, as in 'wifi 1944' or 'nr 1024'")
    p.add_argument("--no-peers", action="store_true", help="no speed of the peers")
    p.add_argument("--checkpoints", type=Path, help="folder of finished error-rate curves (default: OUT/checkpoints)")
    p.add_argument("--out", type=Path, default=Path("out/channel"), help="folder for results.json, summary.md and the plots")
    return p


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if not set(chosen) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(PARTS)}")
    return chosen


def run(args: argparse.Namespace, say: Say | None = None) -> dict[str, Any]:
    """Measure the chosen parts, each with machine and settings; keep the others as they lie in the folder; judge the goals."""
    say = say or Console(stderr=True, highlight=False).print
    args.out.mkdir(parents=True, exist_ok=True)
    stored = args.out / "results.json"
    result: dict[str, Any] = json.loads(stored.read_text()) if stored.is_file() else {}
    measures: Mapping[str, Callable[[argparse.Namespace, Say], dict[str, Any]]]
    measures = {"error": error_part, "speed": speed_part, "features": features_part}
    for part in PARTS:
        if part in args.parts:
            result[part] = measures[part](args, say)
            result["goals"] = goals(result)
            # a part is an hour's work at worst: keep it before the next
            stored.write_text(json.dumps(storable(result), separators=(",", ":")) + "\n")
    return result


def error_part(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Measure error rates, or fetch them from checkpoints."""
    effort = QUICK if args.quick else FULL
    codes, erasures = (_chosen(found, args) for found in (all_codes(), erasure_codes()))
    described = _machine()
    checkpoints = Checkpoints(args.checkpoints or args.out / "checkpoints", effort, described["commit"])
    curves = measure_errors(codes, erasures, checkpoints, say)
    # curves from checkpoints are those of the commit that measured them
    described["commit"] = ", ".join(sorted({curve["commit"] for curve in curves if curve["commit"]})) or None
    return {"machine": described, "settings": {"quick": args.quick, **asdict(effort)}, "curves": curves}


def speed_part(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Time everything on one thread."""
    setting = ldpc_speed.settings(args.quick, peers=not args.no_peers)
    if args.codes:
        setting = ldpc_speed.only(setting, _chosen(setting.codes, args))
    with threads(1):
        found = ldpc_speed.measure_speed(setting, say)
        described = _machine(found.pop("packages"))
    return {"machine": described, "settings": {"quick": args.quick, **asdict(setting)}, **found}


def features_part(args: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Send the embedded network's features over channels."""
    setting = cliff.settings(args.quick)
    found = cliff.measure_features(setting, say)
    return {"machine": _machine(), "settings": {"quick": args.quick, **asdict(setting)}, **found}


def _chosen(codes: Sequence[Code], args: argparse.Namespace) -> list[Code]:
    wanted = args.codes or (["wifi 648 1/2"] if args.quick else [""])
    chosen = [code for code in codes if any(part in code.name for part in wanted)]
    if not chosen and args.codes and not any(part in code.name for code in all_codes() for part in wanted):
        raise ValueError(f"--codes {' '.join(wanted)} matches none of {', '.join(code.name for code in all_codes())}")
    return chosen


def _machine(packages: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """What the figures depend on; `threads` are the core's."""
    found, core = machine(), fc.core_info()
    versions = {name: found["versions"][name] for name in _PACKAGES}
    return {**found, "threads": core["threads"], "core": core, "packages": {**versions, **(packages or {})}}


if __name__ == "__main__":
    sys.exit(main())
