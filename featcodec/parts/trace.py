"""From a model to its graph, by torch.export: outputs of layers marked, recurrent layers kept whole, sizes left free."""

from __future__ import annotations

import inspect
import itertools
import operator
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from featcodec.errors import FeatureTypeError, LayerError, MissingDependencyError
from featcodec.inputs import batch_size, map_inputs
from featcodec.layers import evaluating
from featcodec.layouts import Layout, layout_of, leaves_of, plain
from featcodec.outputs import map_leaves, name_of
from featcodec.parts.graph import MARK, Graph, Node
from featcodec.parts.in_place import is_functional, written
from featcodec.parts.operations import GETITEM, functional, writing
from featcodec.parts.places import place_of
from featcodec.parts.recurrent import REAL_NAMES, WholeRecurrent
from featcodec.parts.symbols import Symbols

NEEDS_TORCH = (2, 13)

_LIBRARY = torch.library.Library("featcodec", "FRAGMENT")
_LIBRARY.define("mark(Tensor x, str layer, int call, str path) -> Tensor")
_LIBRARY.impl("mark", lambda x, layer, call, path: x.clone(), "CompositeExplicitAutograd")
_MARK = "featcodec.mark.default"

# They change nothing, or check what guards check.
_SAME = {
    "aten.lift_fresh.default",
    "aten.lift_fresh_copy.default",
    "aten.detach.default",
    "aten.detach_.default",
    "aten.alias.default",
}
_CHECKS = {
    "aten._assert_tensor_metadata.default",
    "aten._assert_scalar.default",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
}
_REGIONS = {"wrap_with_set_grad_enabled", "wrap_with_autocast"}


def trace(model: nn.Module, layers: Sequence[str], example: Any, fixed: Collection[str] = ()) -> Graph:
    """Trace a model in eval mode.

    Parameters
    ----------
    layers
        Names of the modules whose outputs are marked.
    example
        As `featcodec.inputs.call` takes it; a batch of one is traced as a batch of two, for a size of one stays one for ever.
    fixed
        Inputs, or their sizes ("x.2"), that keep the example's; of an input all sizes but the first.

    Raises
    ------
    LayerError
        It cannot be traced; the place is named.
    MissingDependencyError
        This torch is too old.
    """
    if _version() < NEEDS_TORCH:
        wanted = ".".join(map(str, NEEDS_TORCH))
        raise MissingDependencyError(f"export needs torch {wanted}, this is {torch.__version__}: pip install 'torch>={wanted}'")
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        raise LayerError(
            "a model is exported as it computes without autocast: put autocast into its forward, and export outside"
        )
    calls = dict.fromkeys(layers, 0)
    args, kwargs = arguments(doubled(example))
    call = _parameters(model, args, kwargs)
    try:
        with ExitStack() as stack, warnings.catch_warnings():
            # torch's own, when it takes writing out of a graph
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export", UserWarning)
            stack.enter_context(evaluating(model))
            stack.enter_context(torch.no_grad())
            stack.enter_context(_hooks(model, calls))
            stack.enter_context(WholeRecurrent())
            program = torch.export.export(
                model, args, kwargs, strict=False, dynamic_shapes=_free(model, args, kwargs, call, fixed)
            )
            program = _without_regions(program)
    except (LayerError, FeatureTypeError):
        raise
    except Exception as e:  # whatever a model's own forward raises on traced values
        raise LayerError(f"{type(model).__name__} cannot be traced{place_of(e, model)}: {_first_lines(e)}") from e
    return _Reader(program, args, kwargs, call, calls).graph()


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])


def arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments that an example is."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (example if isinstance(example, tuple) else (example,)), {}


def doubled(example: Any) -> Any:
    """Return an example of a batch of one as one of two, and every tensor in it as one of its own."""
    is_one = batch_size(example) == 1

    def ready(x: Tensor) -> Tensor:
        # one tensor in two places would be traced as one input
        return x.repeat(2, *[1] * (x.ndim - 1)) if is_one and x.ndim and len(x) == 1 else x.detach().clone()

    return map_inputs(example, ready)


