"""Two machines: an edge server of tails, and clients that hold heads.

Every name is imported when it is first asked for; what it needs beside torch, ``pip install 'featcodec[runtime]'`` brings.
"""

from __future__ import annotations

import importlib as _importlib
from typing import TYPE_CHECKING, Any

from featcodec.errors import MissingDependencyError as _MissingDependencyError

if TYPE_CHECKING:
    from featcodec.runtime.client import Client
    from featcodec.runtime.edge_session import EdgeSession
    from featcodec.runtime.following import Follower
    from featcodec.runtime.limits import Limits
    from featcodec.runtime.link import Link
    from featcodec.runtime.measuring import measure_candidates
    from featcodec.runtime.result import Result, Timing
    from featcodec.runtime.security import Tls
    from featcodec.runtime.served import Served
    from featcodec.runtime.server import Server

# Where each name lives.
_HOMES = {
    "Client": "featcodec.runtime.client",
    "EdgeSession": "featcodec.runtime.edge_session",
    "Follower": "featcodec.runtime.following",
    "Limits": "featcodec.runtime.limits",
    "Link": "featcodec.runtime.link",
    "Result": "featcodec.runtime.result",
    "Served": "featcodec.runtime.served",
    "Server": "featcodec.runtime.server",
    "Timing": "featcodec.runtime.result",
    "Tls": "featcodec.runtime.security",
    "measure_candidates": "featcodec.runtime.measuring",
}
_EXTRAS = {"torch": "torch"}  # what is not in the extra "runtime"

__all__ = [
    "Client",
    "EdgeSession",
    "Follower",
    "Limits",
    "Link",
    "Result",
    "Served",
    "Server",
    "Timing",
    "Tls",
    "measure_candidates",
]


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
