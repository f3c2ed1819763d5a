"""Scale classes, tables of frequencies and drift, measured on what a `transform` codec's matrices make of features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.payloads.transform import NUM_SYMBOLS, NUM_TABLES, Layout, core_coder

Arrays = dict[str, NDArray[Any]]
Counts = NDArray[np.float64]

_TOTAL = 1 << 16
_LOWEST = -16  # the relative class of the first table; what is weaker is not coded
_QUALITIES = range(4, 97, 6)  # counted together
_MOST_COUNTED = 1 << 24  # integers at each of them
_GUESSED = 30.0  # how many integers the formula's distribution counts for
_GAINS = (0, 2, 4, 8)  # of a drift: classes that the likeliest scale of one integer alone would move by, at most
_WEIGHED = (30, 50, 70)  # qualities at which drifts are compared
_MOST_WEIGHED = 256  # features
_DRIFT_ONE = 256  # of a class


def coding_of(layout: Layout, state: Arrays, grids: NDArray[np.float32]) -> Arrays:
    """Return `scale_class`, `tables` and `drift` for a state that has the matrices, from features (n, C, h, w).

    Of some strengths of the drift, none among them, the one is taken with which the features take the fewest bytes.
    """
    components = core_coder(layout, state).analyse(grids)
    found = {"scale_class": classes_of(components.reshape(-1, layout.places))}
    rows = np.ascontiguousarray(components[:: max(1, components.size // _MOST_COUNTED)])
    weighed = np.ascontiguousarray(grids[:: -(-len(grids) // _MOST_WEIGHED)])
    least = math.inf
    for gain in _GAINS:
        tried = {**state, **found, "drift": drift_of(gain)}
        tried["tables"] = tables_of(layout, tried, rows)
        coder = core_coder(layout, tried)
        size = sum(math.log(1 + sum(map(len, coder.encode(weighed, quality)))) for quality in _WEIGHED)
        if size < least:
            least, best = size, {name: tried[name] for name in ("tables", "drift")}
    return found | best


def classes_of(t: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the scale class of each place: 8 log2 of the root of the mean square of T (n, N)."""
    spread = np.zeros(t.shape[1])
    for rows in np.array_split(t, max(1, t.size >> 22)):
        spread += np.square(rows, dtype=np.float64).sum(0)
    classes: NDArray[np.uint8] = np.rint(4 * np.log2(np.maximum(spread / len(t), 1.0))).clip(0, 255).astype(np.uint8)
    return classes


def drift_of(gain: float) -> NDArray[np.int16]:
    """Return the drift (33, 16): the derivative of each entry's logarithm by the class (Laplace), 1 at most, times the gain."""
    per_class = math.log(2) / 8
    rows = []
    for relative in range(_LOWEST, _LOWEST + NUM_TABLES):
        rate = math.sqrt(2) / 2 ** (relative / 8)  # of the distribution's fall, in steps
        inner = (np.arange(1, NUM_SYMBOLS - 1) - 0.5) * rate - rate / math.expm1(rate)
        rows.append([-0.5 * rate / math.expm1(0.5 * rate), *inner, (NUM_SYMBOLS - 1.5) * rate])
    drift: NDArray[np.int16] = np.rint(gain * _DRIFT_ONE * np.minimum(per_class * np.array(rows), 1.0)).astype(np.int16)
    return drift


def tables_of(layout: Layout, state: Arrays, components: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the tables (33, 16) that code components (n, blocks, N) best, all places of one relative class together."""
    coder = core_coder(layout, state)
    counts = _GUESSED * np.stack([_guess(r) for r in range(_LOWEST, _LOWEST + NUM_TABLES)])
    for quality in _QUALITIES:
        counts += coder.tally(components, quality)
    return _frequencies(counts)


def _guess(relative: int) -> Counts:
    """Laplace's distribution of a standard deviation of 2^(relative / 8) steps, in cells of one step."""
    edges = np.concatenate([[0.0], np.arange(NUM_SYMBOLS - 1) + 0.5, [np.inf]])
    above = np.exp(-math.sqrt(2) * edges / 2 ** (relative / 8))
    return above[:-1] - above[1:]


def _frequencies(counts: Counts) -> NDArray[np.int32]:
    """Integers of at least 1 whose rows sum to 2^16."""
    share = counts / counts.sum(1, keepdims=True)
    frequencies = 1 + np.floor(share * (_TOTAL - NUM_SYMBOLS)).astype(np.int64)
    # what rounding down left over goes to the likeliest
    frequencies[np.arange(len(share)), share.argmax(1)] += _TOTAL - frequencies.sum(1)
    tables: NDArray[np.int32] = frequencies.astype(np.int32)
    return tables
