"""Quantisers in NumPy; `ops.quantizer` has their values in torch.

Min-max, n bits (BottleNet eq. 1; Choi and Bajic 2018):

    q = rint((x - m) / (M - m) * (2^n - 1)),    x^ = m + q * ((M - m) / (2^n - 1)),    m = min x, M = max x

Unit, for values in [0, 1] (BottleNet++, eq. 2): q = rint((2^n - 1) x), x^ = q / (2^n - 1). The authors' code multiplies by 256
instead, where x = 1 wraps round to 0: the paper is followed.

A step for every map c (docs/bitstream.md, "Steps by maps"): q = rint(x / Q_c), x^ = q Q_c, Q_c = Q 2^(e_c / 8), with constants
of 17 bits for the powers of two between octaves, so that Q_c is exact in double.

All steps are IEEE double precision in the order written, rounding half to even; only x^ is rounded to float32. So the span
of float32 neither overflows nor underflows, x^ of q = 0 is m itself, and every implementation gives the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec._core import DefaultFloats
from featcodec.errors import ConfigError

FloatArray = NDArray[np.float32]
Symbols = NDArray[np.uint16]
MAX_BITS = 16
MOST_EXPONENT = 64  # eighths of an octave: no map's step is more than 2^8 times the finest
_BLOCK = 1 << 18
_EIGHTHS = np.array([65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194]) / 65536  # 2^(i / 8)


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


def map_steps(step: float, exponents: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return each map's step, step 2^(exponent / 8), from its exponent (C,), 0..64; the step as float32.

    Raises
    ------
    ConfigError
        An exponent is above 64.
    """
    if exponents.max() > MOST_EXPONENT:
        raise ConfigError(f"map_exponents of a state are 0..{MOST_EXPONENT}, got {exponents.max()}")
    steps: NDArray[np.float64] = np.ldexp(_single(step) * _EIGHTHS[exponents % 8], exponents // 8)
    return steps


def to_one_step(x: FloatArray, step: float, steps: NDArray[np.float64]) -> FloatArray:
    """Return what a quantiser of one step has the symbols of that a step for every map gives.

    Parameters
    ----------
    x
        (B, C, ...) float32, finite.
    step
        Q, used as float32.
    steps
        (C,): those of `map_steps`, none below Q. So what has no 16-bit integer by its map's step has none by Q, and stays.

    Returns
    -------
    FloatArray
        The shape of `x`: q Q.
    """
    out: FloatArray = np.empty(x.shape, np.float32)
    _exchange(x, out, steps, np.full(len(steps), _single(step)))
    return out


def from_one_step(values: FloatArray, step: float, steps: NDArray[np.float64]) -> None:
    """Make q Q_c of each q Q in (B, C, ...), contiguous, where it is."""
    _exchange(values, values, np.full(len(steps), _single(step)), steps)


def _single(step: float) -> float:
    with DefaultFloats():
        return float(np.float32(step))


def _exchange(x: FloatArray, out: FloatArray, old: NDArray[np.float64], new: NDArray[np.float64]) -> None:
    """Write rint(x / old) new to `out` where that integer has 16 bits, else x."""
    rows, to = (array.reshape(len(x) * len(old), -1) for array in (x, out))
    before, after = (np.tile(steps, len(x))[:, None] for steps in (old, new))
    with DefaultFloats():
        for some, columns in _blocks(rows.shape):
            wide = rows[some, columns].astype(np.float64)
            q = np.rint(wide / before[some])
            to[some, columns] = np.where((q >= -(1 << 15)) & (q < 1 << 15), q * after[some], wide)


def _low_and_span(ranges: FloatArray) -> tuple[NDArray[Any], NDArray[Any]]:
    wide = ranges.astype(np.float64)
    return wide[:, :1], wide[:, 1:] - wide[:, :1]
