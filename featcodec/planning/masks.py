"""Masks: which filters, and which elements of what crosses, are zero; held at zero in training, kept in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec._core import crc32c
from featcodec.errors import ConfigError
from featcodec.layers import find_layer
from featcodec.planning.channels import ChannelGraph, Step

Mask = NDArray[np.bool_]
ELEMENTS = "kept_elements"  # the buffer that a layer with masked elements has


@dataclass(frozen=True)
class Masks:
    """What is zero.

    Attributes
    ----------
    network
        `network_of` the graph that they are masks of.
    filters
        By name of a convolution's weight: (filters,) bool, True where the filter is masked.
    elements
        `ChannelGraph.feature_shape` bool, True where an element of what crosses is masked; None: none is.
    """

    network: str
    filters: Mapping[str, Mask] = field(default_factory=dict)
    elements: Mask | None = None

    def check(self, graph: ChannelGraph) -> Masks:
        """Return the masks; ConfigError where they are another network's, or of another cut."""
        if self.network != network_of(graph):
            raise ConfigError(f"these masks are of another network or cut: {self.network}, this is {network_of(graph)}")
        return self

    def save(self, path: str | Path) -> None:
        """Write them as JSON, at once or not at all."""
        elements = None if self.elements is None else {"shape": self.elements.shape, "masked": _indices(self.elements)}
        filters = {name: {"count": len(mask), "masked": _indices(mask)} for name, mask in self.filters.items()}
        scratch = Path(f"{path}.{os.getpid()}.part")
        scratch.write_text(json.dumps({"network": self.network, "filters": filters, "elements": elements}, indent=1) + "\n")
        os.replace(scratch, path)

    @classmethod
    def load(cls, path: str | Path, graph: ChannelGraph) -> Masks:
        """Read masks of this network.

        Raises
        ------
        ConfigError
            The file holds no masks, or another network's.
        """
        try:
            content = json.loads(Path(path).read_text())
            filters = {name: _mask((found["count"],), found["masked"]) for name, found in content["filters"].items()}
            found = content["elements"]
            elements = None if found is None else _mask(tuple(found["shape"]), found["masked"])
            masks = cls(str(content["network"]), filters, elements)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
            raise ConfigError(f"{path} holds no masks: {e}") from e
        return masks.check(graph)


def _indices(mask: Mask) -> list[int]:
    found: list[int] = np.flatnonzero(mask).tolist()
    return found


