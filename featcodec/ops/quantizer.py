"""The values that the quantisers of `payloads.quantizer` and of the core give, computed where a batch is: for training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from featcodec.ops import steps
from featcodec.ops.blocks import in_blocks
from featcodec.ops.cast import saturating_cast
from featcodec.ops.straight_through import straight_through


def minmax_reconstruct(x: Tensor, bits: int, axis: str) -> Tensor:
    """Quantise and dequantise a batch where it is: the values `minmax_quantize` and `minmax_dequantize` give, bit for bit.

    Parameters
    ----------
    x
        (B, ...) float32, float16 or bfloat16, finite; each sample has its own range.
    bits
        1..16.
    axis
        "sample", "map" or "token": what has a range of its own (`payloads.layout`); a token's has 0 for a level.

    Returns
    -------
    Tensor
        The shape, dtype and device of `x`.
    """
    return in_blocks(lambda part: _minmax_reconstruct(part, bits, axis), x)


def _minmax_reconstruct(x: Tensor, bits: int, axis: str) -> Tensor:
    wide = x.double()
    axes = _group_axes(x, axis)
    low, high = (wide.amin(dim=axes, keepdim=True), wide.amax(dim=axes, keepdim=True)) if axes else (wide, wide)
    if axis == "token":
        low, high = _zero_level(low, high, bits)
    span = high - low
    safe = torch.where(span > 0, span, torch.ones_like(span))
    symbols = torch.round((wide - low) / safe * (2**bits - 1))
    return saturating_cast((low + symbols * (span / (2**bits - 1))).float(), x.dtype)


def _zero_level(low: Tensor, high: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """`payloads.quantizer.zero_level_ranges` in torch, of minima and maxima in double."""
    below, above, top = low.clamp(max=0.0), high.clamp(min=0.0), float(2**bits - 1)
    span = above - below
    nearest = torch.round(-below / torch.where(span > 0, span, 1.0) * top).clamp(1, top - 1)
    z = torch.where(below == 0, 0.0, torch.where(above == 0, top, nearest))
    step = torch.maximum(-below / z.clamp(min=1), torch.where(z < top, above / (top - z).clamp(min=1), 0.0))
    dropped = (1 << 53 - (24 - bits)) - 1
    step = ((step.view(torch.int64) + dropped) & ~dropped).view(torch.float64)
    first, last = 0.0 - z * step, (top - z) * step
    largest = torch.finfo(torch.float32).max
    plain = (low >= high) | (step < 2.0**-126) | (first < -largest) | (last > largest)
    return torch.where(plain, low, first), torch.where(plain, high, last)


def step_reconstruct(x: Tensor, step: float) -> Tensor:
    """Return Q rint(x / Q) of a batch, Q as float32; in double, rounded once to float32; what has no 16-bit integer stays."""
    step = float(np.float32(step))
    return in_blocks(lambda part: _step_reconstruct(part, step), x)


def map_steps_reconstruct(x: Tensor, steps: Tensor) -> Tensor:
    """Return Q_c rint(x / Q_c) of a batch with C maps, as `step_reconstruct` does; `steps` (C,) are doubles on any device."""
    within = (0, *map_axes(x))
    each = steps.to(x.device).view([1 if axis in within else -1 for axis in range(x.ndim)])
    return in_blocks(lambda part: _step_reconstruct(part, each), x)


def _step_reconstruct(x: Tensor, step: float | Tensor) -> Tensor:
    symbols = torch.round(x.double() / step)
    coded = (symbols >= -(1 << 15)) & (symbols < 1 << 15)
    return torch.where(coded, saturating_cast((symbols * step).float(), x.dtype), x)


def check_step(x: Tensor, step: float, integers: tuple[int, int], most: float) -> None:
    """Raise FeatureError as `steps.check_step` does: one comparison where `x` is."""
    low, high = torch.stack(torch.aminmax(x.detach())).double().tolist()
    if not steps.has_integers(low, high, step, integers):
        steps.check_step(x.detach().double().cpu().numpy(), step, integers, most)


def unit_reconstruct(x: Tensor, bits: int) -> Tensor:
    """Quantise and dequantise values in [0, 1], what lies outside clipped, with the gradient of the identity."""
    with torch.no_grad():
        value = (torch.round(x.double().clamp(0, 1) * (2**bits - 1)) / (2**bits - 1)).to(x.dtype)
    return straight_through(x, value)


def _group_axes(x: Tensor, axis: str) -> tuple[int, ...]:
    if axis == "map":
        return map_axes(x)
    return (2,) if axis == "token" and x.ndim == 3 else tuple(range(1, x.ndim))


def map_axes(x: Tensor) -> tuple[int, ...]:
    """Return the axes of a batch (B, ...) that run within one map (`payloads.layout`)."""
    if x.ndim < 3:
        return tuple(range(1, x.ndim))
    return (1,) if x.ndim == 3 else tuple(range(2, x.ndim))
