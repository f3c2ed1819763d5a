"""bitpack: n-bit min-max symbols, packed, no entropy coding: what quantisation alone gives."""

from __future__ import annotations

from featcodec import _core
from featcodec.codec import Payload
from featcodec.ops.quantizer import Symbols
from featcodec.quantized import QuantizedCodec


class BitpackCodec(QuantizedCodec):
    """Symbols of `bits` bits, most significant bit first, zero-padded to a byte."""

    codec_id = "bitpack"

    def encode_symbols(self, symbols: Symbols) -> Payload:
        """Pack."""
        return _core.pack_bits(symbols, self.bits)

    def decode_symbols(self, data: Payload, count: int) -> Symbols:
        """Unpack."""
        return _core.unpack_bits(data, count, self.bits)
