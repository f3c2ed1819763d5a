"""How operations pass channels on: a `ChannelGraph` read from a traced model, node by node."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from featcodec.errors import LayerError
from featcodec.inputs import head_of, map_inputs
from featcodec.insertion import insertion_at
from featcodec.layers import evaluating, find_layer
from featcodec.macs import profile
from featcodec.planning.channels import ChannelGraph, Ids, Step

# Elementwise or pooling over the picture; zero stays zero.
_KEEPS_ZERO = (
    *("relu", "relu_", "relu6", "relu6_", "leaky_relu", "leaky_relu_", "elu", "elu_", "silu", "silu_", "gelu", "tanh", "tanh_"),
    *("hardswish", "hardswish_", "mish", "mish_", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d"),
    *("avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "dropout", "dropout_", "contiguous"),
    *("clone", "detach", "alias", "upsample_nearest2d", "upsample_bilinear2d"),
)
_SHIFTS_ZERO = ("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
# What knows its own sizes, and so can be made smaller.
_OWNERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.modules.batchnorm._BatchNorm, nn.Linear)


def channel_graph(model: nn.Module, layer: str | nn.Module, example: Any) -> ChannelGraph:
    """Follow the channels of a model that is cut after a layer.

    The model is traced by `torch.export` in eval mode. Channels that meet an operation whose rules are not known stay:
    they may be masked, never dropped.

    Parameters
    ----------
    layer
        The last layer on the device.
    example
        A batch of inputs (`featcodec.inputs.call`).

    Raises
    ------
    LayerError
        The model cannot be traced, already carries a codec at the layer, or nothing of the graph belongs to the layer.
    """
    name, module = find_layer(model, layer)
    if insertion_at(model, name) is not None:
        raise LayerError(f"layer {name!r} carries a codec: prune first, insert afterwards")
    if module is model:
        raise LayerError("the whole model is no split point: name a layer inside it")
    one = map_inputs(head_of(example, 1), lambda x: x.detach().clone())
    with evaluating(model):
        measured = profile(model, one).layers.get(name)
    if measured is None or measured.output_shape is None:
        raise LayerError(f"layer {name!r} gives no tensor: no features cross there")
    graph = ChannelGraph(name, measured.head_macs, measured.output_shape)
    program = _traced(model, one)
    _Reader(graph, model, program, _cut_of(program, name)).read()
    return graph


def _traced(model: nn.Module, example: Any) -> torch.export.ExportedProgram:
    args, kwargs = (
        ((), dict(example)) if isinstance(example, dict) else (example if isinstance(example, tuple) else (example,), {})
    )
    try:
        with evaluating(model), torch.no_grad():
            return torch.export.export(model, args, kwargs, strict=False)
    except Exception as e:  # whatever a model's own forward raises on traced values
        first = str(e).strip().partition("\n")[0]
        raise LayerError(f"{type(model).__name__} cannot be traced, and is pruned by its graph: {first}") from e


def _cut_of(program: torch.export.ExportedProgram, layer: str) -> fx.Node:
    """The last operation inside the layer."""
    inside = [n for n in program.graph.nodes if any(path == layer for path, _ in n.meta.get("nn_module_stack", {}).values())]
    if not inside:
        raise LayerError(f"nothing of the traced model belongs to layer {layer!r}: name a layer that computes something")
    last: fx.Node = inside[-1]
    return last


def _before(cut: fx.Node) -> set[fx.Node]:
    found, rest = {cut}, [cut]
    while rest:
        for node in rest.pop().all_input_nodes:
            if node not in found:
                found.add(node)
                rest.append(node)
    return found


class _Reader:
    """Fills a `ChannelGraph` from a traced program, node by node."""

    def __init__(self, graph: ChannelGraph, model: nn.Module, program: torch.export.ExportedProgram, cut: fx.Node) -> None:
        self.graph, self.modules, self.program = graph, dict(model.named_modules()), program
        signature = program.graph_signature
        self.names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.cut, self.head = cut, _before(cut)
        self.steps: dict[fx.Node, int] = {}

    def read(self) -> None:
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                name = str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))
                rule = self._rule(name)
                if rule is None or not rule(node):
                    self._unknown(node)
                elif name.endswith("_") and node.args[0] in self.steps:
                    self.steps[node.args[0]] = self.steps[node]  # whoever reads the input later reads what was written
            elif node.op == "output":
                self._unknown(node)
        self.graph.crossing = self._given(self.cut)

    def _rule(self, name: str) -> Callable[[fx.Node], bool] | None:
        if name in _KEEPS_ZERO or name in _SHIFTS_ZERO:
            return self._same if name in _KEEPS_ZERO else self._shift
        rules = {"batch_norm": self._norm, "linear": self._linear, "cat": self._join, "mean": self._mean}
        rules |= dict.fromkeys(_CONVOLUTIONS, self._convolution)
        rules |= dict.fromkeys(("flatten", "view", "reshape"), self._flatten) | {"pad": self._pad}
        rules |= dict.fromkeys(("hardtanh", "hardtanh_", "clamp", "clamp_"), self._clamp)
        rules |= dict.fromkeys(("add", "add_"), self._add) | dict.fromkeys(("mul", "mul_"), self._multiply)
        return rules.get(name)

    def _unknown(self, node: fx.Node) -> None:
        for given in node.all_input_nodes:
            if given in self.steps:
                self.graph.fix(self.graph.steps[self.steps[given]].ids)

    # ---- what a rule needs ------------------------------------------------------------------------------------------------

    def _write(self, node: Any, kind: str, inputs: Iterable[int | None], ids: Ids, **more: Any) -> bool:
        self.steps[node] = len(self.graph.steps)
        self.graph.steps.append(Step(kind, tuple(inputs), ids, in_head=node in self.head, **more))
        return True

    def _at(self, node: Any) -> int:
        return self.steps[node]

    def _given(self, node: Any) -> Ids | None:
        return self.graph.steps[self.steps[node]].ids if node in self.steps else None

    def _named(self, node: Any, **places: int) -> dict[str, str] | None:
        """Names of the parameters at these places among the arguments; None where one is no module's that can shrink."""
        found = {}
        for role, place in places.items():
            value = node.args[place] if place < len(node.args) else None
            if value is None:
                continue
            name = self.names.get(getattr(value, "name", ""))
            if name is None or not isinstance(self.modules.get(name.rpartition(".")[0]), _OWNERS):
                return None
            found[role] = name
        return found

    def _along(self, names: Iterable[str], axis: int, ids: Ids) -> None:
        for name in names:
            if (name, axis) in self.graph.axes:  # a module that is called twice
                self.graph.unite(self.graph.axes[name, axis], ids)
            self.graph.axes.setdefault((name, axis), ids)

    # ---- the rules: False where one does not hold ---------------------------------------------------------------------------

    def _same(self, node: Any, kind: str = "same") -> bool:
        ids = self._given(node.args[0])
        shape = _shape(node)
        if ids is None or len(shape) < 2 or shape[1] != len(ids):
            return False
        return self._write(node, kind, [self.steps[node.all_input_nodes[0]]], ids)

    def _shift(self, node: Any) -> bool:
        return self._same(node, "shift")

    def _pad(self, node: Any) -> bool:
        mode, value = (*node.args[2:], "constant", None)[:2] if len(node.args) < 4 else node.args[2:4]
        return len(node.args[1]) <= 2 * (len(_shape(node)) - 2) and (mode != "constant" or not value) and self._same(node)

    def _clamp(self, node: Any) -> bool:
        low, high = (*node.args[1:], None, None)[:2]
        return (low is None or low <= 0) and (high is None or high >= 0) and self._same(node)

    def _mean(self, node: Any) -> bool:
        axes: Any = node.args[1] if len(node.args) > 1 else None
        rank = len(_shape(node.all_input_nodes[0]))
        return axes is not None and not {0, 1} & {axis % rank for axis in axes} and self._same(node)

    def _convolution(self, node: Any) -> bool:
        names = self._named(node, weight=1, bias=2)
        groups = int(node.args[6]) if len(node.args) > 6 else 1
        if names is None or "weight" not in names:
            return False
        made, read, *kernel = _shape(node.args[1])
        given = self._given(node.args[0])
        depthwise = groups > 1 and read == 1 and made % groups == 0 and len(node.args[1].users) == 1
        ids = self.graph.new(made, fixed=groups > 1 and not depthwise)
        self._along(names.values(), 0, ids)
        if given is not None and groups == 1:
            self._along([names["weight"]], 1, given)
            self.graph.reads.append((self._at(node.args[0]), given))
        elif given is not None and depthwise:
            self.graph.unite(ids, np.repeat(given, made // groups))
        elif given is not None:
            self.graph.fix(given)
        elif depthwise:
            self.graph.fix(ids)
        macs = math.prod(_shape(node)[2:]) * math.prod(kernel)
        inputs = [self.steps.get(node.args[0])]
        return self._write(node, "conv", inputs, ids, parameters=names, macs=macs, groups=groups, reads=read)

    def _norm(self, node: Any) -> bool:
        names, ids = self._named(node, weight=1, bias=2, mean=3, var=4), self._given(node.args[0])
        # called twice, it may meet zeros once only
        is_shared = any(isinstance(value, fx.Node) and len(value.users) > 1 for value in node.args[1:5])
        if names is None or ids is None or is_shared:
            return False
        self._along(names.values(), 0, ids)
        return self._write(node, "norm", [self._at(node.args[0])], ids, parameters=names)

    def _linear(self, node: Any) -> bool:
        names, ids = self._named(node, weight=1, bias=2), self._given(node.args[0])
        made, read = _shape(node.args[1])
        if names is None or ids is None or len(_shape(node)) != 2 or len(ids) != read:
            return False
        self._along([names["weight"]], 1, ids)
        self.graph.reads.append((self._at(node.args[0]), ids))
        inputs = [self._at(node.args[0])]
        return self._write(node, "linear", inputs, self.graph.new(made, fixed=True), macs=1)

    def _flatten(self, node: Any) -> bool:
        ids, before, after = self._given(node.args[0]), _shape(node.args[0]), _shape(node)
        rest: Any = node.args[1] if len(node.args) > 1 else None
        # a size that is written in the model's code would stay as it is when a channel goes
        follows = rest in (1, None) or (isinstance(rest, (list, tuple)) and rest[-1] == -1)
        if ids is None or len(after) != 2 or after[0] != before[0] or before[1] != len(ids) or not follows:
            return False
        return self._write(node, "join", [self._at(node.args[0])], np.repeat(ids, math.prod(before[2:])))

    def _join(self, node: Any) -> bool:
        parts: Any = node.args[0]
        if (node.args[1] if len(node.args) > 1 else 0) != 1 or any(part not in self.steps for part in parts):
            return False
        ids = np.concatenate([self.graph.steps[self.steps[part]].ids for part in parts])
        return self._write(node, "join", [self.steps[part] for part in parts], ids)

    def _add(self, node: Any) -> bool:
        return len(node.args) == 2 and self._together(node, "add")

    def _multiply(self, node: Any) -> bool:
        if isinstance(node.args[1], (int, float)):
            return self._same(node)
        return self._together(node, "multiply")

    def _together(self, node: Any, kind: str) -> bool:
        a, b = self._given(node.args[0]), self._given(node.args[1])
        ranks = {len(_shape(value)) for value in (node.args[0], node.args[1], node)}
        if a is None or b is None or len(a) != len(b) or len(ranks) > 1 or _shape(node)[1] != len(a):
            return False
        self.graph.unite(a, b)
        return self._write(node, kind, [self._at(node.args[0]), self._at(node.args[1])], a)


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()
