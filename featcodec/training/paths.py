"""The two ways of a training batch: through the whole model, or from cached features on through the tail."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.errors import ConfigError, FeatureTypeError, LayerError
from featcodec.evaluation import never_called
from featcodec.inputs import call
from featcodec.insertion import Insertion, insertion_at
from featcodec.layers import find_layer
from featcodec.outputs import ALL, describe, leaves
from featcodec.splitting import split
from featcodec.stats import Stats

CUT = ""  # the name in Passage.features of what arrives at the tail


@dataclass(frozen=True)
class Passage:
    """What one batch gave.

    Attributes
    ----------
    outputs
        The model's; None where nothing asked for them.
    features
        By layer, the floating-point tensors of all its calls; `CUT`: the feature itself, after the codec, or without one.
    """

    outputs: Any
    features: dict[str, list[Tensor]]


def bare_copy(model: nn.Module, insertion: Insertion) -> nn.Module:
    """Return a frozen copy of a model as it is now, in eval mode, without the codec: the teacher."""
    teacher = copy.deepcopy(model)
    inserted = insertion_at(teacher, insertion.layer)
    if inserted is not None:
        inserted.remove()
    return teacher.eval().requires_grad_(False)


class WholePath:
    """Batches are the model's inputs."""

    def __init__(self, model: nn.Module, layer: str, match: Sequence[str]) -> None:
        self._model, self._layer, self._match = model, layer, tuple(match)

    def __call__(self, inputs: Any, wants_outputs: bool = True) -> Passage:
        """Run the model."""
        with _watching(self._model, {name: name for name in self._match} | {CUT: self._layer}) as features:
            outputs = call(self._model, inputs)
        return Passage(outputs, features)


class TailPath:
    """Batches are features at the cut; the codec, where there is one, comes first.

    Raises
    ------
    LayerError
        The model cannot be cut there (`featcodec.split`), or more than the layer's output crosses.
    """

    def __init__(self, model: nn.Module, layer: str, match: Sequence[str], insertion: Insertion | None, example: Any) -> None:
        self._model, self._match, self._insertion = model, tuple(match), insertion
        with torch.no_grad(), _unmeasured(insertion):
            head, self._tail = split(model, layer, example)
            crossing = call(head, example)
        if not isinstance(crossing, Tensor):
            needs = ", ".join(map(describe, crossing[1:]))
            raise LayerError(f"{layer!r} cannot be trained from cached features: its tail also needs {needs}")

    def __call__(self, feature: Tensor, wants_outputs: bool = True) -> Passage:
        """Run codec and tail; the codec keeps its precision under autocast."""
        arrived = feature if self._insertion is None else self._insertion.cross(feature)
        if not (wants_outputs or self._match):
            return Passage(None, {CUT: [arrived]})
        with _watching(self._model, {name: name for name in self._match}) as features:
            outputs = self._tail(arrived)
        return Passage(outputs, {**features, CUT: [arrived]})


@contextmanager
def _watching(model: nn.Module, layers: dict[str, str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the tensors that layers give, as they leave them (after a codec), by key."""
    features: dict[str, list[Tensor]] = {}

    def watch(key: str, module: nn.Module) -> Any:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            found = [leaf for path, leaf in leaves(output) if ALL.takes(path, leaf)]
            if not found:
                raise FeatureTypeError(f"features to match are floating-point tensors, layer {key!r} gives {describe(output)}")
            features.setdefault(key, []).extend(found)

        return module.register_forward_hook(note)

    handles = [watch(key, find_layer(model, name)[1]) for key, name in layers.items()]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()
    for key, name in layers.items():
        if key not in features:
            if key == CUT:
                raise never_called(name)
            raise ConfigError(f"layer {name!r} does not run after the cut: its features cannot be matched")


@contextmanager
def _unmeasured(insertion: Insertion | None) -> Iterator[None]:
    """Nothing is counted inside, and nothing lost on a channel."""
    if insertion is None:
        yield
        return
    channel, insertion.channel = insertion.channel, None
    try:
        with insertion.measuring(Stats()):
            yield
    finally:
        insertion.channel = channel
