"""``featcodec search`` and what measures its trials."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.bench.data import embedded
from featcodec.cli import main
from featcodec.planning import get_link, prune
from featcodec.planning.measuring import CodecTrial
from featcodec.planning.pruning import ROUND, Pruning
from featcodec.training import Batches, bottleneck_only
from tests.planning.networks import Residual as Net
from tests.planning.networks import ready
from tests.training.net import toy


def model() -> torch.nn.Module:
    """A network that the command names."""
    return ready(Net)


MODEL = "tests.planning.test_search_command:model"
SPACE = ["layer=cut", "codec=huffman,(dsc:step=.5)", "bits=2,4", "reduced=2,4"]


@pytest.fixture
def data(tmp_path):
    images = embedded()
    np.savez(tmp_path / "data.npz", images=images.images[:96, ::4, ::4], labels=images.labels[:96] % 4)
    return ["--data", str(tmp_path / "data.npz"), "--held-out", "24", "--validation-samples", "8", "--batch-size", "16"]


def command(tmp_path, data, *more) -> list[str]:
    given = ["search", "--model", MODEL, "--space", *SPACE, "--trials", "4", "--set", "epochs=1", "--weight", "rate=.01"]
    return [*given, *data, "--out", str(tmp_path / "out"), "--device", "cpu", *more]


def test_a_search_of_one_s_own_model_goes_on_and_is_shown(tmp_path, data, capsys):
    assert main(command(tmp_path, data, "--sampler", "grid", "--trials", "2")) == 0
    assert main(command(tmp_path, data, "--sampler", "grid")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("written")) <= 100
    found = json.loads((tmp_path / "out" / "search.json").read_text())
    assert [trial["state"] for trial in found["trials"]] == ["done"] * 4
    assert {trial["point"].get("bits", trial["point"].get("reduced")) for trial in found["trials"]} == {2, 4}
    assert (tmp_path / "out" / "search.png").read_bytes().startswith(b"\x89PNG")
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["cache", "codecs", "search.journal", "search.json", "search.png"]
    kept = tmp_path / "out" / "codecs" / "cut_dsc_step=.5_reduced=2.safetensors"
    assert fc.load_codec(kept).config()["reduced"] == 2
    assert main(command(tmp_path, data, "--show")) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:-1] == lines[-len(shown) : -1]


def test_the_embedded_network_is_searched_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FEATCODEC_DATA", raising=False)
    given = ["search", "--trials", "2", "--held-out", "8", "--train-samples", "16", "--out", str(tmp_path), "--device", "cpu"]
    assert (
        main([*given, "--objective", "accuracy", "latency_ms", "device_macs", "--link", "1Mbit/s:rtt=5ms", "--slowdown", "3"])
        == 0
    )
    found = json.loads((tmp_path / "search.json").read_text())
    for trial in found["trials"]:
        figures = trial["figures"]
        here, there = (sum(figures[f"{name}_ms"] for name in of) for of in (("head", "encode"), ("decode", "tail")))
        assert figures["latency_ms"] == pytest.approx(3 * here + there + 8e3 * figures["bytes"] / 1e6 + 5)
    assert "latency ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--sampler", "guess"], "sampler must be one of"),
        (["--objective", "latency_ms"], "latency_ms is taken over a link: give --link"),
        (["--link", "wifi:bps=0"], "a link's rate_bps is a number above 0, got 0"),
        (["--link", "wify"], "no link 'wify'; did you mean wifi"),
        (["--slowdown", "0"], "slowdown is a number above 0, got 0"),
        (["--space", "bitz=1"], "no codec of this space takes 'bitz'"),
        (["--storage", "nosuch://x"], "cannot be used"),
        (["--show", "--study", "none"], "no such file"),
        (["--model", "tests.planning.test_search_command:nothing"], "nothing"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path, data, capsys, more, said):
    assert main(command(tmp_path, data, *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "search.json").exists()


def test_a_model_of_one_s_own_needs_a_space(tmp_path, data, capsys):
    assert main(["search", "--model", MODEL, *data, "--out", str(tmp_path)]) == 2
    assert "needs --space" in capsys.readouterr().err


def trial(**fields) -> CodecTrial:
    batches = Batches(*toy(), 16)
    pruning = Pruning(filters=0.5, rounds=1, phase=ROUND, final=None)
    return CodecTrial(ready(Net), batches, batches, schedule=bottleneck_only(2), pruning=pruning, **fields)


def test_a_trial_measures_what_evaluate_does():
    measure, seen = trial(), []
    before = {name: value.clone() for name, value in measure.model.state_dict().items()}
    figures = measure({"layer": "cut", "codec": "huffman", "bits": 3}, lambda *args: seen.append(args))
    wanted = fc.evaluate(measure.model, measure.validation, layer="cut", codec=fc.get_codec("huffman:bits=3"))
    assert figures["accuracy"] == wanted.metric
    assert figures["bytes"] == wanted.stats["bits_per_sample"] / 8
    assert figures["device_macs"] == wanted.head_macs
    assert seen == []
    point = {"layer": "cut", "codec": "dsc:step=.05", "reduced": 2, "rate_weight": 5.0}
    first = measure(point, lambda *args: seen.append(args))
    assert [epoch for epoch, _ in seen] == [1, 2]
    again = measure(point, lambda *args: None)
    assert (first["accuracy"], first["bytes"]) == (again["accuracy"], again["bytes"])
    light = measure({**point, "rate_weight": 0.0}, lambda *args: None)
    assert light["bytes"] > first["bytes"]
    assert all(torch.equal(value, before[name]) for name, value in measure.model.state_dict().items())


def test_latency_is_taken_over_the_link_that_is_set_when_a_point_is_measured():
    measure, point = trial(link="0.0001Mbit/s"), {"layer": "cut", "codec": "huffman", "bits": 3}
    assert measure.link == get_link("0.0001Mbit/s")
    slow = measure(point, lambda *args: None)["latency_ms"]
    measure.link = "1000Mbit/s"
    assert measure(point, lambda *args: None)["latency_ms"] < slow
    measure.link = None
    assert "latency_ms" not in measure(point, lambda *args: None)
    with pytest.raises(fc.ConfigError, match="no link 'wify'"):
        trial(link="wify")


@pytest.mark.parametrize("amp", [True, None])
def test_half_precision_is_a_training_s_alone(amp):
    measure, seen = trial(amp=amp), set()
    tail = list(measure.model.children())[-1]
    tail.register_forward_hook(lambda *_: seen.add((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))))
    measure({"layer": "cut", "codec": "dsc:step=.05", "reduced": 2, "rate_weight": 0.1}, lambda *args: None)
    assert {half for grad, half in seen if grad} == {bool(amp)}
    assert {half for grad, half in seen if not grad} == {False}


def test_a_sparse_trial_prunes_the_head_once(tmp_path):
    measure = trial(cache=tmp_path)
    point = {"layer": "cut", "codec": "huffman", "bits": 3, "sparsity": 0.4}
    figures = measure(point, lambda *args: None)
    net = ready(Net)
    done = prune(net, "cut", measure.training, Pruning(filters=0.4, rounds=1, phase=ROUND, final=None))
    assert figures["device_macs"] == done.flow.head_macs < done.graph.head_macs
    assert figures["accuracy"] == fc.evaluate(net, measure.validation, layer="cut", codec=fc.get_codec("huffman:bits=3")).metric
    assert (tmp_path / "pruned-cut-0.4.checkpoint").is_file()
    stamp = os.stat(tmp_path / "pruned-cut-0.4.checkpoint").st_mtime_ns
    assert measure({**point, "bits": 4}, lambda *args: None)["device_macs"] == done.flow.head_macs
    assert os.stat(tmp_path / "pruned-cut-0.4.checkpoint").st_mtime_ns == stamp


def test_codecs_that_send_no_bytes_are_refused():
    with pytest.raises(fc.ConfigError, match="symbols of a radio"):
        trial()({"layer": "cut", "codec": "jscc:symbols=8"}, lambda *args: None)
