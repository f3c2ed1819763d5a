"""evaluate: what a codec at a layer does to the task, to the bits and to the clock."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.channel import Channel
from featcodec.codec import Codec
from featcodec.errors import FeatureError, LayerError
from featcodec.inputs import batch_size, call, head_of, map_inputs, to_device, unpack
from featcodec.insertion import Insertion, insert
from featcodec.layers import check_model, evaluating, find_layer
from featcodec.macs import Profile, profile
from featcodec.ops.clock import now
from featcodec.ops.eager import eager
from featcodec.outputs import ALL, Wanted, leaves
from featcodec.registry import get_codec
from featcodec.spec import Spec


class RunningMetric(Protocol):
    """A metric that is no mean over samples (mIoU, mAP, perplexity), as torchmetrics has them; a `reset` is called first."""

    def update(self, outputs: Any, targets: Any, /) -> Any:
        """Take a batch in."""

    def compute(self) -> Any:
        """Return a number, or a mapping of names to numbers (or vectors of them), for all batches."""


Metric: TypeAlias = Callable[[Any, Any], Tensor] | RunningMetric
Figures: TypeAlias = float | dict[str, float | list[Any]]


@dataclasses.dataclass(frozen=True)
class Report:
    """What `evaluate` measured; None where no codec was inserted.

    Attributes
    ----------
    metric
        Mean of the metric's scores over the samples (top-1: 0..1); or what an object with `update` and `compute` computed: a
        number, or numbers and lists of them by name.
    samples
        How many there were: `stats["samples"]` where a codec was inserted.
    layer, codec, channel
        Where the cut was and the configs that rebuild codec and channel.
    feature_shape
        Of one sample, of the first tensor that crossed.
    head_macs, total_macs
        Multiply-accumulates of one sample: up to the end of the layer, and of the whole model (`featcodec.macs`).
    uncounted
        Operators that ran in the model and are in neither figure (`featcodec.macs.Profile`).
    head_ms, tail_ms
        Median milliseconds per sample before and after the cut (of a layer called several times: before the end of its first
        call, and after the last); without a codec, head_ms is the whole model's.
    stats
        `Stats.to_dict()` of the insertion: bits, ratios, encode and decode milliseconds.
    """

    metric: Figures
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
        """Return the fields, JSON only: a metric that is nan or infinite is None."""
        return {**dataclasses.asdict(self), "metric": _json(self.metric)}


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Score 1.0 where the largest logit (B, classes) is the target class (B,), else 0.0.

    Raises
    ------
    TypeError, ValueError
        These are not logits (B, classes) and class indices (B,).
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        got = f"{_describe(outputs)} and {_describe(targets)}"
        raise TypeError(f"top-1 wants logits (B, classes) and class indices (B,), got {got}: give a metric of your own")
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1] or targets.is_floating_point() or targets.is_complex():
        got = f"{_describe(outputs)} and {_describe(targets)}"
        raise ValueError(f"top-1 wants logits (B, classes) and class indices (B,), got {got}: give a metric of your own")
    return (outputs.argmax(dim=1) == targets).float()


class Scorer:
    """The one place where batches are scored: a mean over samples, or what a running metric computes.

    Raises
    ------
    TypeError
        This is no metric.
    """

    def __init__(self, metric: Metric) -> None:
        running = callable(getattr(metric, "update", None)) and callable(getattr(metric, "compute", None))
        if isinstance(metric, type) or not (running or callable(metric)):
            what = f"the class {metric.__name__}" if isinstance(metric, type) else type(metric).__name__
            raise TypeError(f"a metric is a function of outputs and targets, or an object with update and compute, got {what}")
        self.samples = 0
        self._sum = 0.0
        self._metric: Any = metric
        self._is_running = running
        if running:
            getattr(metric, "reset", lambda: None)()

    def add(self, outputs: Any, targets: Any, samples: int) -> None:
        """Score a batch.

        Raises
        ------
        TypeError, ValueError
            The metric does not return one score per sample, a tensor (B,).
        """
        self.samples += samples
        if self._is_running:
            self._metric.update(outputs, targets)
            return
        scores = self._metric(outputs, targets)
        if not isinstance(scores, Tensor) or scores.shape != (samples,):
            refused = ValueError if isinstance(scores, Tensor) else TypeError
            raise refused(
                f"a metric returns one score per sample, a tensor ({samples},) here, got {_describe(scores)}: "
                "means over batches, or over pixels or tokens, need an object with update and compute"
            )
        self._sum += float(scores.detach().cpu().double().sum())

    def value(self) -> Figures:
        """Return what the metric is over all batches.

        Raises
        ------
        TypeError
            `compute` gives neither a number nor numbers by name.
        """
        if not self._is_running:
            return self._sum / self.samples
        computed = self._metric.compute()
        if not isinstance(computed, Mapping):
            numbers = _numbers(computed)
            if numbers.size == 1:
                return float(numbers.reshape(()))
            raise TypeError(f"compute gives a number, or numbers by name, got {_describe(computed)}")
        return {str(name): _numbers(value).tolist() for name, value in computed.items()}


def _numbers(value: Any) -> NDArray[np.float64]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    if not isinstance(value, (int, float, list, tuple, np.ndarray, np.generic)):
        raise TypeError(f"compute gives a number, or numbers by name, got {_describe(value)}")
    return np.asarray(value, np.float64)


def _describe(value: Any) -> str:
    return f"a tensor {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def by_name(figures: Figures, name: str = "metric") -> dict[str, float]:
    """Return a metric's numbers by name, "metric" or "metric.<name>", without its lists."""
    if not isinstance(figures, dict):
        return {name: figures}
    return {f"{name}.{key}": value for key, value in figures.items() if not isinstance(value, list)}


