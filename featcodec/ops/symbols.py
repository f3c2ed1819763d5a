"""Analog channel symbols as payloads: rows of finite float32, and back, trusting none that arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.errors import BitstreamError

Symbols = NDArray[np.float32]

_LARGEST = 1e30  # larger symbols are clipped: sums of their squares, and networks, stay within float64 and float32


def to_payload(symbols: Tensor) -> Symbols:
    """Return the symbols of one sample, any shape, as a payload (N,)."""
    payload: Symbols = symbols.detach().reshape(-1).clamp(-_LARGEST, _LARGEST).float().cpu().numpy()
    return payload


def from_payload(payload: np.ndarray[Any, np.dtype[Any]], least: int, most: int) -> Tensor:
    """Return what arrived as a row (1, N) float32.

    Raises
    ------
    BitstreamError
        There are not `least` to `most` symbols, or some are not finite.
    """
    if not least <= payload.size <= most:
        wanted = f"{most}" if least == most else f"{least}..{most}"
        raise BitstreamError(f"a payload of {wanted} channel symbols was expected, got {payload.size}")
    bad = int(np.count_nonzero(~np.isfinite(payload)))
    if bad:
        raise BitstreamError(f"{bad} of {payload.size} channel symbols are not finite")
    return torch.from_numpy(payload.astype(np.float32)).clamp(-_LARGEST, _LARGEST)[None]


def to_unit_power(symbols: Tensor) -> Tensor:
    """Scale each row of (B, N) to a mean square of 1; a row of zeros stays one. Differentiable."""
    wide = symbols.float()
    # the greatest goes to 1 first, so that no square over- or underflows
    greatest = wide.detach().abs().amax(dim=1, keepdim=True)
    scaled = wide / torch.where(greatest > 0, greatest, 1.0)
    power = scaled.square().mean(dim=1, keepdim=True)
    return scaled / torch.where(power > 0, power, 1.0).sqrt()
