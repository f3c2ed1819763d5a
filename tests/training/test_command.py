"""``featcodec train`` on a small network and a few pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec import cli
from featcodec.bench import train

pytestmark = pytest.mark.usefixtures("one_thread")

MODEL = """
import torch
from torch import nn
def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.Flatten(), nn.Linear(32, 2))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train_model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    images = (rng.random((60, 8, 8, 3)) * 60 + 120 * labels[:, None, None, None]).astype(np.uint8)
    np.savez("mine.npz", images=images, labels=labels)
    return tmp_path


BASE = ["train", "--model", "train_model:build", "--layer", "1", "--data", "mine.npz", "--held-out", "10", "--batch-size", "10"]
DSC = [
    "--codec",
    "dsc:reduced=2,step=0.5",
    "--set",
    "epochs=2",
    "lr=0.02",
    "--weight",
    "rate=0.01",
    "--out",
    "out",
    "--name",
    "a",
]


def test_it_writes_codec_and_record_and_resumes(folder, capsys):
    assert cli.main([*BASE, *DSC, "--cache", "features", "--seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("a: ")
    record = json.loads((folder / "out/a.json").read_text())
    assert record["command"] == f"featcodec {' '.join([*BASE, *DSC])} --cache features --seed 3"
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
    assert set(record["epochs"][0]["validation"]) == {"metric", "bits"}
    assert record["run"]["seed"] == 3
    assert record["row"]["samples"] == record["backbone"]["samples"] == 6
    assert record["row"]["stats"]["bits_per_sample"] > 0
    codec = fc.load_codec(folder / "out/a.safetensors")
    assert codec.config() == record["row"]["codec"]
    first = {name: value.clone() for name, value in codec.state_dict().items()}
    assert cli.main([*BASE, *DSC, "--cache", "features", "--seed", "3"]) == 0
    assert json.loads((folder / "out/a.json").read_text())["epochs"] == record["epochs"]
    assert all(
        torch.equal(value, first[name]) for name, value in fc.load_codec(folder / "out/a.safetensors").state_dict().items()
    )
    # a config file says the same
    config = {
        "codec": "dsc:reduced=2,step=0.5", "set": {"epochs": 2, "lr": 0.02}, "weight": {"rate": 0.01}, "name": "b",
        "out": "out", "cache": "features", "seed": 3,
    }  # fmt: skip
    (folder / "c.json").write_text(json.dumps(config))
    assert cli.main([*BASE, "--config", "c.json"]) == 0
    other = fc.load_codec(folder / "out/b.safetensors").state_dict()
    assert all(torch.equal(value, first[name]) for name, value in other.items())


def test_a_config_of_phases_over_a_channel_and_the_model_s_weights_where_they_train(folder):
    phases = [{"name": "x", "epochs": 1, "train": "all", "channel": "bec:p=0..0.3"}]
    (folder / "c.json").write_text(json.dumps({"schedule": phases, "codec": "bottlenet++:reduced=2", "augment": True}))
    channels = ["--channel", "bec:p=0.1", "--over", "bec:p=0.3", "bsc:p=0.2"]
    assert cli.main([*BASE, "--config", "c.json", *channels, "--out", "out", "--name", "a"]) == 0
    record = json.loads((folder / "out/a.json").read_text())
    assert record["row"]["channel"]["p"] == 0.1
    assert [(row["channel"]["id"], row["channel"]["p"]) for row in record["over"]] == [("bec", 0.3), ("bsc", 0.2)]
    assert all(row["samples"] == record["row"]["samples"] for row in record["over"])
    assert (folder / "out/a.model.safetensors").is_file()


def test_lists_given_several_times_add_up_and_win_over_the_config(folder):
    (folder / "c.json").write_text(json.dumps({"over": ["bec:p=0.5"], "set": {"epochs": 9}, "weight": {"rate": 2}}))
    given = ["--over", "a", "b", "--set", "epochs=1", "--over", "c", "--set", "lr=.5", "shuffle=false"]
    for config in ([], ["--config", "c.json"]):
        args = train.settings([*config, *given])
        assert (args.over, args.set) == (["a", "b", "c"], ["epochs=1", "lr=.5", "shuffle=false"])
        assert args.weight == (["rate=2"] if config else [])
    assert train._pairs(args.set) == {"epochs": 1, "lr": 0.5, "shuffle": False}
    assert train.settings(["--config", "c.json"]).over == ["bec:p=0.5"]


def test_crops_and_flips_keep_the_shape_and_follow_the_generator():
    images = torch.rand(6, 3, 16, 16)
    one, two = (train.crop_and_flip(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == images.shape
    assert not torch.equal(one, images)


BAD = [
    (["--codec", "dsk"], "did you mean dsc"),
    (["--layer", "9"], "no layer of Sequential"),
    (["--schedule", "three_step"], "did you mean three-step"),
    (["--set", "epochs"], "written NAME=VALUE"),
    (["--set", "epoch=1"], "unexpected keyword argument"),
    (["--weight", "rates=1"], "weighs rates, which is no loss"),
    (["--train-samples", "1000"], "--train-samples must be 1..44"),
    (["--over", "bec:p=0.1", "bek:p=0.1"], "did you mean bec"),
    (["--data", "nothing"], "no data at"),
    (["--config", "none.json"], "No such file"),
    (["--config", "bad.json"], "is no JSON"),
    (["--config", "unknown.json"], "'codek', which is no option"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=lambda v: str(v)[:30])
def test_what_is_wrong_is_said_and_nothing_is_written(args, message, folder, capsys):
    (folder / "bad.json").write_text("{")
    (folder / "unknown.json").write_text('{"codek": "dsc"}')
    assert cli.main([*BASE, "--out", "out", *args]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("out/*.json"))