def input_names(model: nn.Module, example: Any) -> list[str]:
    """Return the paths of the tensors in an example, as `fixed` names them."""
    given = _parameters(model, *arguments(example))
    return [path for name, value in given for path, leaf in leaves_of(value, name) if isinstance(leaf, Tensor)]


def _parameters(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """What the example gives, by the names of the model's parameters."""
    positional: list[str] = []
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += [f"{name}{i}" for i in range(len(args) - len(positional))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(name)
    if len(args) > len(positional):
        raise FeatureTypeError(f"{type(model).__name__} takes {len(positional)} positional inputs, the example has {len(args)}")
    return [*zip(positional, args, strict=False), *kwargs.items()]


def _free(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: list[tuple[str, Any]], fixed: Collection[str]
) -> Any:
    """Every axis of every tensor may have another size, unless the model or the caller says otherwise."""
    shapes = torch.export.ShapesCollection()
    for name, value in call:
        for path, leaf in leaves_of(value, name):
            if isinstance(leaf, Tensor):
                stays = [f"{path}.{axis}" in fixed or (path in fixed and axis > 0) for axis in range(leaf.ndim)]
                shapes[leaf] = [torch.export.Dim.STATIC if stay else torch.export.Dim.AUTO for stay in stays]
    return shapes.dynamic_shapes(model, args, kwargs)


@contextmanager
def _hooks(model: nn.Module, calls: dict[str, int]) -> Iterator[None]:
    modules = dict(model.named_modules(remove_duplicate=False))
    handles = [modules[layer].register_forward_hook(_marker(layer, calls)) for layer in calls]
    # the last one: classes of outputs are no matter of a part's
    handles.append(model.register_forward_hook(lambda module, args, output: plain(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _marker(layer: str, calls: dict[str, int]) -> Callable[..., Any]:
    def mark(module: nn.Module, args: Any, output: Any) -> Any:
        call = calls[layer]
        calls[layer] += 1

        def marked(path: tuple[str, ...], leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return torch.ops.featcodec.mark(leaf, layer, call, name_of(path) if path else "")

        return map_leaves(output, marked)

    return mark


def _without_regions(program: Any) -> Any:
    """Have torch take writing out of a graph, where it cannot be read as if each operation made a new tensor."""
    nodes = list(program.graph.nodes)
    higher = {n.target.__name__ for n in nodes if isinstance(n.target, torch._ops.HigherOrderOperator)}
    if higher - _REGIONS:
        raise LayerError(f"control flow cannot be cut: {', '.join(sorted(higher - _REGIONS))}")
    return program.run_decompositions({}) if higher or not is_functional(nodes) else program


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:600]


class _Reader:
    """Makes a graph of an exported program."""

    def __init__(
        self, program: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[tuple[str, Any]], calls: dict[str, int]
    ) -> None:
        self._program, self._given, self._calls = program, given, calls
        signature = program.graph_signature
        self._constants = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        placeholders = [n for n in program.graph.nodes if n.op == "placeholder" and n.name not in self._constants]
        leaves = pytree.tree_leaves((args, kwargs))
        found = [leaf for _, leaf in self._leaves()]
        if len(placeholders) != len(leaves) or any(a is not b for a, b in zip(leaves, found, strict=True)):
            raise LayerError(
                f"inputs are tensors in tuples, lists and dictionaries, got {[type(v).__name__ for _, v in given]}"
            )
        self._names = {node: path for node, (path, _) in zip(placeholders, self._leaves(), strict=True)}
        self._placeholders = placeholders
        self._symbols = Symbols([(self._names[n], n.meta.get("val")) for n in placeholders])
        self._nodes: dict[fx.Node, Any] = {}
        self._tensors: dict[Any, Node] = {}

    def _leaves(self) -> Iterator[tuple[str, Any]]:
        for name, value in self._given:
            yield from leaves_of(value, name)

    def graph(self) -> Graph:
        """Read it."""
        for node in self._program.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                self._nodes[node] = self._source(node)
            elif node.op == "call_function":
                self._nodes[node] = self._computed(node)
        counter = itertools.count()
        call: list[tuple[str, Layout]] = [(name, layout_of(value, lambda: next(counter))) for name, value in self._given]
        (output,) = (n for n in self._program.graph.nodes if n.op == "output")
        mutated = [s for s in self._program.graph_signature.output_specs if s.kind.name != "USER_OUTPUT"]
        outputs = [self._argument(value) for value in output.args[0][len(mutated) :]]
        spec = self._program.call_spec.out_spec
        shape = pytree.tree_unflatten(list(range(len(outputs))), spec)
        order: list[int] = [leaf for _, leaf in leaves_of(shape, "")]
        numbers = iter(order)
        return Graph(
            nodes=list(dict.fromkeys(n for n in self._nodes.values() if isinstance(n, Node))),
            call=call,
            inputs=[self._nodes[n] for n in self._placeholders],
            outputs=outputs,
            layout=layout_of(shape, lambda: next(numbers)),
            guards=self._symbols.guards(),
            example=self._symbols.example(),
            calls=self._calls,
        )

    def _source(self, node: fx.Node) -> Any:
        value = node.meta.get("val")
        if node.name not in self._constants:
            if not isinstance(value, Tensor):
                return value
            return self._described(Node(self._names[node]), value)
        key = self._constants[node.name]
        program = self._program
        tensor = program.state_dict[key] if key in program.state_dict else program.constants[key]
        if not isinstance(tensor, Tensor):
            raise LayerError(f"{key} is a {type(tensor).__name__}: a part holds tensors alone")
        tied = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() == 0:
            return self._described(Node(key, tensor=tensor), tensor)
        return self._tensors.setdefault(tied, self._described(Node(key, tensor=tensor), tensor))

    def _computed(self, node: fx.Node) -> Any:
        name, value = str(node.target), node.meta.get("val")
        if value is not None and not isinstance(value, (Tensor, list, tuple)):
            return self._size(node, value)
        if name in _CHECKS:
            return None
        args = [self._argument(argument) for argument in node.args]
        if name in _SAME:
            return args[0]
        kwargs = {key: self._argument(argument) for key, argument in node.kwargs.items()}
        stack = list(node.meta.get("nn_module_stack", {}).values())
        module = str(stack[-1][0]) if stack else ""
        if node.target is operator.getitem:
            made = Node(node.name, GETITEM, args, kwargs, module=module)
        elif name.startswith("aten.") or name in REAL_NAMES or name == _MARK:
            name = MARK if name == _MARK else REAL_NAMES.get(name, name)
            made = Node(node.name, name, args, kwargs, module=module)
            if written(node):
                made.operation = functional(name)
                made.in_place = writing(made.operation) == name
        else:
            raise LayerError(f"{module or 'the model'} uses {name}: a part consists of aten's operations alone")
        if made.operation == MARK:
            made.mark, made.args = tuple(made.args[1:]), made.args[:1]
        return self._described(made, value)

    def _described(self, node: Node, value: Any) -> Node:
        """Say what a tensor is; what has several results is no tensor."""
        if isinstance(value, Tensor):
            node.shape = tuple(self._symbols.size(size) for size in value.shape)
            node.dtype = str(value.dtype).removeprefix("torch.")
            node.order = self._symbols.order(value)
            node.size_bytes = self._symbols.elements(value) * value.dtype.itemsize
        return node

    def _size(self, node: fx.Node, value: Any) -> Any:
        try:
            return self._symbols.argument(value)
        except LayerError as e:
            stack = list(node.meta.get("nn_module_stack", {}).values())
            raise LayerError(f"{stack[-1][0] if stack else 'the model'}: {e}") from e

    def _argument(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self._nodes[value]
        if isinstance(value, (list, tuple)):
            return [self._argument(item) for item in value]
        return self._symbols.argument(value) if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)) else value
