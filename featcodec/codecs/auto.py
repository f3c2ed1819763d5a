"""auto: picks among our coding modes, packet by packet, by their cost."""

from __future__ import annotations

from featcodec.families.entropy import EntropyCodec
from featcodec.payloads.entropy import AutoCoder


class AutoCodec(AutoCoder, EntropyCodec):
    """The cheapest of packed bits, Huffman, rANS and context coding for each sample: the one to take where bits count.

    With static tables, of packed bits, Huffman and context coding.
    """
