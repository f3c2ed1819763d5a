"""Every feature as images (B, C, h, w) for two-dimensional networks, and back."""

from __future__ import annotations

import math

from torch import Tensor


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (maps, height, width) of a sample as networks see it.

    (C, h, w) is taken as it is; (C, ..., w) with its middle axes stacked downwards; tokens (T, D) are D maps of T x 1; a vector
    (N,) is N maps of one element.
    """
    if len(shape) >= 3:
        return shape[0], math.prod(shape[1:-1]), shape[-1]
    if len(shape) == 2:
        return shape[1], shape[0], 1
    return (shape[0] if shape else 1), 1, 1


def to_images(x: Tensor) -> Tensor:
    """Return a batch (B, ...) as (B, maps, height, width)."""
    shape = tuple(x.shape[1:])
    if len(shape) == 2:
        return x.transpose(1, 2).unsqueeze(-1)
    return x.reshape(x.shape[0], *image_shape(shape))


def from_images(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo `to_images` for samples of this shape."""
    if len(shape) == 2:
        return images.squeeze(-1).transpose(1, 2)
    return images.reshape(images.shape[0], *shape)
