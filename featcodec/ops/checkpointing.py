"""Reentrant checkpointing, which runs a forward without gradients and only in the backward with them."""

from __future__ import annotations

import sys

import torch
from torch import nn


def refuse_reentrant_checkpoint(module: nn.Module) -> None:
    """Raise RuntimeError where a module in training mode runs within reentrant checkpointing.

    Its losses would come in the backward, when the loss has been made without them, and what a network in training mode gives
    without gradients is not what it gives with them.
    """
    checkpoint = sys.modules.get("torch.utils.checkpoint")
    if checkpoint is None or not module.training or torch.is_grad_enabled():
        return
    code = checkpoint.CheckpointFunction.forward.__code__
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is code:
            raise RuntimeError(
                "a learned codec trains within torch.utils.checkpoint(use_reentrant=True), which hides its losses: "
                "pass use_reentrant=False"
            )
        frame = frame.f_back  # type: ignore[assignment]
