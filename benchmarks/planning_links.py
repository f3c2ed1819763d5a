"""What planning predicts beside what the runtime measures over shaped links; the device's end is a process of its own.

Predicted is by `planning.select`: stages as a client on plain loopback measured them, the link's rate as it is set, and its
round trip as the client measured it with a request of ten numbers that come back. Nothing is fitted to what is predicted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import featcodec as fc
from benchmarks import runtime_links as links
from benchmarks import runtime_servers as servers
from benchmarks.runtime_device import over_link
from benchmarks.runtime_overhead import spread
from benchmarks.runtime_peers import JpegPictureCodec, OfPictures
from featcodec.bench.data import embedded
from featcodec.bench.frames import NORMALIZATIONS
from featcodec.bench.models import resnet20
from featcodec.planning import Candidate, Link, latency_ms
from featcodec.runtime import Client, EdgeSession, Served, measure_candidates

CUTS = {"raw at layer2": ("layer2", "raw"), "context at layer1": ("layer1", "context:bits=4")}
TRANSFORM, QUALITY = "transform at layer2", 60
PICTURE, ECHO, LOCAL = "JPEG picture", "echo", "all on the device"
DELAY_MS = 5.0  # each way
TIMED = 50  # requests that measure the stages
ECHOES = 30
_WARM_UP = 3
_PAUSE_S = 0.02  # the link rests between two requests
_CALIBRATION = slice(200, 400)


def write_parts(folder: Path) -> None:
    """Cut the embedded ResNet-20 for each of the ways, and write the halves."""
    model, example = resnet20(), torch.zeros(2, 3, 32, 32)
    calibration = embedded().part(_CALIBRATION.start, _CALIBRATION.stop).batches(50, "cifar10")
    transform = fc.calibrate(model, "layer2", "transform", calibration, report=None)
    transform.set_quality(QUALITY)
    codecs = {name: (layer, fc.get_codec(spec).eval()) for name, (layer, spec) in CUTS.items()}
    for name, (layer, codec) in {**codecs, TRANSFORM: ("layer2", transform)}.items():
        fc.export(model, layer, example, codec=codec).save(_half(folder, name, "head"), _half(folder, name, "tail"))


def _half(folder: Path, name: str, half: str) -> Path:
    return folder / f"{name.replace(' ', '-')}.{half}.fcz"


def _head(folder: Path, name: str) -> fc.Head:
    head = fc.load_part(_half(folder, name, "head"))
    if not isinstance(head, fc.Head):
        raise TypeError(f"a head was written for {name}, got {head}")
    if name == TRANSFORM:
        codec: Any = head.ports[0].codec
        codec.set_quality(QUALITY)  # what is set at run time is in no file
    return head


def entries(folder: Path) -> dict[str, Served]:
    """Return what is served: a tail for each cut, the whole model, and an echo."""
    cuts = {name: Served(fc.load_part(_half(folder, name, "tail"))) for name in (*CUTS, TRANSFORM)}
    picture = Served(OfPictures(resnet20()).eval(), JpegPictureCodec().eval())
    return {**cuts, PICTURE: picture, ECHO: Served(torch.clone, fc.get_codec("raw").eval())}


OPTIONS = servers.Options(entries="benchmarks.planning_links:entries")


def measure_prediction(requests: int, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return predicted and measured latencies by link and candidate; `left_out` says why where namespaces cannot be made."""
    reason = links.why_not()
    if reason is not None:
        return {"rows": None, "left_out": reason}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_parts(folder)
        found = quiet(folder)
        for link, rate in links.RATES.items():
            say(f"links: {link}, {rate} Mbit/s, {requests} requests by {len(found)} ways")
            rows += [{"link": link, "rate_mbit": rate, **row} for row in _over(folder, rate, found, requests)]
    return {"rows": rows, "left_out": None, "delay_ms": DELAY_MS, "requests": requests, "timed": TIMED}


