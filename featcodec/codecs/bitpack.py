"""bitpack: n-bit min-max symbols, packed, no entropy coding: what quantisation alone gives. A lost bit costs one symbol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featcodec.bitstream import Packet, PayloadKind
from featcodec.codec import FloatArray, Payload
from featcodec.errors import BitstreamError
from featcodec.families.entropy import EntropyCodec
from featcodec.ops.soft_bits import bit_probabilities, soft_words
from featcodec.payloads import ranged
from featcodec.payloads.entropy import BitpackCoder
from featcodec.payloads.layout import num_groups


class BitpackCodec(BitpackCoder, EntropyCodec):
    """Symbols of `bits` bits, most significant bit first, zero-padded to a byte.

    Parameters
    ----------
    bits
        n, 1..16: the min-max quantiser of `featcodec.payloads.quantizer`, symbols 0..2^n - 1.
    axis
        "sample": one range for the whole sample; "map": one for every map; "token": one for every token, a row of (T, D), in
        which 0 is a level, n at least 2.
    """

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

    def _decode_unknown(self, packets: Sequence[Packet | bytes], like: Packet | None) -> Tensor:
        parsed = self._check_packets(packets, like)
        if any(packet.kind is PayloadKind.LLR and not packet.payload.all() for packet in parsed):
            return self._to_feature(self._decode_values(parsed), len(parsed), parsed[0])
        return super()._decode_unknown(parsed, None)
