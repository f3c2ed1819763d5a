"""What the entropy benchmark measures: bits over whole images, speeds of tensors and batches, and the way through Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.coders import Coder, Encoded, Symbols
from benchmarks.feature_sets import SymbolSet, pieces
from benchmarks.limits import entropy_bits, limits
from benchmarks.ours import CoreCoder, FeatureCodec, feature_codecs, pinned
from benchmarks.timing import Effort, Timed, time_in_turn

MEMORY_BYTES = {"cache": 1 << 18, "4 MB": 1 << 22, "DRAM": 1 << 26}
FUSED_SIZE = 188_160  # one image of EfficientNet-lite0's middle: the tensor of the goal "floats to bytes"
NUMPY_QUANTIZE = "numpy quantise"


@dataclass(frozen=True)
class Case:
    """Tensors of one size out of one set: one, or a batch of them."""

    symbol_set: SymbolSet
    size: int
    tensors: list[Symbols]

    @classmethod
    def of(cls, symbol_set: SymbolSet, size: int, count: int = 1) -> Case:
        """Cut them from all images of a set.

        Their first symbol is made the least and their last the largest, so that a min-max quantiser of their values gives
        the same symbols: coders of symbols and codecs of floats then code the same.
        """
        tensors = pieces(symbol_set.all_symbols(), size, count)
        if "bits" in symbol_set.params:
            for tensor in tensors:
                tensor.reshape(-1)[[0, -1]] = 0, 2**symbol_set.bits - 1
        return cls(symbol_set, size, tensors)

    @property
    def head(self) -> dict[str, Any]:
        """The columns that say what was coded."""
        return {
            **set_columns(self.symbol_set),
            "size": self.size,
            "symbols": self.tensors[0].size,
            "packets": len(self.tensors),
        }


def set_columns(symbol_set: SymbolSet) -> dict[str, Any]:
    """Return the columns that name a set."""
    source = symbol_set.source
    columns = {"layer": source.name, "relu": source.relu, "quantizer": symbol_set.quantizer}
    return {**columns, "params": symbol_set.params, "symbol_bits": symbol_set.bits}


def measure_memory() -> dict[str, float]:
    """Return GB/s of a copy between two places that lie in cache, of 4 MB, and in memory."""
    jobs = []
    for label, size in MEMORY_BYTES.items():
        source, target = np.zeros(size, np.uint8), np.ones(size, np.uint8)
        jobs.append(Timed(label, {"copy": partial(np.copyto, target, source)}, partial(pinned, None)))
    time_in_turn(jobs, Effort(15, 1.0, 1.0))
    return {job.label: MEMORY_BYTES[job.label] / job.median_us("copy") / 1e3 for job in jobs}


def measure_bits(symbol_set: SymbolSet, coders: Sequence[Coder], images: int) -> dict[str, Any]:
    """Count the bits of the first images, a packet each, every one decoded and compared.

    Returns
    -------
    dict
        `limits`, `coders` (bits a symbol by name), `packets` (payload and wire bits of the codecs on features), `failed`.
    """
    symbols = symbol_set.symbols[:images]
    sizes: dict[str, float] = {}
    failed: dict[str, str] = {}
    for coder in coders:
        if symbols[0].size > coder.most_symbols(symbol_set.bits):
            failed[coder.name] = "more symbols than it can take at once"
            continue
        try:
            with pin(coder):
                total = sum(_checked(coder, image, symbol_set.bits)[0] for image in symbols)
            sizes[coder.name] = 8 * total / symbols.size
        except Exception as e:  # a coder may fail in any way: its row says so, the others go on
            failed[coder.name] = f"{type(e).__name__}: {e}"
    ideal = limits(symbols, symbol_set.calibration, symbol_set.bits, symbol_set.zero)
    head = {**set_columns(symbol_set), "images": len(symbols), "symbols": symbols[0].size}
    return {**head, "limits": ideal, "coders": sizes, "packets": _packet_bits(symbol_set, images), "failed": failed}


def _packet_bits(symbol_set: SymbolSet, images: int) -> dict[str, dict[str, float]]:
    source = symbol_set.source
    x = torch.from_numpy(source.features[:images])
    found = {}
    for codec in feature_codecs(symbol_set.params, torch.from_numpy(source.calibration), every_isa=False)[0]:
        codec.check(x)
        packets = codec.encode(x)
        found[codec.name] = {
            "payload": sum(packet.payload_bits for packet in packets) / x.numel(),
            "wire": sum(8 * len(packet.to_bytes()) for packet in packets) / x.numel(),
        }
    return found


def measure_size(case: Case, coders: Sequence[Coder], effort: Effort, slow: dict[str, float]) -> list[dict[str, Any]]:
    """Time one tensor through all coders in turn; a row each, in megasymbols a second and microseconds.

    Parameters
    ----------
    slow
        Seconds a symbol of each coder, from smaller cases: what foretells that a case is too long. Updated.
    """
    tensor, bits = case.tensors[0], case.symbol_set.bits

    def calls(coder: Coder, data: Encoded) -> dict[str, Callable[[], Any]]:
        shape = tensor.shape
        return {"encode": partial(coder.encode, tensor, bits), "decode": partial(coder.decode, data, shape, bits)}

    return _measure(case, coders, effort, slow, calls)


def measure_batch(case: Case, coders: Sequence[Coder], effort: Effort, slow: dict[str, float]) -> list[dict[str, Any]]:
    """Time a batch, one call over all its tensors where a coder has one; times are a packet's."""
    bits, shape = case.symbol_set.bits, case.tensors[0].shape

    def calls(coder: Coder, data: Encoded) -> dict[str, Callable[[], Any]]:
        packets = coder.encode_batch(case.tensors, bits)
        decode = partial(coder.decode_batch, packets, shape, bits)
        return {"encode": partial(coder.encode_batch, case.tensors, bits), "decode": decode}

    return _measure(case, coders, effort, slow, calls)