def _json(figures: Any) -> Any:
    """The same with None for what JSON has no number for."""
    if isinstance(figures, dict):
        return {name: _json(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [_json(value) for value in figures]
    return figures if math.isfinite(figures) else None


def check_crossed(insertion: Insertion, before: int) -> None:
    """Raise LayerError where nothing went through a codec since `Insertion.crossed` was `before`."""
    if insertion.crossed == before:
        raise never_called(insertion.layer)


def never_called(layer: str) -> LayerError:
    """Return the error for a layer that a model ran without calling."""
    return LayerError(
        f"the model ran and layer {layer!r} was not called: nothing went through the codec. A container (ModuleList), a layer "
        "whose weights are used without it (out_proj of MultiheadAttention) or whose .forward is called directly runs no "
        "hooks, and a branch may not have been taken: name a layer that every forward calls"
    )


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    layer: str | nn.Module | None = None,
    codec: Codec | Spec | None = None,
    channel: Channel | Spec | None = None,
    tensors: int | str | Sequence[int | str] | None = None,
    batch_axis: int = 0,
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
        Batches (inputs, targets), inputs as for `featcodec.inputs.call`; or mappings of keyword inputs with the targets under
        "labels" or "targets" (`featcodec.inputs.unpack`). Empty batches are left out. Without a codec a batch is as many
        samples as its first axis is long, or as its targets, where these are as many as another axis is long.
    layer, codec, channel, tensors, batch_axis
        As for `insert`; give layer and codec together or neither.
    metric
        ``metric(outputs, targets)``: one score per sample, a tensor (B,), averaged; or an object with
        ``update(outputs, targets)`` and ``compute()`` (`RunningMetric`).
    device
        Where batches go; the model must be there already.
    progress
        Called with the number of samples after each batch.

    Raises
    ------
    ValueError
        Only one of layer and codec is given. A metric's scores are not one per sample (TypeError where they are no tensor).
    FeatureError
        The loader gives no samples.
    LayerError
        The model is none, no such layer, or nothing went through the codec when the model ran on a batch.
    """
    check_model(model)
    if (layer is None) != (codec is None):
        raise ValueError("give layer and codec together, or neither for the model alone")
    built = get_codec(codec) if codec is not None and not isinstance(codec, Codec) else codec
    run = _Run(model, Scorer(metric), device, progress or (lambda samples: None))
    with evaluating(model, *([] if built is None else [built])), torch.no_grad():
        batches = run.batches(loader)
        if layer is None or built is None:
            run.over(batches, None)
            return run.report()
        name, module = find_layer(model, layer)
        run.wanted, run.batch_axis = Wanted.of(tensors), batch_axis
        # hooks run in the order they are registered: mark, cross, mark
        with (
            _hooked(module, run.enter),
            insert(model, name, built, channel, tensors=tensors, batch_axis=batch_axis) as cut,
            _hooked(module, run.leave),
        ):
            run.over(batches, cut)
        return run.report(cut, next(key for key, value in model.named_modules() if value is module))


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., None]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class _Run:
    """One pass over the data; marks the clock at the cut."""

    wanted = ALL
    batch_axis = 0

    def __init__(
        self, model: nn.Module, scorer: Scorer, device: torch.device | str | None, progress: Callable[[int], None]
    ) -> None:
        self.model, self.scorer, self.device, self.progress = model, scorer, device, progress
        self.times: list[tuple[int, float, float]] = []  # samples, seconds before and after the cut
        self.marks: list[float] = []
        self.profile = Profile({}, 0, ())
        self.shape: tuple[int, ...] | None = None

    def batches(self, loader: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Inputs and targets of the batches that hold samples, the model profiled on the first of them."""
        batches = (to_device(unpack(batch), self.device) for batch in loader)
        filled = ((inputs, targets) for inputs, targets in batches if batch_size(inputs) != 0)
        first = next(filled, None)
        if first is None:
            raise FeatureError("the loader gave no samples")
        self.profile = profile(self.model, _one_sample(*first), 1)
        return chain([first], filled)

    @eager
    def enter(self, _: nn.Module, __: Any, output: Any) -> None:
        self.marks.append(now(_device_of(output)))
        if self.shape is None:
            shape = next((leaf.shape for path, leaf in leaves(output) if self.wanted.takes(path, leaf)), None)
            self.shape = None if shape is None else tuple(n for axis, n in enumerate(shape) if axis != self.batch_axis)

    @eager
    def leave(self, _: nn.Module, __: Any, output: Any) -> None:
        self.marks.append(now(_device_of(output)))

    def over(self, batches: Iterable[tuple[Any, Any]], cut: Insertion | None) -> None:
        for inputs, targets in batches:
            crossed, sent = (0, 0) if cut is None else (cut.crossed, cut.stats.samples)
            self.marks = []
            start = now(_device_of(inputs))
            outputs = call(self.model, inputs)
            end = now(_device_of(outputs))
            samples = _samples(inputs, targets)
            if cut is not None:
                check_crossed(cut, crossed)
                samples = cut.stats.samples - sent or samples
            if samples is None:
                raise FeatureError(
                    f"how many samples a batch is cannot be told: {_describe(inputs)} holds no tensor with an axis"
                )
            first, last = (self.marks[0], self.marks[-1]) if self.marks else (end, end)
            self.times.append((samples, first - start, end - last))
            self.scorer.add(outputs, targets, samples)
            self.progress(samples)

    def report(self, cut: Insertion | None = None, name: str = "") -> Report:
        """What was measured; `name` is the layer's in the profile, where a shared module goes by its first."""
        counts = [n for n, _, _ in self.times]
        head_ms, tail_ms = (float(np.median(np.repeat([t[i] / t[0] * 1e3 for t in self.times], counts))) for i in (1, 2))
        at = self.profile.layers.get(name) if cut is not None else None
        return Report(
            metric=self.scorer.value(),
            samples=self.scorer.samples,
            layer=None if cut is None else cut.layer,
            codec=None if cut is None else cut.codec.config(),
            channel=None if cut is None or cut.channel is None else cut.channel.config(),
            feature_shape=self.shape,
            head_macs=None if at is None else at.head_macs,
            total_macs=self.profile.total_macs,
            uncounted=self.profile.uncounted,
            head_ms=head_ms,
            tail_ms=None if cut is None else tail_ms,
            stats=None if cut is None else cut.stats.to_dict(),
        )


def _samples(inputs: Any, targets: Any) -> int | None:
    """How many samples a batch is: with time first, say, as many as its targets, where another axis is as long."""
    first = next((leaf for _, leaf in leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim > 0), None)
    if isinstance(targets, Tensor) and targets.ndim > 0 and first is not None and len(targets) in first.shape:
        return len(targets)
    return batch_size(inputs)


def _one_sample(inputs: Any, targets: Any) -> Any:
    samples = _samples(inputs, targets)
    if samples == batch_size(inputs):
        return head_of(inputs, 1)
    return map_inputs(inputs, lambda x: x.narrow(x.shape.index(samples), 0, 1) if samples in x.shape else x)


def _device_of(value: Any) -> torch.device:
    """Where the first tensor of inputs or outputs is."""
    return next((leaf.device for _, leaf in leaves(value) if isinstance(leaf, Tensor)), torch.device("cpu"))
