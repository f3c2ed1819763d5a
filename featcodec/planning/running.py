"""A traced model run operation by operation: what each costs in multiply-accumulates, memory and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from featcodec.macs import Count
from featcodec.ops.clock import Marks
from featcodec.parts.graph import Graph, Node
from featcodec.parts.program import Program
from featcodec.parts.steps import execute
from featcodec.parts.trace import arguments
from featcodec.parts.writer import Writer
from featcodec.planning.points import Walk


@dataclass(frozen=True)
class Costs:
    """Of the whole model, before each of its operations and behind the last: arrays of one more than there are operations.

    Attributes
    ----------
    macs
        Multiply-accumulates so far.
    peak_bytes
        The most that inputs and results took at a time so far, weights and an operation's own scratch memory left out.
    shapes, size_bytes
        Of inputs and of each operation's result, where it is a tensor.
    """

    macs: NDArray[np.int64]
    peak_bytes: NDArray[np.int64]
    shapes: dict[Node, tuple[int, ...]]
    size_bytes: dict[Node, int]


class Run:
    """A traced model that runs one step at a time.

    Parameters
    ----------
    graph, walk
        The model; and its operations.
    example
        What it is run with: `featcodec.inputs.call`.

    Attributes
    ----------
    device
        Where the model computes.
    """

    def __init__(self, graph: Graph, walk: Walk, example: Any) -> None:
        read = {node for computed in walk.computed for node in walk.reads(computed)} | set(walk.outputs)
        inputs = {node: (node.name, False) for node in graph.inputs if isinstance(node, Node) and node in read}
        self._walk = walk
        writer = Writer(graph, walk.real, walk.computed, inputs, walk.outputs)
        spec, _ = writer.program()
        tensors = writer.tensors()
        self.device = next((x.device for x in tensors.values()), torch.device("cpu"))
        self._program = Program(spec, tensors, self.device)
        leaves = pytree.tree_leaves(arguments(example))
        self._inputs = [leaf for node, leaf in zip(graph.inputs, leaves, strict=True) if node in inputs]
        self.input_nodes = list(inputs)

    def costs(self) -> Costs:
        """Run once and count."""
        program, values = self._program, self._values()
        macs, peaks = [0], [sum(x.untyped_storage().nbytes() for x in self._inputs)]
        tensors = dict(zip(self.input_nodes, self._inputs, strict=True))
        shapes = {node: tuple(x.shape) for node, x in tensors.items()}
        sizes = {node: x.numel() * x.element_size() for node, x in tensors.items()}
        users = Counter(value.untyped_storage()._cdata for value in values if isinstance(value, Tensor))
        held: dict[int, list[Tensor]] = {}
        total = peaks[0]
        with torch.no_grad(), Count() as count:
            for node, step in zip(self._walk.computed, program.steps, strict=True):
                execute([step._replace(frees=())], values)
                made = values[step.result]
                held[step.result] = [x for x in (made if isinstance(made, (tuple, list)) else [made]) if isinstance(x, Tensor)]
                for tensor in held[step.result]:
                    storage = tensor.untyped_storage()
                    users[storage._cdata] += 1
                    total += storage.nbytes() if users[storage._cdata] == 1 else 0
                if isinstance(made, Tensor):
                    shapes[node], sizes[node] = tuple(made.shape), made.numel() * made.element_size()
                macs.append(count.total)
                peaks.append(max(peaks[-1], total))
                for slot in step.frees:
                    total -= _freed(held.pop(slot, ()), users)
                    values[slot] = None
        return Costs(np.array(macs), np.array(peaks), shapes, sizes)

    def times(self, calls: int) -> NDArray[np.float64]:
        """Return each operation's milliseconds in so many calls, (calls, operations), after a tenth as many not timed."""
        for _ in range(-(-calls // 10)):
            self._time()
        return np.stack([self._time() for _ in range(calls)])

    def _time(self) -> NDArray[np.float64]:
        values, marks = self._values(), Marks(self.device)
        marks.set()
        with torch.no_grad():
            for step in self._program.steps:
                execute((step,), values)
                marks.set()
        return np.array(marks.intervals_ms())

    def _values(self) -> list[Any]:
        return self._program.values(self._inputs, {})


def _freed(tensors: Sequence[Tensor], users: Counter[int]) -> int:
    """Bytes of storages that nobody uses any more."""
    total = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        users[storage._cdata] -= 1
        total += 0 if users[storage._cdata] else storage.nbytes()
    return total