def _measure(
    case: Case,
    coders: Sequence[Coder],
    effort: Effort,
    slow: dict[str, float],
    calls: Callable[[Coder, Encoded], dict[str, Callable[[], Any]]],
) -> list[dict[str, Any]]:
    tensor, count = case.tensors[0], len(case.tensors)
    ideal = limits(tensor[None], case.symbol_set.calibration, case.symbol_set.bits, case.symbol_set.zero)
    rows, jobs = [], []
    for coder in coders:
        row = {**case.head, "coder": coder.name, "ours": isinstance(coder, CoreCoder), "limits": ideal}
        rows.append(row)
        foretold_s = slow.get(coder.name, 0.0) * tensor.size * count
        if tensor.size > coder.most_symbols(case.symbol_set.bits):
            row["skipped"] = "more symbols than it can take at once"
        elif foretold_s > effort.longest_s:
            row["skipped"] = f"would take about {foretold_s:.1f} s"
        else:
            try:
                with pin(coder):
                    size_bytes, data, first_ns = _checked(coder, tensor, case.symbol_set.bits)
                    job = Timed(
                        coder.name, calls(coder, data), partial(pin, coder), {call: ns * count for call, ns in first_ns.items()}
                    )
            except Exception as e:  # as in measure_bits
                row["skipped"] = f"{type(e).__name__}: {e}"
                continue
            row["bits"] = 8 * size_bytes / tensor.size
            jobs.append((row, job))
    time_in_turn([job for _, job in jobs], effort)
    for row, job in jobs:
        _fill(row, job, count, tensor.size)
        slow[job.label] = sum(job.median_us(call) for call in job.calls) / 1e6 / (tensor.size * count)
    _compare(rows)
    return rows


def _fill(row: dict[str, Any], job: Timed, count: int, symbols: int) -> None:
    for call, samples in job.samples_ns.items():
        row[f"{call}_us"] = job.median_us(call) / count
        row[f"{call}_mbps"] = symbols * count / job.median_us(call)
        row[f"{call}_spread"] = job.spread(call)
        row["rounds"] = len(samples)


