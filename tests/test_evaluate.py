"""evaluate and the profile behind it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.macs import profile
from tests.test_metrics import Precision, batches, classifier, cut


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
