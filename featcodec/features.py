"""What a batch of features must be before a codec takes it."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from featcodec.bitstream import check_batch_shape
from featcodec.errors import FeatureError, FeatureTypeError
from featcodec.ops.cast import DTYPE_NAMES
from featcodec.ops.eager import NOT_TRACEABLE


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
    check_eager()
    kind = _kind_without_values(x)
    if kind is not None:
        raise FeatureTypeError(f"a feature is a dense tensor with values, got a {kind} tensor of {x.dtype}")
    if x.dtype not in DTYPE_NAMES:
        raise FeatureTypeError(f"a feature is float32, float16 or bfloat16, got {x.dtype}")
    check_batch_shape(tuple(x.shape))


def check_eager() -> None:
    """Raise FeatureTypeError where torch traces: real encoders are no part of a graph."""
    tracer = _tracer()
    if tracer is not None:
        raise not_traceable(tracer)


def not_traceable(tracer: str) -> FeatureTypeError:
    """Return the error that says why something cannot trace a codec, and what to do."""
    return FeatureTypeError(NOT_TRACEABLE.format(tracer))


def _tracer() -> str | None:
    """What is tracing, if anything is."""
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace"
    if torch.compiler.is_exporting():
        return "torch.export"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func (vmap, grad)"
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None:
        return "make_fx"
    return None


def _kind_without_values(x: Tensor) -> str | None:
    """What keeps a tensor's values from being read in order, if anything does."""
    if type(x) in (Tensor, nn.Parameter) and x.is_cpu and x.layout is torch.strided and not x.is_quantized and not x.is_nested:
        return None
    fake = getattr(sys.modules.get("torch._subclasses.fake_tensor"), "FakeTensor", ())
    kinds = {
        "nested": x.is_nested,
        "sparse": x.layout is not torch.strided and not x.is_nested,
        "quantised": x.is_quantized,
        "meta": x.is_meta,
        "fake": isinstance(x, fake),
    }
    return next((name for name, found in kinds.items() if found), None)
