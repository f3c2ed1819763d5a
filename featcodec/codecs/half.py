"""half: the feature in 16-bit floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError
from featcodec.ops.cast import from_floats, saturating_cast, to_floats
from featcodec.spec import check_choice

_FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class HalfCodec(Codec):
    """Float16 or bfloat16 bytes, little-endian, rounded to nearest even; what is too large for the format becomes its largest.

    Parameters
    ----------
    format
        "float16" (5 exponent bits, up to 65504) or "bfloat16" (the range of float32, 8 bits of precision).
    """

    codec_id = "half"
    examples = ({"format": "float16"}, {"format": "bfloat16"})

    def __init__(self, *, format: str = "float16") -> None:
        super().__init__()
        self.format = check_choice("format", format, tuple(_FORMATS))

    def params(self) -> dict[str, Any]:
        """Return the format."""
        return {"format": self.format}

    def encode_payload(self, x: FloatArray) -> Payload:
        """Round, and return the bytes."""
        bits = from_floats(x, _FORMATS[self.format]).view(torch.int16).numpy()
        return bits.astype("<i2", copy=False).reshape(-1).view(np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Widen to float32."""
        wanted = 2 * int(np.prod(shape, dtype=np.int64))
        if payload.size != wanted:
            raise BitstreamError(f"a half payload of shape {shape} has {wanted} bytes, got {payload.size}")
        bits = np.frombuffer(np.ascontiguousarray(payload), "<i2").astype(np.int16).reshape(shape)
        return to_floats(torch.from_numpy(bits).view(_FORMATS[self.format]))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Round where `x` is."""
        return saturating_cast(saturating_cast(x.float(), _FORMATS[self.format]).float(), x.dtype)
