"""half: the feature in 16-bit floats."""

from __future__ import annotations

from torch import Tensor

from featcodec.codec import Codec
from featcodec.ops.cast import DTYPES, saturating_cast
from featcodec.payloads.plain import HalfCoder


class HalfCodec(HalfCoder, Codec):
    """Float16 or bfloat16 bytes, little-endian, rounded to nearest even; what is too large for the format becomes its largest.

    Parameters
    ----------
    format
        "float16" (5 exponent bits, up to 65504) or "bfloat16" (the range of float32, 8 bits of precision).
    """

    def reconstruct(self, x: Tensor) -> Tensor:
        """Round where `x` is."""
        return saturating_cast(saturating_cast(x.float(), DTYPES[self.format]).float(), x.dtype)
