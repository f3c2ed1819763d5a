"""Pruning with training between the rounds."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.planning import prune, shrink
from featcodec.planning.channel_rules import channel_graph
from featcodec.planning.importance import taylor
from featcodec.planning.masks import flow
from featcodec.planning.pruning import ROUND, Pruning
from featcodec.training import Batches, fit
from tests.planning.networks import Residual, ready
from tests.training.net import toy

PHASE = dataclasses.replace(ROUND, lr=0.01, weight_decay=1e-3)


def batches() -> Batches:
    return Batches(*toy(), 16)


def settings(**fields) -> Pruning:
    final = dataclasses.replace(PHASE, name="final", epochs=2)
    return Pruning(**{"filters": 0.4, "rounds": 2, "phase": PHASE, "final": final, **fields})


class KilledError(Exception):
    pass


def killing(stop):
    def progress(event):
        if event.kind == "epoch" and (event.phase, event.epoch) == stop:
            raise KilledError

    return progress


@pytest.mark.parametrize("method", ["incremental", "two-step"])
def test_what_is_masked_is_zero_after_training(method):
    net = ready(Residual)
    done = prune(net, "cut", batches(), settings(method=method), validation=batches())
    assert sum(mask.sum() for mask in done.masks.filters.values()) >= 8
    for name, mask in done.flow.masked.items():
        assert not net.get_parameter(name)[torch.from_numpy(mask)].any(), name
        assert net.get_parameter(name)[torch.from_numpy(~mask)].all(), name
    small = shrink(net, done.graph, done.masks, toy()[0])
    torch.testing.assert_close(small(toy()[0]), net(toy()[0]), atol=1e-4, rtol=1e-4)
    record = json.loads(json.dumps(done.to_dict()))
    assert len(record["rounds"]) == 3
    assert record["head_macs"] == flow(done.graph, done.masks.filters).head_macs < record["unpruned_head_macs"]
    assert record["rounds"][-1]["training"]["validation"]["metric"] == fc.evaluate(net, batches()).metric


def test_a_round_gives_back_what_it_masked(tmp_path):
    net = ready(Residual)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    wanted = ("round 2 of 2", 1)
    with pytest.raises(KilledError):
        prune(net, "cut", batches(), settings(), checkpoint=tmp_path / "p", progress=killing(wanted))
    after = torch.load(tmp_path / "p", weights_only=True)["state"]
    masks = {name: mask.numpy() for name, mask in after["filters"].items()}
    found = flow(channel_graph(ready(Residual), "cut", toy()[0]), masks)
    assert sum(mask.sum() for mask in masks.values()) == 2 + 4 + 2
    for name, mask in (found.masked | found.statistics).items():
        assert torch.equal(after["model"][name][torch.from_numpy(mask)], before[name][torch.from_numpy(mask)]), name
        assert not torch.equal(after["model"][name][torch.from_numpy(~mask)], before[name][torch.from_numpy(~mask)]), name


def test_nothing_to_prune_is_fine_tuning_alone():
    net, control = ready(Residual), ready(Residual)
    done = prune(net, "cut", batches(), settings(filters=0.0, final=None, rounds=1))
    assert done.flow.head_macs == done.graph.head_macs
    with fc.insert(control, "cut", "raw") as cut:
        fit(control, cut, Batches(*toy(), 16, seed=1), dataclasses.replace(PHASE, name="round 1 of 1"), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), control.state_dict().values(), strict=True))


@pytest.mark.parametrize("method", ["incremental", "two-step"])
def test_multiply_accumulates_are_saved_as_asked(method):
    net = ready(Residual)
    done = prune(net, "cut", batches(), settings(method=method, filters=None, macs=0.4, rounds=3, final=None))
    assert done.flow.head_macs <= 0.6 * done.graph.head_macs
    macs = [found["head_macs"] for found in done.rounds]
    assert macs == sorted(macs, reverse=True)


def test_elements_of_the_feature_are_masked_by_magnitude():
    net = ready(Residual)
    done = prune(net, "cut", batches(), settings(filters=0.0, elements=0.25, final=None))
    assert done.masks.elements.sum() == 0.25 * 8 * 8 * 8 == done.rounds[-1]["elements"]
    with fc.insert(net, "cut", "raw"):
        features = []
        net.cut.register_forward_hook(lambda module, args, output: features.append(output))
        net(toy()[0])
    assert not features[0][:, torch.from_numpy(done.masks.elements)].any()


@pytest.mark.parametrize(
    ("method", "stop"),
    [
        ("incremental", ("round 1 of 2", 1)),
        ("incremental", ("round 2 of 2", 1)),
        ("incremental", ("final", 1)),
        ("two-step", ("round 1 of 2", 1)),
        ("two-step", ("final", 2)),
    ],
)
def test_a_pruning_goes_on_from_where_it_was_killed(tmp_path, stop, method):
    whole = ready(Residual)
    wanted = prune(whole, "cut", batches(), settings(method=method, elements=0.1))
    pruning, file = settings(method=method, elements=0.1), tmp_path / "p"
    with pytest.raises(KilledError):
        prune(ready(Residual), "cut", batches(), pruning, checkpoint=file, progress=killing(stop))
    net = ready(Residual)
    done = prune(net, "cut", batches(), pruning, checkpoint=file)
    assert whole.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), net.state_dict().values(), strict=True))
    assert [r["filters"] for r in done.rounds] == [r["filters"] for r in wanted.rounds]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    again = prune(ready(Residual), "cut", batches(), pruning, checkpoint=file)
    assert np.array_equal(again.masks.elements, done.masks.elements)
    with pytest.raises(fc.ConfigError, match="another run"):
        prune(ready(Residual), "cut", batches(), settings(method=method, filters=0.2), checkpoint=file)


def test_taylor_importance_is_the_change_without_the_filter():
    net = ready(Residual).double()
    x, y = toy(8)
    x = x.double()
    graph = channel_graph(net, "cut", x)
    found = taylor(net, graph, [(x, y)], torch.nn.functional.cross_entropy, 1)
    norm, loss = net.a[1], torch.nn.functional.cross_entropy(net(x), y).item()
    step = 1e-5
    for k in range(4):
        with torch.no_grad():
            kept = norm.weight[k].clone(), norm.bias[k].clone()
            norm.weight[k] *= 1 - step
            norm.bias[k] *= 1 - step
        change = (loss - torch.nn.functional.cross_entropy(net(x), y).item()) / step
        with torch.no_grad():
            norm.weight[k], norm.bias[k] = kept
        assert found["a.0.weight"][k] == pytest.approx(change**2, rel=1e-2)


def test_what_cannot_be_pruned_is_refused():
    for fields, said in (
        ({"filters": None}, "give filters or macs"),
        ({"macs": 0.3}, "give filters or macs"),
        ({"filters": 1.5}, "filters"),
        ({"elements": -0.1}, "elements"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 1, "method": "two-step"}, "rounds"),
        ({"method": "random"}, "method"),
    ):
        with pytest.raises(fc.ConfigError, match=said):
            settings(**fields)
    net = ready(Residual)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(fc.ConfigError, match="can be saved"):
        prune(net, "cut", batches(), settings(filters=None, macs=0.99))
    with pytest.raises(fc.ConfigError, match="no convolution to prune"):
        prune(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)), "0", batches(), settings())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
