"""The whole model's graph in words of our own: what is read, computed and returned, sizes as expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from featcodec.layouts import Layout
from featcodec.sizes import Size

MARK = "mark"  # the operation that marks a layer's output; it changes nothing


@dataclass(eq=False, repr=False)
class Node:
    """One value.

    Attributes
    ----------
    name
        As in messages: an input's path, or the name that tracing gave.
    operation
        Its name; "" of an input, and of a tensor of the model.
    args, kwargs
        Plain values, lists of them, other nodes, and `Expression`s.
    shape, dtype, order
        Of a tensor: sizes, the dtype's name, and its axes from the outermost in memory to the innermost (None: row order).
        All None of what is no tensor.
    size_bytes
        At the example's sizes.
    module
        Dotted name of the module that computed it.
    tensor
        Of the model, where that is what the node stands for.
    in_place
        Whether the model writes this into its first argument's memory.
    mark
        Of a marked output: layer, call, path.
    """

    name: str
    operation: str = ""
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[Size, ...] | None = None
    dtype: str | None = None
    order: tuple[int, ...] | None = None
    size_bytes: int = 0
    module: str = ""
    tensor: Tensor | None = None
    in_place: bool = False
    mark: tuple[str, int, str] | None = None

    @property
    def is_input(self) -> bool:
        """Whether it is one of the model's inputs."""
        return not self.operation and self.tensor is None

    def reads(self) -> list[Node]:
        """Return the nodes among its arguments."""
        return list(nodes_in([self.args, list(self.kwargs.values())]))


@dataclass(frozen=True)
class Expression:
    """A size among arguments."""

    size: Size


@dataclass(eq=False, repr=False)
class Graph:
    """A traced model.

    Attributes
    ----------
    nodes
        In the order in which they are computed; inputs and the model's tensors first.
    call
        Parameters by name with the layouts of what they are given; leaves count inputs (None: left out), in `inputs`.
    inputs
        Input nodes by leaf; a constant of the example where the leaf is no tensor.
    outputs, layout
        The leaves that the model returns, nodes, expressions or constants, and how they lie.
    guards
        What must be true of sizes.
    example
        Each named size at the example.
    calls
        How often each marked layer was called.
    """

    nodes: list[Node]
    call: list[tuple[str, Layout]]
    inputs: list[Any]
    outputs: list[Any]
    layout: Layout
    guards: list[Size]
    example: dict[str, int]
    calls: dict[str, int]


def nodes_in(value: Any) -> Iterator[Node]:
    """Yield the nodes in arguments."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from nodes_in(item)
