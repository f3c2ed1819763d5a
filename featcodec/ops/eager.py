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

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        result: Result = _disabled(function)(*args, **kwargs)
        return result

    return call


@functools.cache
def _disabled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    disable: Callable[..., Any] = torch.compiler.disable
    disabled: Callable[Arguments, Result] = disable(function)
    return disabled
