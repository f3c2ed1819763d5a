"""split: the model before and after a layer as two modules, for two machines."""

from __future__ import annotations

import operator
from contextlib import nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, fx, nn

from featcodec.errors import LayerError
from featcodec.inputs import batch_size, call, map_inputs, tensors
from featcodec.layers import evaluating, find_layer
from featcodec.outputs import same
from featcodec.tracing import Recorder, ancestors, expect, record


def split(model: nn.Module, layer: str | nn.Module, example: Any) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Cut a model after a layer, into two modules that can be trained.

    The model runs once, and what its code does around the layer is written down; modules beside the layer stay whole, with
    their hooks and modes. Hooks of modules around it are left out. What the code around it asks of the mode
    (``self.training``) is answered as in eval mode.

    Parameters
    ----------
    model
        A model whose code around the layer does not read the values of tensors. Weights are shared with it, not copied.
    layer
        Dotted name of the layer, or the module itself; its output is what crosses.
    example
        A batch of the model's inputs (`featcodec.inputs.call`), in eval mode: a tensor, a tuple of the positional inputs, a
        mapping of keyword inputs. The head takes the same ones; those left out keep their defaults in the parts. Flags, strings
        and None must be as in the example; so must sizes where the model's code branches or loops by them.

    Returns
    -------
    head, tail
        The head takes the model's inputs, the tail what the head gives: together they give what the model gives, every tensor
        bit for bit, at the example and at another batch. The head gives a tensor where a tensor is all that crosses, otherwise
        the tuple of what crosses: what the tail uses of the layer's output first, then tensors from before the layer (skip
        connections, masks) and numbers that were read from shapes, unless the tail can read them from the tensors.

    Raises
    ------
    LayerError
        No such layer; the model cannot be traced; the layer is not called just once; its output reaches no output.
    """
    name, module = find_layer(model, layer)
    if module is model:
        raise LayerError("the whole model is no split point: name a layer inside it")
    recorder = record(model, module, example)
    calls = [node for node in recorder.graph.nodes if node.op == "call_module" and recorder.attributes[node.target] is module]
    if len(calls) != 1:
        raise LayerError(f"layer {name!r} is called {len(calls)} times in one forward pass: a split point is called once")
    return _Cut(name, recorder, calls[0]).parts(model, example)


class _Cut:
    """What lies before and after a layer in a recorded graph, and what crosses.

    The tail computes what does not depend on the layer. Parameters, and what follows from them and from numbers alone (masks,
    positions), are in both parts. The head reads numbers from shapes where their tensor does not cross itself.
    """

    def __init__(self, name: str, recorder: Recorder, layer: fx.Node) -> None:
        self._name, self._recorder, self._nodes = name, recorder, list(recorder.graph.nodes)
        self._given = recorder.results.get(layer, [])
        self._before = ancestors([layer, *self._given, *(node for node in self._nodes if node.op == "placeholder")])
        for node in self._nodes:
            if node in recorder.items and node.all_input_nodes[0] in self._before:
                self._before.add(node)
        self._after: set[fx.Node] = set()
        self._free: set[fx.Node] = set()
        for node in self._nodes:
            used = node.all_input_nodes
            if any(n in self._given or n in self._after for n in used) and node not in self._given:
                self._after.add(node)
            can_be_free = node.op in ("get_attr", "call_function", "call_method") and node not in recorder.effects
            if can_be_free and all(n in self._free or n in recorder.numbers or n in recorder.devices for n in used):
                self._free.add(node)
        self._head_effects = [node for node in self._nodes if node in recorder.effects and self._is_known(node)]

    def parts(self, model: nn.Module, example: Any) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Build the parts and compare them with the model, at the example and what else the model takes."""
        crossing, kept = self._live()
        batches: list[Any] = []
        wanted: list[Any] = []
        with evaluating(model), torch.no_grad():
            for batch in (example, _another(example), _another(_shorter(example))):
                with suppress(Exception) if batches else nullcontext():
                    wanted.append(call(model, batch))
                    batches.append(batch)
        head = self._head(model, crossing, {})
        with evaluating(head), torch.no_grad():
            seen = [call(head, batch) for batch in batches[:2]]
            with suppress(LayerError):  # a length may be fixed: the parts say so
                seen += [call(head, batch) for batch in batches[2:]]
        is_all_varied = len(seen) == 3 and all(x.ndim <= 2 for x in tensors(example))
        sizes = _sizes_of_tensors(seen, is_all_varied) if len(crossing) > 1 else {}
        if sizes:
            head = self._head(model, crossing, sizes)
        tail = self._tail(model, crossing, kept, sizes)
        with evaluating(head, tail), torch.no_grad():
            for i, (batch, output) in enumerate(zip(batches, wanted, strict=True)):
                with suppress(LayerError) if i == 2 else nullcontext():
                    given = tail(seen[i] if i < len(seen) and not sizes else call(head, batch))
                    is_same = same(output, given)
                if not is_same:
                    raise LayerError(
                        f"cut at {self._name!r}, the two parts do not give what the model gives: its forward pass is not "
                        "deterministic, or changed by what leaves no trace"
                    )
        return head, tail

    def _is_known(self, node: fx.Node) -> bool:
        """Whether the head can give it without running a layer for it."""
        known = self._before | self._free | self._recorder.reads | self._recorder.devices
        return node not in self._after and ancestors([node]) <= known

    def _live(self) -> tuple[list[fx.Node], set[fx.Node]]:
        """What crosses, in order, and the nodes of the tail."""
        local: set[fx.Node] = set()
        while True:
            crossing, kept = self._needed(local)
            chains = [self._chain(n) for n in crossing if n in self._recorder.numbers and n not in self._given]
            more = {n for chain in chains if chain[-1] in crossing | kept for n in chain[:-1]}
            if not more:
                break
            local |= more  # the tail has that tensor anyway
        if not any(node in crossing and node not in self._recorder.numbers for node in self._given):
            raise LayerError(f"{self._name!r} is no cut: nothing that the model gives depends on its output")
        rest = [node for node in self._nodes if node in crossing and node not in self._given]
        rest.sort(key=lambda node: node in self._recorder.numbers)
        return [node for node in self._given if node in crossing] + rest, kept

    def _needed(self, local: set[fx.Node]) -> tuple[set[fx.Node], set[fx.Node]]:
        crossing: set[fx.Node] = set()
        kept: set[fx.Node] = set()
        rest = [self._nodes[-1], *(node for node in self._recorder.effects if node not in self._head_effects)]
        while rest:
            node = rest.pop()
            if node in crossing or node in kept or (node in self._recorder.devices and node not in self._after):
                continue
            in_tail = node in self._after or node in self._free or node in local
            if not in_tail and (node in self._before or (node in self._recorder.reads and self._is_known(node))):
                crossing.add(node)
            else:
                kept.add(node)
                rest += node.all_input_nodes
        return crossing, kept

    def _chain(self, number: fx.Node) -> list[fx.Node]:
        """A number and what it is read through, down to the tensor."""
        chain = [number]
        while chain[-1] in self._recorder.reads and chain[-1].all_input_nodes:
            chain.append(chain[-1].all_input_nodes[0])
        return chain

    def _head(self, model: nn.Module, crossing: list[fx.Node], sizes: dict[int, tuple[int, int]]) -> fx.GraphModule:
        wanted = ancestors([*crossing, *self._head_effects])
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._nodes:
            if node in wanted or node.op == "placeholder":
                copies[node] = graph.node_copy(node, copies.__getitem__)
        values = [copies[node] for node in crossing]
        for number, (tensor, axis) in sizes.items():
            graph.call_function(expect, (_size(graph, values[tensor], axis), values[number]))
        kept = tuple(value for i, value in enumerate(values) if i not in sizes)
        graph.output(kept if len(kept) > 1 else kept[0])
        return self._module(model, graph)

    def _tail(
        self, model: nn.Module, crossing: list[fx.Node], kept: set[fx.Node], sizes: dict[int, tuple[int, int]]
    ) -> fx.GraphModule:
        graph = fx.Graph()
        sent = [i for i in range(len(crossing)) if i not in sizes]
        feature = graph.placeholder("feature")
        values = {sent[0]: feature}
        if len(sent) > 1:
            values = {i: graph.call_function(operator.getitem, (feature, k)) for k, i in enumerate(sent)}
        values |= {number: _size(graph, values[tensor], axis) for number, (tensor, axis) in sizes.items()}
        copies = {node: values[i] for i, node in enumerate(crossing)}
        tensor = next(i for i in sent if crossing[i] not in self._recorder.numbers)
        for node in self._nodes:
            if node in self._recorder.devices - kept and any(user in kept for user in node.users):
                copies[node] = graph.call_function(getattr, (values[tensor], "device"))
            if node in kept:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._module(model, graph)

    def _module(self, model: nn.Module, graph: fx.Graph) -> fx.GraphModule:
        graph.lint()
        targets = {str(node.target) for node in graph.nodes if node.op in ("get_attr", "call_module")}
        module = fx.GraphModule({target: self._recorder.attributes[target] for target in targets}, graph)
        module.training = model.training
        return module


