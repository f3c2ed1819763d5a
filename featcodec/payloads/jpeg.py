"""jpeg: the mosaic through JPEG, as BottleNet sends it; the headers are rebuilt by the decoder and cost nothing."""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from featcodec.payloads.mosaic import MosaicCoder, Picture
from featcodec.spec import check_int

# ITU-T T.81 table K.1, in row order.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
# Tables K.3 and K.5: how many codes of each length 1..16, then the values in code order.
_DC_CODE = bytes.fromhex("00010501010101010100000000000000000102030405060708090a0b")
_AC_CODE = bytes.fromhex(
    "0002010303020403050504040000017d"
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a"
    "434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aa"
    "b2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
)


class JpegCoder(MosaicCoder):
    """Baseline grey JPEG with the standard's own tables: only the scan is sent (abbreviated format, T.81 annex B.5)."""

    codec_id = "jpeg"
    examples = ({"quality": 95}, {"quality": 20}, {"quality": 5})
    max_side = 65500

    def __init__(self, *, quality: int = 20) -> None:
        super().__init__()
        self.quality = check_int("quality", quality, 1, 100)

    def params(self) -> dict[str, Any]:
        """Return the quality."""
        return {"quality": self.quality}

    def encode_picture(self, picture: Picture) -> bytes:
        """Code the picture, keep the scan's entropy-coded bytes."""
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", qtables=[quantization_table(self.quality)], optimize=False)
        return _scan_of(out.getvalue())

    def decode_picture(self, data: bytes, height: int, width: int) -> Picture:
        """Put the headers back before the scan and decode."""
        file = jpeg_header(self.quality, height, width) + data + b"\xff\xd9"
        return np.asarray(JpegImageFile(io.BytesIO(file)))


def quantization_table(quality: int) -> list[int]:
    """Return the 64 luminance steps, in row order, of a quality on the Independent JPEG Group's scale."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((step * scale + 50) // 100, 1), 255) for row in _LUMINANCE for step in row]


@lru_cache(maxsize=64)
def jpeg_header(quality: int, height: int, width: int) -> bytes:
    """Return everything of a baseline grey JPEG file before the entropy-coded bytes: what quality and size determine."""
    zigzag = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
    steps = quantization_table(quality)
    return b"".join(
        [
            b"\xff\xd8",
            _segment(0xDB, b"\0" + bytes(steps[i] for i in zigzag)),
            _segment(0xC0, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0)),
            _segment(0xC4, b"\x00" + _DC_CODE),
            _segment(0xC4, b"\x10" + _AC_CODE),
            _segment(0xDA, bytes([1, 1, 0, 0, 63, 0])),
        ]
    )


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _scan_of(file: bytes) -> bytes:
    """The entropy-coded bytes of a file; its Huffman codes must be the standard's, which the decoder rebuilds."""
    position, codes = 2, b""
    while file[position + 1] != 0xDA:
        (size,) = struct.unpack_from(">H", file, position + 2)
        if file[position + 1] == 0xC4:
            codes += file[position + 4 : position + 2 + size]
        position += 2 + size
    if codes != b"\x00" + _DC_CODE + b"\x10" + _AC_CODE:
        raise RuntimeError("this Pillow's JPEG library does not write the standard Huffman codes")
    (size,) = struct.unpack_from(">H", file, position + 2)
    return file[position + 2 + size : -2]
