"""Waiting for what a GPU has promised, without torch where there is none."""

from __future__ import annotations

import sys
from typing import Any


def computed(value: Any) -> Any:
    """Return what a head or a model gave when its devices have computed it, for whoever reads the clock next."""
    if sys.modules.get("torch") is not None:
        from torch import Tensor

        from featcodec.ops.clock import wait_for
        from featcodec.outputs import leaves

        for device in {leaf.device for _, leaf in leaves(value) if isinstance(leaf, Tensor)}:
            wait_for(device)
    return value
