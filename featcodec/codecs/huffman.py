"""huffman: n-bit min-max symbols and a canonical Huffman code of their own: the "quantise + Huffman" of the papers (JALAD)."""

from __future__ import annotations

from featcodec import _core
from featcodec.codec import Payload
from featcodec.ops.quantizer import Symbols
from featcodec.quantized import QuantizedCodec


class HuffmanCodec(QuantizedCodec):
    """Length-limited canonical Huffman (at most 20 bits a code), its table sent and counted.

    Where the code and its table would take as much as packed bits, packed bits are sent.
    """

    codec_id = "huffman"

    def encode_symbols(self, symbols: Symbols) -> Payload:
        """Build the code, write table and codes."""
        return _core.huffman_encode(symbols, self.bits)

    def decode_symbols(self, data: Payload, count: int) -> Symbols:
        """Read the table, decode."""
        return _core.huffman_decode(data, count, self.bits)
