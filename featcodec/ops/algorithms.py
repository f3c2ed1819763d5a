"""Convolutions by an algorithm that gives the same bits again, whatever the switches of torch.backends.cudnn say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_kept = (False, False)


@contextmanager
def repeatable_algorithms() -> Iterator[None]:
    """Within, cuDNN takes only algorithms that are deterministic, and takes them by shape, without timing them.

    Of some transposed convolutions the usual one sums in another order each time; which one is the fastest differs from thread
    to thread. The switches are the whole process's: they are put back when the last thread leaves.
    """
    global _inside, _kept
    cudnn = torch.backends.cudnn
    with _lock:
        if not _inside:
            _kept = cudnn.deterministic, cudnn.benchmark
            cudnn.deterministic, cudnn.benchmark = True, False
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                cudnn.deterministic, cudnn.benchmark = _kept
