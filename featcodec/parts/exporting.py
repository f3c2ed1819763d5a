"""export: a model cut after a layer into a head and a tail that are frozen, and that are saved as a file each."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.codec import Codec
from featcodec.errors import ConfigError, FeatureError, LayerError
from featcodec.inputs import call as call_model
from featcodec.layers import evaluating, find_layer
from featcodec.outputs import same
from featcodec.parts.cut import Cut, cut_at
from featcodec.parts.file import write_part
from featcodec.parts.graph import Expression, Graph, Node
from featcodec.parts.layouts import Layout, plain
from featcodec.parts.part import About, Head, Tail
from featcodec.parts.port import Port
from featcodec.parts.program import Program
from featcodec.parts.symbols import BATCH
from featcodec.parts.terms import Terms
from featcodec.parts.trace import arguments, doubled, trace
from featcodec.parts.writer import Writer
from featcodec.registry import fit_spec, get_codec
from featcodec.spec import Spec
from featcodec.weights import fingerprint_of


class Parts:
    """A head and its tail.

    ``head, tail = parts`` takes them apart; printed it says what crosses.

    Attributes
    ----------
    head, tail
        The halves.
    """

    def __init__(self, head: Head, tail: Tail) -> None:
        self.head, self.tail = head, tail

    @property
    def layer(self) -> str:
        """The layer behind which the model was cut."""
        return self.head.layer

    def save(self, head: str | Path, tail: str | Path | None = None) -> None:
        """Write both halves.

        Parameters
        ----------
        head, tail
            Two files; or a folder, made where it is missing, which gets head.fcz and tail.fcz.
        """
        if tail is None:
            Path(head).mkdir(parents=True, exist_ok=True)
            head, tail = Path(head) / "head.fcz", Path(head) / "tail.fcz"
        write_part(self.head, head)
        write_part(self.tail, tail)

    def __iter__(self) -> Iterator[Head | Tail]:
        """Give the head, then the tail."""
        return iter((self.head, self.tail))

    def __str__(self) -> str:
        """Say what crosses, and what each half computes."""
        head, tail = self.head, self.tail
        lines = [
            f"{head.about.model} cut behind {self.layer!r}: {len(head.program.steps)} and {len(tail.program.steps)} operations"
        ]
        lines += [f"  crosses {port}" for port in head.ports]
        lines += [f"  crosses {name}: a size" for name in head.about.sizes]
        lines += [f"  the head returns {len(head.program.results) - len(head.ports)} of the model's tensors"] * (
            len(head.program.results) > len(head.ports)
        )
        return "\n".join(lines)


def export(
    model: nn.Module,
    layer: str | nn.Module,
    example: Any,
    *,
    codec: Codec | Spec | Mapping[str, Codec | Spec] = "raw",
    call: int | None = None,
    own: Collection[str] = (),
    fixed: Collection[str] = (),
) -> Parts:
    """Cut a model after a layer into a head and a tail that need neither each other nor the model's source.

    The halves are frozen: eval mode, and copies of the weights. What crosses is what the tail needs and no more: the layer's
    output, and where something goes around the layer the cheapest tensors that give it. Sizes of batch, sequences and pictures
    stay open where the model allows it.

    Parameters
    ----------
    model
        A model that `torch.export` traces.
    layer
        Dotted name of the layer, or the module itself.
    example
        A batch of the model's inputs (`featcodec.inputs.call`). Axes of size 1 stay 1, save the batch's.
    codec
        For the layer's floating-point tensors: a codec or a spec. Or several by the names of tensors that cross: what is not
        named is sent as it is. A codec is copied.
    call
        Which of the layer's calls in one forward, from 0; unless given all of them.
    own
        Names of parameters of the model, or paths below ("cache.1"), that never cross: each half is given those it needs.
        Caches of keys and values, of which each half keeps its own layers'.
    fixed
        Inputs of which all sizes but the first, or sizes ("x.2") that stay as in the example: a model with many conditions on
        sizes is exported sooner.

    Returns
    -------
    Parts
        Head and tail: ``tail(head(x))`` equals ``model(x)`` bit for bit, for the same batch on the same machine.

    Raises
    ------
    LayerError
        No such layer, or one that is no cut; the model cannot be traced, and where; it uses operations that no part has; the
        halves do not give what the model gives.
    FeatureError
        The model does not take the example.
    ConfigError
        A codec is given for what does not cross, or does not fit it.
    MissingDependencyError
        This torch is too old.
    """
    name, module = find_layer(model, layer)
    if module is model:
        raise LayerError("the whole model is no split point: name a layer inside it")
    wanted = _reference(model, example)
    graph = trace(model, [name], example, fixed)
    parts = cut_graph(graph, name, model=model, codec=codec, call=call, own=own)
    verify(parts, model, wanted, example)
    return parts


def _reference(model: nn.Module, example: Any) -> Any:
    """What the model gives for the example, with the kernels that tracing sees, too."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model), torch.no_grad():
            return plain(call_model(model, doubled(example)))
    except Exception as e:  # whatever a model raises for inputs that are not its own
        raise FeatureError(f"{type(model).__name__} does not run on the example: {e}") from e
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def verify(parts: Parts, model: nn.Module, wanted: Any, example: Any) -> None:
    """Raise LayerError where head and tail do not give what the model gave."""
    args, kwargs = arguments(doubled(example))
    own = {name: value for name, value in _named(parts.head, args, kwargs).items() if name in dict(parts.tail.about.call)}
    if not same(wanted, parts.tail(parts.head(*args, **kwargs), **own)):
        raise LayerError(
            f"cut behind {parts.layer!r}, the halves do not give what {type(model).__name__} gives: "
            "its forward is not deterministic"
        )


