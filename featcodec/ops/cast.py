"""The dtypes of features by name, casting to a narrower float type without making infinities, and what a value lies like.

What is sent and what is received does not depend on whether a thread flushes subnormals to zero (torch.set_flush_denormal):
`to_floats` and `from_floats` keep them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec._core import DefaultFloats
from featcodec.ops.host import to_host

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}  # what a packet carries
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


_BLOCK = 1 << 20  # elements looked at together: what few bytes claim is not made twice


def all_finite(x: Tensor) -> bool:
    """Return whether a contiguous tensor holds neither NaN nor infinity."""
    flat = x.view(-1)
    return all(bool(torch.isfinite(flat[i : i + _BLOCK]).all()) for i in range(0, len(flat), _BLOCK))


def in_layout_of(x: Tensor, value: Tensor) -> Tensor:
    """Return `value` with the strides of `x` (channels_last, say), which the kernels that follow are chosen by."""
    return value if x.is_contiguous() else torch.empty_like(x).copy_(value)


def saturating_cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in `dtype`, rounded to nearest even; finite values beyond its range become its largest, never infinity."""
    if dtype == x.dtype:
        return x
    largest = torch.finfo(dtype).max
    return x.clamp(-largest, largest).to(dtype) if largest < torch.finfo(x.dtype).max else x.to(dtype)


def to_floats(x: Tensor) -> NDArray[np.float32]:
    """Return a tensor's values as float32, contiguous, in the CPU's memory."""
    with DefaultFloats():
        values: NDArray[np.float32] = to_host(x.detach().contiguous()).to(torch.float32).numpy()
    return values


def from_floats(values: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """Return float32 values as a tensor of this dtype, saturated."""
    with DefaultFloats():
        return saturating_cast(torch.from_numpy(np.ascontiguousarray(values)), dtype)
