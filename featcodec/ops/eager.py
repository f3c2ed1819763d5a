"""Keeping torch.compile out of functions that run NumPy or C++."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

NOT_TRACEABLE = "a codec runs real encoders, which {} cannot trace: cut the model with featcodec.split, then trace its parts"

_REASON = NOT_TRACEABLE.format("a whole graph")

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
            takes_reason = "reason" in inspect.signature(disable).parameters
            disabled.append(disable(function, **({"reason": _REASON} if takes_reason else {})))
        result: Result = disabled[0](*args, **kwargs)
        return result

    # a graph breaks at the call, and a whole graph that is wanted fails with these words
    vars(call).update(_torchdynamo_disable=True, _torchdynamo_disable_msg=_REASON)
    return call
