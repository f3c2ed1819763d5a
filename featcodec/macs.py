"""Multiply-accumulates and output shapes, layer by layer."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from featcodec.inputs import batch_size, call, tensors
from featcodec.layers import check_model
from featcodec.operators import has_nested, may_be_product, operator_macs, operator_name

KINDS = ("all", "conv")


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """One layer's output shape and cost for one sample.

    Attributes
    ----------
    output_shape
        Of the first floating tensor it returns (else of the first tensor) that has an axis, without that axis; None where there
        is none.
    macs
        Multiply-accumulates of what ran in its calls, but not in a module inside it.
    head_macs
        Those of everything that ran up to the end of its last call: the head's cost if the model is cut after it.
    """

    name: str
    output_shape: tuple[int, ...] | None
    macs: int
    head_macs: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """What one run of a model cost, for one sample.

    Attributes
    ----------
    layers
        Every called layer's by dotted name, in order of completion; "" is the whole model.
    total_macs
        Multiply-accumulates of the whole model, the sum of all `LayerProfile.macs`.
    uncounted
        Operators that ran and are in no figure, sorted: those known to cost as much as a matrix product ("aten::_fft_r2c"), and
        those nothing is known of ("torchvision::nms"). A formula given to `torch.utils.flop_counter.register_flop_formula`
        makes an operator count.
    """

    layers: dict[str, LayerProfile]
    total_macs: int
    uncounted: tuple[str, ...]


def profile(model: nn.Module, example: Any, samples: int | None = None, *, kinds: str = "all") -> Profile:
    """Run one batch and count its multiply-accumulates.

    Counted are convolutions, matrix products and attention, as modules or as functions, without biases; an attention mask saves
    nothing. Transposed convolutions cost their input elements times the kernel. Elementwise work (normalisation, activations,
    pooling, gates) is not counted. What runs outside of torch's dispatcher (NumPy, other threads) is not seen. The papers'
    "FLOPs" are MACs in this sense.

    Parameters
    ----------
    model
        Run once, in its present mode, without gradients.
    example
        As for `featcodec.inputs.call`.
    samples
        How many these are, over which figures are taken: `featcodec.inputs.batch_size` (one where no tensor has an axis) unless
        given, as for inputs with time first.
    kinds
        "all", or "conv" for convolutions alone, as the papers count (1x1 shortcuts are among them, linear layers are not).

    Raises
    ------
    LayerError
        The model is none.
    ValueError
        The batch is empty, or its work cannot be split evenly among its samples; there are no such kinds.
    """
    check_model(model)
    samples = batch_size(example) if samples is None else samples
    if samples == 0:
        raise ValueError("a profile needs at least one sample, got an empty batch")
    count = Count(kinds)
    handles = []
    try:
        for name, module in model.named_modules():
            # scripted modules take no hooks: their work is their caller's
            if name and not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(partial(count.enter, name), prepend=True))
                handles.append(module.register_forward_hook(partial(count.leave, name), always_call=True))
        with torch.no_grad(), count:
            output = call(model, example)
    finally:
        for handle in handles:
            handle.remove()
    count.leave("", model, (), output)
    return count.profile(1 if samples is None else samples)


class Count(TorchDispatchMode):
    """Sees every operator that runs inside it, and charges the innermost module that is being called.

    Attributes
    ----------
    total
        Multiply-accumulates so far.
    """

    supports_higher_order_operators = True

    def __init__(self, kinds: str = "all") -> None:
        if kinds not in KINDS:
            raise ValueError(f"kinds of multiply-accumulates are {' and '.join(KINDS)}, got {kinds!r}")
        TorchDispatchMode.__init__(self)
        self.kinds = kinds
        self.total = 0
        self.own: defaultdict[str, int] = defaultdict(int)
        self.called = [""]
        self.ended: dict[str, tuple[tuple[int, ...] | None, int]] = {}
        self.uncounted: set[str] = set()

    def enter(self, name: str, module: nn.Module, args: Any) -> None:
        """Begin a module's call."""
        self.called.append(name)

    def leave(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        """End a module's call."""
        self.called.pop()
        self.ended.pop(name, None)  # the last call's place in the order
        self.ended[name] = (_shape(output), self.total)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # in inference mode composite operators come whole
        if hasattr(func, "decompose") and func.namespace != "prim" and not has_nested(args):
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        output = func(*args, **kwargs)
        if self.kinds == "conv" and not _is_convolution(func):
            return output
        macs = operator_macs(func, output, args, kwargs)
        if macs is not None:
            self.total += macs
            self.own[self.called[-1]] += macs
        elif may_be_product(operator_name(func)):
            self.uncounted.add(operator_name(func))
        return output

    def profile(self, samples: int) -> Profile:
        """Return what was counted, for one of so many samples."""
        layers = {
            name: LayerProfile(name, shape, _per_sample(self.own[name], samples), _per_sample(head, samples))
            for name, (shape, head) in self.ended.items()
        }
        return Profile(layers, _per_sample(self.total, samples), tuple(sorted(self.uncounted)))


def _is_convolution(func: Any) -> bool:
    return "conv" in operator_name(func).rpartition("::")[2]


def _shape(output: Any) -> tuple[int, ...] | None:
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping):
        output = [getattr(output, field.name, None) for field in dataclasses.fields(output)]
    found = [x for x in tensors(output) if not x.is_nested and x.ndim > 0]
    first = next((x for x in found if x.is_floating_point()), found[0] if found else None)
    return None if first is None else tuple(first.shape[1:])


def _per_sample(macs: int, samples: int) -> int:
    if macs % samples:
        raise ValueError(f"{macs} multiply-accumulates do not split evenly among {samples} samples: profile one sample")
    return macs // samples
