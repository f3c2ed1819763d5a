"""split: the model before and after a layer as two modules, for two machines."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from featcodec.errors import LayerError
from featcodec.inputs import call
from featcodec.layers import evaluating, find_layer
from featcodec.outputs import same


class _Tracer(fx.Tracer):
    """Traces what the split layer lies in; every other module stays whole, with its hooks and its mode."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m is self._layer or all(inner is not self._layer for inner in m.modules())


def split(model: nn.Module, layer: str | nn.Module, example: Any) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Cut a model after a layer.

    Parameters
    ----------
    model
        A model whose modules around the layer torch.fx traces (no data-dependent control flow); those beside it stay whole.
        Weights are shared with it, not copied.
    layer
        Dotted name of the layer, or the module itself; its output is what crosses.
    example
        A batch of the model's inputs (`featcodec.inputs.call`) to check the cut with, in eval mode: a tensor, a tuple of the
        positional inputs, a mapping of keyword inputs. Optional inputs that it leaves out keep their defaults in the parts.

    Returns
    -------
    head, tail
        The head takes the model's inputs, the tail what the head gives: together they give what the model gives, every tensor
        bit for bit.

    Raises
    ------
    LayerError
        No such layer; the model cannot be traced; the layer is not called just once; more than its output crosses (a skip
        connection around it, a parallel branch), so that this is no cut.
    """
    name, module = find_layer(model, layer)
    if module is model:
        raise LayerError("the whole model is no split point: name a layer inside it")
    try:
        graph = _trace(model, module, example)
    except Exception as e:  # whatever a model's own forward raises on fx proxies
        raise LayerError(f"{type(model).__name__} cannot be traced by torch.fx ({e}); insert works without tracing") from e
    calls = [node for node in graph.nodes if node.op == "call_module" and node.target == name]
    if len(calls) != 1:
        raise LayerError(f"layer {name!r} is called {len(calls)} times in one forward pass: a split point is called once")
    head_nodes = _ancestors(calls[0])
    _check_cut(name, graph, head_nodes, calls[0])
    head = fx.GraphModule(model, _copy(graph, [n for n in graph.nodes if n in head_nodes], None, calls[0]))
    tail_nodes = [n for n in graph.nodes if n not in head_nodes or n.op == "get_attr"]
    tail = fx.GraphModule(model, _copy(graph, tail_nodes, calls[0], None))
    _verify(name, model, head, tail, example)
    return head, tail


def _trace(model: nn.Module, layer: nn.Module, example: Any) -> fx.Graph:
    left_out = _left_out(model, example)
    graph = _Tracer(layer).trace(model, left_out or None)
    # fx keeps placeholders for them, and checks that they are not given
    checks = [n for n in graph.nodes if n.op == "placeholder" and n.target in {f"{name}_1" for name in left_out}]
    for node in checks:
        checks += [user for user in node.users if user not in checks]
    for node in reversed(checks):
        graph.erase_node(node)
    return graph


def _left_out(model: nn.Module, example: Any) -> dict[str, Any]:
    """Inputs that the example leaves at defaults that are no tensors."""
    try:
        parameters = inspect.signature(model.forward)
        if isinstance(example, Mapping):
            given = parameters.bind(**example)
        else:
            given = parameters.bind(*(example if isinstance(example, tuple) else (example,)))
    except (TypeError, ValueError):  # the model says what is wrong
        return {}
    plain = (type(None), bool, int, float, str)
    rest = [p for name, p in parameters.parameters.items() if name not in given.arguments]
    return {p.name: p.default for p in rest if isinstance(p.default, plain)}


def _ancestors(node: fx.Node) -> set[fx.Node]:
    """The node and all it is computed from, with every placeholder (the head takes the model's inputs)."""
    found, open_nodes = set(), [node, *(n for n in node.graph.nodes if n.op == "placeholder")]
    while open_nodes:
        current = open_nodes.pop()
        if current not in found:
            found.add(current)
            open_nodes += current.all_input_nodes
    return found


def _check_cut(name: str, graph: fx.Graph, head: set[fx.Node], cut: fx.Node) -> None:
    crossing = {
        source.name
        for node in graph.nodes
        if node not in head
        for source in node.all_input_nodes
        if source in head and source is not cut and source.op != "get_attr"
    }
    if crossing:
        raise LayerError(f"{name!r} is no cut: the tail also needs {', '.join(sorted(crossing))} from before it")


def _copy(graph: fx.Graph, nodes: list[fx.Node], entry: fx.Node | None, result: fx.Node | None) -> fx.Graph:
    """A graph of these nodes; `entry` becomes its input, `result` its output where it has none of its own."""
    copy = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if entry is not None:
        copies[entry] = copy.placeholder("feature")
    for node in nodes:
        copies[node] = copy.node_copy(node, lambda n: copies[n])
    if result is not None:
        copy.output(copies[result])
    copy.lint()
    return copy


def _verify(name: str, model: nn.Module, head: nn.Module, tail: nn.Module, example: Any) -> None:
    with evaluating(model, head, tail), torch.no_grad():
        wanted, got = call(model, example), tail(call(head, example))
    if not same(wanted, got):
        raise LayerError(
            f"cut at {name!r}, the two parts do not give what the model gives: its forward pass is not deterministic"
        )
