"""The values that the quantisers of `payloads.quantizer` and of the core give, computed where a batch is: for training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from featcodec.ops.cast import saturating_cast
from featcodec.ops.steps import check_step
from featcodec.ops.straight_through import straight_through


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
    """Return Q rint(x / Q) of a batch, Q as float32; in double, rounded once to float32.

    Raises
    ------
    FeatureError
        An integer has more than 16 bits: see `ops.steps`.
    """
    step = float(np.float32(step))
    check_step(x, step)
    symbols = torch.round(x.double() / step)
    return saturating_cast((symbols * step).float(), x.dtype)


def unit_reconstruct(x: Tensor, bits: int) -> Tensor:
    """Quantise and dequantise values in [0, 1], what lies outside clipped, with the gradient of the identity."""
    with torch.no_grad():
        value = (torch.round(x.double().clamp(0, 1) * (2**bits - 1)) / (2**bits - 1)).to(x.dtype)
    return straight_through(x, value)


def map_axes(x: Tensor) -> tuple[int, ...]:
    """Return the axes of a batch (B, ...) that run within one map (`payloads.layout`)."""
    if x.ndim < 3:
        return tuple(range(1, x.ndim))
    return (1,) if x.ndim == 3 else tuple(range(2, x.ndim))
