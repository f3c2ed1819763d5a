"""png: the mosaic, lossless, through deflate with PNG's filters."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from featcodec.errors import BitstreamError
from featcodec.payloads.mosaic import MosaicCoder, Picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngCoder(MosaicCoder):
    """The data of PNG's IDAT chunks; signature, header and end follow from the shape and are not sent."""

    codec_id = "png"
    max_side = 1 << 16

    def encode_picture(self, picture: Picture) -> bytes:
        """Code the picture, keep the IDAT data."""
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG", optimize=True)
        data, position, kept = out.getvalue(), len(_SIGNATURE), b""
        while position < len(data):
            size, kind = struct.unpack_from(">I4s", data, position)
            if kind == b"IDAT":
                kept += data[position + 8 : position + 8 + size]
            position += 12 + size
        return kept

    def decode_picture(self, data: bytes, height: int, width: int) -> Picture:
        """Put the chunks back around the data and decode."""
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        file = _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
        # Pillow forgives a stream that ends early; a packet must not be forgiven.
        inflater = zlib.decompressobj()
        wanted = height * (width + 1)
        if len(inflater.decompress(data, wanted)) != wanted or not inflater.eof or inflater.unused_data:
            raise BitstreamError(f"the picture's data does not inflate to just the {wanted} bytes of {height} x {width}")
        return np.asarray(PngImageFile(io.BytesIO(file)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
