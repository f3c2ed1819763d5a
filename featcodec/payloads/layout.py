"""Which numbers of a sample are one map: (C, h, w) has C maps, tokens (T, D) have D, a vector is one map.

And which have a range of their own, by `axis`: all of a sample, each map, or each token, a row of (T, D); a sample of another
rank is one token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=np.generic)
FloatArray = NDArray[np.float32]
AXES = ("sample", "map", "token")


def stacked(samples: Iterable[FloatArray], count: int, shape: tuple[int, ...]) -> FloatArray:
    """Return `count` samples of this shape as one array (count, *shape), none of them held longer than it must be."""
    if count == 1:
        return next(iter(samples))[None]
    out: FloatArray = np.empty((count, *shape), np.float32)
    for i, sample in enumerate(samples):
        out[i] = sample
    return out


def num_maps(shape: tuple[int, ...]) -> int:
    """Return how many maps a sample of this shape has."""
    if len(shape) < 2:
        return 1
    return shape[1] if len(shape) == 2 else shape[0]


def to_maps(x: NDArray[Item]) -> NDArray[Item]:
    """Return a sample as (maps, elements of one map); a view where the layout allows it.

    Parameters
    ----------
    x
        One sample: (C, ...) with C maps, tokens (T, D) with one map of T per embedding dimension, or a vector (one map).
    """
    if x.ndim == 2:
        columns: NDArray[Item] = x.T
        return columns
    maps: NDArray[Item] = x.reshape(num_maps(x.shape), -1)
    return maps


def from_maps(maps: NDArray[Item], shape: tuple[int, ...]) -> NDArray[Item]:
    """Undo `to_maps`."""
    if len(shape) == 2:
        tokens: NDArray[Item] = maps.T
        return tokens
    x: NDArray[Item] = maps.reshape(shape)
    return x


def num_groups(shape: tuple[int, ...], axis: str) -> int:
    """Return how many ranges a sample of this shape has."""
    if axis == "token":
        return shape[0] if len(shape) == 2 else 1
    return num_maps(shape) if axis == "map" else 1


def to_groups(x: NDArray[Item], axis: str) -> NDArray[Item]:
    """Return a sample as (groups, elements of one group); a view where the layout allows it."""
    if axis == "map":
        return to_maps(x)
    groups: NDArray[Item] = x.reshape(num_groups(x.shape, axis), -1)
    return groups


def from_groups(groups: NDArray[Item], shape: tuple[int, ...], axis: str) -> NDArray[Item]:
    """Undo `to_groups`."""
    if axis == "map":
        return from_maps(groups, shape)
    x: NDArray[Item] = groups.reshape(shape)
    return x
