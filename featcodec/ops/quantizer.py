"""The n-bit uniform min-max quantiser (BottleNet eq. 1; Choi and Bajic 2018), in NumPy and, with the same values, in torch.

    q = rint((x - m) / (M - m) * (2^n - 1)),    x^ = m + q * ((M - m) / (2^n - 1)),    m = min x, M = max x

All steps are IEEE double precision in the order written, rounding half to even; only x^ is rounded to float32. So the span
of float32 neither overflows nor underflows, x^ of q = 0 is m itself, and every implementation gives the same integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.ops.cast import saturating_cast
from featcodec.ops.layout import map_axes

FloatArray = NDArray[np.float32]
Symbols = NDArray[np.uint16]
MAX_BITS = 16


def minmax_ranges(groups: FloatArray) -> FloatArray:
    """Return (G, 2): minimum and maximum of each row of `groups` (G, N), N >= 1."""
    ranges: FloatArray = np.stack([groups.min(axis=1), groups.max(axis=1)], axis=1)
    return ranges


def minmax_quantize(groups: FloatArray, ranges: FloatArray, bits: int) -> Symbols:
    """Quantise rows.

    Parameters
    ----------
    groups
        (G, N) float32, finite.
    ranges
        (G, 2) float32: minimum and maximum of each row; a row whose two are equal gives zeros.
    bits
        1..16.

    Returns
    -------
    Symbols
        (G, N) uint16 in 0..2^bits - 1.
    """
    low, span = _low_and_span(ranges)
    safe = np.where(span > 0, span, 1.0)
    scaled = (groups.astype(np.float64) - low) / safe * (2**bits - 1)
    symbols: Symbols = np.rint(scaled).astype(np.uint16)
    return symbols


def minmax_dequantize(symbols: NDArray[Any], ranges: FloatArray, bits: int) -> FloatArray:
    """Return the float32 values (G, N) of symbols (G, N) in the given ranges (G, 2); expected symbols need not be integers."""
    low, span = _low_and_span(ranges)
    values: FloatArray = (low + symbols.astype(np.float64) * (span / (2**bits - 1))).astype(np.float32)
    return values


def minmax_reconstruct(x: Tensor, bits: int, per_map: bool) -> Tensor:
    """Quantise and dequantise a batch where it is: the values `minmax_quantize` and `minmax_dequantize` give, bit for bit.

    Parameters
    ----------
    x
        (B, ...) float32, float16 or bfloat16, finite; each sample has its own range.
    bits
        1..16.
    per_map
        One range per map instead of one per sample.

    Returns
    -------
    Tensor
        The shape, dtype and device of `x`.
    """
    wide = x.double()
    axes = map_axes(x) if per_map else tuple(range(1, x.ndim))
    low = wide.amin(dim=axes, keepdim=True) if axes else wide
    span = (wide.amax(dim=axes, keepdim=True) if axes else wide) - low
    safe = torch.where(span > 0, span, torch.ones_like(span))
    symbols = torch.round((wide - low) / safe * (2**bits - 1))
    return saturating_cast((low + symbols * (span / (2**bits - 1))).float(), x.dtype)


def step_reconstruct(x: Tensor, step: float) -> Tensor:
    """Return Q rint(x / Q) of a batch, Q as float32, integers clipped to 16 bits; in double, rounded once to float32."""
    step = float(np.float32(step))
    symbols = torch.round(x.double() / step).clamp(-(1 << 15), (1 << 15) - 1)
    return saturating_cast((symbols * step).float(), x.dtype)


def _low_and_span(ranges: FloatArray) -> tuple[NDArray[Any], NDArray[Any]]:
    wide = ranges.astype(np.float64)
    return wide[:, :1], wide[:, 1:] - wide[:, :1]