def _named(head: Head, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip((name for name, _ in head.about.call), args, strict=False)), **kwargs}


def cut_graph(
    graph: Graph,
    layer: str,
    *,
    model: nn.Module,
    codec: Codec | Spec | Mapping[str, Codec | Spec] = "raw",
    call: int | None = None,
    own: Collection[str] = (),
) -> Parts:
    """Cut a traced model after a layer that is marked in it; as `export`, which also compares with the model."""
    cut = cut_at(graph, layer, call, own)
    names = _names(cut)
    crossing = [*cut.features, *cut.others, *cut.inputs]
    head_inputs = [n for n in graph.inputs if isinstance(n, Node) and n in _read_by(cut)]
    sources = [cut.real(n.args[0]) if n in cut.features else n for n in crossing]
    head = Writer(graph, cut.real, cut.head, {n: (n.name, False) for n in head_inputs}, [*sources, *cut.known])
    tail_inputs = {**{n: (names[n], True) for n in crossing}, **{n: (n.name, False) for n in cut.own}}
    outputs, results = _outputs(cut)
    tail = Writer(graph, cut.real_behind, cut.tail, tail_inputs, results)
    tail_spec, said = tail.program(value for value in graph.outputs if isinstance(value, Expression))
    _say(outputs["tail"], said)
    sizes = tuple(tail_spec["sizes"])
    # what the head must show
    head_spec, _ = head.program(Expression(name) for name in sizes)
    if head_spec["sizes"]:
        raise LayerError(
            f"behind {layer!r} the model needs sizes that no input of the head shows: {', '.join(head_spec['sizes'])}"
        )
    codecs = _codecs(cut, names, codec)
    ports = tuple(_port(n, names[n], codecs.get(names[n]), cut) for n in crossing)
    return _built(cut, type(model).__name__, layer, ports, (head_spec, head.tensors()), (tail_spec, tail.tensors()), outputs)


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


def _codecs(cut: Cut, names: dict[Node, str], given: Any) -> dict[str, Codec]:
    """Codecs by names of what crosses, copied."""
    coded = {names[n]: n for n in (*cut.features, *cut.others, *cut.inputs) if _can_be_coded(n)}
    features = [names[n] for n in cut.features if names[n] in coded]
    is_several = isinstance(given, Mapping) and "id" not in given
    wanted: dict[str, Any] = dict(given) if is_several else dict.fromkeys(features, given)
    if unknown := [name for name in wanted if name not in coded]:
        raise ConfigError(f"no floating-point tensor {unknown[0]!r} crosses; there are {', '.join(coded) or 'none'}")
    return {name: _codec(value, coded[name]) for name, value in wanted.items()}


