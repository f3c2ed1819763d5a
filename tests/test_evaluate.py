"""evaluate and the profile behind it."""

from __future__ import annotations

import json
import math
from collections import UserDict

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.macs import profile


def loader(images, size=20):
    x, y = images
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def test_a_report_of_a_cut(resnet20, images):
    seen = []
    report = fc.evaluate(
        resnet20, loader(images), layer="layer3", codec="huffman:bits=4", channel="bsc:p=0", progress=seen.append
    )
    assert seen == [20, 20]
    assert report.samples == 40 == report.stats["samples"]
    assert report.layer == "layer3"
    assert report.codec == {"id": "huffman", "bits": 4, "axis": "sample"}
    assert report.channel == {"id": "bsc", "p": 0.0, "seed": 0}
    assert report.feature_shape == (64, 8, 8)
    assert report.head_ms > 0 < report.tail_ms
    assert report.stats["compression_ratio"] > 10
    json.dumps(report.to_dict(), allow_nan=False)
    with torch.no_grad(), fc.insert(resnet20, "layer3", "huffman:bits=4"):
        right = (resnet20(images[0]).argmax(1) == images[1]).float().mean()
    assert report.metric == pytest.approx(float(right))


def test_a_report_without_a_codec(resnet20, images):
    report = fc.evaluate(resnet20, loader(images))
    with torch.no_grad():
        assert report.metric == pytest.approx(float((resnet20(images[0]).argmax(1) == images[1]).float().mean()))
    assert report.codec is None is report.stats
    assert report.total_macs == 40_813_184


def test_a_metric_of_one_s_own_and_the_model_s_mode(images):
    from featcodec.bench.models import CifarResNet

    model = CifarResNet().train()
    report = fc.evaluate(model, loader(images), layer="layer1", codec="half", metric=lambda out, y: torch.ones(len(y)) * 0.25)
    assert report.metric == 0.25
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


def test_what_evaluate_refuses(resnet20, images):
    with pytest.raises(ValueError, match="layer and codec together"):
        fc.evaluate(resnet20, loader(images), layer="layer1")
    with pytest.raises(fc.FeatureError, match="no samples"):
        fc.evaluate(resnet20, [])
    with pytest.raises(fc.LayerError):
        fc.evaluate(resnet20, loader(images), layer="nothing", codec="raw")
    assert not any(m._forward_hooks for m in resnet20.modules())


