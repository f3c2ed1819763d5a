"""MosaicCoder: the part that all image coders share: 8-bit min-max, the mosaic, and who checks what the coder returns."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from featcodec import _core
from featcodec.errors import BitstreamError, FeatureError
from featcodec.payloads import ranged
from featcodec.payloads.coder import Payload, PayloadCoder
from featcodec.payloads.layout import FloatArray, stacked
from featcodec.payloads.quantizer import Symbols
from featcodec.payloads.tiling import mosaic_shape, tile, untile

Picture = np.ndarray[Any, np.dtype[np.uint8]]


class MosaicCoder(PayloadCoder):
    """The maps of a sample as one grey picture (`featcodec.payloads.tiling`) before an image coder.

    Payload: see `payloads.ranged`; the sample is the one group, the picture its coded symbols. A subclass writes
    `encode_picture` and `decode_picture`.
    """

    max_side: ClassVar[int]

    def encode_picture(self, picture: Picture) -> bytes:
        """Code a grey picture (H, W)."""
        raise NotImplementedError

    def decode_picture(self, data: bytes, height: int, width: int) -> Picture:
        """Decode to (height, width) grey; check sizes before allocating, raise BitstreamError (or let the library raise).

        Both are within `max_side`, and so of no more pixels than a packet's elements ask for. Pillow's own limit of pixels, the
        user's to set for their own pictures, is not ours: Image.open has it in it, a format's own class mostly not.
        """
        raise NotImplementedError

    def encode_payload(self, x: FloatArray) -> Payload:
        """Quantise to 8 bits, lay out the mosaic, code the picture."""

        def encode_tiles(symbols: Symbols) -> Payload:
            self._check_side(x.shape, FeatureError)
            picture = np.ascontiguousarray(tile(symbols.astype(np.uint8).reshape(x.shape)))
            return np.frombuffer(self.encode_picture(picture), np.uint8)

        return ranged.encode(x, 8, "sample", encode_tiles)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the range, decode the picture, cut the tiles, dequantise."""

        def decode_tiles(data: Payload, _: int) -> Picture:
            height, width = self._check_side(shape, BitstreamError)
            return untile(self._decode_checked(data.tobytes(), height, width), shape)

        return ranged.decode(payload, shape, 8, "sample", decode_tiles)

    def _check_side(self, shape: tuple[int, ...], error: type[Exception]) -> tuple[int, int]:
        height, width = mosaic_shape(shape)
        if max(height, width) > self.max_side:
            raise error(f"{self.codec_id!r} codes pictures up to {self.max_side} a side; {shape} makes {height} x {width}")
        return height, width

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode samples in parallel: image coders release the GIL."""
        with ThreadPoolExecutor(max(1, min(len(x), _core.num_threads()))) as pool:
            return list(pool.map(self.encode_payload, [np.asarray(sample) for sample in x]))

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode samples in parallel."""
        with ThreadPoolExecutor(max(1, min(len(payloads), _core.num_threads()))) as pool:
            return stacked(pool.map(lambda payload: self.decode_payload(payload, shape), payloads), len(payloads), shape)

    def _decode_checked(self, data: bytes, height: int, width: int) -> Picture:
        try:
            picture = self.decode_picture(data, height, width)
        # What image libraries raise on damaged input: theirs to choose, ours to name.
        except (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError, zlib.error) as e:
            if isinstance(e, BitstreamError):
                raise
            raise BitstreamError(f"{self.codec_id!r} cannot decode the picture: {type(e).__name__}: {e}") from e
        if picture.shape != (height, width) or picture.dtype != np.uint8:
            raise BitstreamError(f"the picture is {picture.dtype} {picture.shape}, wanted uint8 {(height, width)}")
        return picture
