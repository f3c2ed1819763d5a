"""Stored requests replayed from one core at a server on the other: batching, torch.save, Ray Serve, memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import runtime_servers as servers
from benchmarks.runtime_load import in_process
from benchmarks.runtime_overhead import spread
from benchmarks.runtime_stored import OURS, TORCH_SAVE, store_torch_save

_WARM_UP = 200
MANY = 32


def measure_load(folder: Path, requests: int, turns: int) -> dict[str, Any]:
    """Requests/s in batches and one by one, in turn, a server each, both alive all the time."""
    path = folder / OURS
    with servers.serving(folder, MANY) as batched, servers.serving(folder, 1) as single:
        cases = {f"batches of at most {MANY}": (batched.address, path), "one by one": (single.address, path)}
        runs = in_turn(cases, requests, turns)
    many, one = (runs[name] for name in cases)
    return {
        "gain": spread([a["per_second"] / b["per_second"] for a, b in zip(many, one, strict=True)]),
        "p99_to_median": max(run["p99_ms"] / run["median_ms"] for run in many),
        "rows": [middle(name, found) for name, found in runs.items()],
        "runs": runs,
    }


def measure_pickle(folder: Path, features: Tensor, turns: int) -> dict[str, Any]:
    """Every feature once by our codec and once by torch.save, over the same service, in turn."""
    if not (folder / TORCH_SAVE).is_file():
        store_torch_save(features, folder / TORCH_SAVE)
    with servers.serving(folder, MANY) as server:
        cases = {name: (server.address, folder / file) for name, file in (("ours", OURS), ("torch.save", TORCH_SAVE))}
        runs = in_turn(cases, len(features), turns)
    ours, theirs = (runs[name] for name in cases)
    return {
        "fewer_bytes": theirs[0]["request_bytes"] / ours[0]["request_bytes"],
        "faster": spread([a["per_second"] / b["per_second"] for a, b in zip(ours, theirs, strict=True)]),
        "rows": [middle(name, found) for name, found in runs.items()],
        "runs": runs,
    }


def measure_ray(folder: Path, requests: int, turns: int, replicas: int = 2) -> dict[str, Any]:
    """The local server and Ray Serve, in turn; neither is pinned to a core."""
    if importlib.util.find_spec("ray") is None:
        return {"rows": [], "left_out": "ray is not installed"}
    with servers.serving(folder, MANY, core=None) as local, servers.on_ray(folder, MANY, replicas) as far:
        cases = {"local server": (local.address, folder / OURS), f"Ray Serve, {replicas} replicas": (far.address, folder / OURS)}
        runs = {name: [run for flight in FLIGHTS for run in in_turn({name: case}, requests, turns, flight)[name]] for name, case in cases.items()}
    return {"rows": [], "left_out": None, "runs": runs}


def measure_memory(folder: Path, marks: Sequence[int]) -> dict[str, Any]:
    """The server's resident memory after so many requests, of one server."""
    rows, done = [], 0
    with servers.serving(folder, MANY) as server:
        for mark in marks:
            found = in_process(server.address, folder / OURS, mark - done, servers.IN_FLIGHT, servers.CLIENT_CORE)
            if found["answers"] != mark - done:
                raise RuntimeError(f"{found['refused']} of {mark - done} requests were refused")
            done = mark
            rows.append({"requests": mark, "mb": server.resident_mb()})
    return {"rows": rows, "growth": rows[-1]["mb"] / rows[0]["mb"] - 1}