def quiet(folder: Path) -> list[Candidate]:
    """Return what the ways take on plain loopback, measured by a client on a core of its own."""
    with servers.serving(folder, OPTIONS) as server:
        command = [sys.executable, "-m", "benchmarks.planning_links", server.address, str(folder), "--stages"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the stages cannot be measured: {done.stderr.strip()[-2000:]}")
    return [Candidate(**row) for row in json.loads(done.stdout)]


def _over(folder: Path, rate: float, candidates: Sequence[Candidate], requests: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.planning_links", "ADDRESS", str(folder), "--requests", str(requests)]
    measured: dict[str, Any] = over_link(folder, rate, DELAY_MS, command, OPTIONS)
    return compared(candidates, rate, measured)


def compared(candidates: Sequence[Candidate], rate_mbit: float, measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each candidate: what was predicted for the link as the echo shows it, and what was measured."""
    bare = Link(1e6 * rate_mbit)
    link = replace(bare, rtt_ms=max(measured["echo_ms"] - bare.upload_ms(measured["echo_bytes"]), 0.0))
    return [
        {
            "way": candidate.name,
            "bytes": candidate.size_bytes,
            "rtt_ms": link.rtt_ms,
            "predicted_ms": latency_ms(candidate, link),
            "ms": measured["ms"][candidate.name],
        }
        for candidate in candidates
    ]


# ---- the device ------------------------------------------------------------------------------------------------------------


class Ways:
    """A client and its sessions, on pictures one by one, normalised, whatever the way is.

    Attributes
    ----------
    client, sessions
        The client's own session is the echo's; those of the ways by their names.
    here
        The whole model.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self._images = torch.cat([x for x, _ in embedded().batches(100, "cifar10")])
        self.here = partial(_whole, resnet20())
        self.client = Client(address, fc.get_codec("raw").eval(), entry=ECHO, fallback=self.here)
        self.sessions: dict[str, EdgeSession] = {
            name: self.client.session(head=_head(folder, name), entry=name) for name in (*CUTS, TRANSFORM)
        }
        self.sessions[PICTURE] = self.client.session(JpegPictureCodec().eval(), head=as_pixels, entry=PICTURE)

    def pictures(self, count: int) -> Iterator[Tensor]:
        """Yield so many, each after a rest."""
        for i in range(count):
            time.sleep(_PAUSE_S)
            yield self._images[i % len(self._images)][None]


def as_pixels(x: Tensor) -> Tensor:
    """Return what a camera gave, 0..255, of a normalised picture."""
    mean, deviation = (torch.tensor(v)[:, None, None] for v in NORMALIZATIONS["cifar10"])
    return 255 * (x * deviation + mean)


def _whole(model: torch.nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = model(x)
    return y


def stages(ways: Ways, count: int) -> list[dict[str, Any]]:
    """Return the candidates, as JSON."""
    found = measure_candidates(ways.client, ways.sessions, ways.pictures(_WARM_UP + count), rest_s=_PAUSE_S)
    return [asdict(candidate) for candidate in found]


def measure(ways: Ways, requests: int) -> dict[str, Any]:
    """Return each way's milliseconds from picture to class, the ways in turn, and the echo's on the network."""
    numbers = torch.zeros(1, 10)
    echoes = [ways.client.infer(numbers) for _ in ways.pictures(_WARM_UP + ECHOES)][_WARM_UP:]
    took: dict[str, list[float]] = {name: [] for name in (*ways.sessions, LOCAL)}
    for x in ways.pictures(_WARM_UP + requests):
        for name, session in ways.sessions.items():
            took[name].append(session.ask(x).timing.wall)
            time.sleep(_PAUSE_S)
        start = time.perf_counter_ns()
        ways.here(x)
        took[LOCAL].append((time.perf_counter_ns() - start) / 1e6)
    return {
        "ms": {name: spread(times[_WARM_UP:]) for name, times in took.items()},
        "echo_ms": median(result.timing.network or 0.0 for result in echoes),
        "echo_bytes": echoes[0].size_bytes,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print what was found as JSON."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.planning_links", description=__doc__)
    p.add_argument("address")
    p.add_argument("folder", type=Path)
    p.add_argument("--requests", type=int, default=200)
    p.add_argument("--stages", action="store_true", help="what the ways take, instead")
    args = p.parse_args(argv)
    os.sched_setaffinity(0, {servers.CLIENT_CORE})
    torch.set_num_threads(1)
    ways = Ways(args.address, args.folder)
    with ways.client:
        json.dump(stages(ways, TIMED) if args.stages else measure(ways, args.requests), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
