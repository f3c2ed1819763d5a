"""From a cut, or two halves made by hand, to Head and Tail: programs, ports with their codecs, and the pair's fingerprint."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featcodec.codec import Codec
from featcodec.errors import ConfigError, LayerError
from featcodec.layouts import Layout
from featcodec.parts.about import About
from featcodec.parts.cut import Cut
from featcodec.parts.graph import Expression, Graph, Node
from featcodec.parts.part import Head, Tail
from featcodec.parts.port import Port
from featcodec.parts.program import Program
from featcodec.parts.symbols import BATCH
from featcodec.parts.terms import Terms
from featcodec.parts.writer import Writer
from featcodec.registry import fit_spec, get_codec
from featcodec.sizes import compute
from featcodec.weights import fingerprint_of


@dataclass(frozen=True)
class Half:
    """One half, as `About` and `Program` say it."""

    spec: dict[str, Any]
    tensors: dict[str, Tensor]
    call: list[tuple[str, Layout]]
    leaves: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class Pair:
    """Both halves, and the nodes that cross by the names of their ports; `layout` is that of the model's output."""

    head: Half
    tail: Half
    crossing: dict[str, Node]
    layout: Layout
    example: dict[str, int]


def pair_of_cut(cut: Cut, layer: str) -> Pair:
    """Write both halves of a cut."""
    graph, names = cut.graph, _names(cut)
    crossing = [*cut.features, *cut.others, *cut.inputs]
    sources = [cut.real(n.args[0]) if n in cut.features else n for n in crossing]
    read = _read_by(cut)
    head_inputs = {n: (n.name, False) for n in graph.inputs if isinstance(n, Node) and n in read}
    head = Writer(graph, cut.real, cut.head, head_inputs, [*sources, *cut.known])
    tail_inputs = {**{n: (names[n], True) for n in crossing}, **{n: (n.name, False) for n in cut.own}}
    outputs, results = _outputs(cut)
    tail = Writer(graph, cut.real_behind, cut.tail, tail_inputs, results)
    tail_spec, said = tail.program(value for value in graph.outputs if isinstance(value, Expression))
    _say(outputs["tail"], said)
    # what the tail cannot see the head must show
    head_spec, _ = head.program(Expression(name) for name in tail_spec["sizes"])
    if head_spec["sizes"]:
        raise LayerError(
            f"behind {layer!r} the model needs sizes that no input of the head shows: {', '.join(head_spec['sizes'])}"
        )
    own = {n.name for n in cut.own}
    leaves = [_leaf(node, _numbers(head_spec), None) for node in graph.inputs]
    tail_leaves = [_leaf(node, _numbers(tail_spec), own) for node in graph.inputs]
    called = [(name, layout) for name, layout in graph.call if _is_above(name, own)]
    return Pair(
        Half(head_spec, head.tensors(), graph.call, leaves, outputs["head"]),
        Half(tail_spec, tail.tensors(), called, tail_leaves, outputs["tail"]),
        {names[n]: n for n in crossing},
        graph.layout,
        graph.example,
    )


def pair_by_hand(head: Graph, names: list[str], tail: Graph) -> Pair:
    """Write two models, each traced by itself, the second of which takes what the first returns, by these names."""
    crossing: dict[str, Node] = {}
    for name, value in zip(names, head.outputs, strict=True):
        if not isinstance(value, Node):
            raise LayerError(f"the head's output {name!r} is no tensor: tensors cross")
        crossing[name] = value
    inputs = [n for n in head.inputs if isinstance(n, Node)]
    head_writer = Writer(head, _itself, _computed(head), {n: (n.name, False) for n in inputs}, list(crossing.values()))
    given = dict(zip(tail.inputs, ((name, True) for name in names), strict=True))
    results = list(dict.fromkeys(n for n in tail.outputs if isinstance(n, Node)))
    tail_writer = Writer(tail, _itself, _computed(tail), given, results)
    tail_spec, said = tail_writer.program(value for value in tail.outputs if isinstance(value, Expression))
    outputs: list[Any] = [
        {"result": results.index(v)} if isinstance(v, Node) else None if isinstance(v, Expression) else {"constant": v}
        for v in tail.outputs
    ]
    _say(outputs, said)
    head_spec, _ = head_writer.program()
    leaves = [_leaf(node, _numbers(head_spec), None) for node in head.inputs]
    return Pair(
        Half(head_spec, head_writer.tensors(), head.call, leaves, [None] * len(outputs)),
        Half(tail_spec, tail_writer.tensors(), [], [], outputs),
        crossing,
        tail.layout,
        head.example,
    )


def _itself(node: Node) -> Node:
    return node


def _computed(graph: Graph) -> list[Node]:
    """The operations that outputs need, in order."""
    needed = {value for value in graph.outputs if isinstance(value, Node)}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.reads())
    return [node for node in graph.nodes if node in needed and node.operation]


