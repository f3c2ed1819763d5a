"""Reading the clock when a device has done what it was given."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Return `time.perf_counter()` after all work queued on a device; the CPU has no queue."""
    if device.type not in ("cpu", "meta"):
        torch.get_device_module(device).synchronize(device)
    return time.perf_counter()
