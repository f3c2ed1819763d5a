"""Keeping torch.compile out of functions that run NumPy or C++."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def eager(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Mark a function that a compiled graph must break around.

    torch.compiler.disable does it, but takes most of a second to import the compiler: here only where somebody compiles.
    """
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disable: Callable[..., Any] = torch.compiler.disable
            disabled.append(disable(function))
        result: Result = disabled[0](*args, **kwargs)
        return result

    return call