def _mask(shape: tuple[int, ...], masked: list[int]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask.reshape(-1)[np.asarray(masked, np.int64)] = True
    return mask


def network_of(graph: ChannelGraph) -> str:
    """Return what masks depend on, in short: the cut, the feature's shape, the head's convolutions and their filters."""
    filters = {step.parameters["weight"]: len(step.ids) for step in graph.convolutions}
    crc = crc32c(np.frombuffer(json.dumps(filters).encode(), np.uint8), 0)
    return f"{graph.layer} {'x'.join(map(str, graph.feature_shape))}, {len(filters)} convolutions, {crc:08x}"


@dataclass(frozen=True)
class Flow:
    """What masked filters mean for the rest of the network.

    Attributes
    ----------
    zero
        For each step of the graph, which channels of its output are always 0.
    masked
        By name, the entries along axis 0 of parameters that are 0: filters, their biases, and of batch norms what scales and
        shifts a channel that is 0.
    statistics
        By name, the same entries of those norms' running statistics, which training moves.
    head_macs
        Multiply-accumulates of a sample up to the cut, of channels that are not always 0.
    """

    zero: list[Mask]
    masked: dict[str, Mask]
    statistics: dict[str, Mask]
    head_macs: int


def flow(graph: ChannelGraph, filters: Mapping[str, Mask]) -> Flow:
    """Follow masked filters through a network."""
    zero: list[Mask] = []
    masked: dict[str, Mask] = {}
    statistics: dict[str, Mask] = {}
    saved = 0
    for step in graph.steps:
        given = [None if i is None else zero[i] for i in step.inputs]
        first = np.zeros(len(step.ids), np.bool_) if not given or given[0] is None else given[0]
        if step.kind == "conv":
            out = _filters(step, filters, given[0])
            masked |= {step.parameters[role]: out for role in ("weight", "bias") if role in step.parameters}
            if step.in_head:
                saved += _saved(step, out, given[0])
        elif step.kind == "norm":
            # without a shift of its own a norm turns 0 into something else
            out = first if "bias" in step.parameters else np.zeros_like(first)
            masked |= {step.parameters[role]: out for role in ("weight", "bias") if role in step.parameters}
            statistics |= {step.parameters[role]: out for role in ("mean", "var") if role in step.parameters}
        else:
            out = _through(step, given, first)
        zero.append(out)
    return Flow(zero, _some(masked), _some(statistics), graph.head_macs - saved)


def _some(found: dict[str, Mask]) -> dict[str, Mask]:
    return {name: mask for name, mask in found.items() if mask.any()}


def _filters(step: Step, filters: Mapping[str, Mask], given: Mask | None) -> Mask:
    mask = filters.get(step.parameters["weight"], np.zeros(len(step.ids), np.bool_))
    if given is not None and step.groups == len(given) > 1:  # a filter that reads one channel only
        mask = mask | np.repeat(given, len(step.ids) // step.groups)
    return mask


def _saved(step: Step, out: Mask, given: Mask | None) -> int:
    """Multiply-accumulates of a sample that masked channels save in a convolution."""
    if given is None:  # the filters read the model's input, all of it
        return int(out.sum() * step.macs * step.reads)
    live, read = ~out.reshape(step.groups, -1), ~given.reshape(step.groups, -1)
    left = int((live.sum(1) * read.sum(1)).sum())
    return int(step.macs * (live.size * step.reads - left))


def _through(step: Step, given: list[Mask | None], first: Mask) -> Mask:
    parts = [part for part in given if part is not None]
    if step.kind == "add":
        whole: Mask = np.all(parts, axis=0)
        return whole
    if step.kind == "multiply":
        whole = np.any(parts, axis=0)
        return whole
    if step.kind == "join":
        whole = np.concatenate(parts)
        return np.repeat(whole, len(step.ids) // len(whole))
    return first if step.kind == "same" else np.zeros(len(step.ids), np.bool_)


# ---- on a model -------------------------------------------------------------------------------------------------------------


def apply(model: nn.Module, graph: ChannelGraph, masks: Masks) -> Flow:
    """Set what is masked to zero, elements of the crossing feature by a buffer of the layer.

    Raises
    ------
    ConfigError
        The masks are another network's: the model is as it was.
    """
    found = flow(graph, masks.check(graph).filters)
    with torch.no_grad():
        for _, value, mask in masked_values(model, found):
            value[mask] = 0.0
    _mask_elements(find_layer(model, graph.layer)[1], masks.elements)
    return found


@contextmanager
def masked(model: nn.Module, graph: ChannelGraph, masks: Masks) -> Iterator[Flow]:
    """Apply masks inside; afterwards what they cover, running statistics too, is what it was before, and all else as it is."""
    found = flow(graph, masks.check(graph).filters)
    values = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    covered = [(values[name], torch.from_numpy(mask)) for name, mask in (found.masked | found.statistics).items()]
    kept = [value.detach()[mask].clone() for value, mask in covered]
    apply(model, graph, masks)
    try:
        yield found
    finally:
        apply(model, graph, Masks(masks.network))
        with torch.no_grad():
            for (value, mask), former in zip(covered, kept, strict=True):
                value[mask] = former


@contextmanager
def holding(model: nn.Module, found: Flow) -> Iterator[None]:
    """Within, what is masked gets no gradient: whatever an optimizer does, zeros stay zeros."""
    found_values: Iterator[Any] = masked_values(model, found)
    handles = [value.register_hook(_Still(mask)) for _, value, mask in found_values]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Still:
    mask: Tensor

    def __call__(self, gradient: Tensor) -> Tensor:
        # not in place: autograd may hand the same tensor to others
        wide = self.mask.to(gradient.device).reshape(-1, *[1] * (gradient.ndim - 1))
        return gradient.masked_fill(wide, 0.0)


def masked_values(model: nn.Module, found: Flow) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield name, parameter and mask along its axis 0 of all that is masked."""
    values = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in found.masked.items():
        yield name, values[name], torch.from_numpy(mask)


class _MaskedForward:
    """A layer's forward with zeros where its buffer says so: part of the layer, so that a codec and a cache come after it."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        output: Tensor = type(self.layer).forward(self.layer, *args, **kwargs) * getattr(self.layer, ELEMENTS)
        return output


def _mask_elements(module: nn.Module, masked: Mask | None) -> None:
    if masked is not None:
        device, dtype = next(((p.device, p.dtype) for p in module.parameters()), (None, torch.get_default_dtype()))
        module.register_buffer(ELEMENTS, torch.from_numpy(~masked).to(device, dtype))
        module.__dict__["forward"] = _MaskedForward(module)
    elif isinstance(module.__dict__.get("forward"), _MaskedForward):
        del module.__dict__["forward"]
        delattr(module, ELEMENTS)
