"""webp: the mosaic through WebP, lossy or lossless."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, _webp

from featcodec.errors import BitstreamError
from featcodec.payloads.mosaic import MosaicCoder, Picture
from featcodec.spec import check_bool, check_int


class WebpCoder(MosaicCoder):
    """The bitstream of WebP's one image chunk; the RIFF container around it is not sent."""

    codec_id = "webp"
    examples = ({"quality": 80}, {"quality": 20}, {"lossless": True})
    max_side = 16383

    def __init__(self, *, quality: int = 80, lossless: bool = False) -> None:
        super().__init__()
        self.quality = check_int("quality", quality, 0, 100)
        self.lossless = check_bool("lossless", lossless)

    def params(self) -> dict[str, Any]:
        """Return quality and lossless."""
        return {"quality": self.quality, "lossless": self.lossless}

    @property
    def _chunk_kind(self) -> bytes:
        return b"VP8L" if self.lossless else b"VP8 "

    def encode_picture(self, picture: Picture) -> bytes:
        """Code the picture, keep the image chunk."""
        out = io.BytesIO()
        Image.fromarray(picture).convert("RGB").save(out, "WEBP", quality=self.quality, lossless=self.lossless, method=4)
        data = out.getvalue()
        kind, size = struct.unpack_from("<4sI", data, 12)
        if kind != self._chunk_kind:
            raise RuntimeError(f"WebP wrote a chunk {kind!r}, expected {self._chunk_kind!r}")
        return data[20 : 20 + size]

    def decode_picture(self, data: bytes, height: int, width: int) -> Picture:
        """Check the size the bitstream claims, put the container back, decode."""
        if _claimed_size(data, self.lossless) != (height, width):
            raise BitstreamError(f"the picture claims {_claimed_size(data, self.lossless)}, wanted {(height, width)}")
        padded = data + b"\0" * (len(data) % 2)
        body = b"WEBP" + self._chunk_kind + struct.pack("<I", len(data)) + padded
        # Pillow's decoder itself: its file class has the user's limit of pixels in it
        frame = _webp.WebPAnimDecoder(b"RIFF" + struct.pack("<I", len(body)) + body).get_next()
        if frame is None:
            raise BitstreamError("the picture's data ends early or is damaged")
        rgba: Picture = np.frombuffer(frame[0], np.uint8).reshape(height, width, 4)
        return np.ascontiguousarray(rgba[:, :, 1])


def _claimed_size(data: bytes, lossless: bool) -> tuple[int, int] | None:
    """(height, width) as the bitstream's first bytes say, before any library allocates them; None where they say nothing."""
    if lossless:
        if len(data) < 5 or data[0] != 0x2F:
            return None
        fields = int.from_bytes(data[1:5], "little")
        return (fields >> 14 & 0x3FFF) + 1, (fields & 0x3FFF) + 1
    if len(data) < 10 or data[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = struct.unpack_from("<HH", data, 6)
    return height & 0x3FFF, width & 0x3FFF
