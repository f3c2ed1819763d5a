"""What decoding a packet takes of a receiver's memory, and what stays with the thread after it. Linux: /proc says.

``python -m benchmarks.memory CASES`` prints a line of JSON a case; `measured` calls it.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import featcodec as fc

MB = 1 << 20
PEAK_FACTOR, PEAK_OFFSET, KEPT = 2, 32 * MB, 8 * MB  # what decoding may take: twice its output and 32 MB; what it may keep
THIRD_PARTY = ("webp", "heif")  # their libraries allocate as they like

Case = tuple[str, str, tuple[int, ...]]  # spec; "zero", "spike" or "lines"; shape of the sample

_HUGE = (64, 1024, 1024)  # 2^26 elements, the most that a packet may claim
_LARGE = (64, 512, 512)
_CORE = ("huffman", "rans", "context", "auto")
_PACKED = (*_CORE, *(f"{name}:step=0.25" for name in _CORE), "ans", "jpeg", "png", "webp", "heif")
_PLAIN = ("bitpack", "raw", "half")  # their packets are as long as what they claim
_LEARNED = {
    "bottlenet": (8, 2048, 4096),
    "bottlenet++": (8, 2048, 4096),
    "dsc": (8, 2048, 4096),
    "entropic": (8, 1024, 1024),  # it takes 2^20 latents at most
}


def cases() -> list[Case]:
    """Return what the benchmark measures: claims of as much as a packet may claim, constant and nearly so; a large feature."""
    found = [(spec, kind, _HUGE) for kind in ("zero", "spike") for spec in _PACKED]
    found += [(spec, "lines", _LARGE) for spec in (*_PACKED, *_PLAIN)]
    return found + [(f"{name}:maps=8,reduced=4", "zero", shape) for name, shape in _LEARNED.items()]


def measure_decoding(chosen: Sequence[Case]) -> list[dict[str, Any]]:
    """Measure cases; return a row each, sizes in bytes: packet, output, peak above what was there before, what is kept."""
    rows = []
    for spec, kind, shape, packet, peak, kept in measured(chosen):
        codec = fc.codec_class(spec.partition(":")[0])
        exempt = codec.codec_id in THIRD_PARTY
        sizes = {"packet": packet, "output": 4 * math.prod(shape), "peak": peak, "kept": kept}
        rows.append({"codec": spec, "feature": kind, "shape": shape, "learned": codec.learned, "exempt": exempt, **sizes})
    return rows


def measured(chosen: Sequence[Case]) -> list[list[Any]]:
    """[spec, kind, shape, bytes of the packet, peak above what was there before, what is kept] of each case.

    Raises
    ------
    RuntimeError
        A case failed.
    """
    # malloc gives large blocks back at once, so that what is kept is ours
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(MB), "MALLOC_TRIM_THRESHOLD_": str(MB)}
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(chosen)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600, env=env)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


def _main(chosen: Sequence[Case]) -> None:
    """Two processes forked from one for each case, so that neither's memory is the other's: one encodes, one decodes."""
    torch.set_num_threads(1)
    for spec, kind, shape in chosen:
        data = _forked(partial(_sent, spec, kind, shape))
        numbers = json.loads(_forked(partial(_decoded, spec, kind, shape, data)))
        print(json.dumps([spec, kind, shape, *numbers]), flush=True)


def _memory(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


def _forked(work: Callable[[], bytes]) -> bytes:
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(read)
        status = 1
        try:
            with os.fdopen(write, "wb") as out:
                out.write(work())
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    _, status = os.wait()
    if status:
        raise RuntimeError(f"a forked process ended with status {status}")
    return data


def _feature(kind: str, shape: Sequence[int]) -> Tensor:
    x = torch.zeros(1, *shape)
    if kind == "spike":
        x.view(-1)[5] = 1.0
    if kind == "lines":
        x += torch.linspace(0, 1, shape[-1])
    return x


def _codec(spec: str) -> fc.Codec:
    torch.manual_seed(0)  # weights: both ends have the same
    return fc.get_codec(spec).eval()


def _sent(spec: str, kind: str, shape: Sequence[int]) -> bytes:
    return _codec(spec).encode_over(_feature(kind, shape), None)[0].to_bytes()


def _decoded(spec: str, kind: str, shape: Sequence[int], data: bytes) -> bytes:
    codec = _codec(spec)
    small = codec.encode_over(torch.rand(1, 8, 64, 64), None)
    codec.decode([p.to_bytes() for p in small])
    before = _memory("VmRSS")
    y: Tensor | None = codec.decode([data])
    peak = _memory("VmHWM") - before
    promised = codec.reconstruct(_feature(kind, shape)) if kind == "lines" else None
    assert promised is None or (y is not None and torch.equal(y, promised))
    del promised
    y = None
    return json.dumps([len(data), peak, _memory("VmRSS") - before]).encode()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
