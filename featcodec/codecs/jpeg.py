"""jpeg: the mosaic through JPEG, as BottleNet sends it; the headers are rebuilt by the decoder and cost nothing."""

from __future__ import annotations

from featcodec.families.mosaic import MosaicCodec
from featcodec.payloads.jpeg import JpegCoder


class JpegCodec(JpegCoder, MosaicCodec):
    """Baseline grey JPEG with the standard's own tables: only the scan is sent (abbreviated format, T.81 annex B.5).

    Parameters
    ----------
    quality
        1..100 on the Independent JPEG Group's scale; 20 is BottleNet's.
    """
