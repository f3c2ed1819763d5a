"""MosaicCodec: the part that all image-coder codecs share: 8-bit min-max, the mosaic, and who checks what the coder returns."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch

from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError, FeatureError
from featcodec.families.quantized import range_parts
from featcodec.payloads.quantizer import minmax_dequantize, minmax_quantize, minmax_ranges
from featcodec.payloads.tiling import mosaic_shape, tile, untile

Picture = np.ndarray[Any, np.dtype[np.uint8]]


class MosaicCodec(Codec):
    """The maps of a sample as one grey picture (`featcodec.payloads.tiling`) before an image coder.

    Payload: minimum and maximum of the sample, float32 little-endian, then the coded picture; a constant sample sends its
    minimum alone. A subclass writes `encode_picture` and `decode_picture`.
    """

    stable_bytes: ClassVar[bool] = False
    max_side: ClassVar[int]

    def encode_picture(self, picture: Picture) -> bytes:
        """Code a grey picture (H, W)."""
        raise NotImplementedError

    def decode_picture(self, data: bytes, height: int, width: int) -> Picture:
        """Decode to (height, width) grey; check sizes before allocating, raise BitstreamError (or let the library raise)."""
        raise NotImplementedError

    def encode_payload(self, x: FloatArray) -> Payload:
        """Quantise to 8 bits, lay out the mosaic, code the picture."""
        flat = x.reshape(1, -1)
        ranges = minmax_ranges(flat)
        if ranges[0, 0] == ranges[0, 1]:
            return ranges[0, :1].astype("<f4").view(np.uint8)
        height, width = mosaic_shape(x.shape)
        if max(height, width) > self.max_side:
            raise FeatureError(
                f"{self.codec_id!r} codes pictures up to {self.max_side} a side; {x.shape} makes {height} x {width}"
            )
        symbols = minmax_quantize(flat, ranges, 8).astype(np.uint8).reshape(x.shape)
        picture = np.ascontiguousarray(tile(symbols))
        return np.frombuffer(ranges.astype("<f4").tobytes() + self.encode_picture(picture), np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the range, decode the picture, cut the tiles, dequantise."""
        data = payload.tobytes()
        if len(data) != 4 and len(data) <= 8:
            raise BitstreamError(f"a mosaic payload has 4 bytes (constant) or more than 8, got {len(data)}")
        ranges = np.frombuffer(data[:4] * 2 if len(data) == 4 else data[:8], "<f4").astype(np.float32).reshape(1, 2)
        low, high = ranges[0]
        if not (math.isfinite(low) and math.isfinite(high) and low <= high and (low < high or len(data) == 4)):
            raise BitstreamError(f"the payload's range {low} to {high} is not one that an encoder writes")
        if len(data) == 4:
            return np.full(shape, low, np.float32)
        height, width = mosaic_shape(shape)
        if max(height, width) > self.max_side:
            raise BitstreamError(
                f"{self.codec_id!r} codes pictures up to {self.max_side} a side; {shape} makes {height} x {width}"
            )
        symbols = untile(self._decode_checked(data[8:], height, width), shape).astype(np.uint16)
        return minmax_dequantize(symbols.reshape(1, -1), ranges, 8).reshape(shape)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the range from the picture."""
        return range_parts(payload, 1)

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode samples in parallel: image coders release the GIL."""
        with ThreadPoolExecutor(max(1, min(len(x), torch.get_num_threads()))) as pool:
            return list(pool.map(self.encode_payload, [np.asarray(sample) for sample in x]))

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode samples in parallel."""
        with ThreadPoolExecutor(max(1, min(len(payloads), torch.get_num_threads()))) as pool:
            return np.stack(list(pool.map(lambda payload: self.decode_payload(payload, shape), payloads)))

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
