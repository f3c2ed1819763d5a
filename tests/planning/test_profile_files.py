"""Profiles in files: read again, and refused where they are of another model; those that a device wrote among them."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec import device
from featcodec.errors import PlanError
from featcodec.planning import profile, read_profile

X = torch.randn(1, 3, 8, 8)


class Small(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


def small(seed=0):
    return Small(seed).eval()


@pytest.fixture(scope="module")
def found():
    return profile(small(), X, calls=2)


def test_a_profile_is_read_as_it_was_written(found, tmp_path):
    found.write(tmp_path / "profile.json")
    assert read_profile(tmp_path / "profile.json", small()) == found
    assert json.loads((tmp_path / "profile.json").read_text())["cuts"][0]["layer"] == "conv"


def test_a_profile_of_another_model_is_refused(found, tmp_path):
    found.write(tmp_path / "profile.json")
    with pytest.raises(PlanError, match=f"is of another model: Small with fingerprint {found.fingerprint}; this Small's is"):
        read_profile(tmp_path / "profile.json", small(seed=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {**d, "format": 2}, "is no profile: ValueError: its format is 2, this is 1"),
        (lambda d: {k: v for k, v in d.items() if k != "cuts"}, "is no profile: KeyError: 'cuts'"),
        (lambda d: {**d, "more": 1}, "is no profile: TypeError"),
        (lambda d: [d], "is no profile: ValueError"),
    ],
)
def test_what_is_no_profile_is_refused(found, tmp_path, change, message):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(change(found.to_dict())))
    with pytest.raises(PlanError, match=message):
        read_profile(path)


def device_file(path, parts, **changes):
    """What a device would write of a head, without the device."""
    fields = {
        "machine": {"cpu": "a small one"},
        "head": {"layer": parts.layer, "fingerprint": parts.head.fingerprint},
        "codecs": {port.name: None if port.codec is None else port.codec.config() for port in parts.head.ports},
        "head_ms": {"median": 12.5},
        "encode_ms": {"median": 0.5},
        "message_bytes": 77,
    }
    path.write_text(json.dumps({**fields, **changes}))
    return path


@pytest.mark.parametrize("codec", ["raw", "context:bits=4"])
def test_a_device_s_times_stand_at_its_cut_and_tell_how_slow_it_is(tmp_path, codec):
    model = small()
    path = device_file(tmp_path / "device.json", fc.export(model, "relu", X, codec=codec))
    found = profile(model, X, device_profile=path, calls=2)
    assert [(c.layer, c.device_ms, c.device_encode_ms) for c in found.cuts if c.device_ms is not None] == [("relu", 12.5, 0.5)]
    assert found.slowdown() == pytest.approx(12.5 / found.at("relu").head_ms)
    assert found.devices == ({"layer": "relu", "machine": {"cpu": "a small one"}},)


def test_what_a_device_really_wrote_is_read(tmp_path):
    model = small()
    fc.export(model, "relu", X, codec="rans:bits=4").head.to_onnx(tmp_path / "head.onnx")
    wrote = device.profile(tmp_path / "head.onnx", shapes={"x": X.shape}, calls=3, out=tmp_path / "device.json")
    assert wrote["codecs"] == {"feature": fc.get_codec("rans:bits=4").config()}
    found = profile(model, X, device_profile=[tmp_path / "device.json"], calls=2)
    assert found.at("relu").device_ms == wrote["head_ms"]["median"]


def test_a_device_s_file_of_another_model_is_refused(tmp_path):
    path = device_file(tmp_path / "device.json", fc.export(small(seed=1), "relu", X))
    with pytest.raises(
        PlanError, match=r"device.json is of another model, or of other codecs: its fingerprint is \w+, that of"
    ):
        profile(small(), X, device_profile=path)
    path = device_file(tmp_path / "device.json", fc.export(nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), "0", X))
    with pytest.raises(PlanError, match="is of a head cut at '0', Small has no such layer"):
        profile(small(), X, device_profile=path)


def test_learned_codecs_are_given_for_their_weights_stand_for_the_head_too(tmp_path):
    model = small()
    codec = fc.get_codec("learned_scalar", maps=4, height=6, width=6, reduced=2, hidden=8, bits=2).eval()
    path = device_file(tmp_path / "device.json", fc.export(model, "relu", X, codec=codec))
    assert profile(model, X, device_profile=path, codec=codec, calls=1).at("relu").device_ms == 12.5
    with pytest.raises(PlanError, match="Learned and calibrated codecs are given as codec="):
        profile(model, X, device_profile=path, calls=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no profile that featcodec.device wrote: JSONDecodeError"),
        ("{}", "wrote: KeyError: 'head'"),
        ("3", "wrote: Type"),
    ],
)
def test_what_no_device_wrote_is_refused(tmp_path, text, message):
    (tmp_path / "device.json").write_text(text)
    with pytest.raises(PlanError, match=message):
        profile(small(), X, device_profile=tmp_path / "device.json")
    with pytest.raises(FileNotFoundError):
        profile(small(), X, device_profile=tmp_path / "none.json")
