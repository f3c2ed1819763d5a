"""rans: n-bit min-max symbols (or a fixed step's) and our own interleaved order-0 rANS: close to the entropy."""

from __future__ import annotations

from featcodec.families.entropy import EntropyCodec
from featcodec.payloads.entropy import RansCoder


class RansCodec(RansCoder, EntropyCodec):
    """Order-0 range coding by interleaved rANS, 12-bit frequencies; packed bits where they are smaller."""
