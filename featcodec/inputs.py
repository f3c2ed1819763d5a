"""What a model is called with: tensors, tuples, keyword inputs, as data loaders and tokenizers yield them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featcodec.errors import FeatureError

TARGETS = ("labels", "targets", "target", "label")  # the keys under which a batch of keyword inputs has its targets


def call(model: nn.Module, inputs: Any) -> Any:
    """Call a model.

    Parameters
    ----------
    inputs
        A mapping (a dict, what a tokenizer returns): keyword arguments. A tuple: positional ones. Anything else, a tensor or a
        list of tensors, say: the one argument.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def tensors(inputs: Any) -> list[Tensor]:
    """Return the tensors in inputs, in order, through mappings, tuples and lists."""
    if isinstance(inputs, Tensor):
        return [inputs]
    if isinstance(inputs, Mapping):
        return [tensor for value in inputs.values() for tensor in tensors(value)]
    if isinstance(inputs, (tuple, list)):
        return [tensor for value in inputs for tensor in tensors(value)]
    return []


def map_inputs(inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return inputs with `function` applied to each tensor; mappings become dicts, for they are keyword arguments."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {key: map_inputs(value, function) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(map_inputs(value, function) for value in inputs)
    return [map_inputs(value, function) for value in inputs] if isinstance(inputs, list) else inputs


def to_device(inputs: Any, device: torch.device | str | None) -> Any:
    """Return inputs with every tensor on a device; as they are where it is None."""
    if device is None:
        return inputs
    # what comes to the CPU is read by whoever looks, finished or not
    waits = torch.device(device).type == "cpu"
    return map_inputs(inputs, lambda x: x.to(device, non_blocking=not waits))


def device_for(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """Return the device that was asked for; where the model is, unless one was; the CPU where it has no parameters."""
    if device is not None:
        return torch.device(device)
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def batch_size(inputs: Any) -> int | None:
    """Return how many samples inputs are: the first tensor's first axis; a list of pictures (C, h, w) is as long as it is.

    None where no tensor has an axis.
    """
    pictures = _pictures(inputs)
    if pictures is not None:
        return len(pictures)
    return next((len(x) for x in tensors(inputs) if x.ndim > 0), None)


def pixels(inputs: Any) -> int | None:
    """Return the pixels of all images in the batch; None where the first tensor is no batch of grey or colour images."""
    pictures = _pictures(inputs)
    if pictures is not None:
        return sum(x.shape[1] * x.shape[2] for x in pictures)
    first = next(iter(tensors(inputs)), None)
    return None if first is None else _pixels_of(first)


class Seen(NamedTuple):
    """What inputs tell of a batch.

    Attributes
    ----------
    samples, pixels
        `batch_size` and `pixels` of them.
    sizes
        What the batch may be: its samples, the first axis of each tensor and the one asked for.
    """

    samples: int | None
    pixels: int | None
    sizes: tuple[int, ...]


def see(args: tuple[Any, ...], kwargs: Mapping[str, Any], axis: int) -> Seen:
    """Look at what a model is called with."""
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and axis == 0:
        shape = args[0].shape
        return Seen(shape[0], _pixels_of(args[0]), (shape[0],)) if shape else Seen(None, None, ())
    inputs = (*args, *kwargs.values())
    samples, found = batch_size(inputs), tensors(inputs)
    sizes = [x.shape[i] for i in {0, axis} for x in found if x.ndim > i]
    return Seen(samples, pixels(inputs), (*(() if samples is None else (samples,)), *sizes))


def _pixels_of(x: Tensor) -> int | None:
    shape = x.shape
    if len(shape) != 4 or shape[1] not in (1, 3) or x.dtype is torch.bool:
        return None
    return int(shape[0] * shape[2] * shape[3])


def _pictures(inputs: Any) -> list[Tensor] | None:
    """The pictures of a detector's input, a list of them, by itself or as the first argument."""
    if isinstance(inputs, Mapping):
        inputs = next(iter(inputs.values()), None)
    if isinstance(inputs, tuple):
        inputs = inputs[0] if inputs else None
    if not isinstance(inputs, list) or not inputs:
        return None
    good = all(isinstance(x, Tensor) and x.ndim == 3 and x.shape[0] in (1, 3) for x in inputs)
    return inputs if good else None


def head_of(inputs: Any, samples: int) -> Any:
    """Return the first samples of a batch: of every tensor and list whose first axis is the batch's."""
    whole, pictures = batch_size(inputs), _pictures(inputs)

    def first(value: Any) -> Any:
        if value is pictures and pictures is not None:
            return pictures[:samples]
        if isinstance(value, Mapping):
            return {key: first(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(first(item) for item in value)
        return value[:samples] if isinstance(value, Tensor) and value.ndim > 0 and len(value) == whole else value

    return first(inputs)


def unpack(batch: Any) -> tuple[Any, Any]:
    """Return inputs and targets of a loader's batch, targets None where it has none.

    A pair is (inputs, targets). A mapping is keyword inputs; its targets, if any, are taken out of it (`TARGETS`). Anything
    else is inputs alone.

    Raises
    ------
    FeatureError
        A tuple or a list of another length: what of it are inputs is not known.
    """
    if isinstance(batch, Mapping):
        name = next((key for key in TARGETS if key in batch), None)
        return {key: value for key, value in batch.items() if key != name}, None if name is None else batch[name]
    if isinstance(batch, (tuple, list)):
        if len(batch) == 2:
            return batch[0], batch[1]
        if len(batch) == 1:
            return batch[0], None
        raise FeatureError(
            f"a loader yields inputs or (inputs, targets), got {len(batch)} items: put several inputs into a tuple or a dict"
        )
    return batch, None