def _codec(given: Any, node: Node) -> Codec:
    if isinstance(given, Codec):
        return copy.deepcopy(given).eval()
    shape = [size for axis, size in enumerate(node.shape or ()) if axis != _axis(node)]
    config = (
        given if any(not isinstance(size, int) for size in shape[:1]) else fit_spec(given, [_or_one(size) for size in shape])
    )
    return get_codec(config).eval()


def _or_one(size: Any) -> int:
    return size if isinstance(size, int) else 1


def _can_be_coded(node: Node) -> bool:
    return node.dtype in ("float32", "float16", "bfloat16") and bool(node.shape)


def _axis(node: Node) -> int:
    """The axis of samples: the batch's where one is as long as the batch, else the first."""
    shape = list(node.shape or ())
    return shape.index(BATCH) if BATCH in shape else 0


def _port(node: Node, name: str, codec: Codec | None, cut: Cut) -> Port:
    assert node.dtype is not None
    axis = None if codec is None else _axis(node)
    return Port(name, node.dtype, _shown(name, node), node.size_bytes, axis, codec)


def _shown(name: str, node: Node) -> tuple[int | str, ...]:
    """A shape to be read by people: an expression only where it is short."""
    shape: list[int | str] = []
    for axis, size in enumerate(node.shape or ()):
        terms = Terms()
        text = size if isinstance(size, int) else terms.text(size)
        shape.append(f"{name}.{axis}" if terms.derived else text)
    return tuple(shape)


def _built(
    cut: Cut,
    model: str,
    layer: str,
    ports: tuple[Port, ...],
    head: tuple[dict[str, Any], dict[str, Tensor]],
    tail: tuple[dict[str, Any], dict[str, Tensor]],
    outputs: dict[str, list[Any]],
) -> Parts:
    graph = cut.graph
    numbers = {"head": _numbers(head[0]), "tail": _numbers(tail[0])}
    own = {n.name for n in graph.inputs if isinstance(n, Node)} & {n.name for n in cut.own}
    calls: dict[str, list[tuple[str, Layout]]] = {"head": graph.call, "tail": [c for c in graph.call if _has(c, graph, own)]}
    states = {f"{port.name}.{key}": x for port in ports if port.codec for key, x in port.codec.state_dict().items()}
    tensors = {f"{kind}.{key}": x for kind, (_, found) in (("head", head), ("tail", tail)) for key, x in found.items()}
    configs = {port.name: port.codec.config() for port in ports if port.codec}
    fingerprint = fingerprint_of({"head": head[0], "tail": tail[0], "codecs": configs}, {**tensors, **states})
    halves: list[Any] = []
    for kind, (spec, found), cls in (("head", head, Head), ("tail", tail, Tail)):
        leaves = tuple(_leaf(node, numbers[kind], own if kind == "tail" else None) for node in graph.inputs)
        about = About(
            model=model,
            layer=layer,
            fingerprint=fingerprint,
            ports=ports,
            sizes=tuple(tail[0]["sizes"]),
            call=tuple(calls[kind]),
            leaves=leaves,
            layout=graph.layout,
            outputs=tuple(outputs[kind]),
            example=graph.example,
        )
        device = next((x.device for x in found.values()), torch.device("cpu"))
        halves.append(cls(about, Program(spec, found, device)))
    return Parts(*halves)


def _numbers(spec: dict[str, Any]) -> dict[str, int]:
    return {about["name"]: i for i, about in enumerate(spec["inputs"])}


def _leaf(node: Any, numbers: dict[str, int], own: set[str] | None) -> Any:
    if isinstance(node, Node):
        return numbers.get(node.name) if own is None or node.name in own else None
    plain_value = node is None or isinstance(node, (bool, int, float, str))
    return {"constant": node} if plain_value and own is None else None


def _has(parameter: tuple[str, Layout], graph: Graph, own: set[str]) -> bool:
    """Whether some leaf below a parameter is the tail's own."""
    return any(name == parameter[0] or name.startswith(f"{parameter[0]}.") for name in own)