def _size(graph: fx.Graph, tensor: fx.Node, axis: int) -> fx.Node:
    return graph.call_method("size", (tensor, axis))


def _sizes_of_tensors(seen: list[tuple[Any, ...]], is_all_varied: bool) -> dict[int, tuple[int, int]]:
    """Numbers that were a tensor's size every time: positions of the number and of the tensor, and the axis.

    Once is chance, unless the number varies or all that can vary has.
    """
    columns = list(enumerate(zip(*seen, strict=True)))
    places = {
        tuple(x.shape[axis] for x in column): (i, axis)
        for i, column in reversed(columns)
        if isinstance(column[0], Tensor)
        for axis in range(column[0].ndim)
    }
    numbers = [(i, column) for i, column in columns if type(column[0]) is int and (is_all_varied or len(set(column)) > 1)]
    return {i: places[column] for i, column in numbers if column in places}


def _another(example: Any) -> Any:
    """One sample more, in another order, with other values."""
    samples = batch_size(example)

    def change(x: Tensor) -> Tensor:
        if x.ndim == 0 or len(x) != samples:
            return x
        x = torch.cat([x, x[:1]]).flip(0)
        return x / 2 if x.is_floating_point() else x

    return map_inputs(example, change)


def _shorter(example: Any) -> Any:
    """Sequences without their last element."""
    length = next((x.shape[1] for x in tensors(example) if x.ndim in (2, 3)), 0)
    return map_inputs(example, lambda x: x[:, :-1] if x.ndim in (2, 3) and x.shape[1] == length > 1 else x)
