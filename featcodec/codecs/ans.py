"""ans: n-bit min-max symbols and constriction's ANS coder, with a table of counts that is sent."""

from __future__ import annotations

from typing import Any, ClassVar

import constriction
import numpy as np

from featcodec import _core
from featcodec.codec import Payload
from featcodec.errors import BitstreamError
from featcodec.families.quantized import QuantizedCodec
from featcodec.payloads.quantizer import Symbols

_TABLE_BITS = 6  # significant bits kept of a count: within 0.1 % of the exact counts' length, for less table


class AnsCodec(QuantizedCodec):
    """Stack-ANS over the sample's own histogram (constriction).

    Table: EG lists of the number of distinct symbols, their distances, and their counts in 6-bit floating point (mantissa,
    then exponent), three sequences. A single symbol needs nothing more.
    """

    codec_id = "ans"
    stable_bytes: ClassVar[bool] = False

    def encode_symbols(self, symbols: Symbols) -> Payload:
        """Write the table, then the ANS words."""
        distinct, counts = np.unique(symbols, return_counts=True)
        mantissas, exponents = _to_float(counts)
        table = [
            _core.golomb_encode(np.array([distinct.size - 1], np.uint32)),
            _core.golomb_encode((np.diff(distinct.astype(np.int64), prepend=-1) - 1).astype(np.uint32)),
        ]
        if distinct.size == 1:
            return np.concatenate(table)
        table += [_core.golomb_encode(mantissas), _core.golomb_encode(exponents)]
        coder = constriction.stream.stack.AnsCoder()
        indices = np.searchsorted(distinct, symbols).astype(np.int32)
        coder.encode_reverse(indices, _model(mantissas, exponents))
        return np.concatenate([*table, coder.get_compressed().astype("<u4").view(np.uint8)])

    def table_bits(self, data: Payload) -> int:
        """Read over the table's sequences."""
        size, rest = _read(data, 1)
        for _ in range(3 if size[0] > 0 else 1):
            rest = _read(rest, int(size[0]) + 1)[1]
        return 8 * (data.size - rest.size)

    def decode_symbols(self, data: Payload, count: int) -> Symbols:
        """Read the table, check it, then decode the ANS words."""
        size, data = _read(data, 1)
        num_distinct = int(size[0]) + 1
        if num_distinct > min(count, 1 << self.bits):
            raise BitstreamError(f"the table claims {num_distinct} distinct symbols of {count} below {1 << self.bits}")
        gaps, data = _read(data, num_distinct)
        distinct = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if distinct[-1] >= 1 << self.bits:
            raise BitstreamError(f"the table holds symbol {distinct[-1]}, wanted below {1 << self.bits}")
        if num_distinct == 1:
            if data.size:
                raise BitstreamError(f"{data.size} bytes are left over after a single symbol")
            return np.broadcast_to(distinct[0].astype(np.uint16), count)
        mantissas, data = _read(data, num_distinct)
        exponents, data = _read(data, num_distinct)
        if mantissas.max() >= 1 << _TABLE_BITS or mantissas.min() < 1 or exponents.max() > 26:
            raise BitstreamError("the table's counts are not ones that an encoder writes")
        if data.size % 4:
            raise BitstreamError(f"ANS words are 4 bytes each, got {data.size} bytes")
        words = np.frombuffer(data.tobytes(), "<u4").astype(np.uint32)
        try:
            coder = constriction.stream.stack.AnsCoder(words)
            indices = coder.decode(_model(mantissas, exponents), count)
        except (ValueError, AssertionError) as e:
            raise BitstreamError(f"the ANS words do not decode: {e}") from e
        if not coder.is_empty():
            raise BitstreamError("ANS words are left over after the last symbol")
        symbols: Symbols = distinct.astype(np.uint16)[indices]
        return symbols


def _to_float(counts: Any) -> tuple[Any, Any]:
    """Counts as mantissa << exponent, the mantissa in 1..63, rounded down."""
    exponents = np.array([max(0, int(count).bit_length() - _TABLE_BITS) for count in counts], np.uint32)
    return (counts.astype(np.uint64) >> exponents).astype(np.uint32), exponents


def _model(mantissas: Any, exponents: Any) -> Any:
    # Exact in double precision: the probabilities, and so the coder's integers, are the same on every machine.
    weights = mantissas.astype(np.float64) * np.exp2(exponents.astype(np.float64))
    return constriction.stream.model.Categorical(weights / weights.sum(), perfect=False)


def _read(data: Payload, count: int) -> tuple[Any, Payload]:
    values, used = _core.golomb_decode(np.ascontiguousarray(data), count)
    return values, data[used:]
