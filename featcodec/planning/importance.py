"""What a filter or an element of a feature is worth, and which are worth least."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featcodec.errors import ConfigError, FeatureError
from featcodec.inputs import call, to_device
from featcodec.layers import evaluating, find_layer
from featcodec.planning.channels import ChannelGraph
from featcodec.planning.masks import Mask, flow
from featcodec.training.batches import read
from featcodec.training.losses import TaskLoss
from featcodec.training.parts import feature_at

Scores = Mapping[str, NDArray[np.float64]]
Choose = Callable[[Scores, float], dict[str, Mask]]
_GRID = 1000  # shares are looked for in thousandths


def l2_norms(model: nn.Module, graph: ChannelGraph) -> dict[str, NDArray[np.float64]]:
    """Return for each convolution of the head, by name of its weight, the l2 norm of each filter."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    names = [step.parameters["weight"] for step in graph.convolutions]
    return {name: weights[name].detach().double().flatten(1).norm(dim=1).cpu().numpy() for name in names}


def taylor(
    model: nn.Module, graph: ChannelGraph, loader: Iterable[Any], task: TaskLoss, batches: int, device: Any = None
) -> dict[str, NDArray[np.float64]]:
    """Return what the loss would change by without each filter, to first order, squared, summed over batches.

    Molchanov et al., "Importance estimation for neural network pruning", CVPR 2019, with a gate behind the filter's batch norm:
    the sum of output times gradient is that of scale and shift times their gradients.
    """
    values = dict(model.named_parameters(remove_duplicate=False))
    gates = {step.parameters["weight"]: _gate(graph, i) for i, step in enumerate(graph.steps) if step.kind == "conv"}
    scores = {step.parameters["weight"]: np.zeros(len(step.ids)) for step in graph.convolutions}
    wanted = {name: values[name] for filters in scores for name in gates[filters]}
    with evaluating(model):
        for i, (inputs, targets, _) in enumerate(read(loader, needs_targets=True)):
            if i == batches:
                break
            inputs, targets = to_device((inputs, targets), device)
            loss = task(call(model, inputs), targets)
            gradients = dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values())), strict=True))
            for name in scores:
                terms = [
                    (values[gate].detach() * gradients[gate]).reshape(len(scores[name]), -1).sum(1) for gate in gates[name]
                ]
                scores[name] += torch.stack(terms).sum(0).double().square().cpu().numpy()
    return scores


def _gate(graph: ChannelGraph, conv: int) -> list[str]:
    """The parameters that a filter's output is linear in: of the batch norm behind it, else its own."""
    norms = [step for step in graph.steps if step.kind == "norm" and step.inputs == (conv,) and "bias" in step.parameters]
    chosen = norms[0] if norms else graph.steps[conv]
    return [chosen.parameters[role] for role in ("weight", "bias") if role in chosen.parameters]


def element_magnitudes(
    model: nn.Module, layer: str, loader: Iterable[Any], samples: int, device: Any = None
) -> NDArray[np.float64]:
    """Return the root mean square of each element of a layer's output over the first samples, of the feature's shape."""
    module, total, count = find_layer(model, layer)[1], torch.zeros(()), 0
    for inputs, _, number in read(loader, in_order=True):
        feature = feature_at(model, module, to_device(inputs, device))
        total = total + feature.double().square().sum(0).cpu()
        count += number
        if count >= samples:
            break
    if not count:
        raise FeatureError("the loader gave no samples")
    return (total / count).sqrt().numpy()


# ---- choosing --------------------------------------------------------------------------------------------------------------


def smallest(scores: NDArray[np.float64], share: float) -> Mask:
    """Return which scores are the smallest, that share of them rounded down, and never all; of equal ones the first."""
    count = min(math.floor(share * scores.size + 1e-9), scores.size - 1)
    mask = np.zeros(scores.shape, np.bool_)
    mask.reshape(-1)[np.argsort(scores, axis=None, kind="stable")[:count]] = True
    return mask


def in_each(scores: Scores, share: float) -> dict[str, Mask]:
    """Return the smallest of every layer, the same share of each."""
    return {name: smallest(found, share) for name, found in scores.items()}


def over_all(scores: Scores, share: float) -> dict[str, Mask]:
    """Return the smallest of all layers together; each keeps its best filter."""
    best = {name: int(np.argmax(found)) for name, found in scores.items()}
    lifted = {name: np.where(np.arange(len(found)) == best[name], np.inf, found) for name, found in scores.items()}
    whole = np.concatenate(list(lifted.values()))
    mask = np.zeros(len(whole), np.bool_)
    count = min(math.floor(share * len(whole) + 1e-9), len(whole) - len(best))
    mask[np.argsort(whole, kind="stable")[:count]] = True
    ends = np.cumsum([len(found) for found in lifted.values()])[:-1]
    return dict(zip(lifted, np.split(mask, ends), strict=True))


def for_macs(graph: ChannelGraph, saved: float, choose: Callable[[float], Mapping[str, Mask]]) -> tuple[float, dict[str, Mask]]:
    """Return the least share, in thousandths, whose masks save that share of the head's multiply-accumulates, and the masks.

    Raises
    ------
    ConfigError
        No share saves as much.
    """
    low, high = 0, _GRID
    limit = (1 - saved) * graph.head_macs
    least = flow(graph, choose(1.0)).head_macs
    if least > limit:
        raise ConfigError(f"at most {1 - least / graph.head_macs:.1%} of the head's MACs can be saved, wanted {saved:.1%}")
    while low < high:
        middle = (low + high) // 2
        if flow(graph, choose(middle / _GRID)).head_macs <= limit:
            high = middle
        else:
            low = middle + 1
    return low / _GRID, dict(choose(low / _GRID))
