"""Devices: what they are called, and copies from their memory to the CPU's, into page-locked memory where they are CUDA's."""

from __future__ import annotations

import torch
from torch import Tensor

from featcodec.errors import ConfigError

# Above, features are rare and page-locked memory is dear: torch keeps it for the next copy.
_MOST_BYTES = 1 << 28


def usable_device(name: torch.device | str) -> torch.device:
    """Return a device of this machine; "auto" is a GPU of CUDA's where there is one, else the CPU.

    Raises
    ------
    ConfigError
        It is no device of torch's, or this machine or this torch has none such.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as e:  # torch says either
        raise ConfigError(f"{str(name)!r} is no device to compute on here: {str(e).partition(chr(10))[0]}") from e
    return device


def device_name(device: torch.device | str) -> str:
    """Return what a device is called: a GPU of CUDA's by its maker's name, others as torch calls them."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else str(device)


def to_host(x: Tensor) -> Tensor:
    """Return `x` in the CPU's memory, where its values are when this returns; `x` itself where it lies there already."""
    if not x.is_cuda or x.nbytes > _MOST_BYTES:
        return x.cpu()
    # into page-locked memory, which torch has at hand: into fresh memory the copy takes 4 to 40 times as long
    y = x.to("cpu", non_blocking=True)
    torch.cuda.current_stream(x.device).synchronize()
    return y
