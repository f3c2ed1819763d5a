"""Checkpoints: written at once or not at all, read without running anything that lies in them, refused for another run."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featcodec.errors import ConfigError

_FORMAT = 1


def write_checkpoint(path: Path, run: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the description of a run (JSON) and its state (tensors, numbers, strings, lists and dicts of them)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with scratch.open("wb") as file:
            torch.save({"format": _FORMAT, "run": json.dumps(run, sort_keys=True), "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def read_checkpoint(path: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a checkpoint of this very run.

    Raises
    ------
    ConfigError
        The file is no checkpoint, or of another run: what differs is named.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = json.loads(content["run"]), content["state"]
    # torch raises whatever unpickling met
    except Exception as e:
        raise ConfigError(f"{path} is no checkpoint: {e}") from e
    if content.get("format") != _FORMAT:
        raise ConfigError(f"{path} is a checkpoint of format {content.get('format')!r}, wanted {_FORMAT}")
    there, here = _flat("", found), _flat("", json.loads(json.dumps(run)))
    names = [name for name in sorted({**here, **there}) if there.get(name, _NOTHING) != here.get(name, _NOTHING)]
    if names:
        differ = "; ".join(f"{n} is {there.get(n, _NOTHING)!r} there, {here.get(n, _NOTHING)!r} here" for n in names[:6])
        raise ConfigError(f"{path} is a checkpoint of another run: {differ}")
    checked: dict[str, Any] = state
    return checked


_NOTHING = "nothing"


def _flat(name: str, value: Any) -> dict[str, Any]:
    """Leaves of JSON by dotted names."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and value:
        items = enumerate(value)
    else:
        return {name: value}
    return {k: v for key, item in items for k, v in _flat(f"{name}.{key}" if name else str(key), item).items()}


def random_states(device: torch.device, loader: Any) -> dict[str, Any]:
    """Return the state of every generator that a training may draw from, the loader's own included."""
    version, words, gauss = random.getstate()
    legacy = np.random.get_state(legacy=True)
    assert isinstance(legacy, tuple)
    own = _generator_of(loader)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": [version, list(words), gauss],
        "numpy": [str(legacy[0]), torch.from_numpy(legacy[1].astype(np.int64)), *(float(v) for v in legacy[2:])],
        "loader": None if own is None else own.get_state(),
    }


def set_random_states(states: Mapping[str, Any], device: torch.device, loader: Any) -> None:
    """Set them again."""
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached))
    own = _generator_of(loader)
    if own is not None and states["loader"] is not None:
        own.set_state(states["loader"])


def _generator_of(loader: Any) -> torch.Generator | None:
    generator = getattr(loader, "generator", None) or getattr(getattr(loader, "sampler", None), "generator", None)
    return generator if isinstance(generator, torch.Generator) else None
