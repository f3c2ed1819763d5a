"""png: the mosaic, lossless, through deflate with PNG's filters."""

from __future__ import annotations

from featcodec.families.mosaic import MosaicCodec
from featcodec.payloads.png import PngCoder


class PngCodec(PngCoder, MosaicCodec):
    """The data of PNG's IDAT chunks; signature, header and end follow from the shape and are not sent."""
