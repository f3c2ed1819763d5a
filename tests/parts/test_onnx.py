"""Heads as ONNX files: the device's half of a pair, whose messages the tail reads."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import featcodec as fc
from benchmarks.part_models import CASES, built
from featcodec.device import Head as DeviceHead


@pytest.mark.parametrize("name", ["resnet20", "efficientnet", "bert", "fpn"])
def test_an_onnx_head_gives_what_the_head_gives(name, tmp_path):
    case = CASES[name]
    parts = fc.export(built(name), case.layer, case.example(2, *case.sizes[0]))
    path = tmp_path / "head.onnx"
    parts.head.to_onnx(path)
    device = DeviceHead(path)
    assert (device.layer, device.fingerprint, device.sizes) == (case.layer, parts.head.fingerprint, parts.head.about.sizes)
    assert [crossing.name for crossing in device.crossing] == [port.name for port in parts.head.ports]
    # a server compares these
    assert device.outlines() == parts.head.outlines()
    for sizes in case.sizes:
        for batch in (1, 5):
            torch.manual_seed(batch)
            inputs = case.example(batch, *sizes)
            given = inputs if isinstance(inputs, dict) else {next(iter(device.inputs)): inputs}
            wanted = parts.head(**given)
            arrived = parts.tail.decode(device.encode(**{key: x.numpy() for key, x in given.items()}))
            assert arrived.sizes == wanted.sizes
            for port, tensor in wanted.items():
                assert np.allclose(arrived[port].numpy(), tensor.numpy(), atol=3e-5), port


def test_sizes_for_which_the_model_computes_something_else_are_refused(tmp_path):
    case = CASES["bert"]
    parts = fc.export(built("bert"), case.layer, case.example(2, *case.sizes[0]))
    parts.head.to_onnx(tmp_path / "head.onnx")
    long = {name: np.zeros((1, 513), np.int64) for name in DeviceHead(tmp_path / "head.onnx").inputs}
    with pytest.raises(fc.FeatureError, match=r"the model computes something else: input_ids\.1 <= 512 does not hold"):
        DeviceHead(tmp_path / "head.onnx").encode(**long)


def test_an_input_that_crosses_as_it_is(tmp_path):
    class Around(torch.nn.Module):
        """The tail reads the input, too."""

        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)

        def forward(self, x):
            return self.second(self.first(x).relu()) + x

    model, x = Around().eval(), torch.randn(3, 4)
    parts = fc.export(model, "first", x)
    parts.head.to_onnx(tmp_path / "head.onnx")
    got = parts.tail.run(DeviceHead(tmp_path / "head.onnx").encode(x.numpy()))
    assert torch.allclose(got, model(x), atol=1e-6)


@pytest.mark.parametrize("spec", ["huffman:bits=6", "entropic:reduced=4", "vq:hidden=16"])
def test_a_codec_s_networks_and_tables_are_in_the_file(spec, tmp_path):
    model, x = built("vgg"), torch.randn(3, 3, 32, 32)
    parts = fc.export(model, "0.1", x, codec=spec, fixed=("input",))
    path = tmp_path / "head.onnx"
    parts.head.to_onnx(path)
    got = parts.tail.run(DeviceHead(path).encode(x.numpy()))
    assert torch.allclose(got, parts.tail.run(parts.head.encode(x)), atol=1e-3)


def test_what_has_no_onnx_is_named(tmp_path, monkeypatch):
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval(), torch.randn(2, 4)
    with pytest.raises(fc.ConfigError, match="ans"):
        fc.export(model, "0", x, codec="ans:bits=4").head.to_onnx(tmp_path / "head.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(fc.MissingDependencyError, match=r"needs onnxscript.*featcodec\[export\]"):
        fc.export(model, "0", x).head.to_onnx(tmp_path / "head.onnx")
