"""Where a traced model can be cut: points between its operations at which few tensors are alive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from featcodec.parts.graph import MARK, Graph, Node, nodes_in


@dataclass(frozen=True)
class Name:
    """A layer whose output a value is.

    Attributes
    ----------
    layer
        Its dotted name.
    call
        Which of its calls, where one forward calls it several times, else None.
    """

    layer: str
    call: int | None


@dataclass(frozen=True)
class Point:
    """A place between two operations.

    Attributes
    ----------
    after
        How many operations of `Walk.computed` the head runs.
    crossing
        The tensors that are alive there, in the order in which they are computed; the last is the newest.
    names
        The layers that end here, the outermost first; none where a model's own code computed the newest tensor.
    """

    after: int
    crossing: tuple[Node, ...]
    names: tuple[Name, ...]


class Walk:
    """A graph's operations in order, and what is alive between them.

    Attributes
    ----------
    computed
        The operations that outputs need, without marks.
    outputs
        What the model returns, tensors alone.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._same = {node: node.args[0] for node in graph.nodes if node.operation == MARK}
        self.outputs = list(dict.fromkeys(self.real(node) for node in nodes_in(graph.outputs)))
        needed = set(self.outputs)
        for node in reversed(graph.nodes):
            if node in needed:
                needed.update(self.reads(node))
        self.computed = [node for node in graph.nodes if node in needed and node.operation]
        self._depends: dict[Node, bool] = {}
        for node in graph.nodes:
            self._depends[node] = node.is_input or any(self._depends[self.real(read)] for read in node.reads())

    def real(self, node: Node) -> Node:
        """Return what a node stands for: a mark is what it marks."""
        while node in self._same:
            node = self._same[node]
        return node

    def reads(self, node: Node) -> list[Node]:
        """Return what an operation reads, without marks."""
        return [self.real(read) for read in node.reads()]

    def points(self, max_tensors: int) -> Iterator[Point]:
        """Yield the points at which one tensor to `max_tensors` of them are all that the rest needs, the inputs' first.

        Weights, and what follows from them and from sizes alone, cross nowhere: both halves have them. What the model returns
        and nobody reads any more stays with the head.
        """
        last = self._last_reads()
        names = self._names()
        alive = [node for node in self._graph.nodes if node.is_input and node in last]
        before: list[Node] = []
        for after in range(len(self.computed) + 1):
            if after:
                made = self.computed[after - 1]
                alive = [node for node in alive if last[node] >= after]
                if self._depends[made] and last.get(made, -1) >= after:
                    alive.append(made)
            if alive and alive != before and len(alive) <= max_tensors and all(node.shape is not None for node in alive):
                # behind a later operation it is another set than that with which the layer ended
                ended = names.get(alive[-1], ()) if after and alive[-1] is self.computed[after - 1] else ()
                yield Point(after, tuple(alive), tuple(ended))
            before = list(alive)

    def _last_reads(self) -> dict[Node, int]:
        """The last operation, by number, that reads a value."""
        return {read: number for number, node in enumerate(self.computed) for read in self.reads(node)}

    def _names(self) -> dict[Node, list[Name]]:
        """The layers that end with a value, outermost first: of a layer that returns several it is the last of them."""
        place = {node: number for number, node in enumerate(self.computed)}
        ends: dict[tuple[str, int], Node] = {}
        for node in self._graph.nodes:
            made = self.real(node)
            if node.mark is not None and made in place:
                key = node.mark[:2]
                before = ends.pop(key, made)
                ends[key] = max(before, made, key=place.__getitem__)
        found: dict[Node, list[Name]] = {}
        for (layer, call), node in ends.items():
            found.setdefault(node, []).insert(0, Name(layer, call if self._graph.calls[layer] > 1 else None))
        # an identity behind a layer ends with the same value, and later
        return {node: sorted(ended, key=lambda name: name.layer.count(".")) for node, ended in found.items()}
