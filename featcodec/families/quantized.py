"""QuantizedCodec: the part that all codecs of min-max quantised symbols share; each adds how symbols become bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError
from featcodec.ops.quantizer import minmax_reconstruct
from featcodec.payloads.layout import from_maps, num_maps, to_maps
from featcodec.payloads.quantizer import MAX_BITS, Symbols, minmax_dequantize, minmax_quantize, minmax_ranges
from featcodec.spec import check_choice, check_int


class QuantizedCodec(Codec):
    """An n-bit uniform min-max quantiser (`featcodec.payloads.quantizer`) before a coder of symbols.

    Payload: for every group its minimum and maximum, float32 little-endian, then the coded symbols of the groups that vary.
    Where no group varies the minima alone are sent and nothing follows. A subclass writes `encode_symbols` and
    `decode_symbols`.

    Parameters
    ----------
    bits
        n, 1..16: symbols are 0..2^n - 1.
    axis
        "sample": one range for the whole sample; "map": one for every map (`featcodec.payloads.layout`).
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        {"bits": bits, "axis": axis} for bits, axis in ((8, "sample"), (4, "sample"), (3, "sample"), (2, "sample"), (4, "map"))
    )

    def __init__(self, *, bits: int = 8, axis: str = "sample") -> None:
        super().__init__()
        self.bits = check_int("bits", bits, 1, MAX_BITS)
        self.axis = check_choice("axis", axis, ("sample", "map"))

    def params(self) -> dict[str, Any]:
        """Return bits and axis."""
        return {"bits": self.bits, "axis": self.axis}

    def encode_symbols(self, symbols: Symbols) -> Payload:
        """Code symbols (N,) below 2^bits, N >= 1, into bytes."""
        raise NotImplementedError

    def decode_symbols(self, data: Payload, count: int) -> Symbols:
        """Undo `encode_symbols`; must use every byte and refuse symbols of 2^bits and above."""
        raise NotImplementedError

    def encode_payload(self, x: FloatArray) -> Payload:
        """Quantise, then send the ranges and the coded symbols."""
        groups = to_maps(x) if self.axis == "map" else x.reshape(1, -1)
        ranges = minmax_ranges(groups)
        varies = ranges[:, 0] < ranges[:, 1]
        if not varies.any():
            return ranges[:, 0].astype("<f4").view(np.uint8)
        symbols = minmax_quantize(groups[varies], ranges[varies], self.bits)
        body = self.encode_symbols(np.ascontiguousarray(symbols.reshape(-1)))
        return np.concatenate([ranges.astype("<f4").reshape(-1).view(np.uint8), body])

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the ranges, decode the symbols, dequantise."""
        return self.dequantize_payload(payload, shape, self.decode_symbols)

    def num_groups(self, shape: tuple[int, ...]) -> int:
        """Return how many ranges a sample of this shape has."""
        return num_maps(shape) if self.axis == "map" else 1

    def dequantize_payload(
        self, payload: Payload, shape: tuple[int, ...], decode_symbols: Callable[[Payload, int], NDArray[Any]]
    ) -> FloatArray:
        """Do what `decode_payload` does with symbols of any number type, from the coded bytes and how many there are."""
        groups = self.num_groups(shape)
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
        values = np.repeat(ranges[:, :1], elements, axis=1)
        if varies.any():
            symbols = decode_symbols(payload[8 * groups :], elements * int(varies.sum()))
            values[varies] = minmax_dequantize(symbols.reshape(-1, elements), ranges[varies], self.bits)
        return from_maps(values, shape) if self.axis == "map" else values.reshape(shape)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the ranges and the table from the symbols."""
        return range_parts(payload, self.num_groups(shape), self.table_bits)

    def table_bits(self, data: Payload) -> int:
        """Return how many bits of what `encode_symbols` wrote are a table."""
        return 0

    def reconstruct(self, x: Tensor) -> Tensor:
        """Quantise and dequantise where `x` is."""
        return minmax_reconstruct(x, self.bits, self.axis == "map")


def range_parts(payload: Payload, groups: int, table_bits: Callable[[Payload], int] = lambda data: 0) -> dict[str, int]:
    """Return the parts (`Codec.payload_parts`) of a payload of ranges (minima alone where nothing varies) and coded symbols."""
    if payload.size == 4 * groups:
        return {"side": 32 * groups}
    return {"side": 64 * groups, "table": table_bits(payload[8 * groups :])}


def _read_floats(data: Payload) -> NDArray[np.float32]:
    return np.frombuffer(data.tobytes(), "<f4").astype(np.float32)
