"""The payload of min-max codecs: a range for every group, then the coded symbols of the groups that vary.

For every group its minimum and maximum, float32 little-endian, then the symbols. Where no group varies the minima alone are
sent and nothing follows. A group is the whole sample, a map or a token (`payloads.layout`).

Both ways run in the default floating-point environment: a thread that flushes subnormals to zero (torch.set_flush_denormal)
would find other ranges, and none where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec import _core
from featcodec.errors import BitstreamError
from featcodec.payloads.layout import from_groups, num_groups, to_groups
from featcodec.payloads.quantizer import Symbols, minmax_dequantize, minmax_quantize, minmax_ranges, zero_level_ranges

FloatArray = NDArray[np.float32]
Payload = np.ndarray[Any, np.dtype[Any]]
_BLOCK = 1 << 18  # elements: not all values are made twice


def encode(x: FloatArray, bits: int, axis: str, encode_symbols: Callable[[Symbols], Payload]) -> Payload:
    """Quantise a sample to n bits and write its ranges and what `encode_symbols` makes of (N,) symbols, N >= 1."""
    with _core.DefaultFloats():
        return _encode(x, bits, axis, encode_symbols)


def _encode(x: FloatArray, bits: int, axis: str, encode_symbols: Callable[[Symbols], Payload]) -> Payload:
    groups = to_groups(x, axis)
    ranges = minmax_ranges(groups)
    if axis == "token":
        ranges = zero_level_ranges(ranges, bits)
    varies = ranges[:, 0] < ranges[:, 1]
    if not varies.any():
        return ranges[:, 0].astype("<f4").view(np.uint8)
    symbols = minmax_quantize(groups[varies], ranges[varies], bits)
    body = encode_symbols(np.ascontiguousarray(symbols.reshape(-1)))
    return np.concatenate([ranges.astype("<f4").reshape(-1).view(np.uint8), body])


def decode(
    payload: Payload, shape: tuple[int, ...], bits: int, axis: str, decode_symbols: Callable[[Payload, int], NDArray[Any]]
) -> FloatArray:
    """Undo `encode`; `decode_symbols` gets the coded bytes and how many symbols they are, of any number type.

    Raises
    ------
    BitstreamError
        No encoder writes these bytes.
    """
    with _core.DefaultFloats():
        return _decode(payload, shape, bits, axis, decode_symbols)


def _decode(
    payload: Payload, shape: tuple[int, ...], bits: int, axis: str, decode_symbols: Callable[[Payload, int], NDArray[Any]]
) -> FloatArray:
    groups = num_groups(shape, axis)
    elements = int(np.prod(shape, dtype=np.int64)) // groups
    if payload.size == 4 * groups:
        ranges = np.repeat(_read_floats(payload), 2).reshape(groups, 2)
    elif payload.size > 8 * groups:
        ranges = _read_floats(payload[: 8 * groups]).reshape(groups, 2)
    else:
        raise BitstreamError(
            f"the ranges of {groups} groups take {4 * groups} or more than {8 * groups} bytes, got {payload.size}"
        )
    varies = ranges[:, 0] < ranges[:, 1]
    if not (np.isfinite(ranges).all() and (varies | (ranges[:, 0] == ranges[:, 1])).all()):
        raise BitstreamError("a range in the payload is not finite or has its minimum above its maximum")
    if payload.size > 4 * groups and not varies.any():
        raise BitstreamError("the payload has symbols, but no group varies")
    if not varies.any():
        return from_groups(np.repeat(ranges[:, :1], elements, axis=1), shape, axis)
    symbols = decode_symbols(payload[8 * groups :], elements * int(varies.sum())).reshape(-1, elements)
    values: FloatArray = np.empty((groups, elements), np.float32)
    if varies.all():
        minmax_dequantize(symbols, ranges, bits, values)
        return from_groups(values, shape, axis)
    values[:] = ranges[:, :1]
    rows, some = np.flatnonzero(varies), max(_BLOCK // elements, 1)
    for first in range(0, len(rows), some):
        part = slice(first, first + some)
        values[rows[part]] = minmax_dequantize(symbols[part], ranges[rows[part]], bits)
    return from_groups(values, shape, axis)


def parts(payload: Payload, groups: int, table_bits: Callable[[Payload], int] = lambda data: 0) -> dict[str, int]:
    """Return the parts (`Codec.payload_parts`) of such a payload; `table_bits` counts a table before the symbols."""
    if payload.size == 4 * groups:
        return {"side": 32 * groups, "table": 0}
    return {"side": 64 * groups, "table": table_bits(payload[8 * groups :])}


def _read_floats(data: Payload) -> FloatArray:
    return np.frombuffer(data.tobytes(), "<f4").astype(np.float32)