def test_macs_by_hand():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(6 * 16, 5))
    got = profile(model, torch.rand(2, 4, 8, 8)).layers
    conv = 6 * 4 * 4 * (4 // 2) * 9
    assert got["0"].macs == got["0"].head_macs == conv
    assert got["2"].macs == 96 * 5
    assert got[""].head_macs == conv + 480
    assert got["0"].output_shape == (6, 4, 4)
    up = profile(nn.Sequential(nn.ConvTranspose2d(4, 6, 2, stride=2)), torch.rand(1, 4, 5, 5)).layers
    assert up["0"].macs == 25 * 4 * 6 * 4


def test_macs_of_the_papers(resnet20):
    """ResNet-20 at 32 x 32, convolutions only: 442,368 + 6 x 2,359,296 in the stem and layer1."""
    got = profile(resnet20, torch.rand(1, 3, 32, 32)).layers
    assert got["layer1"].head_macs == 442_368 + 6 * 2_359_296
    assert got["layer2"].output_shape == (32, 16, 16)


# ---- metrics ---------------------------------------------------------------------------------------------------------


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


# ---- what crossed ----------------------------------------------------------------------------------------------------


class Awkward(nn.Module):
    """Layers that are used, and never called."""

    def __init__(self):
        super().__init__()
        self.mha = nn.MultiheadAttention(6, 2, batch_first=True)
        self.items = nn.ModuleList([nn.Linear(6, 6)])
        self.plain = nn.Linear(6, 6)
        self.some = nn.Identity()

    def forward(self, x):
        y = self.plain.forward(self.items[0](self.mha(x, x, x)[0]))
        return (self.some(y) if len(x) == 3 else y).mean(1)


@pytest.mark.parametrize("layer", ["mha.out_proj", "items", "plain", "some"])
def test_a_layer_that_is_never_called_is_no_cut(layer):
    model = Awkward()
    data = [(torch.rand(n, 4, 6), torch.zeros(n, dtype=torch.long)) for n in (3, 2)]
    with pytest.raises(fc.LayerError, match=f"layer '{layer}' was not called: nothing went through the codec"):
        fc.evaluate(model, data, layer=layer, codec="raw")
    assert not any(m._forward_hooks for m in model.modules())
    assert fc.evaluate(model, data, layer="items.0", codec="raw").stats["samples"] == 5


class Pyramid(nn.Module):
    """A dictionary of levels from a backbone, a head that all of them share."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head, self.alias = Levels(), nn.Conv2d(4, 3, 1), None
        self.alias = self.head

    def forward(self, x, scale=None):
        levels = self.backbone(x if scale is None else x * scale)
        return torch.stack([self.head(level).mean((2, 3)) for level in levels.values()]).sum(0)


class Levels(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return {str(k): nn.functional.avg_pool2d(x, k) for k in (1, 2, 4)}


@pytest.mark.parametrize("layer", ["backbone", "head"])
def test_bits_of_a_sample_are_those_of_all_its_tensors_and_calls(layer):
    torch.manual_seed(0)
    model = Pyramid().eval()
    data = [(torch.rand(n, 3, 8, 8), torch.zeros(n, dtype=torch.long)) for n in (3, 2)]
    report = fc.evaluate(model, data, layer=layer, codec="huffman:bits=4")
    codec, bits, features = fc.get_codec("huffman:bits=4"), 0, []
    with torch.no_grad():
        for x, _ in data:
            levels = model.backbone(x).values()
            features = list(levels) if layer == "backbone" else [model.head(level) for level in levels]
            bits += sum(packet.num_bits for feature in features for packet in codec.encode(feature))
    assert report.samples == report.stats["samples"] == 5
    assert report.stats["bits_per_sample"] == pytest.approx(bits / 5)
    assert report.stats["bpp"] == pytest.approx(bits / 5 / 64)
    assert report.feature_shape == tuple(features[0].shape[1:])


def test_a_shared_module_s_cost_is_found_by_any_of_its_names():
    data = [(torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.long))]
    one, other = (fc.evaluate(Pyramid(), data, layer=name, codec="raw") for name in ("head", "alias"))
    assert one.head_macs == other.head_macs == one.total_macs == 64 * 3 * 4 * 9 + (64 + 16 + 4) * 12
    assert other.layer == "alias"


GIVEN = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, torch.tensor(2.0)),
    "dict": lambda x: {"x": x, "scale": torch.tensor(2.0)},
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("pair", [tuple, list])
def test_inputs_of_any_kind_and_empty_batches(given, pair):
    y = torch.zeros(5, dtype=torch.long)
    data = [pair((GIVEN[given](torch.rand(n, 3, 8, 8)), y[:n])) for n in (0, 3, 0, 2)]
    seen = []
    report = fc.evaluate(Pyramid(), data, layer="head", codec="raw", device="cpu", progress=seen.append)
    assert report.samples == report.stats["samples"] == 5
    assert seen == [3, 2]
    assert fc.evaluate(Pyramid(), data).samples == 5
    with pytest.raises(fc.FeatureError, match="the loader gave no samples"):
        fc.evaluate(Pyramid(), data[:1])


class Detector(nn.Module):
    """A list of pictures in, a list of findings out."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, pictures):
        side = max(max(p.shape[1:]) for p in pictures)
        padded = [nn.functional.pad(p, (0, side - p.shape[2], 0, side - p.shape[1])) for p in pictures]
        return [{"scores": y.mean((1, 2))} for y in self.body(torch.stack(padded))]


def test_a_detector_s_pictures_and_targets():
    data = [([torch.rand(3, 8, 6), torch.rand(3, 5, 7)], [{"boxes": torch.rand(n, 4)} for n in (2, 1)])]
    report = fc.evaluate(Detector(), data, layer="body", codec="raw", metric=Precision(map=0.5), device="cpu")
    assert report.metric == {"map": 0.5, "seen": 2.0}
    assert report.samples == report.stats["samples"] == 2


class Recurrent(nn.Module):
    """Time first: (T, B, D)."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 5, num_layers=2)

    def forward(self, x):
        return self.gru(x)[0].mean(0)


def test_the_batch_axis_and_the_tensors_are_those_of_insert():
    data = [(torch.rand(7, 3, 6), torch.zeros(3, dtype=torch.long))]
    for tensors, shape in ((0, (7, 5)), (1, (2, 5)), (None, (7, 5))):
        report = fc.evaluate(Recurrent(), data, layer="gru", codec="raw", batch_axis=1, tensors=tensors)
        assert report.samples == report.stats["samples"] == 3
        assert report.feature_shape == shape
        assert report.total_macs == report.head_macs == 7 * 3 * 5 * (6 + 5 + 5 + 5)
    plain = fc.evaluate(Recurrent(), data)
    assert (plain.samples, plain.total_macs) == (3, 7 * 3 * 5 * 21)


class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 3)

    def forward(self, x):
        return self.a(torch.fft.fft(x).real)


def test_a_report_names_what_it_did_not_count():
    for options in ({}, {"layer": "a", "codec": "raw"}):
        report = fc.evaluate(Spectrum(), batches(), **options)
        assert report.uncounted == ("aten::_fft_r2c",)
        assert report.to_dict()["uncounted"] == ("aten::_fft_r2c",)
    assert fc.evaluate(classifier(), batches()).uncounted == ()


def test_every_module_keeps_its_own_mode():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(5)), nn.Linear(5, 3))
    model.train()
    model[1].eval()
    model[2][0].eval()
    codec = fc.get_codec("raw").train()
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    fc.evaluate(model, batches(), layer="0", codec=codec)
    assert [m.training for m in model.modules()] == modes
    assert codec.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with pytest.raises(fc.LayerError):
        fc.evaluate(model, batches(), layer="none", codec=codec)
    assert [m.training for m in model.modules()] == modes


def test_the_clock_is_read_where_the_tensors_are(monkeypatch):
    devices = []
    monkeypatch.setattr("featcodec.evaluation.now", lambda device: devices.append(device.type) or float(len(devices)))
    report = fc.evaluate(classifier(), batches((4,)), **cut())
    assert devices == ["cpu"] * 4  # inputs, feature before and after the codec, outputs
    assert (report.head_ms, report.tail_ms) == (250, 250)
