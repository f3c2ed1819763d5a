"""Quantisers in NumPy; `ops.quantizer` has their values in torch.

Min-max, n bits (BottleNet eq. 1; Choi and Bajic 2018):

    q = rint((x - m) / (M - m) * (2^n - 1)),    x^ = m + q * ((M - m) / (2^n - 1)),    m = min x, M = max x

Unit, for values in [0, 1] (BottleNet++, eq. 2): q = rint((2^n - 1) x), x^ = q / (2^n - 1). The authors' code multiplies by 256
instead, where x = 1 wraps round to 0: the paper is followed.

All steps are IEEE double precision in the order written, rounding half to even; only x^ is rounded to float32. So the span
of float32 neither overflows nor underflows, x^ of q = 0 is m itself, and every implementation gives the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Symbols = NDArray[np.uint16]
MAX_BITS = 16
_BLOCK = 1 << 18


def minmax_ranges(groups: FloatArray) -> FloatArray:
    """Return (G, 2): minimum and maximum of each row of `groups` (G, N), N >= 1; zeros +0, whichever NumPy comes upon first."""
    ranges: FloatArray = np.stack([groups.min(axis=1), groups.max(axis=1)], axis=1) + np.float32(0)
    return ranges


def zero_level_ranges(ranges: FloatArray, bits: int) -> FloatArray:
    """Return the ranges that are sent for plain ones where 0 shall be a level: docs/conventions.md, "Zero is a level".

    Parameters
    ----------
    ranges
        (G, 2) float32: minimum and maximum of each row. Rows whose two are equal stay as they are.
    bits
        2..16.

    Returns
    -------
    FloatArray
        (G, 2), zeros +0: the core's, for which csrc/quantize/quantize.cpp has the proof that they hold each row's values.
    """
    wide = ranges.astype(np.float64)
    low, high, top = np.minimum(wide[:, 0], 0.0), np.maximum(wide[:, 1], 0.0), float(2**bits - 1)
    span = high - low
    nearest = np.rint(-low / np.where(span > 0, span, 1.0) * top).clip(1, top - 1)
    z = np.where(low == 0, 0.0, np.where(high == 0, top, nearest))
    step = np.maximum(-low / np.maximum(z, 1), np.where(z < top, high / np.maximum(top - z, 1), 0.0))
    dropped = np.uint64((1 << 53 - (24 - bits)) - 1)
    step = ((step.view(np.uint64) + dropped) & ~dropped).view(np.float64)  # up, to 24 - bits significant bits
    sent = np.stack([0.0 - z * step, (top - z) * step], axis=1)
    plain = (wide[:, 0] >= wide[:, 1]) | (step < 2.0**-126) | (np.abs(sent).max(axis=1) > np.finfo(np.float32).max)
    chosen: FloatArray = np.where(plain[:, None], wide + 0.0, sent).astype(np.float32)
    return chosen


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


def minmax_dequantize(symbols: NDArray[Any], ranges: FloatArray, bits: int, out: FloatArray | None = None) -> FloatArray:
    """Return the float32 values (G, N) of symbols (G, N) in the given ranges (G, 2); expected symbols need not be integers.

    By blocks: doubles are made of some values at a time. `out`: where the values shall lie.
    """
    values: FloatArray = np.empty(symbols.shape, np.float32) if out is None else out
    low, span = _low_and_span(ranges)
    step = span / (2**bits - 1)
    for rows, columns in _blocks(symbols.shape):
        values[rows, columns] = low[rows] + symbols[rows, columns].astype(np.float64) * step[rows]
    return values


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of blocks of at most _BLOCK elements that make up a matrix of this shape."""
    columns = min(shape[1], _BLOCK)
    rows = max(_BLOCK // max(columns, 1), 1)
    for row in range(0, shape[0], rows):
        for column in range(0, shape[1], columns):
            yield slice(row, row + rows), slice(column, column + columns)


def unit_quantize(x: FloatArray, bits: int) -> NDArray[np.int64]:
    """Return the words 0..2^bits - 1 of values in [0, 1]; what lies outside is clipped."""
    words: NDArray[np.int64] = np.rint(x.astype(np.float64).clip(0, 1) * (2**bits - 1)).astype(np.int64)
    return words


def unit_dequantize(words: NDArray[Any], bits: int) -> FloatArray:
    """Return the values of words, or of expected words (floats), as float32."""
    values: FloatArray = (words.astype(np.float64) / (2**bits - 1)).astype(np.float32)
    return values


def _low_and_span(ranges: FloatArray) -> tuple[NDArray[Any], NDArray[Any]]:
    wide = ranges.astype(np.float64)
    return wide[:, :1], wide[:, 1:] - wide[:, :1]
