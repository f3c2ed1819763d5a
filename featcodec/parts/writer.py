"""From the nodes of a half to its program: the JSON that a file holds, and the tensors beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from featcodec.errors import LayerError
from featcodec.parts.graph import Expression, Graph, Node
from featcodec.parts.operations import ALLOWED, FRESH, GETITEM, WRITING, writing
from featcodec.parts.symbols import order_of
from featcodec.parts.terms import Terms


class Writer:
    """Writes the program of one half.

    Parameters
    ----------
    real
        What a node stands for.
    computed
        Its operations, in order.
    inputs
        What it is given: the name, and whether it comes with the memory order that was traced.
    results
        What it gives.
    """

    def __init__(
        self,
        graph: Graph,
        real: Callable[[Node], Node],
        computed: list[Node],
        inputs: dict[Node, tuple[str, bool]],
        results: list[Node],
    ) -> None:
        self._graph, self._real = graph, real
        self._computed, self._inputs, self._results = computed, inputs, results
        read = [real(node) for user in computed for node in user.reads()]
        self._tensors = [n for n in dict.fromkeys([*read, *results]) if n.tensor is not None]
        self._number = {n: i for i, n in enumerate([*inputs, *self._tensors, *computed])}
        self._readers: dict[Node, int] = {}
        for node in read:
            self._readers[node] = self._readers.get(node, 0) + 1
        self._names: set[str] = set()
        self._terms = Terms()

    def program(self, returned: Iterable[Any] = ()) -> tuple[dict[str, Any], list[Any]]:
        """Return the program, and arguments as it says them; sizes among them the half can compute, too."""
        operations = [self._operation(node) for node in self._computed]
        said = [self.argument(value) for value in returned]
        inputs = [self._input(node, *about) for node, about in self._inputs.items()]
        seen = {size for node in self._inputs for size in node.shape or () if isinstance(size, str)}
        known = seen | self._names
        guards = [self._terms.text(guard) for guard in self._graph.guards if self._terms.names(guard) <= known]
        return {
            "inputs": inputs,
            "sizes": sorted(self._names - seen),
            "derived": [list(pair) for pair in self._terms.derived],
            "guards": guards,
            "tensors": [
                {"name": n.name, "grad": bool(_tensor(n).requires_grad), "order": _listed(_order(_tensor(n)))}
                for n in self._tensors
            ],
            "operations": operations,
            "results": [self._number[node] for node in self._results],
        }, said

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of the tensors that it reads, by name, with their flags and order in memory."""
        # a copy lies as torch allocates, not as a file was mapped, and stays what it was when the model is trained on
        return {n.name: _tensor(n).detach().clone().requires_grad_(_tensor(n).requires_grad) for n in self._tensors}

    def argument(self, value: Any) -> Any:
        """Return an argument as JSON."""
        if isinstance(value, Node):
            return {"v": self._number[self._real(value)]}
        if isinstance(value, Expression):
            self._names |= self._terms.names(value.size)
            return {"s": self._terms.text(value.size)}
        if isinstance(value, (list, tuple)):
            return [self.argument(item) for item in value]
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"f": str(value)}
        for kind, tag in ((torch.dtype, "dtype"), (torch.layout, "layout"), (torch.memory_format, "memory_format")):
            if isinstance(value, kind):
                return {tag: str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"device": None}
        raise LayerError(f"an argument is a {type(value).__name__}: a part's are tensors, numbers and strings")

    def _input(self, node: Node, name: str, is_ordered: bool) -> dict[str, Any]:
        assert node.shape is not None
        order = _listed(node.order) if is_ordered else None
        shape = [size if isinstance(size, int) else self._terms.text(size) for size in node.shape]
        return {"name": name, "dtype": node.dtype, "shape": shape, "order": order}

    def _operation(self, node: Node) -> list[Any]:
        name = node.operation
        if self._may_overwrite(node):
            name = writing(name) or name
        if name not in ALLOWED and name != GETITEM:
            raise LayerError(
                f"{node.module or 'the model'} uses {name}, which is not among a part's operations (featcodec.parts.operations)"
            )
        return [name, self.argument(node.args), {key: self.argument(value) for key, value in node.kwargs.items()}]

    def _may_overwrite(self, node: Node) -> bool:
        """Whether nobody but this node looks at what it was made of, which is no input's and no other's memory."""
        if not node.in_place:
            return False
        source = self._real(node.args[0])
        own = source.operation in FRESH and source not in self._inputs and source in self._number
        return own and self._readers[source] == 1 and source not in self._results and writing(node.operation) in WRITING


def _tensor(node: Node) -> Tensor:
    assert node.tensor is not None
    return node.tensor


def _order(tensor: Tensor) -> tuple[int, ...] | None:
    return order_of(list(tensor.shape), list(tensor.stride()))


def _listed(order: tuple[int, ...] | None) -> list[int] | None:
    return None if order is None else list(order)
