"""What a model's output says about the feature at a layer: the feature itself, its replacement, and gradients by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.errors import FeatureError, FeatureTypeError
from featcodec.inputs import call
from featcodec.layers import find_layer
from featcodec.outputs import Wanted, describe, leaves, map_leaves


class NotDifferentiableError(FeatureError):
    """What follows a layer has no gradient by its output."""


class Tap:
    """The one tensor that crosses at a layer: seen in every forward, and replaced where that is wanted.

    Attributes
    ----------
    layer
        Its dotted name.
    feature
        What crossed last, (B, ...) without gradient.
    replace
        Called with what crosses, (B, ...); what it returns goes on.
    """

    def __init__(self, layer: str, wanted: Wanted, batch_axis: int) -> None:
        self.layer, self.wanted, self.batch_axis = layer, wanted, batch_axis
        self.feature: Tensor | None = None
        self.replace: Callable[[Tensor], Tensor] | None = None

    def forward(self, model: nn.Module, inputs: Any, replace: Callable[[Tensor], Tensor] | None = None) -> tuple[Any, Tensor]:
        """Run the model; return its output and what crossed.

        Raises
        ------
        FeatureError
            The layer was not called once, or not one tensor crossed.
        """
        self.feature, self.replace = None, replace
        output = call(model, inputs)
        if self.feature is None:
            raise FeatureError(f"the model ran and no floating-point tensor crossed at layer {self.layer!r}")
        return output, self.feature

    def cross(self, _: nn.Module, __: Any, output: Any) -> Any:
        """The layer's hook."""
        return map_leaves(output, self._cross_leaf)

    def _cross_leaf(self, path: tuple[str, ...], leaf: Any) -> Any:
        if not self.wanted.takes(path, leaf):
            return leaf
        if self.feature is not None:
            raise FeatureError(
                f"calibration is of one tensor a forward, more than one crosses at layer {self.layer!r}: name it by tensors="
            )
        if self.batch_axis >= leaf.ndim:
            raise FeatureError(
                f"layer {self.layer!r}: batch_axis is {self.batch_axis}, the feature has shape {tuple(leaf.shape)}"
            )
        self.feature = leaf.detach().movedim(self.batch_axis, 0)
        return leaf if self.replace is None else self.replace(self.feature).movedim(0, self.batch_axis)


@contextmanager
def tapped(model: nn.Module, layer: str | nn.Module, wanted: Wanted, batch_axis: int) -> Iterator[Tap]:
    """Watch a layer inside."""
    name, module = find_layer(model, layer)
    tap = Tap(name, wanted, batch_axis)
    handle = module.register_forward_hook(tap.cross)
    try:
        yield tap
    finally:
        handle.remove()


def floats(output: Any) -> list[Tensor]:
    """Return an output's floating-point tensors with an axis, in order; those that are logits alone where it names them so.

    Raises
    ------
    FeatureTypeError
        There are none.
    """
    found = [
        (path, leaf) for path, leaf in leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim
    ]
    named = [leaf for path, leaf in found if path == ("logits",)]
    if not found:
        raise FeatureTypeError(f"the model's output holds no floating-point tensor to look at: {describe(output)}")
    return named or [leaf for _, leaf in found]


def are_classes(outputs: Sequence[Tensor]) -> bool:
    """Return whether an output is (B, classes): one tensor of two axes and two columns or more."""
    return len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 1


def gradients(tap: Tap, model: nn.Module, inputs: Any, projections: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return features (B, ...) and gradients (projections * B, ...) of random projections of the output by them.

    A projection of logits (B, classes) is <v, logits>, v standard normal less its mean: what all classes gain alike changes
    nothing. Of any other output, dense ones say, v is standard normal at every number, and every tensor of it has the weight
    that makes its root mean square 1.

    Raises
    ------
    NotDifferentiableError
        The tail cannot be differentiated.
    FeatureError
        Its gradients are not finite; and as `Tap.forward`.
    """
    crossed: list[Tensor] = []

    def lead(x: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        crossed.append(x.clone().requires_grad_(True))
        return crossed[0].clone()  # a tail may write into it

    with torch.no_grad():  # until the layer
        output, feature = tap.forward(model, inputs, lead)
    outputs = floats(output)
    try:
        with torch.enable_grad():
            sums = [_projected(outputs, generator) for _ in range(projections)]
            found = [torch.autograd.grad(each, crossed[0], retain_graph=True)[0] for each in sums]
    except RuntimeError as e:
        raise NotDifferentiableError(f"what follows layer {tap.layer!r} cannot be differentiated: {e}") from e
    stacked = torch.cat(found).float()
    if not bool(torch.isfinite(stacked).all()):
        raise FeatureError(f"what follows layer {tap.layer!r} has gradients that are not finite")
    return feature, stacked


def _projected(outputs: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    total = torch.zeros((), device=outputs[0].device)
    for output in outputs:
        v = torch.randn(output.shape, generator=generator).to(output.device)
        if are_classes(outputs):
            v -= v.mean(1, keepdim=True)
        else:
            v /= output.detach().float().square().mean().sqrt().clamp_min(1e-20)
        total = total + (v * output.float()).sum()
    return total
