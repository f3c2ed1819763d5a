"""Planning: Algorithm 1 on published inputs, select beside brute force, the split under load, profiling, predictions.

Predictions are beside what is measured over shaped links, which need root; where it lacks, the result says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.entropy_goals import goals_table
from benchmarks.planning_exact import algorithm1, brute_force, rising_load
from benchmarks.planning_goals import goals
from benchmarks.planning_links import measure_prediction
from benchmarks.planning_profiles import profiles
from featcodec.bench.report import machine

INSTANCES = 10_000
REQUESTS = 200  # by each way over each link
# A part's name in the result, and what measures it; `benchmarks.planning_goals.JUDGES` has its goals.
PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "algorithm1": algorithm1,
    "brute_force": partial(brute_force, INSTANCES),
    "rising_load": partial(rising_load, INSTANCES),
    "profiles": profiles,
    "links": partial(measure_prediction, REQUESTS),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    torch.set_num_threads(1)
    path = args.out / "results.json"
    result: dict[str, Any] = json.loads(path.read_text()) if args.keep and path.is_file() else {}
    result["machine"] = machine("cpu")
    for name in args.parts:
        result[name] = PARTS[name]()
    result["goals"] = goals(result)
    args.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(goals_table(result["goals"]))
    print(f"written: {path}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="bench-planning", description=__doc__)
    p.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    p.add_argument("--keep", action="store_true", help="keep what the result in the folder has of other parts")
    p.add_argument("--out", type=Path, default=Path("out/planning"))
    return p


if __name__ == "__main__":
    sys.exit(main())
