"""What a batch of features must be before a codec takes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featcodec.bitstream import MAX_DIMS, check_shape
from featcodec.errors import FeatureError, FeatureTypeError
from featcodec.ops.cast import DTYPE_NAMES


def check_feature(x: Tensor) -> None:
    """Raise FeatureTypeError or FeatureError where `x` is no batch of features: see `Codec.encode`."""
    check_layout(x)
    # one pass that no bad value escapes; a sum may overflow by itself, and is looked into
    if bool(torch.isfinite(x.detach().sum(dtype=torch.float32))):
        return
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        index = tuple(int(i) for i in (~finite).nonzero()[0])
        raise FeatureError(f"a feature must be finite, got {x[index].item()} at index {index} of shape {tuple(x.shape)}")


def check_layout(x: Tensor) -> None:
    """Check all that `check_feature` does but the values."""
    if not isinstance(x, Tensor):
        raise FeatureTypeError(f"a feature is a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in DTYPE_NAMES:
        raise FeatureTypeError(f"a feature is float32, float16 or bfloat16, got {x.dtype}")
    check_batch_shape(tuple(x.shape))


def check_batch_shape(shape: tuple[int, ...]) -> None:
    """Raise FeatureError where no batch of features has this shape."""
    if not 1 <= len(shape) <= MAX_DIMS:
        raise FeatureError(f"a feature has 1..{MAX_DIMS} dimensions, batch first, got {len(shape)}: {shape}")
    if math.prod(shape) == 0:
        raise FeatureError(f"a feature must not be empty, got shape {shape}")
    check_shape(shape[1:])
