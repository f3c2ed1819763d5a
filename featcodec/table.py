"""Table: ids to classes by "module:Class", imported when asked for. The codecs' registry holds one, and so do the channels."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from featcodec.errors import ConfigError, MissingDependencyError, UnknownCodecError
from featcodec.spec import near_names

T = TypeVar("T")


class Row(NamedTuple):
    """Where a class lives, and the extra of this package that installs what it needs."""

    target: str | type[Any]
    extra: str | None = None


class Table(Generic[T]):
    """Classes by id: those that ship with featcodec, those of entry points, those that were registered in this process.

    Parameters
    ----------
    kind
        What errors call an item: "codec".
    base
        "module:Class" that every class derives from.
    id_attribute
        The class attribute that holds its id.
    group
        Entry points of this group join; an id that ships is never theirs.
    builtin
        What ships.
    """

    def __init__(self, kind: str, base: str, id_attribute: str, group: str, builtin: Mapping[str, Row]) -> None:
        self.kind, self.group, self.builtin = kind, group, dict(builtin)
        self._base, self._id_attribute = base, id_attribute
        self.registered: dict[str, Row] = {}

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self.builtin}

    def ids(self) -> tuple[str, ...]:
        """Return every id, sorted, whether or not the optional package it needs is installed."""
        return tuple(sorted({*self.builtin, *self.registered, *self._entry_points}))

    def register(self, item_id: str, target: str | type[T]) -> None:
        """Add a class, or "package.module:Class", for this process.

        Raises
        ------
        ConfigError
            The id is taken or no valid id, or the target is neither a class of this table nor such a string.
        """
        if not isinstance(item_id, str) or not item_id or any(c in item_id for c in ":,=()+ "):
            raise ConfigError(f"a {self.kind} id is a non-empty string without spaces and : , = ( ) +, got {item_id!r}")
        if item_id in self.ids():
            raise ConfigError(f"{self.kind} id {item_id!r} is taken")
        if isinstance(target, str):
            module, _, name = target.partition(":")
            if not module or not name:
                raise ConfigError(f'a target is written "package.module:Class", got {target!r}')
        else:
            self._check(item_id, target)
        self.registered[item_id] = Row(target)

    def class_of(self, item_id: str) -> type[T]:
        """Return the class of an id.

        Raises
        ------
        UnknownCodecError
            Nothing goes by this id; near ids are named.
        ConfigError
            What is registered there is no class of this table.
        MissingDependencyError
            Its file needs a package that is not installed; the message has the pip line.
        """
        if item_id in self._entry_points and item_id not in self.registered:
            return self._check(item_id, self._entry_points[item_id].load())
        row = self.builtin.get(item_id) or self.registered.get(item_id)
        if row is None:
            raise UnknownCodecError(f"no {self.kind} {item_id!r}; {near_names(str(item_id), self.ids())}")
        if not isinstance(row.target, str):
            return row.target
        try:
            return self._check(item_id, _load(row.target))
        except ModuleNotFoundError as e:
            if e.name is None or e.name.split(".")[0] == "featcodec":  # a fault of ours
                raise
            line = f"pip install 'featcodec[{row.extra}]'" if row.extra else f"pip install the package that provides {e.name}"
            raise MissingDependencyError(f"{self.kind} {item_id!r} needs {e.name}, which is not installed: {line}") from e

    def _check(self, item_id: str, target: Any) -> type[T]:
        base = _load(self._base)
        if not (isinstance(target, type) and issubclass(target, base)):
            raise ConfigError(f"{self.kind} {item_id!r} must be a subclass of featcodec.{base.__name__}, got {target!r}")
        named = getattr(target, self._id_attribute, None)
        if named != item_id:
            raise ConfigError(f"{self.kind} {item_id!r} names itself {named!r}: {self._id_attribute} must be the same")
        found: type[T] = target
        return found


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
