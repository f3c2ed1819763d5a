"""The straight-through estimator: the value of one tensor, the gradient of the identity in another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    """Forward: `value`. Backward: the incoming gradient goes to `x` unchanged (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: list[Tensor]) -> Tensor:
        # out of a list: autograd would take an argument that is returned for a view, which nobody may write to
        return value.pop()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """Return `value` exactly, differentiable as if it were `x`.

    ``x + (value - x).detach()`` rounds twice and is not `value`; this is.

    Parameters
    ----------
    x
        Any shape and float dtype.
    value
        The shape of `x`; what the forward pass yields. Memory that nobody else writes to: the result, which is this tensor,
        may be modified in place.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if x.shape != value.shape:
        raise ValueError(f"x and value must have one shape, got {tuple(x.shape)} and {tuple(value.shape)}")
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    result: Tensor = _StraightThrough.apply(x, [value])  # type: ignore[no-untyped-call]
    return result
