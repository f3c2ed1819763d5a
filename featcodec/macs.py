"""Multiply-accumulates and output sizes, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class LayerProfile:
    """One layer's output shape (without the batch axis) and cost for one sample.

    Attributes
    ----------
    macs
        Multiply-accumulates of its own convolution or linear map, without bias; 0 for every other module.
    head_macs
        Those of everything that ran up to the end of this layer: the head's cost if the model is cut after it.
    """

    name: str
    output_shape: tuple[int, ...]
    macs: int
    head_macs: int


def profile(model: nn.Module, example: Tensor) -> dict[str, LayerProfile]:
    """Run one batch and return every called layer's profile by dotted name, in order of completion; "" is the whole model.

    Counted are convolutions (transposed ones too) and linear layers that are modules; batch norm, activations, pooling and
    free matrix products are not. The papers' "FLOPs" are convolution MACs in this sense.

    Parameters
    ----------
    model
        Run in its present mode, without gradients.
    example
        (B, ...): figures are per sample.
    """
    profiles: dict[str, LayerProfile] = {}
    total = 0

    def record(name: str, module: nn.Module, output: Any) -> None:
        nonlocal total
        if not isinstance(output, Tensor) or output.ndim == 0:
            return
        macs = _macs(module, output)
        total += macs
        before = profiles.pop(name).macs if name in profiles else 0
        profiles[name] = LayerProfile(name, tuple(output.shape[1:]), before + macs, total)

    handles = []
    for name, module in model.named_modules():
        # bind the name now: the loop variable moves on
        handles.append(module.register_forward_hook(lambda m, _, out, name=name: record(name, m, out)))
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return profiles


def _macs(module: nn.Module, output: Tensor) -> int:
    elements = math.prod(output.shape[1:])
    if isinstance(module, _CONVOLUTIONS):
        return elements * module.in_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, _TRANSPOSED):
        # every input element meets the whole kernel of its group's outputs; output elements / stride are as many
        return elements // math.prod(module.stride) * module.in_channels // module.groups * math.prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return elements * module.in_features
    return 0