def _compare(rows: list[dict[str, Any]]) -> None:
    """Give every row its speed as ratios within this very case: of ours to all peers, of a peer to memcpy."""
    timed = {row["coder"]: row for row in rows if "encode_us" in row}
    for row in timed.values():
        for call in ("encode", "decode"):
            others = [name for name, other in timed.items() if name == "memcpy" or (row["ours"] and not other["ours"])]
            row[f"{call}_to"] = {name: timed[name][f"{call}_us"] / row[f"{call}_us"] for name in others}


def measure_features(case: Case, codecs: Sequence[FeatureCodec], effort: Effort) -> list[dict[str, Any]]:
    """Time our codecs from float32 tensors to packets and back, through Python as a user calls them; times are a packet's.

    Beside them NumPy's quantisation alone, to what is to become of a tensor of `FUSED_SIZE`. `bits` are a payload's.
    """
    symbol_set = case.symbol_set
    tensors = [as_features(tensor, symbol_set) for tensor in case.tensors]
    x = torch.from_numpy(np.stack(tensors))
    jobs = [Timed(codec.name, _codec_calls(codec, x), partial(pinned, codec.isa)) for codec in codecs]
    if case.size == FUSED_SIZE and "bits" in symbol_set.params:
        quantise = partial(_numpy_quantize, tensors[0], symbol_set.bits)
        jobs.append(Timed(NUMPY_QUANTIZE, {"encode": quantise}, partial(pinned, None)))
    time_in_turn(jobs, effort)
    ideal = {"order-0 entropy": entropy_bits(np.bincount(case.tensors[0].reshape(-1))) / tensors[0].size}
    rows = []
    for job in jobs:
        row = {**case.head, "coder": job.label, "ours": job.label != NUMPY_QUANTIZE, "limits": ideal}
        _fill(row, job, len(tensors), tensors[0].size)
        rows.append(row)
    for row, codec in zip(rows, codecs, strict=False):
        row["bits"] = codec.encode(x[:1])[0].payload_bits / tensors[0].size
    return rows


def as_features(symbols: Symbols, symbol_set: SymbolSet) -> NDArray[np.float32]:
    """Return float32 features that a codec quantises to these very symbols, if they span the width of a min-max quantiser."""
    return (symbols.astype(np.float32) - symbol_set.zero) * np.float32(symbol_set.params.get("step", 1.0))


def _codec_calls(codec: FeatureCodec, x: torch.Tensor) -> dict[str, Callable[[], Any]]:
    with pinned(codec.isa):
        codec.check(x)
    return {"encode": partial(codec.encode, x), "decode": partial(codec.decode, codec.encode(x))}


def _numpy_quantize(x: NDArray[np.float32], bits: int) -> Symbols:
    low, high = x.min(), x.max()
    symbols: Symbols = np.rint((x - low) * ((2**bits - 1) / (high - low))).astype(np.uint8)
    return symbols


def _checked(coder: Coder, symbols: Symbols, bits: int) -> tuple[int, Encoded, dict[str, float]]:
    """Bytes, the packet and nanoseconds of both ways, once the symbols have come back."""
    start = perf_counter_ns()
    data = coder.encode(symbols, bits)
    encoded = perf_counter_ns()
    decoded = coder.decode(data, symbols.shape, bits)
    first_ns = {"encode": float(encoded - start), "decode": float(perf_counter_ns() - encoded)}
    if not np.array_equal(decoded, symbols):
        raise ValueError(f"{symbols.shape} of {bits} bits do not come back")
    return len(data), data, first_ns


def pin(coder: Coder) -> AbstractContextManager[None]:
    """Return the context that a coder's calls run in: its instruction set, where it names one."""
    return pinned(coder.mode.isa if isinstance(coder, CoreCoder) else None)
