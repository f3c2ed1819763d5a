"""evaluate and the profile behind it."""

from __future__ import annotations

import json

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
