"""The mosaic: the maps of one sample laid out as tiles of one picture (BottleNet section 3.2).

The paper's picture is 2^ceil(log2(C)/2) tiles wide and 2^floor(log2(C)/2) high, which holds too few tiles for some C (10, say):
rows = ceil(C / columns) holds them all and agrees wherever the paper's formula suffices.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=np.generic)


def mosaic_grid(maps: int) -> tuple[int, int]:
    """Return (rows, columns) of tiles for this many maps: map k stands at (k // columns, k % columns)."""
    half = (max(maps - 1, 0).bit_length() + 1) // 2  # ceil(log2(maps) / 2)
    columns = 1 << half
    return -(-maps // columns), columns


def tile_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (maps, height, width) of a sample's tiles.

    (C, h, w) is taken as it is; (C, ..., w) with its middle axes stacked downwards. Tokens (T, D) become D tiles on a grid of
    isqrt(T) columns; a vector (N,) is one such tile, a scalar one pixel.
    """
    if len(shape) >= 3:
        return shape[0], math.prod(shape[1:-1]), shape[-1]
    tokens = shape[0] if shape else 1
    width = math.isqrt(tokens)
    return (shape[1] if len(shape) == 2 else 1), -(-tokens // width), width


def mosaic_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (height, width) in pixels of the mosaic of a sample."""
    maps, height, width = tile_shape(shape)
    rows, columns = mosaic_grid(maps)
    return rows * height, columns * width


def tile(x: NDArray[Item]) -> NDArray[Item]:
    """Lay out one sample as a mosaic (height, width); unused tiles and pixels are zero.

    Parameters
    ----------
    x
        One sample, (C, h, w), (C, ..., w), (T, D) or (N,). Of tokens whose number is one more than a square (a vision
        transformer's class token before its patches) the first goes last, so that the patches keep their grid.
    """
    maps, height, width = tile_shape(x.shape)
    tiles = np.zeros((maps, height * width), x.dtype)
    flat = _tokens_first(x) if x.ndim < 3 else x.reshape(maps, -1)
    tiles[:, : flat.shape[1]] = flat
    rows, columns = mosaic_grid(maps)
    canvas = np.zeros((rows * columns, height, width), x.dtype)
    canvas[:maps] = tiles.reshape(maps, height, width)
    picture = canvas.reshape(rows, columns, height, width).transpose(0, 2, 1, 3)
    mosaic: NDArray[Item] = picture.reshape(rows * height, columns * width)
    return mosaic


def untile(mosaic: NDArray[Item], shape: tuple[int, ...]) -> NDArray[Item]:
    """Undo `tile`: the sample of this shape; whatever stands in unused tiles and pixels is dropped."""
    maps, height, width = tile_shape(shape)
    rows, columns = mosaic_grid(maps)
    canvas = mosaic.reshape(rows, height, columns, width).transpose(0, 2, 1, 3)
    tiles = canvas.reshape(rows * columns, height * width)[:maps]
    if len(shape) >= 3:
        x: NDArray[Item] = tiles.reshape(shape)
        return x
    tokens = shape[0] if shape else 1
    flat = tiles[:, :tokens]
    if _has_class_token(shape):
        flat = np.roll(flat, 1, axis=1)
    return np.ascontiguousarray(flat.T).reshape(shape)


def _has_class_token(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] > 2 and math.isqrt(shape[0] - 1) ** 2 == shape[0] - 1


def _tokens_first(x: NDArray[Item]) -> NDArray[Item]:
    """(T, D) or (N,) as (maps, T), the class token last."""
    flat = x.T if x.ndim == 2 else x.reshape(1, -1)
    return np.roll(flat, -1, axis=1) if _has_class_token(x.shape) else flat
