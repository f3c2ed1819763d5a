"""Keeping torch.compile out of functions that run NumPy or C++."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., object])


def eager(function: Function) -> Function:
    """Mark a function that a compiled graph must break around; typed, which torch.compiler.disable is not."""
    disable: Callable[[Function], Function] = torch.compiler.disable
    return disable(function)
