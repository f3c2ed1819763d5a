"""evaluate: what a codec at a layer does to the task, to the bits and to the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featcodec.channel import Channel, get_channel
from featcodec.codec import Codec
from featcodec.errors import FeatureError
from featcodec.insertion import insert
from featcodec.layers import evaluating, find_layer
from featcodec.macs import Profile, profile
from featcodec.registry import get_codec
from featcodec.spec import Spec

Metric = Callable[[Any, Any], Tensor]


@dataclasses.dataclass(frozen=True)
class Report:
    """What `evaluate` measured; None where no codec was inserted.

    Attributes
    ----------
    metric
        Mean of the metric over the samples (top-1: 0..1).
    layer, codec, channel
        Where the cut was and the configs that rebuild codec and channel.
    feature_shape
        Of one sample.
    head_macs, total_macs
        Multiply-accumulates of one sample: up to the end of the layer, and of the whole model (`featcodec.macs`).
    uncounted
        Operators that ran in the model and are in neither figure (`featcodec.macs.Profile`).
    head_ms, tail_ms
        Median milliseconds per sample before and after the cut; without a codec, head_ms is the whole model's.
    stats
        `Stats.to_dict()` of the insertion: bits, ratios, encode and decode milliseconds.
    """

    metric: float
    samples: int
    layer: str | None
    codec: dict[str, Any] | None
    channel: dict[str, Any] | None
    feature_shape: tuple[int, ...] | None
    head_macs: int | None
    total_macs: int
    uncounted: tuple[str, ...]
    head_ms: float
    tail_ms: float | None
    stats: dict[str, float | int | None] | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON only."""
        return dataclasses.asdict(self)


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Score 1.0 where the largest logit (B, classes) is the target class (B,), else 0.0."""
    return (outputs.argmax(dim=1) == targets).float()


def evaluate(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    *,
    layer: str | nn.Module | None = None,
    codec: Codec | Spec | None = None,
    channel: Channel | Spec | None = None,
    metric: Metric = top1,
    device: torch.device | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Run a data set through a model in eval mode, with a codec at a layer or without any.

    Parameters
    ----------
    model
        Every module is left in the mode it came in; the codec is removed again.
    loader
        Batches of inputs (B, ...) and targets.
    layer, codec, channel
        As for `insert`; give layer and codec together or neither.
    metric
        ``metric(outputs, targets) -> (B,)``: one score per sample, averaged.
    device
        Where batches go; the model must be there already.
    progress
        Called with the number of samples after each batch.

    Raises
    ------
    ValueError
        Only one of layer and codec is given.
    FeatureError
        The loader gives nothing.
    """
    if (layer is None) != (codec is None):
        raise ValueError("give layer and codec together, or neither for the model alone")
    built = get_codec(codec) if codec is not None and not isinstance(codec, Codec) else codec
    met = get_channel(channel) if channel is not None and not isinstance(channel, Channel) else channel
    with evaluating(model), torch.no_grad():
        return _Run(model, metric, device, progress).over(loader, layer, built, met)


class _Run:
    """One pass over the data; marks the clock at the cut."""

    def __init__(
        self, model: nn.Module, metric: Metric, device: torch.device | str | None, progress: Callable[[int], None] | None
    ) -> None:
        self.model, self.metric, self.device, self.progress = model, metric, device, progress
        self.samples, self.score = 0, 0.0
        self.times: list[tuple[int, float, float]] = []  # samples, seconds before and after the cut
        self.marks: list[float] = []
        self.profile = Profile({}, 0, ())
        self.shape: tuple[int, ...] | None = None

    def over(
        self,
        loader: Iterable[tuple[Tensor, Tensor]],
        layer: str | nn.Module | None,
        codec: Codec | None,
        channel: Channel | None,
    ) -> Report:
        batches = iter(loader)
        first = next(batches, None)
        if first is None:
            raise FeatureError("the loader gave no samples")
        self.profile = profile(self.model, first[0][:1].to(self.device))
        loader = chain([first], batches)
        if layer is None or codec is None:
            self._pass(loader)
            return self._report(None, None, None, None)
        name, module = find_layer(self.model, layer)
        # Hooks run in the order they are registered: mark, cross, mark.
        before = module.register_forward_hook(self._mark)
        try:
            with insert(self.model, name, codec, channel) as cut:
                after = module.register_forward_hook(self._mark)
                try:
                    self._pass(loader)
                finally:
                    after.remove()
        finally:
            before.remove()
        return self._report(name, codec.config(), channel.config() if channel else None, cut.stats.to_dict())

    def _mark(self, *_: Any) -> None:
        self.marks.append(self._now())

    def _now(self) -> float:
        if self.device is not None and torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _pass(self, loader: Iterable[tuple[Tensor, Tensor]]) -> None:
        for inputs, targets in loader:
            if self.device is not None:
                inputs, targets = inputs.to(self.device), targets.to(self.device)
            self.marks = []
            start = self._now()
            outputs = self.model(inputs)
            end = self._now()
            first, last = (self.marks[0], self.marks[-1]) if self.marks else (end, end)
            self.times.append((len(inputs), first - start, end - last))
            self.score += float(self.metric(outputs, targets).sum())
            self.samples += len(inputs)
            if self.progress is not None:
                self.progress(len(inputs))

    def _report(self, layer: str | None, codec: Any, channel: Any, stats: Any) -> Report:
        counts = [n for n, _, _ in self.times]
        head_ms, tail_ms = (float(np.median(np.repeat([t[i] / t[0] * 1e3 for t in self.times], counts))) for i in (1, 2))
        at = self.profile.layers.get(layer) if layer is not None else None
        return Report(
            metric=self.score / self.samples,
            samples=self.samples,
            layer=layer,
            codec=codec,
            channel=channel,
            feature_shape=at.output_shape if at else None,
            head_macs=at.head_macs if at else None,
            total_macs=self.profile.total_macs,
            uncounted=self.profile.uncounted,
            head_ms=head_ms,
            tail_ms=tail_ms if layer is not None else None,
            stats=stats,
        )
