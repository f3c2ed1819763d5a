"""Running torch's CPU kernels on one thread: a sum that threads share rounds otherwise for another number of them.

torch keeps that number for each thread, and in one place for threads to come. So the work goes to threads of our own, which
were told once to use one: nobody else's setting is touched.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def map_on_one_thread_each(function: Callable[[Item], Result], items: Sequence[Item], most: int) -> list[Result]:
    """Return the function's results, each computed with one thread for torch's kernels.

    Parameters
    ----------
    function
        Does not touch settings that torch keeps for each thread.
    items
        Shared by so many of our threads as the caller has for its kernels, at most `most`. Where the caller has one thread for
        its kernels, nothing is handed over.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    share = -(-len(items) // max(1, min(threads, most)))
    parts = [items[start : start + share] for start in range(0, len(items), share)]
    pending = [_workers().submit(lambda part: [function(item) for item in part], part) for part in parts]
    return [result for part in pending for result in part.result()]


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, "featcodec", _begin)
        return _pool


def _begin() -> None:
    """Set the worker's number; another new thread puts back the one for threads to come, which this one began with."""
    for_new_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    restoring = threading.Thread(target=torch.set_num_threads, args=(for_new_threads,))
    restoring.start()
    restoring.join()


def _forget_pool() -> None:
    """A forked child has none of its parent's threads, and may have been forked while the lock was held."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
