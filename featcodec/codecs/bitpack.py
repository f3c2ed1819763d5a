"""bitpack: n-bit min-max symbols, packed, no entropy coding: what quantisation alone gives. A lost bit costs one symbol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcodec import _core
from featcodec.codec import FloatArray, Payload
from featcodec.errors import BitstreamError
from featcodec.families.quantized import QuantizedCodec
from featcodec.ops.soft_bits import bit_probabilities, soft_words
from featcodec.payloads import ranged
from featcodec.payloads.layout import num_groups
from featcodec.payloads.quantizer import Symbols


class BitpackCodec(QuantizedCodec):
    """Symbols of `bits` bits, most significant bit first, zero-padded to a byte."""

    codec_id = "bitpack"

    def encode_symbols(self, symbols: Symbols) -> Payload:
        """Pack."""
        return _core.pack_bits(symbols, self.bits)

    def decode_symbols(self, data: Payload, count: int) -> Symbols:
        """Unpack."""
        return _core.unpack_bits(data, count, self.bits)

    def decode_soft(self, llr: Payload, shape: tuple[int, ...]) -> FloatArray | None:
        """Decode symbols to their expected values (`ops.soft_bits`); None where the ranges hold as likely as not a wrong bit.

        Every value stays within its range, and one whose bits all arrived is what it would be otherwise.
        """
        ranges_bits = 64 * num_groups(shape, self.axis)
        ranges = bit_probabilities(llr[:ranges_bits])
        if llr.size % 8 or np.maximum(ranges, 1 - ranges).prod() <= 0.5:
            return None

        def expected_symbols(data: Payload, count: int) -> NDArray[np.float64]:
            if data.size != (count * self.bits + 7) // 8:
                raise BitstreamError(f"{count} symbols of {self.bits} bits do not take {data.size} bytes")
            return soft_words(llr[ranges_bits:][: count * self.bits], self.bits)

        return ranged.decode(np.packbits(llr < 0), shape, self.bits, self.axis, expected_symbols)
