"""Convolutions by the algorithm that cuDNN picks for their shape, whatever torch.backends.cudnn.benchmark says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_kept = False


@contextmanager
def untimed_algorithms() -> Iterator[None]:
    """Within, no algorithm is chosen by timing all of them: which one wins differs from thread to thread, and so do last bits.

    The switch is the whole process's: it is put back when the last thread leaves.
    """
    global _inside, _kept
    with _lock:
        if not _inside:
            _kept, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.backends.cudnn.benchmark = _kept
