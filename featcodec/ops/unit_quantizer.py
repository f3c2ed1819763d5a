"""The n-bit quantiser of values in [0, 1] (BottleNet++, eq. 2): q = rint((2^n - 1) x), x^ = q / (2^n - 1), in IEEE double.

The authors' code multiplies by 256 instead, where x = 1 wraps round to 0: the paper is followed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.ops.straight_through import straight_through


def unit_quantize(x: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    """Return the words 0..2^bits - 1 of values in [0, 1]; what lies outside is clipped."""
    words: NDArray[np.int64] = np.rint(x.astype(np.float64).clip(0, 1) * (2**bits - 1)).astype(np.int64)
    return words


def unit_dequantize(words: NDArray[Any], bits: int) -> NDArray[np.float32]:
    """Return the values of words, or of expected words (floats), as float32."""
    values: NDArray[np.float32] = (words.astype(np.float64) / (2**bits - 1)).astype(np.float32)
    return values


def unit_reconstruct(x: Tensor, bits: int) -> Tensor:
    """Quantise and dequantise where `x` is, with the gradient of the identity."""
    with torch.no_grad():
        value = (torch.round(x.double().clamp(0, 1) * (2**bits - 1)) / (2**bits - 1)).to(x.dtype)
    return straight_through(x, value)
