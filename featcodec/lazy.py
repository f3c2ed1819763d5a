"""Packages whose names are imported when they are first asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from featcodec.errors import MissingDependencyError


def importer(
    package: str, homes: Mapping[str, str], extras: Mapping[str, str], otherwise: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Parameters
    ----------
    homes
        The module that each name lives in.
    extras, otherwise
        The extra that brings a package which is missing, by its name, and that of all others; "": their errors stay.

    Raises
    ------
    AttributeError
        By ``__getattr__``: there is no such name.
    MissingDependencyError
        By ``__getattr__``: the name's module needs a package that is not installed; the extra that brings it is named.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            home = importlib.import_module(homes[name])
        except ModuleNotFoundError as e:
            extra = extras.get(e.name or "", otherwise)
            if not extra or e.name is None or e.name.startswith("featcodec"):
                raise
            line = f"pip install 'featcodec[{extra}]'"
            raise MissingDependencyError(f"{package}.{name} needs {e.name}, which is not installed: {line}") from e
        value = home if homes[name] == f"{package}.{name}" else getattr(home, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
