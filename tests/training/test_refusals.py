"""What is wrong with a training is named."""

from __future__ import annotations

import json

import pytest
from torch import Tensor

import featcodec as fc
from featcodec import training
from featcodec.training import Batches, Phase, fit, get_schedule
from tests.training.net import Net, batches, bottleneck, put, toy

BAD_PHASES = {
    "train must be one of bottleneck, tail, all, got 'head'": {"train": "head"},
    "optimizer must be one of": {"optimizer": "lion"},
    "epochs must be an integer": {"epochs": 0},
    "lr must be a number": {"lr": -1.0},
    "the weight of 'task' must be a number": {"losses": {"task": -1}},
    "losses must be weights by name": {"losses": {}},
    "temperature must be a number": {"temperature": 0},
    "lr_scales must be factors by name, got 3": {"lr_scales": 3},
    "the learning rate's factor of 'gains' must be a number": {"lr_scales": {"gains": -1}},
    "prepare must be names, got 3": {"prepare": 3},
    r"match must be names, got \[1\]": {"match": [1]},
}


@pytest.mark.parametrize("message", BAD_PHASES)
def test_phases_that_cannot_be(message):
    with pytest.raises(fc.ConfigError, match=message):
        Phase(**{"name": "x", "epochs": 1, **BAD_PHASES[message]})


def test_schedules_that_cannot_be(net):
    with pytest.raises(fc.ConfigError, match="no schedule 'three_step'; did you mean three-step"):
        get_schedule("three_step")
    with pytest.raises(fc.ConfigError, match="unexpected keyword argument"):
        get_schedule("three-step", epoch=3)
    with pytest.raises(fc.ConfigError, match="has no 'learning_rate'"):
        Phase.from_dict({"name": "x", "epochs": 1, "learning_rate": 3})
    assert Phase.from_dict(json.loads(json.dumps(bottleneck().to_dict()))) == bottleneck()
    with put(net) as cut:
        for wrong in ([], ["bottleneck"], "three-step"):
            with pytest.raises(fc.ConfigError, match="a schedule is one Phase or more"):
                fit(net, cut, batches(), wrong)


BAD_LOSSES = {
    "must weigh rate, be it by 0": {"task": 1.0},
    "weighs vq, which is no loss; the codec's are: rate": {"task": 1.0, "rate": 0.1, "vq": 0.1},
}


@pytest.mark.parametrize("message", BAD_LOSSES)
def test_weights_must_be_those_of_the_codec_s_losses(message, net):
    with put(net) as cut, pytest.raises(fc.ConfigError, match=message):
        fit(net, cut, batches(), bottleneck(1, losses=BAD_LOSSES[message]))


def test_nothing_to_train(net):
    with put(net, "huffman:bits=4") as cut, pytest.raises(fc.ConfigError, match="this codec has no learned parameters"):
        fit(net, cut, batches(), training.bottleneck_only(1))


def test_an_insertion_that_is_not_in_the_model(net):
    with put(net) as cut:
        pass
    with pytest.raises(fc.LayerError, match="is not at layer 'b' of this model"):
        fit(net, cut, batches(), bottleneck(1))
    with put(Net()) as cut, pytest.raises(fc.LayerError, match="is not at layer 'b' of this model"):
        fit(net, cut, batches(), bottleneck(1))


BAD_LOADERS = {
    "gave no samples": list,
    "needs targets": lambda: [toy(4)[0]],
    "4 inputs with 3 targets": lambda: [(toy(4)[0], toy(4)[1][:3])],
    "loss needs targets": lambda: [{"x": toy(4)[0]}],
    "yields tensors .* got dict of no tensor with an axis": lambda: [{"image": "x.png", "labels": toy(4)[1]}],
    "put several inputs into a tuple or a dict": lambda: [(*toy(4), toy(4)[1])],
    "only once": lambda: iter([toy(4)]),
}


@pytest.mark.parametrize("message", BAD_LOADERS)
@pytest.mark.parametrize("cache", [None, "memory"])
def test_loaders_that_cannot_be(message, cache, net):
    with put(net) as cut, pytest.raises(fc.FeatureError, match=message):
        fit(net, cut, BAD_LOADERS[message](), bottleneck(1), cache=cache)


def test_batches_that_cannot_be():
    with pytest.raises(fc.ConfigError, match="as many, got 4 and 3"):
        Batches(toy(4)[0], toy(3)[1])
    with pytest.raises(fc.FeatureError, match="at least one sample"):
        Batches(toy(4)[0][:0])


def test_a_loss_that_is_not_finite_stops_the_training(net):
    def task(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum() * float("nan")

    with put(net) as cut, pytest.raises(fc.FeatureError, match="the loss 'task' is nan"):
        fit(net, cut, batches(), bottleneck(1), task=task)


def test_features_before_the_cut_cannot_be_matched_from_the_cache(net):
    schedule = training.head_distillation(1, match=("a",), weights={"rate": 0.0})
    with put(net) as cut, pytest.raises(fc.ConfigError, match="'a' does not run after the cut"):
        fit(net, cut, batches(), schedule, cache="memory")
    assert not any(module._forward_hooks for module in net.modules())


def test_attributes_that_the_codec_does_not_have(net):
    with put(net) as cut, pytest.raises(fc.ConfigError, match="sets 'warmup', which 'dsc' does not have"):
        fit(net, cut, batches(), bottleneck(1, attributes={"warmup": True}))
    assert all(p.requires_grad for p in net.parameters())
