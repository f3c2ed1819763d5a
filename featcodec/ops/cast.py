"""The dtypes of features by name, and casting to a narrower float type without making infinities."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}  # what a packet carries
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def saturating_cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in `dtype`, rounded to nearest even; finite values beyond its range become its largest, never infinity."""
    if dtype == x.dtype:
        return x
    largest = torch.finfo(dtype).max
    return x.clamp(-largest, largest).to(dtype) if largest < torch.finfo(x.dtype).max else x.to(dtype)
