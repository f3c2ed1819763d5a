"""Batch norm after a layer measures its means and variances anew, on what a codec gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.codec import Codec
from featcodec.sensitivity import Tap

_Norm = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def measure_batch_norm(model: nn.Module, tap: Tap, codec: Codec, batches: Sequence[Any]) -> int:
    """Measure, over all batches together; return how many modules did. Their statistics change for good, nothing else does."""
    through = partial(_through, codec)
    with _calls(model, tap) as after:
        tap.forward(model, batches[0], through)
    kept = [(module, module.momentum, module.training) for module in after if module.track_running_stats]
    try:
        for module, _, _ in kept:
            module.reset_running_stats()
            # a mean over the batches, each as heavy as the others
            module.momentum, module.training = None, True
        for inputs in batches:
            tap.forward(model, inputs, through)
    finally:
        for module, momentum, training in kept:
            module.momentum, module.training = momentum, training
    return len(kept)


def _through(codec: Codec, x: Tensor) -> Tensor:
    return codec.decode(codec.encode(x), device=x.device)


@contextmanager
def _calls(model: nn.Module, tap: Tap) -> Iterator[list[_Norm]]:
    """Collect the batch norms that are called once the feature has crossed."""
    after: list[_Norm] = []

    def note(module: nn.Module, _: Any) -> None:
        if tap.feature is not None and isinstance(module, _Norm) and module not in after:
            after.append(module)

    handles = [module.register_forward_pre_hook(note) for module in model.modules() if isinstance(module, _Norm)]
    try:
        yield after
    finally:
        for handle in handles:
            handle.remove()
