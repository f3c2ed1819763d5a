"""raw: the feature as it is, the baseline every other codec is measured against."""

from __future__ import annotations

from featcodec.codec import Codec
from featcodec.payloads.plain import RawCoder


class RawCodec(RawCoder, Codec):
    """Float32 bytes, little-endian."""
