"""Two machines: what the service costs, holds and loses, beside one process, torch.save, Ray Serve, and over slow links.

Each part can be run by itself; what the other parts left in --out stays. Server and client are processes on a core each. Links
need root (network namespaces), the Ray part needs Ray; where they lack, the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import featcodec as fc
from benchmarks import runtime_servers as servers
from benchmarks.entropy_goals import goals_table
from benchmarks.entropy_report import storable
from benchmarks.runtime_chaos import measure_chaos
from benchmarks.runtime_device import measure_links
from benchmarks.runtime_goals import goals
from benchmarks.runtime_overhead import measure_overhead
from benchmarks.runtime_rates import measure_load, measure_memory, measure_pickle, measure_ray
from benchmarks.runtime_report import plot, summary
from benchmarks.runtime_stored import Samples, load_samples
from featcodec.bench.report import machine
from featcodec.machine import package_version

PARTS = ("overhead", "load", "pickle", "ray", "chaos", "memory", "links")
_PACKAGES = ("torch", "grpcio", "protobuf", "ray")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes
    ----------
    rounds
        Pictures one by one; `turns`: runs of a load in turn with the run beside it, of `load` requests each.
    chaos, alive_s
        Requests to a server that is killed after so many seconds.
    memory
        Requests after which memory is looked at.
    pictures
        Of each way over a link.
    """

    rounds: int = 600
    turns: int = 5
    load: int = 3000
    ray: int = 2000
    chaos: int = 100_000
    alive_s: float = 4.0
    memory: tuple[int, int] = (10_000, 100_000)
    pictures: int = 100
    delays_ms: tuple[float, ...] = (0.0, 10.0)


QUICK = Effort(
    rounds=60, turns=1, load=300, ray=200, chaos=3000, alive_s=2.0, memory=(200, 2000), pictures=10, delays_ms=(0.0,)
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    args = parser().parse_args(argv)
    try:
        result = run(args)
    except (fc.FeatcodecError, FileNotFoundError, RuntimeError, ValueError) as e:
        print(f"runtime benchmark: {e}", file=sys.stderr)
        return 2
    text = summary(result) + "\n## Goals\n\n" + goals_table(result["goals"])
    (args.out / "summary.md").write_text(text)
    written = ["results.json", "summary.md", *plot(result, args.out)]
    print(text)
    print(f"written: {', '.join(str(args.out / name) for name in written)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options' parser."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.suites.runtime", description=__doc__)
    p.add_argument("--quick", action="store_true", help="few requests, no claim to precision")
    p.add_argument("--parts", type=_parts, default=PARTS, help=f"comma-separated, of {','.join(PARTS)} (default: all)")
    p.add_argument("--data", default="embedded", help="embedded, or cifar10: all 10,000 test pictures, from FEATCODEC_DATA")
    p.add_argument("--out", type=Path, default=Path("out/runtime"), help="folder for results.json, summary.md and the plot")
    return p


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if not set(chosen) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(PARTS)}")
    return chosen


def run(args: argparse.Namespace, say: Say | None = None) -> dict[str, Any]:
    """Measure the chosen parts; keep the others as they lie in the folder; judge the goals."""
    say = say or Console(stderr=True, highlight=False).print
    effort = QUICK if args.quick else Effort()
    args.out.mkdir(parents=True, exist_ok=True)
    stored = args.out / "results.json"
    result: dict[str, Any] = json.loads(stored.read_text()) if stored.is_file() else {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        job = Job(Path(name), load_samples(Path(name), args.data, say), effort, say)
        for part in PARTS:
            if part in args.parts:
                say(f"{part} ...")
                result[part] = {"machine": _machine(), "settings": _settings(args, effort), **MEASURES[part](job)}
                result["goals"] = goals(result)
                stored.write_text(json.dumps(storable(result), separators=(",", ":")) + "\n")
    return result


@dataclass(frozen=True)
class Job:
    """What every part is given: a folder with both halves and stored requests, samples, effort, and whom to tell."""

    folder: Path
    samples: Samples
    effort: Effort
    say: Say


def overhead_part(job: Job) -> dict[str, Any]:
    """One client, one request at a time."""
    with servers.serving(job.folder) as server, pinned(servers.CLIENT_CORE):
        return measure_overhead(server.address, job.samples.head, job.samples.tail, job.samples.images, job.effort.rounds)


def load_part(job: Job) -> dict[str, Any]:
    """Batching against one by one."""
    return measure_load(job.folder, job.effort.load, job.effort.turns)


def pickle_part(job: Job) -> dict[str, Any]:
    """Against torch.save, every stored feature once."""
    return measure_pickle(job.folder, job.samples.features, job.effort.turns)


def ray_part(job: Job) -> dict[str, Any]:
    """Ray Serve with two replicas, and the local server beside it."""
    return measure_ray(job.folder, job.effort.ray, job.effort.turns)


def chaos_part(job: Job) -> dict[str, Any]:
    """A server that is killed."""
    codec, samples = fc.get_codec(servers.SPEC).eval(), job.samples
    with pinned(servers.CLIENT_CORE):
        return measure_chaos(job.folder, codec, samples.features, samples.known, job.effort.chaos, job.effort.alive_s, job.say)


def memory_part(job: Job) -> dict[str, Any]:
    """The server's memory, after a tenth of the requests and after all."""
    return measure_memory(job.folder, job.effort.memory)


def links_part(job: Job) -> dict[str, Any]:
    """Three ways over slow links."""
    return measure_links(job.folder, job.effort.delays_ms, job.effort.pictures, job.say)


MEASURES: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "overhead": overhead_part,
    "load": load_part,
    "pickle": pickle_part,
    "ray": ray_part,
    "chaos": chaos_part,
    "memory": memory_part,
    "links": links_part,
}


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process on a core, where there is such a one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _settings(args: argparse.Namespace, effort: Effort) -> dict[str, Any]:
    return {
        "quick": args.quick,
        "data": args.data,
        "layer": servers.LAYER,
        "codec": servers.SPEC,
        "in_flight": servers.IN_FLIGHT,
    }


def _machine() -> dict[str, Any]:
    packages = {name: package_version(name) for name in _PACKAGES}
    return {**machine(), "cores": os.cpu_count(), "packages": packages}


if __name__ == "__main__":
    sys.exit(main())
