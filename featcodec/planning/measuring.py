"""CodecTrial: measures a point of a search: prunes the head, trains the codec at the split, evaluates what came of it."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.errors import ConfigError
from featcodec.evaluation import Metric, Report, evaluate, top1
from featcodec.inputs import device_for, head_of, to_device
from featcodec.insertion import Insertion, feature_shape, insert
from featcodec.layers import evaluating
from featcodec.planning.candidates import Candidate, check_slowdown
from featcodec.planning.cost import latency_ms
from featcodec.planning.links import Link, get_link
from featcodec.planning.pruned import prune
from featcodec.planning.pruning import Pruning
from featcodec.planning.searching import Report as Epochs
from featcodec.planning.space import LAYER, RATE_WEIGHT, SPARSITY, Point, codec_spec, point_name
from featcodec.registry import fit_spec, get_codec
from featcodec.spec import Spec
from featcodec.training import Event, Phase, Progress, bottleneck_only, fit
from featcodec.training.batches import read
from featcodec.training.parts import features_at

CALIBRATION_SAMPLES = 2048


def file_name(point: Point) -> str:
    """Return a point as the name of a file."""
    return re.sub(r"[^\w.=-]+", "_", point_name(point))


@dataclass
class CodecTrial:
    """Measures points: accuracy, bytes and the device's MACs a sample, milliseconds, and on a link the latency.

    Parameters
    ----------
    model
        Trained; it stays as it is.
    training, validation
        Batches of inputs and targets, read again and again.
    checking
        What is measured after every epoch; `validation` unless given.
    schedule
        Phases that train a learned codec; a point's rate weight goes into all of them.
    cache
        A folder for head features and pruned models, which other trials and other workers find again; None: neither is kept.
        It must be None where a phase trains the head.
    pruning
        How a head is pruned to a point's sparsity, the share of its filters.
    link, slowdown
        What latency is taken over (a link or its spec) by `planning.latency_ms`; the device takes so many times as long as this
        machine.
    keep
        A folder for the trained codecs, a file each by the point's name (this needs the extra `learned`).
    metric, seed, device, progress
        As for `fit`.
    amp
        As for `fit`, which trains the codecs; heads are pruned without it.
    """

    model: nn.Module
    training: Iterable[Any]
    validation: Iterable[Any]
    checking: Iterable[Any] | None = None
    schedule: Sequence[Phase] = field(default_factory=bottleneck_only)
    cache: Path | None = None
    pruning: Pruning = field(default_factory=lambda: Pruning(filters=0.5))
    link: Link | Spec | None = None
    slowdown: float = 1.0
    keep: Path | None = None
    metric: Metric = top1
    seed: int = 0
    device: torch.device | str | None = None
    progress: Progress | None = None
    amp: bool | None = None

    def __post_init__(self) -> None:
        check_slowdown(self.slowdown)
        self.link = None if self.link is None else get_link(self.link)
        self._where = device_for(self.model, self.device)
        self._backbones: dict[tuple[str, float], tuple[nn.Module, int | None]] = {}

    def __call__(self, point: Point, report: Epochs) -> dict[str, float]:
        """Measure one point; what cannot be built or trained raises."""
        pruned, head_macs = self._backbone(point[LAYER], point.get(SPARSITY, 0.0))
        model = copy.deepcopy(pruned).to(self._where)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            config = fit_spec(codec_spec(point), feature_shape(model, point[LAYER], self._example()))
            with insert(model, point[LAYER], get_codec(config), example=self._example()) as cut:
                if cut.codec.learned:
                    self._fit(model, cut, point, report)
                elif cut.codec.needs_calibration:
                    self._calibrate(model, cut)
                codec = cut.codec
            if codec.learned and self.keep is not None:
                self.keep.mkdir(parents=True, exist_ok=True)
                codec.save(self.keep / f"{file_name(point)}.safetensors")
            found = evaluate(model, self.validation, layer=point[LAYER], codec=codec, metric=self.metric, device=self._where)
        return self._figures(found, head_macs)

    def _example(self) -> Any:
        first = next(read(self.training, in_order=True))[0]
        return to_device(head_of(first, 1), self._where)

    def _backbone(self, layer: str, sparsity: float) -> tuple[nn.Module, int | None]:
        """The model with its head pruned, and the head's multiply-accumulates; None: as `evaluate` counts them."""
        if not sparsity:
            return self.model, None
        key = layer, float(sparsity)
        if key not in self._backbones:
            model = copy.deepcopy(self.model)
            pruning = dataclasses.replace(self.pruning, filters=float(sparsity), macs=None)
            kept = None if self.cache is None else self.cache / f"pruned-{layer}-{sparsity:g}.checkpoint"
            options: dict[str, Any] = {
                "metric": self.metric,
                "seed": self.seed,
                "device": self._where,
                "progress": self.progress,
            }
            done = prune(model, layer, self.training, pruning, checkpoint=kept, **options)
            self._backbones[key] = model.eval(), done.flow.head_macs
        return self._backbones[key]

    def _fit(self, model: nn.Module, cut: Insertion, point: Point, report: Epochs) -> None:
        epochs = 0

        def watch(event: Event) -> None:
            nonlocal epochs
            if self.progress is not None:
                self.progress(event)
            if event.kind == "epoch":
                epochs += 1
                accuracy = event.validation.get("metric")
                if accuracy is not None:
                    report(epochs, accuracy)

        weight = {"rate": float(point[RATE_WEIGHT])} if RATE_WEIGHT in point else {}
        schedule = [dataclasses.replace(phase, losses={**phase.losses, **weight}) for phase in self.schedule]
        checking = self.validation if self.checking is None else self.checking
        options: dict[str, Any] = {name: getattr(self, name) for name in ("metric", "cache", "seed", "amp")}
        options["device"] = self._where
        fit(model, cut, self.training, schedule, validation=checking, progress=watch, **options)

    def _calibrate(self, model: nn.Module, cut: Insertion) -> None:
        features: list[Tensor] = []
        left = CALIBRATION_SAMPLES
        for inputs, _, samples in read(self.training, in_order=True):
            features += [x.cpu() for x in features_at(model, cut, to_device(inputs, self._where))]
            left -= samples
            if left <= 0:
                break
        with evaluating(model):
            cut.codec.calibrate(features)

    def _figures(self, report: Report, head_macs: int | None) -> dict[str, float]:
        stats: Any = report.stats
        if not isinstance(report.metric, float):
            raise ConfigError(f"a search needs a metric that is one number, got {sorted(report.metric)}")
        if stats["real_symbols_per_sample"]:
            raise ConfigError("a codec that sends symbols of a radio has no bytes to be compared by")
        macs = report.head_macs if head_macs is None else head_macs
        figures = {
            "accuracy": report.metric,
            "bytes": stats["bits_per_sample"] / 8,
            "device_macs": float(macs or 0),
            "head_ms": report.head_ms,
            "tail_ms": report.tail_ms or 0.0,
            "encode_ms": stats["encode_ms"] or 0.0,
            "decode_ms": stats["decode_ms"] or 0.0,
        }
        return figures if self.link is None else {**figures, "latency_ms": self._latency_ms(figures, get_link(self.link))}

    def _latency_ms(self, figures: Mapping[str, float], link: Link) -> float:
        head, encode = (self.slowdown * figures[name] for name in ("head_ms", "encode_ms"))
        return latency_ms(Candidate("", figures["bytes"], head, figures["tail_ms"], encode, figures["decode_ms"]), link)
