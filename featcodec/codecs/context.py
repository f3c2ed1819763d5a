"""context: symbols coded given their left and upper neighbours in the map, or by an order-0 mode where that is smaller."""

from __future__ import annotations

from featcodec.families.entropy import EntropyCodec
from featcodec.payloads.entropy import ContextCoder


class ContextCodec(ContextCoder, EntropyCodec):
    """Tokens by rANS given their neighbours, maps in parallel lanes, and raw bits.

    With adaptive tables Huffman's, rANS's or packed bits where these are smaller: what `auto` sends. Static tables are of
    neighbours alone (packed bits where they are smaller): a transformer's tokens may take fewer bits by static `rans`.
    """
