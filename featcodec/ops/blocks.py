"""Working through a batch a few samples at a time, where intermediate values take many times its memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BLOCK = 1 << 22  # elements: in double, with what is made of them, a few hundred MB


def samples_of_a_block(x: Tensor) -> int:
    """Return how many samples of a batch (B, ...), B >= 1, are worked on together: at least one."""
    return max(1, _BLOCK * len(x) // max(1, x.numel()))


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `function(x)`, a batch of the same shape, type and layout, each sample of which depends on its own alone."""
    size = samples_of_a_block(x) if len(x) else 0
    if size >= len(x):
        return function(x)
    result = torch.empty_like(x)
    for start in range(0, len(x), size):
        result[start : start + size] = function(x[start : start + size])
    return result
