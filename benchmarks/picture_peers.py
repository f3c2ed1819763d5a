"""Peers that are lossless image formats: the maps of a tensor as tiles of one picture."""

from __future__ import annotations

import importlib
import io
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from benchmarks.coders import Coder, Encoded, Shape, Symbols
from featcodec.payloads.tiling import tile, untile


class Picture(Coder):
    """A lossless image format on the mosaic of the maps, 8 bits a sample; container included."""

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Lay out the mosaic and code it."""
        return self.encode_picture(tile(symbols))

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Decode the picture and cut it into maps."""
        return untile(self.decode_picture(bytes(data)), shape)

    def encode_picture(self, picture: Symbols) -> bytes:
        """Code a picture (height, width)."""
        raise NotImplementedError

    def decode_picture(self, data: bytes) -> Symbols:
        """Undo `encode_picture`."""
        raise NotImplementedError


class PillowPicture(Picture):
    """A format that Pillow writes."""

    package = "pillow"
    format = ""
    options: ClassVar[dict[str, Any]] = {}

    def encode_picture(self, picture: Symbols) -> bytes:
        """Save into memory."""
        out = io.BytesIO()
        Image.fromarray(picture).save(out, self.format, **self.options)
        return out.getvalue()

    def decode_picture(self, data: bytes) -> Symbols:
        """Open from memory."""
        with Image.open(io.BytesIO(data), formats=(self.format,)) as image:
            return np.asarray(image)


class Png(PillowPicture):
    """PNG at Pillow's default effort."""

    name = "png"
    format = "PNG"


class WebP(PillowPicture):
    """Lossless WebP at Pillow's default effort; it knows colour only, so grey is stored three times (and costs no more)."""

    name = "webp lossless"
    format = "WEBP"
    options: ClassVar[dict[str, Any]] = {"lossless": True}

    def encode_picture(self, picture: Symbols) -> bytes:
        """Save as grey colour."""
        out = io.BytesIO()
        Image.fromarray(picture).convert("RGB").save(out, self.format, **self.options)
        return out.getvalue()

    def decode_picture(self, data: bytes) -> Symbols:
        """Open and keep one of the three equal planes."""
        return np.ascontiguousarray(super().decode_picture(data)[:, :, 1])


class JpegXl(Picture):
    """Lossless JPEG XL on one thread.

    Parameters
    ----------
    effort
        1..9; 7 is the format's default.
    """

    package = "imagecodecs"

    def __init__(self, effort: int) -> None:
        self.name = f"jpeg xl {effort}"
        self._effort = effort

    def load(self) -> None:
        """Import, and see that the build has the format."""
        self._codecs = importlib.import_module("imagecodecs")
        if not self._codecs.JPEGXL.available:
            raise ImportError("imagecodecs was built without JPEG XL")

    def encode_picture(self, picture: Symbols) -> bytes:
        """Code without loss."""
        data: bytes = self._codecs.jpegxl_encode(picture, lossless=True, effort=self._effort, numthreads=1)
        return data

    def decode_picture(self, data: bytes) -> Symbols:
        """Decode on one thread."""
        picture: Symbols = self._codecs.jpegxl_decode(data, numthreads=1)
        return picture


class Jpegls(Picture):
    """JPEG-LS (CharLS)."""

    name = "jpeg-ls"
    package = "imagecodecs"

    def load(self) -> None:
        """Import, and see that the build has the format."""
        self._codecs = importlib.import_module("imagecodecs")
        if not self._codecs.JPEGLS.available:
            raise ImportError("imagecodecs was built without JPEG-LS")

    def encode_picture(self, picture: Symbols) -> bytes:
        """Code without loss."""
        data: bytes = self._codecs.jpegls_encode(picture)
        return data

    def decode_picture(self, data: bytes) -> Symbols:
        """Decode."""
        picture: Symbols = self._codecs.jpegls_decode(data)
        return picture
