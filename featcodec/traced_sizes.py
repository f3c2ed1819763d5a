"""Numbers that were read from a model's inputs while it runs, which note what becomes of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import fx


class Counting(Protocol):
    """What notes it."""

    def compute(self, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        """Return an operation's result, a number again; a comparison's is checked at run time."""

    def expect(self, node: fx.Node, value: Any) -> None:
        """Check at run time that a node gives this value."""


class Number:
    """A number that was read from the inputs: arithmetic is recorded, whatever needs its value fixes it."""

    def __init__(self, recorder: Counting, node: fx.Node, value: Any) -> None:
        self.recorder, self.fx_node, self.value = recorder, node, value

    def fixed(self) -> Any:
        """Return the value; the parts refuse any other."""
        self.recorder.expect(self.fx_node, self.value)
        return self.value

    def __int__(self) -> int:
        return int(self.fixed())

    def __index__(self) -> int:
        return operator.index(self.fixed())

    def __float__(self) -> float:
        return float(self.fixed())

    def __bool__(self) -> bool:
        return bool(self.recorder.compute(operator.ne, (self, 0)))

    def __hash__(self) -> int:
        return hash(self.fixed())

    def __repr__(self) -> str:
        return repr(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)


class Size(Number, torch.SymInt):
    """An integer, which torch's functions take for their own kind, and the model's code for an int."""

    __class__ = property(lambda _: int)


class Real(Number, torch.SymFloat):
    """The same of a float."""

    __class__ = property(lambda _: float)


def _operation(function: Callable[..., Any], reflected: bool = False) -> Callable[..., Any]:
    def method(self: Number, *others: Any) -> Any:
        if not all(isinstance(other, (int, float)) for other in others):
            return NotImplemented
        return self.recorder.compute(function, (*others, self) if reflected else (self, *others))

    return method


_TWO = ("add", "sub", "mul", "floordiv", "mod", "truediv", "pow")
_OTHERS = ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs")
_OPERATIONS = {f"__{name}__": _operation(getattr(operator, name)) for name in _TWO + _OTHERS}
_OPERATIONS |= {f"__r{name}__": _operation(getattr(operator, name), True) for name in _TWO}
_OPERATIONS |= {f"__{f.__name__}__": _operation(f) for f in (math.floor, math.ceil, math.trunc, round)}
for _name, _method in _OPERATIONS.items():
    # on the classes themselves: torch's numbers have methods of the same names
    setattr(Size, _name, _method)
    setattr(Real, _name, _method)
