"""webp: the mosaic through WebP, lossy or lossless."""

from __future__ import annotations

from featcodec.families.mosaic import MosaicCodec
from featcodec.payloads.webp import WebpCoder


class WebpCodec(WebpCoder, MosaicCodec):
    """The bitstream of WebP's one image chunk; the RIFF container around it is not sent.

    Parameters
    ----------
    quality
        0..100. Lossy: the image's; lossless: the encoder's effort.
    lossless
        Code the 8-bit mosaic exactly.
    """
