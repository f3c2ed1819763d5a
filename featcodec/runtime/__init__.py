"""Two machines: an edge server of tails, and clients that hold heads.

Every name is imported when it is first asked for; what it needs beside torch, ``pip install 'featcodec[runtime]'`` brings.
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING, Any

from featcodec.errors import MissingDependencyError as _MissingDependencyError

if TYPE_CHECKING:
    from featcodec.runtime.limits import Limits
    from featcodec.runtime.security import Tls
    from featcodec.runtime.served import Served
    from featcodec.runtime.server import Server

# Where each name lives.
_HOMES = {
    "Limits": "featcodec.runtime.limits",
    "Served": "featcodec.runtime.served",
    "Server": "featcodec.runtime.server",
    "Tls": "featcodec.runtime.security",
}
_EXTRAS = {"torch": "torch"}  # what is not in the extra "runtime"

__all__ = ["Limits", "Served", "Server", "Tls"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featcodec.runtime' has no attribute {name!r}")
    try:
        home = _importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as e:
        if e.name is None or e.name.startswith("featcodec"):
            raise
        line = f"pip install 'featcodec[{_EXTRAS.get(e.name, 'runtime')}]'"
        raise _MissingDependencyError(f"featcodec.runtime.{name} needs {e.name}, which is not installed: {line}") from e
    value = globals()[name] = getattr(home, name)
    return value
