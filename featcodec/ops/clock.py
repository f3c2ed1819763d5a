"""Reading the clock when a device has done what it was given."""

from __future__ import annotations

import time
from typing import Any

import torch


def now(device: torch.device) -> float:
    """Return `time.perf_counter()` after all work queued on a device; the CPU has no queue."""
    wait_for(device)
    return time.perf_counter()


def wait_for(device: torch.device) -> None:
    """Return when a device has done all that is queued on it."""
    if has_queue(device):
        torch.get_device_module(device).synchronize(device)


def has_queue(device: torch.device) -> bool:
    """Return whether a device's results are promised before they are computed."""
    return device.type not in ("cpu", "meta")


class Marks:
    """Marks between pieces of work on one device, and the times between them: a device's own, which it is not stopped for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events: list[Any] = []
        self._ns: list[int] = []

    def set(self) -> None:
        """Mark where the work has come to."""
        if not has_queue(self._device):
            self._ns.append(time.perf_counter_ns())
            return
        event = torch.Event(self._device, enable_timing=True)
        event.record()
        self._events.append(event)

    def intervals_ms(self) -> list[float]:
        """Return the milliseconds from each mark to the next, when all is done."""
        wait_for(self._device)
        if self._events:
            return [a.elapsed_time(b) for a, b in zip(self._events, self._events[1:], strict=False)]
        return [(b - a) / 1e6 for a, b in zip(self._ns, self._ns[1:], strict=False)]
