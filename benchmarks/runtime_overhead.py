"""What a request costs beside the same work in one process, and which part of its time no stage covers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor

import featcodec as fc
from featcodec.runtime.client import Client

STAGES = ("head", "encode", "network", "queue", "decode", "tail")
_WARM_UP = 20


def measure_overhead(address: str, head: fc.Head, tail: fc.Tail, images: Tensor, rounds: int) -> dict[str, Any]:
    """Run pictures here and over the service, in turn; milliseconds.

    Parameters
    ----------
    images
        (N, 3, 32, 32): one at a time.
    """
    here: list[float] = []
    results = []
    with Client(address, head=head, entry="ours") as client:
        for turn in range(-_WARM_UP, rounds):
            x = images[turn % len(images)][None]
            output, took = in_one_process(head, tail, x)
            result = client.infer(x)
            if not torch.allclose(result.output, output, atol=1e-4):
                raise ValueError(f"picture {turn}: the service's output is not that of one process")
            if turn >= 0:
                here.append(took)
                results.append(result)
    walls = [result.timing.wall for result in results]
    return {
        "rounds": rounds,
        "one_process_ms": spread(here),
        "service_ms": spread(walls),
        "overhead_ms": spread([wall - alone for wall, alone in zip(walls, here, strict=True)]),
        "uncovered": spread([result.timing.uncovered / result.timing.wall for result in results]),
        "stages_ms": {stage: spread([getattr(result.timing, stage) for result in results]) for stage in STAGES},
        "request_bytes": statistics.mean(result.size_bytes for result in results),
    }


def in_one_process(head: fc.Head, tail: fc.Tail, x: Tensor) -> tuple[Tensor, float]:
    """Return the output of head, encode, decode and tail, and its milliseconds."""
    start = perf_counter_ns()
    crossing = head(x)
    arrived = tail.decode(head.pack(crossing))
    arrived.known = crossing.known
    output: Tensor = tail(arrived)
    return output, (perf_counter_ns() - start) / 1e6


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Return the median, and the 10 % and 90 % quantiles."""
    if len(samples) < 2:
        return {"median": samples[0], "low": samples[0], "high": samples[0]}
    tenths = statistics.quantiles(samples, n=10, method="inclusive")
    return {"median": statistics.median(samples), "low": tenths[0], "high": tenths[-1]}
