"""Trained codecs as files: they come back whole, and what differs is named."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.errors import MissingDependencyError
from featcodec.weights import fingerprint_of, write_weights

SPEC = "dsc:maps=8,reduced=4,step=0.1"


@pytest.fixture
def saved(tmp_path):
    codec = fc.get_codec(SPEC).eval().calibrate(torch.relu(torch.randn(8, 8, 7, 5)))
    codec.save(tmp_path / "codec.safetensors")
    return codec, tmp_path / "codec.safetensors"


@pytest.mark.parametrize("spec", [SPEC, "huffman:bits=4,tables=static", "raw"])
def test_a_codec_comes_back_with_its_state(tmp_path, spec):
    codec = fc.get_codec(spec).eval()
    path = tmp_path / "codec.safetensors"
    codec.save(path)
    again = fc.load_codec(path)
    assert again.config() == codec.config()
    assert not again.training
    x = torch.relu(torch.randn(3, 8, 7, 5))
    packets = codec.encode(x)
    assert [p.to_bytes() for p in again.encode(x)] == [p.to_bytes() for p in packets]
    assert torch.equal(again.decode(packets), codec.decode(packets))


def test_weights_of_another_config_are_refused_naming_what_differs(saved):
    _, path = saved
    other = fc.get_codec("dsc:maps=8,reduced=2,step=0.1,coder=rans").eval()
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(
        fc.ConfigError, match=r"another config: reduced is 4 there, 2 here; coder is 'huffman' there, 'rans' here"
    ):
        other.load(path)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    with pytest.raises(fc.ConfigError, match="id is 'dsc' there, 'raw' here"):
        fc.get_codec("raw").load(path)


def test_a_state_that_is_not_its_config_s_is_refused_by_name(saved, tmp_path):
    codec, _ = saved
    path = tmp_path / "wrong.safetensors"
    state = codec.state_dict()
    name, weight = "analysis.pointwise.weight", state["analysis.pointwise.weight"]
    for changed, match in [
        ({k: v for k, v in state.items() if k != name}, f"{name} is missing"),
        ({**state, "more": weight}, "more is not the codec's"),
        ({**state, name: weight[:2]}, rf"{name} is torch.float32 \(2, 8, 1, 1\) there"),
        ({**state, name: weight.int()}, "torch.int32"),
    ]:
        write_weights(path, codec.config(), changed)
        with pytest.raises(fc.ConfigError, match=match):
            fc.load_codec(path)


def test_files_that_are_no_codec_s(saved, tmp_path):
    codec, path = saved
    with pytest.raises(FileNotFoundError, match="nothing"):
        fc.load_codec(tmp_path / "nothing.safetensors")
    data = path.read_bytes()
    for damaged in (b"", data[:40], b"\xff" * 64, data[:-1]):
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(fc.ConfigError, match="no safetensors file"):
            fc.load_codec(tmp_path / "damaged")
    safetensors = importlib.import_module("safetensors.torch")
    for metadata, match in [(None, "no codec's config"), ({"featcodec.config": "[1]"}, "which is no codec's config")]:
        safetensors.save_file(codec.state_dict(), tmp_path / "plain", metadata)
        with pytest.raises(fc.ConfigError, match=match):
            fc.load_codec(tmp_path / "plain")


def test_a_missing_package_is_named_with_the_pip_line(monkeypatch, tmp_path):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="safetensors")

    codec = fc.get_codec("raw")
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"needs safetensors.*pip install 'featcodec\[learned\]'"):
        codec.save(tmp_path / "x")


def test_an_empty_tensor_has_a_place_in_the_fingerprint():
    empty = torch.from_numpy(np.zeros((0,), np.int32))
    names = {fingerprint_of({"id": "x"}, state) for state in ({}, {"a": empty}, {"b": empty}, {"a": empty.reshape(0, 3)})}
    assert len(names) == 4
