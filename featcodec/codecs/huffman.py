"""huffman: n-bit min-max symbols and a canonical Huffman code of their own: the "quantise + Huffman" of the papers (JALAD)."""

from __future__ import annotations

from featcodec.families.entropy import EntropyCodec
from featcodec.payloads.entropy import HuffmanCoder


class HuffmanCodec(HuffmanCoder, EntropyCodec):
    """Canonical, length-limited Huffman, its table sent and counted; packed bits where they are smaller. The fastest."""
