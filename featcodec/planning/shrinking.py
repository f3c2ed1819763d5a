"""shrink: masked filters taken out for good, with whatever reads their channels, wherever that changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.errors import LayerError
from featcodec.inputs import call, device_for, to_device
from featcodec.layers import check_model, evaluating, find_layer
from featcodec.outputs import leaves
from featcodec.planning.channels import ChannelGraph
from featcodec.planning.masks import ELEMENTS, Masks, apply, flow

TOLERANCE = 1e-3  # of the largest output: what summing fewer zeros in another order may change


def shrink(model: nn.Module, graph: ChannelGraph, masks: Masks, example: Any) -> nn.Module:
    """Return a smaller copy of a model that gives what the masked model gives, up to rounding.

    A channel goes where whoever reads it reads zeros and all operations it meets are known: then its filter, its entries in
    batch norms, and the weights of the layers that read it go too, behind the cut as well. What stays masked: channels that a
    residual addition adds something to, filters of grouped convolutions that are not depthwise, channels that an operation of
    unknown rules touches. Without masks the copy is the model, bit for bit.

    Parameters
    ----------
    graph
        Of the model; `prune` returns it.
    example
        A batch of inputs that the copy is compared on.

    Raises
    ------
    ConfigError
        The masks are another network's.
    LayerError
        The smaller model gives something else: its code counts on sizes that have changed.
    """
    check_model(model)
    small, example = copy.deepcopy(model), to_device(example, device_for(model, None))
    found = flow(graph, masks.check(graph).filters)
    apply(small, graph, masks)
    with evaluating(small), torch.no_grad():
        wanted = call(copy.deepcopy(small), example)
    gone = graph.removable(found.zero)
    _take_out(small, graph, gone)
    _check(small, example, wanted)
    return small


def _take_out(model: nn.Module, graph: ChannelGraph, gone: set[int]) -> None:
    kept: dict[str, dict[int, NDArray[np.int64]]] = {}
    for (name, axis), ids in graph.axes.items():
        stays = np.flatnonzero([graph.root(int(c)) not in gone for c in ids])
        if len(stays) < len(ids):
            kept.setdefault(name, {})[axis] = stays
    owners = dict(model.named_modules())
    for name, axes in kept.items():
        path, _, attribute = name.rpartition(".")
        _replace(owners[path], attribute, axes)
    for module in {id(owners[name.rpartition(".")[0]]): owners[name.rpartition(".")[0]] for name in kept}.values():
        _resize(module)
    layer = find_layer(model, graph.layer)[1]
    _take_out_elements(layer, graph, gone)


def _replace(module: nn.Module, attribute: str, axes: dict[int, NDArray[np.int64]]) -> None:
    """Keep some entries of a parameter or buffer along axes."""
    value: Tensor = getattr(module, attribute)
    new = value.detach()
    for axis, stays in axes.items():
        new = new.index_select(axis, torch.from_numpy(stays).to(new.device))
    if isinstance(value, nn.Parameter):
        setattr(module, attribute, nn.Parameter(new.clone(), requires_grad=value.requires_grad))
    else:
        setattr(module, attribute, new.clone())


def _resize(module: Any) -> None:
    """Let a module's own sizes follow its weight's."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        if module.groups > 1:  # depthwise: a group for each channel read
            module.groups = module.groups * module.weight.shape[0] // module.out_channels
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    else:
        module.num_features = len(next(v for v in (module.running_mean, module.weight) if v is not None))


def _take_out_elements(layer: nn.Module, graph: ChannelGraph, gone: set[int]) -> None:
    buffer, ids = dict(layer.named_buffers(recurse=False)).get(ELEMENTS), graph.crossing
    if buffer is not None and ids is not None:
        stays = np.flatnonzero([graph.root(int(c)) not in gone for c in ids])
        _replace(layer, ELEMENTS, {0: stays})


def _check(small: nn.Module, example: Any, wanted: Any) -> None:
    try:
        with evaluating(small), torch.no_grad():
            given = call(small, example)
    except (RuntimeError, ValueError, IndexError) as e:
        first = str(e).partition("\n")[0]
        raise LayerError(f"{type(small).__name__} does not run with fewer channels, its code counts on sizes: {first}") from e
    pairs = zip(leaves(wanted), leaves(given), strict=True)
    if not all(_is_close(a, b) for (_, a), (_, b) in pairs):
        raise LayerError(f"{type(small).__name__} gives something else with fewer channels: its code counts on sizes")


def _is_close(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor):
        return bool(a == b)
    if a.shape != b.shape:
        return False
    largest = a.detach().abs().double().max() if a.numel() else 0.0
    return bool(((a - b).abs().double() <= TOLERANCE * largest).all())
