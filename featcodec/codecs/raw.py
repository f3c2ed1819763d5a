"""raw: the feature as it is, the baseline every other codec is measured against."""

from __future__ import annotations

import numpy as np

from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError


class RawCodec(Codec):
    """Float32 bytes, little-endian."""

    codec_id = "raw"

    def encode_payload(self, x: FloatArray) -> Payload:
        """Return the bytes of `x`: a copy, for the tensor that they come from may be written to."""
        return x.astype("<f4").reshape(-1).view(np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the floats back."""
        wanted = 4 * int(np.prod(shape, dtype=np.int64))
        if payload.size != wanted:
            raise BitstreamError(f"a raw payload of shape {shape} has {wanted} bytes, got {payload.size}")
        return np.frombuffer(np.ascontiguousarray(payload), "<f4").astype(np.float32).reshape(shape)
