"""Two machines: an edge server of tails, and clients that hold heads.

Every name is imported when it is first asked for; what it needs beside torch, ``pip install 'featcodec[runtime]'`` brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcodec.lazy import importer as _importer

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


__getattr__, __dir__ = _importer(__name__, _HOMES, {"torch": "torch"}, "runtime")
