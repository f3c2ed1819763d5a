"""Recording a model's forward as a torch.fx graph: it runs once, on real tensors, and modules beside a layer stay whole."""

from __future__ import annotations

import inspect
import operator
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from featcodec.errors import LayerError
from featcodec.inputs import call
from featcodec.layers import evaluating
from featcodec.outputs import leaves, map_leaves
from featcodec.traced_sizes import Number, Real, Size

# what of a tensor is the same for any values and sizes
_FIXED = {"dim", "ndimension", "get_device", "element_size", "type", "result_type", "can_cast", "promote_types"}
_SIZES = {"shape", "size", "__len__", "numel", "nelement", "stride", "storage_offset", "broadcast_shapes"}
_ONE_AT_A_TIME = threading.RLock()  # torch's own names are exchanged meanwhile
_PLAIN = (type(None), bool, int, float, complex, str, type(...), torch.dtype, torch.device, torch.layout, torch.memory_format)


def expect(value: Any, wanted: Any) -> None:
    """Refuse inputs for which the model's code would go another way than it did when it was recorded.

    Raises
    ------
    LayerError
        The value is another.
    """
    if value != wanted:
        raise LayerError(f"the model was split for inputs where its code meets {wanted!r}, it meets {value!r} now")


class _ReadError(LayerError):
    """The model's code goes by the values of its inputs."""


class Hole:
    """Stands in a structure for a value that is put in at run time."""


class Rebuild(nn.Module):
    """Puts values into a structure that torch.fx cannot write down: a dataclass, a mapping with a class of its own."""

    def __init__(self, template: Any) -> None:
        super().__init__()
        self.template = template

    def forward(self, *values: Any) -> Any:
        """Return the structure with the values in their order."""
        rest = iter(values)
        return map_leaves(self.template, lambda _, leaf: next(rest) if leaf is Hole else leaf)


