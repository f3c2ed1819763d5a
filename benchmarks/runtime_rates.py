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
from benchmarks.runtime_servers import Options
from benchmarks.runtime_stored import OURS, TORCH_SAVE, store_torch_save

_WARM_UP = 500


def measure_load(folder: Path, requests: int, turns: int) -> dict[str, Any]:
    """Requests/s in batches and one by one, in turn, a server each, both alive all the time."""
    path = folder / OURS
    with servers.serving(folder) as batched, servers.serving(folder, Options(max_batch=1)) as single:
        cases = {f"batches of at most {Options().max_batch}": (batched.address, path), "one by one": (single.address, path)}
        runs = in_turn(cases, requests, turns)
    many, one = (runs[name] for name in cases)
    return {
        "gain": spread([a["per_second"] / b["per_second"] for a, b in zip(many, one, strict=True)]),
        "p99_to_median": spread([run["p99_ms"] / run["median_ms"] for run in many]),
        "rows": [middle(name, found) for name, found in runs.items()],
    }


def measure_pickle(folder: Path, features: Tensor, turns: int) -> dict[str, Any]:
    """Every feature once by our codec and once by torch.save, over the same service, in turn."""
    if not (folder / TORCH_SAVE).is_file():
        store_torch_save(features, folder / TORCH_SAVE)
    with servers.serving(folder) as server:
        cases = {name: (server.address, folder / file) for name, file in (("ours", OURS), ("torch.save", TORCH_SAVE))}
        runs = in_turn(cases, len(features), turns)
    ours, theirs = (runs[name] for name in cases)
    return {
        "fewer_bytes": theirs[0]["request_bytes"] / ours[0]["request_bytes"],
        "faster": spread([a["per_second"] / b["per_second"] for a, b in zip(ours, theirs, strict=True)]),
        "rows": [middle(name, found) for name, found in runs.items()],
    }


def measure_ray(folder: Path, requests: int, turns: int, replicas: int = 2) -> dict[str, Any]:
    """The local server and Ray Serve, in turn; neither is pinned to a core."""
    if importlib.util.find_spec("ray") is None:
        return {"rows": [], "left_out": "ray is not installed"}
    far_name = f"Ray Serve, {replicas} replicas"
    on_ray = Options(core=None, replicas=replicas)
    with servers.serving(folder, Options(core=None)) as local, servers.serving(folder, on_ray) as far:
        cases = {"local server": (local.address, folder / OURS), far_name: (far.address, folder / OURS)}
        rows = []
        for flight in (1, servers.IN_FLIGHT):
            runs = in_turn(cases, requests if flight > 1 else max(1, requests // 10), turns, flight)
            rows += [middle(name, found) for name, found in runs.items()]
    return {"rows": rows, "left_out": None}


def measure_memory(folder: Path, marks: Sequence[int]) -> dict[str, Any]:
    """The server's resident memory after so many requests, of one server."""
    rows, done = [], 0
    with servers.serving(folder) as server:
        for mark in marks:
            found = in_process(server.address, folder / OURS, mark - done, servers.IN_FLIGHT, servers.CLIENT_CORE)
            if found["answers"] != mark - done:
                raise RuntimeError(f"{found['refused']} of {mark - done} requests were refused")
            done = mark
            rows.append({"requests": mark, "mb": server.resident_mb()})
    return {"rows": rows, "growth": rows[-1]["mb"] / rows[0]["mb"] - 1}


def in_turn(
    cases: Mapping[str, tuple[str, Path]], requests: int, turns: int, in_flight: int = servers.IN_FLIGHT
) -> dict[str, list[dict[str, Any]]]:
    """Replay each case (a server's address, stored requests), a run of each in turn, after a warm-up; return the runs."""
    core = servers.CLIENT_CORE
    for address, path in cases.values():
        in_process(address, path, min(requests, _WARM_UP), in_flight, core)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    for _ in range(turns):
        for name, (address, path) in cases.items():
            found = in_process(address, path, requests, in_flight, core)
            if found["answers"] != requests:
                raise RuntimeError(f"{name}: {found['refused']} of {requests} requests were refused")
            runs[name].append({**found, "in_flight": in_flight})
    return runs


def middle(name: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the run of median requests/s, and between which all of them are."""
    ranked = sorted(runs, key=lambda run: run["per_second"])
    return {"name": name, **ranked[len(ranked) // 2], "all_per_second": [run["per_second"] for run in ranked]}
