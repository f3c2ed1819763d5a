"""Running torch's CPU kernels on one thread: a sum that threads share rounds otherwise for another number of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_outside_threads = 1


@contextmanager
def one_thread() -> Iterator[int]:
    """Within this context an operation on the CPU uses one thread; yields how many it would have used.

    The setting is the process's: it comes back when the last of several overlapping contexts ends.
    """
    global _inside, _outside_threads
    with _lock:
        if _inside == 0:
            _outside_threads = torch.get_num_threads()
            if _outside_threads != 1:
                torch.set_num_threads(1)
        _inside += 1
        threads = _outside_threads
    try:
        yield threads
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and threads != 1:
                torch.set_num_threads(threads)