class Recorder(TorchFunctionMode):
    """Writes down what a forward pass does.

    Attributes
    ----------
    graph
        Placeholders are the inputs that the example gives; the output is the model's.
    attributes
        By target in the graph: modules, parameters, buffers, constants.
    effects
        Nodes that count though nothing uses their value: checks, and what works in place.
    results
        By call of a whole module, the tensors and numbers it gives.
    numbers
        Nodes that are integers or floats, read from shapes or given.
    items
        Nodes that take something out of what a node gives.
    devices
        Nodes that give a tensor's device.
    reads
        Numbers, and all else that touches no tensor's values: shapes, checks.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.effects: set[fx.Node] = set()
        self.results: dict[fx.Node, list[fx.Node]] = {}
        self.numbers: set[fx.Node] = set()
        self.items: set[fx.Node] = set()
        self.devices: set[fx.Node] = set()
        self.reads: set[fx.Node] = set()
        self._names = {m: name for name, m in model.named_modules() if m is layer or all(i is not layer for i in m.modules())}
        self._whole = [m for m in model.modules() if m not in self._names]
        state = [*model.named_parameters(), *model.named_buffers()]
        self.attributes: dict[str, Any] = {name: m for m, name in self._names.items()} | dict(state)
        self._state = {id(value): name for name, value in state}
        # tensors are kept: the id of one that is gone is another's
        self._nodes: dict[int, tuple[Tensor, fx.Node]] = {}
        self._devices: dict[int, tuple[torch.device, fx.Node]] = {}
        self._written: dict[Any, fx.Node] = {}
        self._quiet = True
        self._last: Any = None

    def record(self, model: nn.Module, example: Any, exporting: bool) -> None:
        """Run the model, in eval mode without gradients."""
        inputs = self._inputs(model, example)
        with evaluating(model), torch.no_grad(), self._calls(exporting), self:
            output = self._unchanged(model, call(model, inputs))
        self.graph.output(self._argument(output))

    def _unchanged(self, module: nn.Module, output: Any) -> Any:
        if module in self._whole and output is not self._last:
            raise LayerError(f"a hook of {type(module).__name__} changes what it gives")
        return output

    def compute(self, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        """Return an operation's result, a number again; a comparison's is checked at run time."""
        value = function(*map(_real, values))
        node = self._once(function, tuple(self._argument(v) for v in values), self.reads)
        if isinstance(value, bool):
            self.expect(node, value)
            return value
        return self._number(node, value)

    def expect(self, node: fx.Node, value: Any) -> None:
        """Check at run time that a node gives this value."""
        self._once(expect, (node, value), self.reads, self.effects)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Run and record one function of torch's."""
        kwargs = kwargs or {}
        if self._quiet:
            return func(*args, **kwargs)
        with self._quietly(True):
            return self._function(func, args, kwargs)

    def _function(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, is_getter = func.__name__, func.__name__ == "__get__"
        if is_getter:
            name = func.__self__.__name__
        is_fixed = is_getter or name in _FIXED or (name.startswith("is_") and name != "is_nonzero")
        tells = "sizes" if name in _SIZES else "nothing" if is_fixed else "values"

        def write(args: Any, kwargs: Any) -> fx.Node:
            if is_getter:
                return self.graph.call_function(getattr, (args[0], name))
            if func is Tensor.__getitem__:
                return self.graph.call_function(operator.getitem, args)
            if func is getattr(Tensor, name, None):
                return self.graph.call_method(name, args, kwargs)
            return self.graph.call_function(func, args, kwargs)

        return self._run(func, args, kwargs, write, tells)

    def _run(
        self, function: Callable[..., Any], args: Any, kwargs: Any, write: Callable[[Any, Any], fx.Node], tells: str
    ) -> Any:
        """Run it, write it down, and hand on what it gives, tracked; `tells`: what numbers among that are of."""
        node = write(self._argument(args), self._argument(kwargs))
        given = [leaf for _, leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        versions = [_version(x) for x in given]
        value = function(*_real(args), **_real(kwargs))
        changed = [x for x, version in zip(given, versions, strict=True) if _version(x) != version]
        if changed:
            self._change(node, changed, value)
            if any(value is x for x in changed):
                return value
        if not any(isinstance(leaf, Tensor) for _, leaf in leaves(value)):
            if tells == "values" and value is not None:
                self._read(node, value)
            if isinstance(value, torch.device):  # what is made on it, is made where the parts are
                self._devices[id(value)] = value, node
                self.devices.add(node)
            if tells in ("values", "nothing"):
                return value
        if tells == "sizes":
            self.reads.add(node)
        return map_leaves(value, lambda path, leaf: self._leaf(node, value, path, leaf))

    def _read(self, node: fx.Node, value: Any) -> None:
        """Values of constants may be read, and of what follows from sizes; those of the inputs may be others next time."""
        if not _depends_on_inputs(node):
            return
        if _depends_on_inputs(node, self.numbers | self.devices) or not isinstance(value, (bool, int, float)):
            raise _ReadError(f"{_place()} reads the values of a tensor ({getattr(node.target, '__name__', node.target)})")
        self.expect(node, value)

    def _change(self, node: fx.Node, changed: list[Tensor], value: Any) -> None:
        """What shares memory with a tensor that was worked on in place comes after that work."""
        self.effects.add(node)
        memory = {x.untyped_storage().data_ptr() for x in changed}
        for tensor in changed:
            self._nodes.setdefault(id(tensor), (tensor, self._argument(tensor)))
        for key, (tensor, before) in list(self._nodes.items()):
            if tensor.untyped_storage().data_ptr() in memory:
                after = node if tensor is value else self.graph.call_function(operator.getitem, ((before, node), 0))
                self._nodes[key] = tensor, after

    def _leaf(self, node: fx.Node, value: Any, path: tuple[str, ...], leaf: Any) -> Any:
        if not isinstance(leaf, (Tensor, int, float)) or isinstance(leaf, bool):
            return leaf
        root = node
        for name in path:  # down to the leaf, with what the model's code would write
            get: Callable[[Any, Any], Any] = operator.getitem if isinstance(value, (Mapping, tuple, list)) else getattr
            key: Any = int(name) if isinstance(value, (tuple, list)) else name
            if isinstance(value, Mapping):
                key = next(k for k in value if str(k) == name)
            if type(value) in (tuple, list):  # as many as there are samples, say
                self.expect(self._once(len, (node,), self.reads), len(value))
            node, value = self._once(get, (node, key), self.items), get(value, key)
        self.results.setdefault(root, []).append(node)
        return self._track(leaf, node) if isinstance(leaf, Tensor) else self._number(node, leaf)

    def _track(self, tensor: Tensor, node: fx.Node) -> Tensor:
        # a module that gives its very input: the input goes on as what it was
        alias = tensor.detach() if id(tensor) in self._nodes or id(tensor) in self._state else tensor
        self._nodes[id(alias)] = alias, node
        return alias

    def _number(self, node: fx.Node, value: float) -> Any:
        self.numbers.add(node)
        self.reads.add(node)
        return Size(self, node, value) if isinstance(value, int) else Real(self, node, value)

    def _once(self, function: Callable[..., Any], args: tuple[Any, ...], *kinds: set[fx.Node]) -> fx.Node:
        key = (function, *((type(a), a) for a in args))
        if key not in self._written:
            self._written[key] = self.graph.call_function(function, args)
            self._written[key].meta["is_wrapped"] = True  # for torch.fx, which traces again when it unpickles
        for kind in kinds:
            kind.add(self._written[key])
        return self._written[key]

    def _argument(self, value: Any) -> Any:
        """What stands in the graph for a value that the model's code hands on."""
        if isinstance(value, Tensor):
            return self._node(value)
        if isinstance(value, Number):
            return value.fx_node
        if isinstance(value, tuple):
            items = [self._argument(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if type(value) in (list, dict):
            return [*map(self._argument, value)] if type(value) is list else {k: self._argument(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(*map(self._argument, (value.start, value.stop, value.step)))
        if isinstance(value, _PLAIN):
            return self._devices[id(value)][1] if id(value) in self._devices else value
        if next(leaves(value), ((), None))[0] == ():
            raise LayerError(f"{_place()} hands on a {type(value).__name__}, which a graph cannot hold")
        given = tuple(leaf for _, leaf in leaves(value) if isinstance(self._argument(leaf), fx.Node))
        template = map_leaves(value, lambda _, leaf: Hole if isinstance(self._argument(leaf), fx.Node) else leaf)
        return self.graph.call_module(self._attribute("rebuild", Rebuild(template)), self._argument(given))

    def _node(self, tensor: Tensor) -> fx.Node:
        if id(tensor) not in self._nodes:
            name = self._state.get(id(tensor)) or self._attribute("constant", tensor)
            self._nodes[id(tensor)] = tensor, self.graph.create_node("get_attr", name)
        return self._nodes[id(tensor)][1]

    def _attribute(self, kind: str, value: Any) -> str:
        name = f"_{kind}_{len(self.attributes)}"
        self.attributes[name] = value
        return name

    def _inputs(self, model: nn.Module, example: Any) -> Any:
        """The example, as a mapping or a tuple of tracked values, in the order of the model's parameters."""
        positional = example if isinstance(example, tuple) else () if isinstance(example, Mapping) else (example,)
        keywords = dict(example) if isinstance(example, Mapping) else {}
        signature = inspect.signature(model.forward)
        named: dict[str, Any] = {}
        for name, value in signature.bind(*positional, **keywords).arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                named.update({f"{name}_{i}": item for i, item in enumerate(value)})
            else:
                named.update(value if kind is inspect.Parameter.VAR_KEYWORD else {name: value})
        tracked = {name: self._input(self.graph.placeholder(name), value) for name, value in named.items()}
        return {name: tracked[name] for name in keywords} if isinstance(example, Mapping) else tuple(tracked.values())

    def _input(self, node: fx.Node, value: Any) -> Any:
        if value is None or isinstance(value, (bool, str)):
            self.expect(node, value)
            return value
        return map_leaves(value, lambda path, leaf: self._leaf(node, value, path, leaf))

    @contextmanager
    def _quietly(self, quiet: bool) -> Iterator[None]:
        before, self._quiet = self._quiet, quiet
        try:
            yield
        finally:
            self._quiet = before

    @contextmanager
    def _calls(self, exporting: bool) -> Iterator[None]:
        """Modules that stay whole are written down as calls; in the code that is traced `len` of a tensor is a size."""
        thread, run, compiling = threading.get_ident(), nn.Module.__call__, torch.compiler.is_compiling
        apply = vars(Function)["apply"]

        def is_traced() -> bool:
            return not self._quiet and threading.get_ident() == thread

        def forward(module: nn.Module, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            given = [id(leaf) for _, leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            if any(key not in self._nodes and key not in self._state for key in given):
                raise LayerError(f"a hook of {type(module).__name__} changes what it is given")
            with self._quietly(False):
                self._last = original(*args, **kwargs)
            return self._last

        def called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if not is_traced():
                return run(module, *args, **kwargs)
            if module not in self._names:
                with self._quietly(module in self._whole):  # hooks, those of an inserted codec among them, are no part of it
                    return self._unchanged(module, run(module, *args, **kwargs))
            write = partial(self.graph.call_module, self._names[module])
            with self._quietly(True):
                return self._run(partial(run, module), args, kwargs, write, "outputs")

        def applied(function: Any, *args: Any, **kwargs: Any) -> Any:
            if is_traced():
                raise LayerError(f"{_place()} calls {function.__name__}, whose gradient is its own")
            return apply.__func__(function, *args, **kwargs)

        def length(value: Any) -> Any:
            return value.size(0) if isinstance(value, Tensor) and is_traced() else len(value)

        patched: list[tuple[Any, str, Any]] = [(m, "forward", partial(forward, m, m.forward)) for m in self._whole]
        patched += [(nn.Module, "__call__", called), (Function, "apply", classmethod(applied))]
        files = {c.__module__ for m in self._whole for c in type(m).__mro__ if issubclass(c, nn.Module)}
        patched += [(sys.modules[name], "len", length) for name in files if name in sys.modules]
        if exporting:
            patched += [(torch.compiler, name, lambda: is_traced() or compiling()) for name in ("is_compiling", "is_exporting")]
        before = [(owner, name, vars(owner).get(name)) for owner, name, _ in patched]
        for owner, name, value in patched:
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value) if value is not None else delattr(owner, name)


def record(model: nn.Module, layer: nn.Module, example: Any) -> Recorder:
    """Write down what a model does with an example.

    Raises
    ------
    LayerError
        The forward pass does what cannot be written down; the message names the line.
    """
    try:
        with _ONE_AT_A_TIME:
            try:
                return _recorded(model, layer, example, False)
            except _ReadError:  # the code may have another way for those who must not look
                return _recorded(model, layer, example, True)
    except Exception as e:  # whatever a model's own forward raises
        try:
            with evaluating(model), torch.no_grad():
                call(model, example)
        except Exception as own:
            raise LayerError(f"{type(model).__name__} fails at the example: {own}") from own
        raise LayerError(
            f"{type(model).__name__} cannot be traced ({e}); insert works without tracing, and featcodec.export may"
        ) from e


def _recorded(model: nn.Module, layer: nn.Module, example: Any, exporting: bool) -> Recorder:
    recorder = Recorder(model, layer)
    recorder.record(model, example, exporting)
    return recorder


def ancestors(nodes: Iterable[fx.Node], known: Collection[fx.Node] = ()) -> set[fx.Node]:
    """Return nodes and all that they are computed from, without what is known and what that is computed from."""
    found: set[fx.Node] = set()
    rest = [*nodes]
    while rest:
        node = rest.pop()
        if node not in found and node not in known:
            found.add(node)
            rest += node.all_input_nodes
    return found


def _depends_on_inputs(node: fx.Node, known: Collection[fx.Node] = ()) -> bool:
    return any(n.op == "placeholder" for n in ancestors([node], known))


def _real(value: Any) -> Any:
    """A value that the model's code hands on, with plain numbers."""
    if isinstance(value, Tensor):
        return value
    return map_leaves(value, lambda _, leaf: _plain(leaf))


def _plain(leaf: Any) -> Any:
    if isinstance(leaf, slice):
        return slice(*map(_plain, (leaf.start, leaf.stop, leaf.step)))
    return leaf.value if isinstance(leaf, Number) else leaf


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _place() -> str:
    """The line of the model's code that is running."""
    frame = sys._getframe()
    while frame.f_back and (frame.f_globals["__name__"] == __name__ or frame.f_globals["__name__"].split(".")[0] == "torch"):
        frame = frame.f_back
    return f"line {frame.f_lineno} of {frame.f_code.co_filename}"
