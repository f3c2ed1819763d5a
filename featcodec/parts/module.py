"""A half as a module of torch.fx: for torch.compile, for training on, for ONNX."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx, nn

from featcodec.parts.program import Program
from featcodec.parts.steps import filled
from featcodec.sizes import Size, names, operators, walk

_OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "max": torch.sym_max,
    "min": torch.sym_min,
}


class Builder:
    """Puts the operations of a program into a graph of torch.fx.

    Attributes
    ----------
    results
        The nodes of the program's results.
    """

    def __init__(self, program: Program) -> None:
        self._program, self._graph, self._root = program, fx.Graph(), nn.Module()
        given = [self._graph.placeholder(_identifier(about["name"])) for about in program.inputs]
        self._sizes = {name: self._graph.placeholder(_identifier(name)) for name in program.spec["sizes"]}
        for name, (i, axis) in program.bound.items():
            self._sizes[name] = self._call(torch.ops.aten.sym_size.int, given[i], axis)
        for name, size in program.derived:
            # comparisons are of guards, which no module checks
            if names(size) <= self._sizes.keys() and operators(size) <= _OPERATORS.keys():
                self._sizes[name] = self.size(size)
        ordered = [self._ordered(node, about["order"]) for node, about in zip(given, program.inputs, strict=True)]
        tensors = [self._tensor(name) for name in program.tensors]
        sizes = [self.size(size) for size in program.open_sizes]
        values: list[Any] = [*ordered, *tensors, *[None] * len(program.steps), program.device, *sizes]
        for step in program.steps:
            if step.target is None:
                values[step.result] = self._call(operator.getitem, values[step.args[0]], step.args[1])
                continue
            args = list(step.args)
            for at, slot in step.direct:
                args[at] = values[slot]
            for at, parts in step.nested:
                args[at] = filled(parts, values)
            kwargs = step.kwargs | {key: filled(value, values) for key, value in step.open_kwargs.items()}
            values[step.result] = self._graph.call_function(step.target, tuple(args), kwargs)
        self.results: list[fx.Node] = [values[slot] for slot in program.results]

    def module(self, output: Any) -> fx.GraphModule:
        """Return the module that gives this: nodes in tuples, lists and dictionaries."""
        self._graph.output(output)
        for node in reversed([n for n in self._graph.nodes if n.op == "call_function"]):
            if not node.users and node.target in (torch.ops.aten.sym_size.int, *_OPERATORS.values()):
                self._graph.erase_node(node)
        self._graph.lint()
        return fx.GraphModule(self._root, self._graph)

    def size(self, size: Size) -> Any:
        """Return the node of an expression, or the integer that it is."""
        return walk(size, self._sizes, self._operation)

    def _operation(self, name: str, *parts: Any) -> fx.Node:
        if name == "//":
            # ONNX cuts quotients off at zero: what divides without a rest is the same by either
            rest = self._call(operator.mod, *parts)
            return self._call(operator.floordiv, self._call(operator.sub, parts[0], rest), parts[1])
        return self._call(_OPERATORS[name], *parts)

    def _call(self, target: Any, *args: Any) -> fx.Node:
        return self._graph.call_function(target, args)

    def _ordered(self, node: fx.Node, order: list[int] | None) -> fx.Node:
        if order is None:
            return node
        aten = torch.ops.aten
        lying = self._call(aten.contiguous.default, self._call(aten.permute.default, node, order))
        return self._call(aten.permute.default, lying, [order.index(axis) for axis in range(len(order))])

    def _tensor(self, name: str) -> fx.Node:
        value, attribute = self._program.tensors[name], _identifier(f"model.{name}")
        if value.requires_grad:
            self._root.register_parameter(attribute, nn.Parameter(value.detach()))
        else:
            self._root.register_buffer(attribute, value)
        return self._graph.get_attr(attribute)


def _identifier(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
