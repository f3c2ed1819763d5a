"""Metrics of evaluate: scores of samples, objects that update and compute, and what is neither."""

from __future__ import annotations

import json
import math
from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc


def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def batches(sizes=(3, 2), target=lambda n: torch.zeros(n, dtype=torch.long)):
    g = torch.Generator().manual_seed(1)
    return [(torch.rand(n, 6, generator=g), target(n)) for n in sizes]


def cut(**options):
    return {"layer": "1", "codec": "huffman:bits=4", **options}


NO_SCORES = {
    r"a tensor \(3,\) here, got a float": lambda out, y: 0.5,
    r"a tensor \(3,\) here, got a tensor \(\) of torch.float32": lambda out, y: (out.argmax(1) == y).float().mean(),
    r"got a tensor \(3, 1\)": lambda out, y: torch.ones(len(y), 1),
    r"got a tensor \(3, 4, 4\)": lambda out, y: torch.ones(len(y), 4, 4),
    r"got a tensor \(2,\)": lambda out, y: torch.ones(2),
    r"got a list": lambda out, y: [1.0] * len(y),
    r"got a ndarray": lambda out, y: np.ones(len(y)),
}


@pytest.mark.parametrize("message", NO_SCORES)
@pytest.mark.parametrize("options", [{}, cut()])
def test_a_metric_gives_one_score_per_sample(message, options):
    with pytest.raises((TypeError, ValueError), match=message + r".*(update and compute)"):
        fc.evaluate(classifier(), batches(), metric=NO_SCORES[message], **options)


def test_scores_of_any_type_are_averaged_over_samples():
    for dtype in (torch.bool, torch.long, torch.half, torch.float64):
        right = iter(([1, 0, 1], [1, 1]))
        report = fc.evaluate(classifier(), batches(), metric=lambda out, y, s=right, d=dtype: torch.tensor(next(s), dtype=d))
        assert report.metric == pytest.approx(4 / 5)


NO_CLASSES = {
    r"\(3, 3\) of torch.float32 and a tensor \(3, 1\)": lambda n: torch.zeros(n, 1, dtype=torch.long),
    r"and a tensor \(3, 4, 4\)": lambda n: torch.zeros(n, 4, 4, dtype=torch.long),
    r"and a tensor \(3,\) of torch.float32": torch.zeros,
    r"and a list": lambda n: [0] * n,
    r"and a NoneType": lambda n: None,
}


@pytest.mark.parametrize("message", NO_CLASSES)
def test_top1_wants_logits_and_class_indices(message):
    with pytest.raises(
        (TypeError, ValueError), match=r"top-1 wants logits \(B, classes\) and class indices \(B,\), got.*" + message
    ):
        fc.evaluate(classifier(), batches(target=NO_CLASSES[message]), **cut())


def test_top1_refuses_maps_of_logits():
    maps = [(torch.rand(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long))]
    with pytest.raises(
        ValueError, match=r"got a tensor \(2, 5, 4, 4\) of torch.float32 and a tensor \(2, 4, 4\) of torch.int64"
    ):
        fc.evaluate(nn.Conv2d(3, 5, 1), maps)


class MeanIou:
    """Over all pixels of all batches, as torchmetrics would have it."""

    def __init__(self, classes):
        self.classes, self.matrix = classes, torch.full((classes, classes), 7)

    def reset(self):
        self.matrix = torch.zeros(self.classes, self.classes, dtype=torch.long)

    def __call__(self, outputs, targets):
        raise AssertionError("torchmetrics' objects can be called, which gives a batch's mean")

    def update(self, outputs, targets):
        pairs = self.classes * targets.flatten() + outputs.argmax(1).flatten()
        self.matrix += torch.bincount(pairs, minlength=self.classes**2).view(self.classes, self.classes)

    def compute(self):
        both = self.matrix.diag()
        return (both / (self.matrix.sum(0) + self.matrix.sum(1) - both)).nanmean()


