"""What a head costs on this device: ``profile`` writes device.json, which planning reads."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec._version import __version__
from featcodec.core import core_info
from featcodec.device.head import Head
from featcodec.errors import ConfigError
from featcodec.machine import cpu_name, package_version

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def profile(
    path: str | Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    threads: int = 1,
    calls: int = 100,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Time a head on this device, on noise.

    Parameters
    ----------
    path
        The ONNX file.
    shapes
        Of inputs, by name, with the batch axis; needed where an axis other than the batch's may have any size. The batch is one
        sample unless given.
    threads
        Of ONNX Runtime.
    calls
        That are timed, after a tenth as many that are not.
    out
        A file for the result as JSON.

    Returns
    -------
    dict
        "machine", "versions", "threads", "head" (file, its bytes, layer, fingerprint), "inputs" and "crossing" (shapes),
        "codecs" (configs of what crosses; None: sent as it is), "calls", "head_ms" and "encode_ms" (median and quartiles of
        one call; encode_ms is of what follows the network: codecs
        and message), "message_bytes", "peak_memory_mb" (of this process so far; None where the system does not tell).

    Raises
    ------
    ConfigError
        As for `Head`; a shape is missing or not one of the input's.
    """
    if calls < 1:
        raise ConfigError(f"calls must be at least 1, got {calls}")
    head = Head(path, threads=threads)
    inputs = _noise(head, shapes or {})
    outputs = head.run(**inputs)
    message = head.pack(outputs)
    result = {
        "format": 1,
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform(), "isa": core_info()["isa"]},
        "versions": {
            "featcodec": __version__,
            "python": platform.python_version(),
            **{name: package_version(name) for name in ("onnxruntime", "numpy")},
        },
        "threads": threads,
        "head": {
            "file": Path(path).name,
            "bytes": Path(path).stat().st_size,
            "layer": head.layer,
            "fingerprint": head.fingerprint,
        },
        "inputs": {name: list(value.shape) for name, value in inputs.items()},
        "crossing": {c.name: list(value.shape) for c, value in zip(head.crossing, outputs, strict=True)},
        "codecs": {c.name: None if c.codec is None else c.codec.config for c in head.crossing},
        "calls": calls,
        "head_ms": _timed(lambda: head.run(**inputs), calls),
        "encode_ms": _timed(lambda: head.pack(outputs), calls),
        "message_bytes": len(message),
        "peak_memory_mb": peak_memory_mb(),
    }
    if out is not None:
        Path(out).write_text(json.dumps(result, indent=1) + "\n")
    return result


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has had so far, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; its getrusage still counts the program that started this one
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        return None if found is None else round(int(found[1]) * 1024 / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)


def _timed(call: Callable[[], Any], calls: int) -> dict[str, float]:
    """Milliseconds of one call."""
    for _ in range(-(-calls // 10)):
        call()
    took = []
    for _ in range(calls):
        start = perf_counter_ns()
        call()
        took.append((perf_counter_ns() - start) / 1e6)
    low, median, high = statistics.quantiles(took, n=4, method="inclusive") if calls > 1 else took * 3
    return {"median": round(median, 4), "low": round(low, 4), "high": round(high, 4)}


def _noise(head: Head, shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[Any]]:
    unknown = sorted(set(shapes) - set(head.inputs))
    if unknown:
        raise ConfigError(f"the head has no input {', '.join(unknown)}; it takes {head.inputs}")
    return {name: _noise_of(name, has, head.types[name], shapes.get(name)) for name, has in head.inputs.items()}


def _noise_of(name: str, has: Sequence[int | str], type_name: str, given: Sequence[int] | None) -> NDArray[Any]:
    kind = _TYPES.get(type_name)
    if kind is None:
        raise ConfigError(f"{name} is a {type_name}; noise is made of {', '.join(_TYPES)}")
    shape = [1 if isinstance(dim, str) and axis == 0 else dim for axis, dim in enumerate(has)] if given is None else given
    sizes = [dim for dim in shape if isinstance(dim, int)]
    if len(sizes) != len(has) or any(isinstance(h, int) and h != dim for dim, h in zip(sizes, has, strict=True)):
        raise ConfigError(f"{name} is {tuple(has)}: give a shape of it, got {tuple(shape)}")
    # integers are most often indices of a table, of which 0 is there
    noise = np.random.default_rng(0).random(sizes) if issubclass(kind, np.floating) else np.zeros(sizes)
    return noise.astype(kind)
