"""Conditions: the shapes that a program takes, open sizes by name, and for which of them it computes what the model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featcodec.errors import FeatureError
from featcodec.sizes import Size, compute, names, parse

_MOST_KNOWN = 64  # sets of sizes whose derived ones are remembered


class Conditions:
    """Conditions on the sizes of inputs, as a part's file has them.

    Parameters
    ----------
    inputs
        Name and shape of each: integers, and expressions in the names of open sizes.
    derived
        Names of expressions that others are written with, in order.
    guards
        Expressions that hold.

    Attributes
    ----------
    bound
        Names of open sizes, and the input and axis that each is read from.

    Raises
    ------
    PartError
        An expression is none.
    """

    def __init__(
        self,
        inputs: Sequence[tuple[str, Sequence[int | str]]],
        derived: Sequence[Sequence[str]],
        guards: Sequence[str],
    ) -> None:
        self._inputs = inputs
        self._known: dict[tuple[tuple[str, int], ...], Mapping[str, int]] = {}
        self.shapes: list[list[Size]] = [[parse(d) if isinstance(d, str) else d for d in shape] for _, shape in inputs]
        self.derived = [(name, parse(text)) for name, text in derived]
        self.guards = [(parse(text), text) for text in guards]
        self.bound: dict[str, tuple[int, int]] = {}
        for i, shape in enumerate(self.shapes):
            for axis, size in enumerate(shape):
                if isinstance(size, str):
                    self.bound.setdefault(size, (i, axis))

    def all_sizes(self, known: Mapping[str, int]) -> Mapping[str, int]:
        """Return sizes with those that are derived from them, remembered: not to be changed."""
        key = tuple(known.items())
        remembered = self._known.get(key)
        if remembered is not None:
            return remembered
        found = dict(known)
        for name, size in self.derived:
            if names(size) <= found.keys():
                found[name] = compute(size, found)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = found
        return found

    def check(self, shapes: Sequence[tuple[int, ...]], given: Mapping[str, int]) -> Mapping[str, int]:
        """Return every open size of inputs of these shapes, beside those that are given.

        Raises
        ------
        FeatureError
            A shape is not the input's, or for these sizes the model computes something else.
        """
        for (name, wanted), shape in zip(self._inputs, shapes, strict=True):
            if len(shape) != len(wanted):
                raise FeatureError(f"{name} has {len(wanted)} axes, {list(wanted)}, got {tuple(shape)}")
        known = self.all_sizes({**given, **{name: shapes[i][axis] for name, (i, axis) in self.bound.items()}})
        for (name, texts), sizes, shape in zip(self._inputs, self.shapes, shapes, strict=True):
            for axis, size in enumerate(sizes):
                if names(size) <= known.keys() and (found := compute(size, known)) != shape[axis]:
                    raise FeatureError(
                        f"{name} has the shape {list(texts)}, with {found} along axis {axis}, got {tuple(shape)}"
                    )
        for guard, text in self.guards:
            if not compute(guard, known):
                raise FeatureError(
                    f"for these sizes the model computes something else: {text} does not hold, with "
                    f"{', '.join(f'{name} = {known[name]}' for name in sorted(names(guard)))}"
                )
        return known
