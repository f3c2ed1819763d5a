"""Heads as ONNX files: the values of torch's but for rounding, and metadata that says what crosses."""

from __future__ import annotations

import base64
import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch

import featcodec as fc
from benchmarks.part_models import CASES, built


@pytest.mark.parametrize("name", ["resnet20", "unet", "bert"])
def test_an_onnx_head_gives_what_the_head_gives(name, tmp_path):
    case = CASES[name]
    parts = fc.export(built(name), case.layer, case.example(2, *case.sizes[0]))
    path = tmp_path / "head.onnx"
    parts.head.to_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["featcodec"])
    assert about["head_fingerprint"] == parts.head.fingerprint
    assert [port["name"] for port in about["crossing"]] == [out.name for out in session.get_outputs()]
    for sizes in case.sizes:
        for batch in (1, 5):
            torch.manual_seed(batch)
            inputs = case.example(batch, *sizes)
            given = inputs if isinstance(inputs, dict) else {session.get_inputs()[0].name: inputs}
            wanted = parts.head(**given)
            got = session.run(list(wanted), {key: x.numpy() for key, x in given.items()})
            for found, tensor in zip(got, wanted.values(), strict=True):
                assert np.allclose(found, tensor.numpy(), atol=3e-5)


def test_metadata_holds_the_codec_s_state_and_where_sizes_show(tmp_path):
    torch.manual_seed(0)
    codec = fc.get_codec("huffman", bits=4, tables="static").calibrate(torch.rand(4, 5, 8, 8))
    example = CASES["fpn"].example(2)
    parts = fc.export(built("fpn"), "fpn", example, codec={"feature.p0": codec})
    path = tmp_path / "head.onnx"
    parts.head.to_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["featcodec"])
    assert about["sizes"] == [{"name": f"images.{axis}", "input": "images", "axis": axis} for axis in (2, 3)]
    assert [port["codec"] and port["codec"]["id"] for port in about["crossing"]] == [None, None, "huffman"]
    assert about["crossing"][2]["axis"] == 0
    assert about["crossing"][2]["shape"][:2] == ["B", 5]
    for name, kept in codec.state_dict().items():
        said = about["crossing"][2]["state"][name]
        data = np.frombuffer(base64.b64decode(said["data"]), said["dtype"]).reshape(said["shape"])
        assert np.array_equal(data, kept.numpy())


def test_what_is_missing_for_onnx_is_named(tmp_path, monkeypatch):
    parts = fc.export(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval(), "0", torch.randn(2, 4))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(fc.MissingDependencyError, match=r"needs onnxscript.*featcodec\[export\]"):
        parts.head.to_onnx(tmp_path / "head.onnx")
