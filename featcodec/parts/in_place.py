"""What a model writes in place: read as computing a new tensor where nobody looks at the old one again."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from featcodec.parts.operations import functional

# They may return their first argument or a view of it, though their schemas do not say so.
_MAY_ALIAS = {"reshape", "flatten", "dropout", "type_as", "einsum", "meshgrid", "to", "contiguous", "unflatten", "movedim"}


def is_functional(nodes: list[fx.Node]) -> bool:
    """Return whether every operation of a graph that writes in place can be read as one that computes a new tensor.

    It can where what it writes into is no input and no tensor of the model, nothing of that memory is read afterwards but
    through its result, and it changes no dtype.
    """
    position = {node: i for i, node in enumerate(nodes)}
    roots: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        source = _aliased(node, roots)
        roots[node] = node if source is None else roots.get(source, source)
    for node in nodes:
        if not (targets := written(node)):
            continue
        if len(targets) > 1 or targets[0] is not node.args[0]:
            return False
        root = roots[node]
        family = {other for other in nodes if roots[other] is root}
        early = {other for other in family if position[other] < position[node]}
        late = any(position[other] > position[node] and early & set(other.all_input_nodes) for other in nodes)
        if late or root.op == "placeholder" or not _has_twin(node):
            return False
    return True


def written(node: fx.Node) -> list[Any]:
    """Return the arguments that a node writes into."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    arguments = node.target._schema.arguments
    given = [*zip(arguments, node.args, strict=False), *((a, node.kwargs[a.name]) for a in arguments if a.name in node.kwargs)]
    return [value for argument, value in given if argument.alias_info is not None and argument.alias_info.is_write]


def _aliased(node: fx.Node, roots: dict[fx.Node, fx.Node]) -> fx.Node | None:
    """The argument whose memory a node's result may be."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source = node.args[0]
    if node.target is operator.getitem:  # of a tensor's pieces
        return source if roots[source] is not source else None
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    aliases = any(argument.alias_info is not None for argument in node.target._schema.arguments)
    return source if aliases or node.target._opname in _MAY_ALIAS else None


def _has_twin(node: fx.Node) -> bool:
    assert isinstance(node.target, torch._ops.OpOverload)
    name = str(node.target)
    if not name.startswith("aten."):
        return False
    _, packet, overload = functional(name).split(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    tensors = [value for source in node.all_input_nodes if torch.is_tensor(value := source.meta.get("val"))]
    # the twin of several dtypes may give a wider one
    return found is not None and found is not node.target and len({value.dtype for value in tensors}) == 1
