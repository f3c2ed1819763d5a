"""Layouts: how leaves lie in tuples, lists and dictionaries, as JSON. What a model takes and returns, without its classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from featcodec.errors import FeatureTypeError, PartError

# {"leaf": i}, {"tuple": [...]}, {"list": [...]} or {"dict": [[key, layout], ...]}
Layout: TypeAlias = "dict[str, Any]"

MAX_DEPTH = 16
_SEQUENCES: dict[str, type[Any]] = {"tuple": tuple, "list": list}


def plain(value: Any) -> Any:
    """Return a value with dictionaries in place of mappings and dataclasses, tuples in place of those with names."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        items = [plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def leaves_of(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a plain value, in order, with their paths."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves_of(item, f"{path}.{key}")
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from leaves_of(item, f"{path}.{i}")
    else:
        yield path, value


def layout_of(value: Any, leaf: Callable[[], int]) -> Layout:
    """Return the layout of a plain value; `leaf` numbers its leaves, in order.

    Raises
    ------
    FeatureTypeError
        A dictionary has keys that are neither strings nor integers.
    """
    if isinstance(value, Mapping):
        if not all(type(key) in (str, int) for key in value):
            raise FeatureTypeError(f"dictionaries have strings or integers as keys, got {list(value)[:4]}")
        return {"dict": [[key, layout_of(item, leaf)] for key, item in value.items()]}
    if isinstance(value, (tuple, list)):
        return {"list" if isinstance(value, list) else "tuple": [layout_of(item, leaf) for item in value]}
    return {"leaf": leaf()}


def filled(layout: Layout, leaves: Sequence[Any]) -> Any:
    """Return the value of a layout and its leaves."""
    if "leaf" in layout:
        return leaves[layout["leaf"]]
    if "dict" in layout:
        return {key: filled(item, leaves) for key, item in layout["dict"]}
    ((name, items),) = layout.items()
    return _SEQUENCES[name](filled(item, leaves) for item in items)


def taken(layout: Layout, value: Any, found: dict[int, Any], path: str) -> None:
    """Put the leaves of a value into `found`, by their numbers; None in place of a whole branch leaves them out.

    Raises
    ------
    FeatureTypeError
        The value does not lie as the layout says.
    """
    if "leaf" in layout:
        found[layout["leaf"]] = value
        return
    if value is None:
        return
    if "dict" in layout:
        if not isinstance(value, Mapping):
            raise FeatureTypeError(f"{path} is a mapping, got {type(value).__name__}")
        items = [(key, item, value[key]) for key, item in layout["dict"] if key in value]
    else:
        ((_, wanted),) = layout.items()
        if not isinstance(value, (tuple, list)) or len(value) != len(wanted):
            got = f"{len(value)} of them" if isinstance(value, (tuple, list)) else type(value).__name__
            raise FeatureTypeError(f"{path} is a sequence of {len(wanted)}, got {got}")
        items = list(zip(range(len(wanted)), wanted, value, strict=True))
    for key, item, inner in items:
        taken(item, inner, found, f"{path}.{key}")


def check_layout(layout: Any, leaves: int, depth: int = 0) -> None:
    """Raise PartError where a layout that was read is none of so many leaves."""
    if depth > MAX_DEPTH:
        raise PartError(f"a layout is nested more than {MAX_DEPTH} deep")
    if not isinstance(layout, dict) or len(layout) != 1:
        raise PartError(f"a layout is a leaf, a tuple, a list or a dict, got {str(layout)[:80]}")
    ((name, items),) = layout.items()
    if name == "leaf":
        if type(items) is not int or not 0 <= items < leaves:
            raise PartError(f"a layout's leaf is one of {leaves}, got {str(items)[:80]}")
        return
    if name not in ("tuple", "list", "dict") or not isinstance(items, list):
        raise PartError(f"a layout is a leaf, a tuple, a list or a dict, got {str(layout)[:80]}")
    for item in items:
        if name == "dict":
            if not isinstance(item, list) or len(item) != 2 or type(item[0]) not in (str, int):
                raise PartError(f"a layout's dict holds keys and layouts, got {str(item)[:80]}")
            item = item[1]
        check_layout(item, leaves, depth + 1)
