"""Numbers as they are: float32, and 16-bit floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec._core import DefaultFloats
from featcodec.errors import BitstreamError
from featcodec.payloads.coder import Payload, PayloadCoder
from featcodec.payloads.layout import FloatArray
from featcodec.spec import check_choice

_LARGEST = {"float16": 65504.0, "bfloat16": float(np.uint32(0x7F7F0000).view(np.float32))}


class RawCoder(PayloadCoder):
    """Float32, little-endian."""

    codec_id = "raw"

    def encode_payload(self, x: FloatArray) -> Payload:
        """Return the bytes of `x`: a copy, for the memory that they come from may be written to."""
        return x.astype("<f4").reshape(-1).view(np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the floats back."""
        return _read(payload, shape, "<f4", self.codec_id).astype(np.float32)


class HalfCoder(PayloadCoder):
    """Float16 or bfloat16, little-endian, rounded to nearest even; what is too large for the format becomes its largest."""

    codec_id = "half"
    examples = ({"format": "float16"}, {"format": "bfloat16"})

    def __init__(self, *, format: str = "float16") -> None:
        super().__init__()
        self.format = check_choice("format", format, tuple(_LARGEST))

    def params(self) -> dict[str, Any]:
        """Return the format."""
        return {"format": self.format}

    def encode_payload(self, x: FloatArray) -> Payload:
        """Round, and return the bytes."""
        with DefaultFloats():
            kept = x.clip(-_LARGEST[self.format], _LARGEST[self.format])
            if self.format == "float16":
                payload: Payload = kept.astype("<f2").reshape(-1).view(np.uint8)
                return payload
            return bfloat16_bytes(kept)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Widen to float32."""
        with DefaultFloats():
            if self.format == "float16":
                x: FloatArray = _read(payload, shape, "<f2", self.codec_id).astype(np.float32)
                return x
            x = (_read(payload, shape, "<u2", self.codec_id).astype(np.uint32) << np.uint32(16)).view(np.float32)
            return x


def bfloat16_bytes(x: FloatArray) -> Payload:
    """Return numbers within the format as bfloat16, little-endian, rounded to nearest even."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) >> np.uint32(16)
    payload: Payload = rounded.astype("<u2").reshape(-1).view(np.uint8)
    return payload


def _read(payload: Payload, shape: tuple[int, ...], dtype: str, codec_id: str) -> NDArray[Any]:
    """The numbers of a payload that must hold just as many."""
    wanted = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
    if payload.size != wanted:
        raise BitstreamError(f"a {codec_id} payload of shape {shape} has {wanted} bytes, got {payload.size}")
    return np.frombuffer(np.ascontiguousarray(payload), dtype).reshape(shape)