class Perplexity:
    def __init__(self):
        self.nats, self.tokens = 0.0, 0

    def update(self, outputs, targets):
        self.nats += float(nn.functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="sum"))
        self.tokens += targets.numel()

    def compute(self):
        return math.exp(self.nats / self.tokens)


class Precision:
    """A dictionary of numbers, with a vector by class, as torchmetrics' mAP gives."""

    def __init__(self, **figures):
        self.figures = figures

    def update(self, outputs, targets):
        self.figures["seen"] = self.figures.get("seen", 0) + len(targets)

    def compute(self):
        return self.figures


def test_mean_iou_is_that_of_all_pixels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1))
    data = [(torch.rand(n, 3, 5, 7), torch.randint(3, (n, 5, 7))) for n in (3, 1)]
    for options in ({}, {"layer": "0", "codec": "raw"}):
        report = fc.evaluate(model, data, metric=MeanIou(3), **options)
        with torch.no_grad():
            found = torch.cat([model(x).argmax(1) for x, _ in data])
        wanted = torch.cat([y for _, y in data])
        by_hand = [((found == c) & (wanted == c)).sum() / ((found == c) | (wanted == c)).sum() for c in range(3)]
        assert report.metric == pytest.approx(float(torch.stack(by_hand).mean()))
        assert report.samples == 4


class Language(nn.Module):
    """Keyword inputs and an output object, as Hugging Face's models have them."""

    def __init__(self):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11)

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        assert labels is None
        hidden = self.body(self.embed(input_ids) * attention_mask[..., None])
        return {"logits": self.head(hidden), "hidden": hidden}


class LogitsPerplexity(Perplexity):
    def update(self, outputs, targets):
        super().update(outputs["logits"], targets)


@pytest.mark.parametrize("kind", [dict, UserDict])
def test_perplexity_of_keyword_inputs(kind):
    torch.manual_seed(0)
    model = Language().eval()
    data = [
        kind(input_ids=torch.randint(11, (n, t)), attention_mask=torch.ones(n, t), labels=torch.randint(11, (n, t)))
        for n, t in ((3, 5), (2, 4))
    ]
    report = fc.evaluate(model, data, layer="body", codec="raw", metric=LogitsPerplexity())
    with torch.no_grad():
        nats = [
            nn.functional.cross_entropy(
                model(d["input_ids"], d["attention_mask"])["logits"].transpose(1, 2), d["labels"], reduction="sum"
            )
            for d in data
        ]
    assert report.metric == pytest.approx(math.exp(float(sum(nats)) / 23), rel=1e-5)
    assert report.samples == report.stats["samples"] == 5
    assert report.feature_shape == (5, 6)


def test_figures_by_name():
    metric = Precision(map=torch.tensor(0.25), per_class=torch.tensor([0.5, 0.0]), classes=[1, 2], unknown=float("nan"))
    report = fc.evaluate(classifier(), batches(), metric=metric, **cut())
    figures = {"map": 0.25, "per_class": [0.5, 0.0], "classes": [1.0, 2.0], "seen": 5.0}
    assert {name: value for name, value in report.metric.items() if name != "unknown"} == figures
    assert report.to_dict()["metric"] == {**figures, "unknown": None}
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("computed", [None, "0.5", torch.ones(2), [1.0, 2.0], {"a": None}])
def test_what_compute_may_not_give(computed):
    metric = Precision()
    metric.compute = lambda: computed
    with pytest.raises(TypeError, match="compute gives a number, or numbers by name, got a"):
        fc.evaluate(classifier(), batches(), metric=metric)


@pytest.mark.parametrize("metric", [Perplexity, 3, "top1", None])
def test_what_is_no_metric(metric):
    with pytest.raises(
        TypeError, match="a metric is a function of outputs and targets, or an object with update and compute, got"
    ):
        fc.evaluate(classifier(), batches(), metric=metric)
