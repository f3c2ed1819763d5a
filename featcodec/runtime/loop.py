"""The event loop in which the servers of this process live: one, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
from asyncio import AbstractEventLoop
from collections.abc import Coroutine
from threading import Lock, Thread
from typing import Any, TypeVar

_T = TypeVar("_T")
_LOCK = Lock()
_LOOPS: dict[int, AbstractEventLoop] = {}  # by process: a forked child's loop has no thread


def run_in_loop(work: Coroutine[Any, Any, _T], timeout_s: float | None = None) -> _T:
    """Run a coroutine in the servers' loop and return what it gives."""
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(timeout_s)


def _loop() -> AbstractEventLoop:
    # grpc.aio polls for all loops of a process at once: one loop is quieter than one a server
    with _LOCK:
        loop = _LOOPS.get(os.getpid())
        if loop is None:
            loop = _LOOPS[os.getpid()] = asyncio.new_event_loop()
            Thread(target=loop.run_forever, name="featcodec-server", daemon=True).start()
        return loop
