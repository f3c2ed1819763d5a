"""The cheapest set of tensors that separates what a head has from what a tail needs: a minimum vertex cut."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)
_End: TypeAlias = "tuple[Hashable, int]"

INFINITE = 1 << 60
_SOURCE: _End = ("source", -1)
_SINK: _End = ("sink", -1)


def cheapest(
    wanted: Collection[T], reads: Callable[[T], Iterable[T]], cost: Callable[[T], int], is_source: Callable[[T], bool]
) -> set[T] | None:
    """Return the vertices of least cost from which everything wanted can be computed without a source.

    Parameters
    ----------
    wanted
        What must be known in the end; chosen itself where that is cheapest.
    reads
        What a vertex is computed from.
    cost
        Of choosing a vertex; `INFINITE` where it cannot be chosen.
    is_source
        Whether a vertex must not be computed again: it is chosen, or what stands between it and what is wanted.

    Returns
    -------
    set
        Of several cheapest sets the one nearest to what is wanted: least is computed again. None where there is no set.
    """
    room = _network(wanted, reads, cost, is_source)
    while (path := _augmenting(room)) is not None:
        least = min(room[a][b] for a, b in path)
        if least >= INFINITE:
            return None
        for a, b in path:
            room[a][b] -= least
            room[b][a] += least
    behind = _reaching_sink(room)
    vertices = {end[0] for end in room if end[1] == 0}
    return {v for v in vertices if (v, 1) in behind and (v, 0) not in behind}  # type: ignore[misc]


def _network(
    wanted: Collection[T], reads: Callable[[T], Iterable[T]], cost: Callable[[T], int], is_source: Callable[[T], bool]
) -> dict[_End, dict[_End, int]]:
    """Each vertex as an edge of its cost, from its end 0 to its end 1."""
    room: dict[_End, dict[_End, int]] = defaultdict(lambda: defaultdict(int))

    def edge(a: _End, b: _End, capacity: int) -> None:
        room[a][b] += capacity
        room[b][a] += 0

    seen: set[T] = set()
    waiting = list(wanted)
    while waiting:
        vertex = waiting.pop()
        if vertex in seen:
            continue
        seen.add(vertex)
        edge((vertex, 0), (vertex, 1), cost(vertex))
        if is_source(vertex):
            edge(_SOURCE, (vertex, 0), INFINITE)
            continue
        for read in reads(vertex):
            edge((read, 1), (vertex, 0), INFINITE)
            waiting.append(read)
    for vertex in wanted:
        edge((vertex, 1), _SINK, INFINITE)
    return room


def _augmenting(room: dict[_End, dict[_End, int]]) -> list[tuple[_End, _End]] | None:
    """The edges of a shortest way from source to sink on which there is room."""
    came: dict[_End, _End] = {}
    waiting = deque([_SOURCE])
    while waiting and _SINK not in came:
        end = waiting.popleft()
        for other, left in room[end].items():
            if left > 0 and other not in came and other != _SOURCE:
                came[other] = end
                waiting.append(other)
    if _SINK not in came:
        return None
    path = []
    end = _SINK
    while end != _SOURCE:
        path.append((came[end], end))
        end = came[end]
    return path


def _reaching_sink(room: dict[_End, dict[_End, int]]) -> set[_End]:
    found = {_SINK}
    waiting = deque([_SINK])
    while waiting:
        end = waiting.popleft()
        for other in room[end]:
            if other not in found and room[other].get(end, 0) > 0:
                found.add(other)
                waiting.append(other)
    return found
