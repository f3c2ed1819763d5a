"""The sizes that torch leaves open while it traces, as expressions of our own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from featcodec.errors import LayerError
from featcodec.parts.graph import Expression
from featcodec.sizes import Size

_OPERATORS = {
    "Add": "+",
    "Mul": "*",
    "FloorDiv": "//",
    "CleanDiv": "//",
    "Mod": "%",
    "PythonMod": "%",
    "Max": "max",
    "Min": "min",
    "Pow": "**",
    "PowByNatural": "**",
    "Equality": "==",
    "Unequality": "!=",
    "LessThan": "<=",
    "StrictLessThan": "<",
    "GreaterThan": ">=",
    "StrictGreaterThan": ">",
    "And": "and",
    "Or": "or",
    "Not": "not",
}
BATCH = "B"  # the name of the first input's first axis


class Symbols:
    """Names for the open sizes of inputs.

    Parameters
    ----------
    inputs
        Names, and tensors whose sizes may be open (others are passed over).
    """

    def __init__(self, inputs: list[tuple[str, Any]]) -> None:
        self._names: dict[Any, str] = {}
        self._example: dict[str, int] = {}
        self._environment: Any = None
        # a part of several expressions is one object: they grow with every layer, and share most of it
        self._known: dict[Any, Size] = {}
        tensors = [(name, value) for name, value in inputs if isinstance(value, Tensor)]
        for i, (name, value) in enumerate(tensors):
            for axis, size in enumerate(value.shape):
                if isinstance(size, torch.SymInt):
                    self._environment = size.node.shape_env
                    symbol = size.node.expr
                    if symbol.is_Symbol and symbol not in self._names:
                        self._names[symbol] = BATCH if i == axis == 0 else f"{name}.{axis}"
                        self._example[self._names[symbol]] = _hint(size)

    def example(self) -> dict[str, int]:
        """Return each named size at the example."""
        return self._example

    def size(self, value: Any) -> Size:
        """Return one axis of a tensor's shape."""
        return self._translated(value.node.expr) if isinstance(value, torch.SymInt) else int(value)

    def argument(self, value: Any) -> Any:
        """Return an open number among arguments: a constant where it turned out to be one."""
        if not isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            return value
        if isinstance(value, torch.SymFloat) and value.node.expr.is_number:
            return float(value.node.expr)
        size = self._translated(value.node.expr)
        return size if isinstance(size, int) else Expression(size)

    def guards(self) -> list[Size]:
        """Return what must be true of the inputs' sizes, beyond that axes of one name are alike."""
        if self._environment is None:
            return []
        found: list[Size] = []
        for guard in self._environment.guards:
            expression = self._environment.simplify(guard.expr)
            size = True if expression.is_Boolean and expression == True else self._translated(expression)  # noqa: E712
            if isinstance(size, tuple) and all(size is not other for other in found):
                found.append(size)
        return found

    def elements(self, value: Tensor) -> int:
        """Return how many elements a tensor has at the example."""
        return math.prod(_hint(size) for size in value.shape)

    def order(self, value: Tensor) -> tuple[int, ...] | None:
        """Return a tensor's axes from the outermost in memory to the innermost; None in row order, and where it has gaps."""
        sizes, strides = [_hint(size) for size in value.shape], [_hint(stride) for stride in value.stride()]
        return order_of(sizes, strides)

    def _translated(self, expression: Any) -> Size:
        if isinstance(expression, int) or expression.is_Integer:
            return int(expression)
        if expression not in self._known:
            self._known[expression] = self._translate(expression)
        return self._known[expression]

    def _translate(self, expression: Any) -> Size:
        if expression.is_Symbol:
            if expression not in self._names:
                raise LayerError(f"a size depends on values ({expression}): a part's sizes depend on its inputs' sizes alone")
            return self._names[expression]
        kind = type(expression).__name__
        parts = [self._translated(part) for part in expression.args]
        if kind == "Identity":
            return parts[0]
        if kind not in _OPERATORS:
            raise LayerError(
                f"a size is computed by {kind}: {str(expression)[:200]}; a part knows {', '.join(sorted(_OPERATORS))}"
            )
        if len(parts) == 1:
            return (_OPERATORS[kind], parts[0])
        if kind == "Add":
            parts.sort(key=_is_negative)
        joined = parts[0]
        for part in parts[1:]:
            joined = (
                ("-", joined, _negative(part)) if kind == "Add" and _is_negative(part) else (_OPERATORS[kind], joined, part)
            )
        return joined


def order_of(sizes: list[int], strides: list[int]) -> tuple[int, ...] | None:
    """Return the axes of a tensor that has no gaps, from the outermost in memory to the innermost; None in row order."""
    axes = sorted(range(len(sizes)), key=lambda axis: (-strides[axis], axis))
    if axes == list(range(len(sizes))):
        return None
    step = 1
    for axis in reversed(axes):
        if sizes[axis] != 1 and strides[axis] != step:
            return None
        step *= sizes[axis]
    return tuple(axes)


def _is_negative(size: Size) -> bool:
    factor = size[1] if isinstance(size, tuple) and size[0] == "*" else size
    return isinstance(factor, int) and factor < 0


def _negative(size: Size) -> Size:
    if isinstance(size, tuple):
        factor, other = size[1:]
        return other if factor == -1 else ("*", -factor, other)
    assert isinstance(size, int)
    return -size


def _hint(size: Any) -> int:
    """A size at the example."""
    if not isinstance(size, torch.SymInt):
        return int(size)
    hint = size.node.hint
    if hint is None:
        raise LayerError(f"a size depends on values ({size}): a part's sizes depend on its inputs' sizes alone")
    return int(hint)