def joined(pair: Pair, model: str, layer: str, codec: Any) -> tuple[Head, Tail]:
    """Give both halves their ports, codecs and fingerprint.

    Raises
    ------
    ConfigError
        A codec is given for what does not cross, or does not fit it.
    """
    codecs = _codecs(pair, codec)
    ports = tuple(_port(name, node, codecs.get(name)) for name, node in pair.crossing.items())
    states = {f"{port.name}.{key}": x for port in ports if port.codec for key, x in port.codec.state_dict().items()}
    tensors = {f"{kind}.{key}": x for kind in ("head", "tail") for key, x in getattr(pair, kind).tensors.items()}
    said = {"head": pair.head.spec, "tail": pair.tail.spec, "codecs": {p.name: p.codec.config() for p in ports if p.codec}}
    fingerprint = fingerprint_of(said, {**tensors, **states})

    def about(half: Half) -> About:
        return About(
            model=model,
            layer=layer,
            fingerprint=fingerprint,
            ports=ports,
            sizes=tuple(pair.tail.spec["sizes"]),
            call=tuple(half.call),
            leaves=tuple(half.leaves),
            layout=pair.layout,
            outputs=tuple(half.outputs),
            example=pair.example,
        )

    return Head(about(pair.head), _program(pair.head)), Tail(about(pair.tail), _program(pair.tail))


def _program(half: Half) -> Program:
    device = next((x.device for x in half.tensors.values()), torch.device("cpu"))
    return Program(half.spec, half.tensors, device)


def _read_by(cut: Cut) -> set[Node]:
    """Everything that the head reads, and what it sends or returns of what it is given."""
    read = {cut.real(node) for user in cut.head for node in user.reads()}
    return read | {cut.real(mark.args[0]) for mark in cut.features} | set(cut.inputs) | set(cut.known)


def _names(cut: Cut) -> dict[Node, str]:
    """The names of what crosses."""
    several = len(cut.features) > 1
    names: dict[Node, str] = {}
    for node in cut.features:
        assert node.mark is not None
        calls = len({mark.mark[1] for mark in cut.features if mark.mark is not None}) > 1
        path = ".".join([*[str(node.mark[1])] * calls, *[node.mark[2]] * bool(node.mark[2])])
        names[node] = f"feature.{path}" if several else "feature"
    return names | {n: n.name for n in (*cut.others, *cut.inputs)}


def _outputs(cut: Cut) -> tuple[dict[str, list[Any]], list[Node]]:
    """Leaves of what the model returns as either half says them, and what the tail computes for them."""
    results: list[Node] = []
    said: dict[str, list[Any]] = {"head": [], "tail": []}
    for value in cut.graph.outputs:
        if isinstance(value, Node):
            node = cut.real_behind(value)
            if node in cut.known:
                leaf: Any = {"known": cut.known.index(node)}
                said["head"].append(leaf)
            else:
                if node not in results:
                    results.append(node)
                leaf = {"result": results.index(node)}
                said["head"].append(None)
        else:
            leaf = None if isinstance(value, Expression) else {"constant": value}
            said["head"].append(leaf)
        said["tail"].append(leaf)
    return said, results


def _say(outputs: list[Any], sizes: list[Any]) -> None:
    """Put the sizes that a model returns where they belong."""
    said = iter(sizes)
    for i, leaf in enumerate(outputs):
        if leaf is None:
            outputs[i] = {"size": next(said)["s"]}


def _codecs(pair: Pair, given: Any) -> dict[str, Codec]:
    """Codecs by names of what crosses, copied."""
    coded = {name: node for name, node in pair.crossing.items() if _can_be_coded(node)}
    features = [name for name in coded if name == "feature" or name.startswith("feature.")]
    is_several = isinstance(given, Mapping) and "id" not in given
    wanted: dict[str, Any] = dict(given) if is_several else dict.fromkeys(features, given)
    if unknown := [name for name in wanted if name not in coded]:
        raise ConfigError(f"no floating-point tensor {unknown[0]!r} crosses; there are {', '.join(coded) or 'none'}")
    return {name: _codec(value, coded[name], pair.example) for name, value in wanted.items()}


def _codec(given: Any, node: Node, example: dict[str, int]) -> Codec:
    if isinstance(given, Codec):
        return copy.deepcopy(given).eval()
    shape = [compute(size, example) for axis, size in enumerate(node.shape or ()) if axis != _axis(node)]
    return get_codec(fit_spec(given, shape)).eval()


def _can_be_coded(node: Node) -> bool:
    return node.dtype in ("float32", "float16", "bfloat16") and bool(node.shape)


def _axis(node: Node) -> int:
    """The axis of samples: the batch's where one is as long as the batch, else the first."""
    shape = list(node.shape or ())
    return shape.index(BATCH) if BATCH in shape else 0


def _shown(name: str, node: Node) -> tuple[int | str, ...]:
    """A shape to be read by people: an expression only where it is short."""
    shape: list[int | str] = []
    for axis, size in enumerate(node.shape or ()):
        terms = Terms()
        text = size if isinstance(size, int) else terms.text(size)
        shape.append(f"{name}.{axis}" if terms.derived else text)
    return tuple(shape)


def _port(name: str, node: Node, codec: Codec | None) -> Port:
    assert node.dtype is not None
    return Port(name, node.dtype, _shown(name, node), node.size_bytes, None if codec is None else _axis(node), codec)


def _numbers(spec: dict[str, Any]) -> dict[str, int]:
    return {about["name"]: i for i, about in enumerate(spec["inputs"])}


def _leaf(node: Any, numbers: dict[str, int], own: set[str] | None) -> Any:
    if isinstance(node, Node):
        return numbers.get(node.name) if own is None or node.name in own else None
    plain_value = node is None or isinstance(node, (bool, int, float, str))
    return {"constant": node} if plain_value and own is None else None


def _is_above(parameter: str, own: Iterable[str]) -> bool:
    """Whether some leaf below a parameter is the tail's own."""
    return any(name == parameter or name.startswith(f"{parameter}.") for name in own)
