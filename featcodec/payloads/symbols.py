"""Analog channel symbols as payloads: rows of finite float32, and back, trusting none that arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError

Symbols = NDArray[np.float32]

_LARGEST = 1e30  # larger symbols are clipped: sums of their squares, and networks, stay within float64 and float32


def to_payload(symbols: NDArray[np.floating[Any]]) -> Symbols:
    """Return the symbols of one sample, any shape, as a payload (N,)."""
    payload: Symbols = symbols.reshape(-1).clip(-_LARGEST, _LARGEST).astype(np.float32)
    return payload


def from_payload(payload: np.ndarray[Any, np.dtype[Any]], least: int, most: int) -> Symbols:
    """Return what arrived, (N,) float32.

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
    return to_payload(payload)
