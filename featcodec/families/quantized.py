"""QuantizedCodec: the part that all codecs of min-max quantised symbols share; each adds how symbols become bytes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from featcodec.codec import Codec, FloatArray, Payload
from featcodec.ops.quantizer import minmax_reconstruct
from featcodec.payloads import ranged
from featcodec.payloads.entropy import BitpackCoder, check_axis
from featcodec.payloads.layout import num_groups
from featcodec.payloads.quantizer import MAX_BITS, Symbols
from featcodec.spec import check_int


class QuantizedCodec(Codec):
    """An n-bit uniform min-max quantiser (`featcodec.payloads.quantizer`) before a coder of symbols.

    Payload: see `payloads.ranged`. A subclass writes `encode_symbols` and `decode_symbols`.

    Parameters
    ----------
    bits
        n, 1..16: symbols are 0..2^n - 1.
    axis
        "sample": one range for the whole sample; "map": one for every map; "token": one for every token, a row of (T, D), in
        which 0 is a level, n at least 2 (`featcodec.payloads.layout`).
    """

    examples = BitpackCoder.examples

    def __init__(self, *, bits: int = 8, axis: str = "sample") -> None:
        super().__init__()
        self.bits = check_int("bits", bits, 1, MAX_BITS)
        self.axis = check_axis(axis, self.bits)

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
        return ranged.encode(x, self.bits, self.axis, self.encode_symbols)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the ranges, decode the symbols, dequantise."""
        return ranged.decode(payload, shape, self.bits, self.axis, self.decode_symbols)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the ranges and the table from the symbols."""
        return ranged.parts(payload, num_groups(shape, self.axis), self.table_bits)

    def table_bits(self, data: Payload) -> int:
        """Return how many bits of what `encode_symbols` wrote are a table."""
        return 0

    def reconstruct(self, x: Tensor) -> Tensor:
        """Quantise and dequantise where `x` is."""
        return minmax_reconstruct(x, self.bits, self.axis)
