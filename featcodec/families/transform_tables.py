"""Scale classes and tables of frequencies, measured on what a `transform` codec's matrices make of features."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from featcodec.payloads.transform import NUM_SYMBOLS, NUM_TABLES

Bytes = NDArray[np.uint8]

_TOTAL = 1 << 16
_LOWEST = -16  # the relative class of the first table; what is weaker is not coded
_HIGHEST = 16
_QUALITIES = range(4, 97, 6)  # counted together
_MOST_COUNTED = 1 << 22  # integers at each of them
_GUESSED = 30.0  # how many integers the formula's distribution counts for


def classes_of(t: NDArray[np.int32]) -> Bytes:
    """Return the scale class of each place: 8 log2 of the root of the mean square of T (n, N)."""
    spread = np.zeros(t.shape[1])
    for rows in np.array_split(t, max(1, t.size >> 22)):
        spread += np.square(rows, dtype=np.float64).sum(0)
    classes: Bytes = np.rint(4 * np.log2(np.maximum(spread / len(t), 1.0))).clip(0, 255).astype(np.uint8)
    return classes


def tables_of(t: NDArray[np.int32], scale_class: Bytes, offset: Bytes) -> NDArray[np.int32]:
    """Return the tables (33, 16) that code the integers of T (n, N) best, all places of one relative class together."""
    counts = _GUESSED * np.stack([_guess(r) for r in range(_LOWEST, _HIGHEST + 1)])
    rows = t[:: max(1, t.size // _MOST_COUNTED)]
    for quality in _QUALITIES:
        level = np.minimum(156 - quality + offset.astype(np.int64), 208)
        relative = scale_class.astype(np.int64) - level
        coded = relative >= _LOWEST
        counts += _counted(np.abs(rows[:, coded]), relative[coded], level[coded])
    return _frequencies(counts)


def _counted(t: NDArray[np.int32], relative: NDArray[np.int64], level: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each symbol of each table comes."""
    low_bits = np.maximum(0, -((_HIGHEST - relative) // 8))
    table = relative - 8 * low_bits - _LOWEST
    q = np.floor(t / 2.0 ** (level / 8) + 0.5)
    symbols = np.minimum(np.floor(q / 2.0**low_bits), NUM_SYMBOLS - 1).astype(np.int64)
    counts = np.bincount((table * NUM_SYMBOLS + symbols).reshape(-1), minlength=NUM_TABLES * NUM_SYMBOLS)
    return counts.reshape(NUM_TABLES, NUM_SYMBOLS).astype(np.float64)


def _guess(relative: int) -> NDArray[np.float64]:
    """Laplace's distribution of a standard deviation of 2^(relative / 8) steps, in cells of one step."""
    edges = np.concatenate([[0.0], np.arange(NUM_SYMBOLS - 1) + 0.5, [np.inf]])
    above = np.exp(-math.sqrt(2) * edges / 2 ** (relative / 8))
    return above[:-1] - above[1:]


def _frequencies(counts: NDArray[np.float64]) -> NDArray[np.int32]:
    """Integers of at least 1 whose rows sum to 2^16."""
    share = counts / counts.sum(1, keepdims=True)
    frequencies = 1 + np.floor(share * (_TOTAL - NUM_SYMBOLS)).astype(np.int64)
    # what rounding down left over goes to the likeliest
    frequencies[np.arange(len(share)), share.argmax(1)] += _TOTAL - frequencies.sum(1)
    tables: NDArray[np.int32] = frequencies.astype(np.int32)
    return tables
