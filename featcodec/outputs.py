"""What a layer returns: tensors in tuples, mappings and dataclasses; the same again with some of them replaced."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featcodec.errors import ConfigError, FeatureTypeError

Path = tuple[str, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield whatever is no tuple, list, mapping or dataclass, with its path: indices, keys and names of fields."""
    children = _children(value)
    if children is None:
        yield path, value
        return
    for name, child in children:
        yield from leaves(child, (*path, str(name)))


def map_leaves(value: Any, function: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """Return `value` with `function(path, leaf)` in place of every leaf.

    What holds a leaf that was replaced is a copy, all else is the very same.

    Raises
    ------
    FeatureTypeError
        A mapping cannot be copied and written to.
    """
    children = None if isinstance(value, Tensor) else _children(value)
    if children is None:
        return function(path, value)
    changed = [(name, child, map_leaves(child, function, (*path, str(name)))) for name, child in children]
    if all(new is old for _, old, new in changed):
        return value
    if isinstance(value, Mapping) or _is_dataclass(value):
        return _with(value, {name: new for name, old, new in changed if new is not old})
    items = [new for _, _, new in changed]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def name_of(path: Path) -> str:
    """Write a path as `insert(tensors=)` reads it."""
    return ".".join(path) or "the output itself"


def same(a: Any, b: Any) -> bool:
    """Return whether two outputs have the same leaves at the same paths, tensors equal bit for bit."""
    ours, theirs = dict(leaves(a)), dict(leaves(b))
    return ours.keys() == theirs.keys() and all(_same_leaf(leaf, theirs[path]) for path, leaf in ours.items())


def _same_leaf(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            return False
        # NaN is not equal to itself, but the same
        return (a.shape, a.dtype) == (b.shape, b.dtype) and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    return a is b or bool(a == b)


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _children(value: Any) -> list[tuple[Any, Any]] | None:
    # a ModelOutput is a mapping and a dataclass: its fields that are None are no items
    if isinstance(value, Mapping):
        return list(value.items())
    if _is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if hasattr(value, field.name)]
    return list(enumerate(value)) if isinstance(value, (tuple, list)) else None


def _with(value: Any, changes: Mapping[Any, Any]) -> Any:
    """A copy of a mapping or a dataclass with other values: whatever its constructor wants."""
    new = copy.copy(value)
    if isinstance(value, Mapping):
        try:
            for key, item in changes.items():
                new[key] = item
        except TypeError as e:
            raise FeatureTypeError(f"a layer's output holds a {type(value).__name__} that cannot be written to: {e}") from e
        return new
    for name, item in changes.items():
        object.__setattr__(new, name, item)
    return new


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which tensors of a layer's output cross: all of them, or those at and below some paths."""

    paths: tuple[Path, ...] | None = None

    @classmethod
    def of(cls, tensors: int | str | Sequence[int | str] | None) -> Wanted:
        """Read what `featcodec.insert` takes as `tensors`.

        Raises
        ------
        ConfigError
            It is neither an index, a key or a path, nor some of them.
        """
        if tensors is None:
            return cls()
        given = [tensors] if isinstance(tensors, (int, str)) else list(tensors) if isinstance(tensors, Sequence) else []
        if not given or not all(isinstance(item, (int, str)) and not isinstance(item, bool) and item != "" for item in given):
            raise ConfigError(f"tensors are an index, a key or a path such as 'hidden.0', or several, got {tensors!r}")
        return cls(tuple(tuple(str(item).split(".")) for item in given))

    def takes(self, path: Path, leaf: Any) -> bool:
        """Return whether a leaf crosses: a floating-point tensor with an axis, where it is wanted."""
        if not (isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 0):
            return False
        return self.paths is None or any(path[: len(wanted)] == wanted for wanted in self.paths)


ALL = Wanted()


def describe(leaf: Any) -> str:
    """Say what a leaf is."""
    if isinstance(leaf, Tensor):
        return f"{str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape)}"
    return type(leaf).__name__
