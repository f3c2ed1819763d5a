"""Where a graph is cut at a layer: what the head computes, what crosses, what the tail computes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from featcodec.errors import LayerError
from featcodec.parts.flow import INFINITE, cheapest
from featcodec.parts.graph import MARK, Graph, Node, nodes_in
from featcodec.parts.operations import GETITEM

# Not computed twice: what begins with these costs more than sending a tensor.
_HEAVY = (
    *("conv", "linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "bilinear", "scaled_dot_product_attention"),
    *("embedding", "lstm", "gru", "rnn", "fft_", "cdist", "grid_sampler", "im2col", "col2im"),
)


@dataclass(frozen=True)
class Cut:
    """A cut.

    Attributes
    ----------
    graph
        What is cut.
    features
        The layer's outputs that the tail needs, in order: the marks.
    others
        Further tensors that it needs from before the cut.
    inputs
        Inputs of the model that it needs as they are, and that cross.
    own
        Inputs of the model that it is given by itself.
    head, tail
        Nodes that each computes, in order, without inputs and the model's tensors.
    known
        Tensors that the model returns and that the head knows.
    same
        What marks of other layers and calls stand for.
    behind
        The layer's outputs as it made them, and the marks that the tail reads in their place: a model's hooks may hand on
        either.
    """

    graph: Graph
    features: list[Node]
    others: list[Node]
    inputs: list[Node]
    own: list[Node]
    head: list[Node]
    tail: list[Node]
    known: list[Node]
    same: dict[Node, Node]
    behind: dict[Node, Node]

    def real(self, node: Node) -> Node:
        """Return what a node stands for."""
        while node in self.same:
            node = self.same[node]
        return node

    def real_behind(self, node: Node) -> Node:
        """Return what a node stands for that the tail reads."""
        node = self.real(node)
        return self.behind.get(node, node)


def cut_at(graph: Graph, layer: str, call: int | None, own: Collection[str] = ()) -> Cut:
    """Cut a graph after a layer whose outputs are marked.

    Parameters
    ----------
    call
        Which of its calls in one forward, from 0; all of them where it is None.
    own
        Parameters of the model, or paths below them: inputs that do not cross; the tail is given its own.

    Raises
    ------
    LayerError
        The layer is never called, or not so often; its output does not depend on the input, or the model's output not on it;
        its calls depend on one another.
    """
    called = graph.calls[layer]
    if called == 0:
        raise LayerError(f"layer {layer!r} is not called when the model runs on the example")
    if call is not None and not 0 <= call < called:
        raise LayerError(f"layer {layer!r} is called {called} times in one forward, there is no call {call}")
    return _Cutter(graph, layer, call, own).cut()


class _Cutter:
    def __init__(self, graph: Graph, layer: str, call: int | None, own: Collection[str]) -> None:
        self._graph, self._layer, self._call = graph, layer, call
        self._own = [node for node in graph.inputs if isinstance(node, Node) and _is_among(node.name, own)]
        # what each mark of no interest stands for
        self._same: dict[Node, Node] = {}
        self._depends: dict[Node, bool] = {}
        marks: list[Node] = []
        for node in graph.nodes:
            self._depends[node] = node.is_input or any(self._depends[read] for read in node.reads())
            if node.operation == MARK:
                if node.mark is not None and self._is_wanted(node.mark) and self._depends[node]:
                    marks.append(node)
                else:
                    self._same[node] = node.args[0]
        if not marks:
            raise LayerError(f"what layer {layer!r} returns does not depend on the model's inputs{self._of_call()}")
        self._marks = marks
        self._behind = {self._real(mark.args[0]): mark for mark in marks}

    def _is_wanted(self, mark: tuple[str, int, str]) -> bool:
        return mark[0] == self._layer and self._call in (None, mark[1])

    def _of_call(self) -> str:
        return "" if self._call is None else f" in call {self._call}"

    def _real(self, node: Node) -> Node:
        while node in self._same:
            node = self._same[node]
        return node

    def _reads(self, node: Node) -> list[Node]:
        return [self._real(read) for read in node.reads()]

    def _reads_behind(self, node: Node) -> list[Node]:
        """What the tail reads for a node: the layer's outputs as they came across."""
        return [self._behind.get(read, read) for read in self._reads(node)]

    def cut(self) -> Cut:
        marks = set(self._marks)
        before = self._cone([self._real(mark.args[0]) for mark in self._marks], (), self._reads)
        if before & marks:
            raise LayerError(
                f"layer {self._layer!r} is called {self._graph.calls[self._layer]} times, and one call's output depends on "
                "another's: name one of them, call="
            )
        # what has several results does not cross as one: each of them is there beside it
        before |= {n for n in self._graph.nodes if n.operation == GETITEM and self._real(n.args[0]) in before}
        after: set[Node] = set(marks)
        for node in self._graph.nodes:
            if node not in before and any(read in after for read in self._reads_behind(node)):
                after.add(node)
        only_head = {n for n in before if self._depends[n] and n not in after and not n.is_input}
        returned = list(dict.fromkeys(self._behind.get(n, n) for n in map(self._real, nodes_in(self._graph.outputs))))
        known = [n for n in returned if n in only_head or (n.is_input and n not in self._own)]
        wanted = [n for n in returned if n not in known]
        missing = self._cone(wanted, marks | only_head, self._reads_behind) & only_head
        crossing = self._cheapest(missing) if missing else set()
        needed = self._cone(wanted, marks | crossing, self._reads_behind)
        features = [mark for mark in self._marks if mark in needed]
        if not features:
            raise LayerError(f"what the model returns does not depend on layer {self._layer!r}{self._of_call()}")
        inputs = {n for n in needed if n.is_input}
        others = (needed & crossing) - inputs - marks
        head = self._cone([*(self._real(mark.args[0]) for mark in features), *others, *known], (), self._reads)
        return Cut(
            graph=self._graph,
            features=features,
            others=self._ordered(others),
            inputs=self._ordered(inputs - set(self._own)),
            own=self._ordered(inputs & set(self._own)),
            head=self._ordered(n for n in head if n.operation),
            tail=self._ordered(n for n in needed - marks - others if n.operation),
            known=known,
            same=self._same,
            behind=self._behind,
        )

    def _cheapest(self, wanted: set[Node]) -> set[Node]:
        """The tensors that cross for those wanted from before the cut: the tail may compute some of them again."""
        marks = set(self._marks)

        def cost(node: Node) -> int:
            if node in marks:
                return 0
            # what each half has of its own does not cross
            return INFINITE if node.shape is None or node in self._own else max(1, node.size_bytes)

        found = cheapest(
            wanted,
            reads=lambda n: [read for read in self._reads_behind(n) if self._depends[read]],
            cost=cost,
            is_source=lambda n: n.is_input or n in marks or _is_heavy(n.operation),
        )
        if found is None:
            raise LayerError(f"at {self._layer!r} several results of one operation would have to cross as one")
        return found

    def _cone(self, start: Iterable[Node], stop: Collection[Node], reads: Callable[[Node], Iterable[Node]]) -> set[Node]:
        """Nodes and all that they are computed from, up to and with those to stop at."""
        seen: set[Node] = set()
        waiting = list(start)
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                if node not in stop:
                    waiting += reads(node)
        return seen

    def _ordered(self, nodes: Iterable[Node]) -> list[Node]:
        wanted = set(nodes)
        return [node for node in self._graph.nodes if node in wanted]


def _is_among(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)


def _is_heavy(operation: str) -> bool:
    return operation.removeprefix("aten.").startswith(_HEAVY)
