"""Trained codecs as files: safetensors, with the config in the metadata."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from featcodec.errors import ConfigError, MissingDependencyError

_KEY = "featcodec.config"


def write_weights(path: str | Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write a config and a state to a .safetensors file.

    Raises
    ------
    MissingDependencyError
        safetensors is not installed.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    _safetensors().save_file(tensors, str(path), {_KEY: json.dumps(config, sort_keys=True, allow_nan=False)})


def read_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the state that `write_weights` wrote.

    Raises
    ------
    MissingDependencyError
        safetensors is not installed.
    FileNotFoundError
        There is no such file.
    ConfigError
        The file is damaged, or no codec's.
    """
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # what safetensors raises on damaged files is its own class, which is not imported here
    except Exception as e:
        raise ConfigError(f"{path} is no safetensors file: {e}") from e
    try:
        config = json.loads(text or "")
    except json.JSONDecodeError as e:
        raise ConfigError(f"{path} has no codec's config under {_KEY!r}") from e
    if not isinstance(config, dict) or not isinstance(config.get("id"), str):
        raise ConfigError(f"{path} holds {config!r}, which is no codec's config")
    return config, state


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


def _safetensors() -> Any:
    """The package's torch module; the rest of it hangs on it."""
    try:
        return importlib.import_module("safetensors.torch")
    except ModuleNotFoundError as e:
        line = "pip install 'featcodec[learned]'"
        raise MissingDependencyError(f"saving and loading codecs needs {e.name}, which is not installed: {line}") from e
