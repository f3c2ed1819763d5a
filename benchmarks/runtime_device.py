"""The device's end of a slow link: pictures by three ways, in turn; a process of its own, run in the device's namespace."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import featcodec as fc
from benchmarks import runtime_links as links
from benchmarks import runtime_servers as servers
from benchmarks.runtime_overhead import spread
from benchmarks.runtime_peers import JpegPictureCodec
from featcodec.bench.data import embedded
from featcodec.bench.models import resnet20
from featcodec.runtime.client import Client

SPLIT, PICTURE, WHOLE = "split", "JPEG picture", "whole on the device"
WAYS = (SPLIT, PICTURE, WHOLE)
_WARM_UP = 3
_PAUSE_S = 0.02  # the link rests between two pictures


def measure_links(folder: Path, delays_ms: Sequence[float], pictures: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return latencies by link and way; `left_out` says why where namespaces cannot be made."""
    reason = links.why_not()
    if reason is not None:
        return {"rows": None, "left_out": reason}
    rows = []
    for name, rate in links.RATES.items():
        for delay in delays_ms:
            say(f"links: {name}, {rate} Mbit/s, {delay} ms each way")
            rows += [
                {"link": name, "rate_mbit": rate, "delay_ms": delay, **row} for row in _over(folder, rate, delay, pictures)
            ]
    return {"rows": rows, "left_out": None}


def _over(folder: Path, rate: float, delay_ms: float, pictures: int) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.runtime_device", "ADDRESS", str(folder), "--pictures", str(pictures)]
    found: list[dict[str, Any]] = over_link(folder, rate, delay_ms, command, servers.Options())
    return found


def over_link(folder: Path, rate: float, delay_ms: float, command: Sequence[str], options: servers.Options) -> Any:
    """Run a command on the device, a server at the other end of a link, and return what it prints, which is JSON.

    Parameters
    ----------
    command
        Its word "ADDRESS" becomes what the device sees of the server.

    Raises
    ------
    RuntimeError
        The command fails.
    """
    listen = f"{links.EDGE_ADDRESS}:{links.EDGE_PORT}"
    with (
        links.link(rate) as link,
        servers.serving(folder, replace(options, namespace=link.edge), listen),
        links.delaying(link, links.EDGE_PORT, delay_ms, rate) as address,
    ):
        here = [address if word == "ADDRESS" else word for word in command]
        done = subprocess.run(links.inside(link.device, here), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the device fails: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


def measure_ways(address: str, folder: Path, pictures: int) -> list[dict[str, Any]]:
    """Return each way's latency and bytes; the ways in turn, picture by picture."""
    images, pixels = samples(pictures)
    head, model, codec = fc.load_part(folder / "head.fcz"), resnet20(), JpegPictureCodec().eval()
    with Client(address, head=head, entry="ours") as split, Client(address, codec, entry="jpeg") as whole_picture:
        calls: dict[str, Callable[[int], tuple[Tensor, int]]] = {
            SPLIT: partial(_answered, split, images),
            PICTURE: partial(_answered, whole_picture, pixels),
            WHOLE: lambda i: (model(images[i][None]), 0),
        }
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        sizes: dict[str, list[int]] = {way: [] for way in WAYS}
        classes: dict[str, list[int]] = {way: [] for way in WAYS}
        with torch.no_grad():
            for turn in range(-_WARM_UP, pictures):
                for way, call in calls.items():
                    time.sleep(_PAUSE_S)
                    start = time.perf_counter_ns()
                    output, size = call(turn % pictures)
                    if turn >= 0:
                        took[way].append((time.perf_counter_ns() - start) / 1e6)
                        sizes[way].append(size)
                        classes[way].append(int(output.argmax()))
    return [
        {
            "way": way,
            "ms": spread(took[way]),
            "bytes": sum(sizes[way]) / pictures,
            "agrees": sum(a == b for a, b in zip(classes[way], classes[WHOLE], strict=True)) / pictures,
            "pictures": pictures,
        }
        for way in WAYS
    ]


def samples(pictures: int) -> tuple[Tensor, Tensor]:
    """Return the first embedded pictures: normalised, and as they are (N, 3, 32, 32), 0..255."""
    found = embedded().head(pictures)
    images = torch.cat([x for x, _ in found.batches(100, "cifar10")])
    return images, torch.from_numpy(found.images).permute(0, 3, 1, 2).float().contiguous()


def _answered(client: Client, inputs: Tensor, i: int) -> tuple[Tensor, int]:
    result = client.infer(inputs[i][None])
    output: Tensor = result.output
    return output, result.size_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the rows as JSON."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.runtime_device", description=__doc__)
    p.add_argument("address")
    p.add_argument("folder", type=Path)
    p.add_argument("--pictures", type=int, default=100)
    args = p.parse_args(argv)
    os.sched_setaffinity(0, {servers.CLIENT_CORE})
    torch.set_num_threads(1)
    json.dump(measure_ways(args.address, args.folder, args.pictures), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
