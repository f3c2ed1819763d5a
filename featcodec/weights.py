"""Trained codecs as files: safetensors, with the config in the metadata."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featcodec.errors import ConfigError, MissingDependencyError

_KEY = "featcodec.config"
_FINGERPRINT_KEY = "featcodec.fingerprint"


def fingerprint_of(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return 32 hexadecimal digits that stand for a config and every tensor of a state: BLAKE2b, 128 bits.

    Hashed are the config's canonical JSON, then for each tensor, by name, a line of JSON (name, dtype, shape) and its bytes in
    row order, little-endian.
    """
    digest = hashlib.blake2b(_canonical(config).encode(), digest_size=16)
    for name, tensor in sorted(state.items()):
        head = _canonical([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)])
        digest.update(f"\n{head}\n".encode())
        if tensor.numel():  # one without elements cannot be seen as bytes
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_weights(path: str | Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a config, a state and their fingerprint to a .safetensors file.

    Raises
    ------
    MissingDependencyError
        safetensors is not installed.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    about = {_KEY: json.dumps(config, sort_keys=True, allow_nan=False), _FINGERPRINT_KEY: fingerprint_of(config, tensors)}
    safetensors_torch().save_file(tensors, str(path), about)


def read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the state that `write_weights` wrote.

    Raises
    ------
    MissingDependencyError
        safetensors is not installed.
    FileNotFoundError
        There is no such file.
    ConfigError
        The file is damaged, or no codec's, or not what its fingerprint stands for (a file of before there were any has none).
    """
    safetensors = safetensors_torch()
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # what safetensors raises on damaged files is its own class, which is not imported here
    except Exception as e:
        raise ConfigError(f"{path} is no safetensors file: {e}") from e
    try:
        config = json.loads(about.get(_KEY) or "")
    except json.JSONDecodeError as e:
        raise ConfigError(f"{path} has no codec's config under {_KEY!r}") from e
    if not isinstance(config, dict) or not isinstance(config.get("id"), str):
        raise ConfigError(f"{path} holds {config!r}, which is no codec's config")
    promised, found = about.get(_FINGERPRINT_KEY), fingerprint_of(config, state)
    if promised not in (None, found):
        raise ConfigError(f"{path} is damaged: its fingerprint is {promised}, that of what it holds {found}")
    return config, state


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def check_same_config(path: str | Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming what differs, where weights of one config would be put into a codec of another."""
    names = [name for name in {**wanted, **found} if found.get(name, "nothing") != wanted.get(name, "nothing")]
    if names:
        differ = "; ".join(f"{n} is {found.get(n, 'not given')!r} there, {wanted.get(n, 'not given')!r} here" for n in names)
        raise ConfigError(f"{path} holds weights of another config: {differ}")


def check_same_state(path: str | Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ConfigError, naming what differs, where a state's names, shapes or kinds of numbers are not the codec's."""
    differ = [f"{name} is missing" for name in wanted if name not in found]
    differ += [f"{name} is not the codec's" for name in found if name not in wanted]
    for name in [name for name in wanted if name in found]:
        a, b = found[name], wanted[name]
        if a.shape != b.shape or a.is_floating_point() != b.is_floating_point():
            differ.append(f"{name} is {a.dtype} {tuple(a.shape)} there, {b.dtype} {tuple(b.shape)} here")
    if differ:
        raise ConfigError(f"{path} does not hold this codec's state: {'; '.join(differ[:6])}")


def safetensors_torch() -> Any:
    """Return the package's torch module; MissingDependencyError where it is not installed."""
    try:
        return importlib.import_module("safetensors.torch")
    except ModuleNotFoundError as e:
        line = "pip install 'featcodec[learned]'"
        raise MissingDependencyError(f"saving and loading needs {e.name}, which is not installed: {line}") from e
