"""A client that follows a link which fades, is lost, and comes back: quality, then the device, then the edge again.

    python examples/changing_link.py

Client and server are real, on loopback; between them is a relay whose rate changes (examples/relay.py). The device is this
machine, made slow. Two qualities of one codec share a session: the server does not notice which is used.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from relay import Relay
from torch import Tensor

import featcodec as fc
from featcodec.bench.data import Images, embedded
from featcodec.bench.models import resnet20
from featcodec.planning import Selector
from featcodec.runtime import Client, Follower, Served, Server, measure_candidates

LAYER = "layer1"
HEAD_S, WHOLE_S = 0.04, 0.08  # what the device takes
QUALITIES = {"layer1, quality 80": 80, "layer1, quality 50": 50}
LINK = ((20, 12), (0.3, 12), (0.02, 12), (0, 12), (20, 60))  # Mbit/s, and for how many requests; 0: it is lost
IN_TIME = 0.85  # of what the device takes by itself: until then an answer is wanted


class SlowDevice:
    """A part of the model as a slow machine runs it: it works, and sleeps until so many seconds are over."""

    def __init__(self, part: Callable[[Tensor], Tensor], takes_s: float) -> None:
        self._part, self._takes_s = part, takes_s

    def __call__(self, x: Tensor) -> Tensor:
        """Work and sleep."""
        end = time.perf_counter() + self._takes_s
        with torch.no_grad():
            y = self._part(x)
        time.sleep(max(end - time.perf_counter(), 0.0))
        return y


def main() -> None:
    """Calibrate, measure what the ways take, then ask and ask while the link changes."""
    torch.set_num_threads(1)
    model, images = resnet20(), embedded()
    pictures = [x for x, _ in images.head(60).batches(1, "cifar10")]
    head, tail = fc.split(model, LAYER, pictures[0])
    codec = fc.calibrate(model, LAYER, "transform", images.part(200, 260).batches(30, "cifar10"), report=None)
    settings = {name: partial(codec.set_quality, quality) for name, quality in QUALITIES.items()}
    accuracy = {"all on the device": accuracy_of(model, images)}
    for name, choose in settings.items():
        choose()
        accuracy[name] = accuracy_of(model, images, layer=LAYER, codec=codec)
    served = Served(tail, copy.deepcopy(codec))  # on another machine it would come from a file
    with (
        Server(served, max_batch=1) as server,
        Relay(server.address, LINK[0][0]) as link,
        Client(
            link.address, codec, head=SlowDevice(head, HEAD_S), fallback=SlowDevice(model, WHOLE_S), patience_s=0.2
        ) as client,
    ):
        sessions = dict.fromkeys(QUALITIES, client)
        found = measure_candidates(client, sessions, pictures[:8], settings=settings)
        candidates = [replace(candidate, accuracy=accuracy[candidate.name]) for candidate in found]
        for c in candidates:
            print(f"{c.name:<20}{c.size_bytes:6,.0f} bytes {c.device_ms:6.1f} ms here {100 * c.accuracy:6.1f} % top-1")
        within_ms = IN_TIME * candidates[-1].device_ms
        print(f"wanted: the most accurate within {within_ms:.0f} ms, else the fastest")
        follower = Follower(
            client, Selector(candidates, within_ms=within_ms, patience=2), sessions, settings=settings, probe_s=0.3
        )
        for link.mbit_s, requests in LINK:
            print(f"\n{link.mbit_s:g} Mbit/s" if link.mbit_s else "\nno link")
            follow(follower, pictures[:requests])


def accuracy_of(model: torch.nn.Module, images: Images, **cut: Any) -> float:
    """Top-1 on 200 pictures."""
    return fc.evaluate(model, images.head(200).batches(50, "cifar10"), **cut).metric


def follow(follower: Follower, pictures: list[Tensor]) -> None:
    """Ask for each picture, and say who answered, how many in a row, and how long that took."""
    results = [follower.infer(x) for x in pictures]
    for (name, why), row in itertools.groupby(results, lambda result: (result.candidate, result.error)):
        walls, sizes = zip(*((result.timing.wall, result.size_bytes) for result in row), strict=True)
        lost = f", for the edge was {why.cause}" if why else ""
        print(f"{len(walls):4} x {name:<20}{max(sizes):6,} bytes at most {sorted(walls)[len(walls) // 2]:7.1f} ms{lost}")


if __name__ == "__main__":
    main()
