"""fit under other people's models: inputs of any kind, shared heads and pyramids, metrics, modes, layers that nobody calls."""

from __future__ import annotations

import json
from collections import UserDict

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import featcodec as fc
from featcodec import training
from featcodec.training import Phase, fit
from tests.training.net import batches, bottleneck, put, state_of, toy

CROSS_ENTROPY = nn.functional.cross_entropy


class Pyramid(nn.Module):
    """A dictionary of levels, and a head that all of them share."""

    def __init__(self, again=None):
        super().__init__()
        self.levels, self.head, self.fc = Levels(), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)
        self.again = again

    def forward(self, x, scale=None):
        found = [self.call_head(level) for level in self.levels(x if scale is None else x * scale).values()]
        return self.fc(torch.stack([y.relu().mean((2, 3)) for y in found]).sum(0))

    def call_head(self, level):
        if self.again is None or not self.training:
            return self.head(level)
        return checkpoint(self.head, level, use_reentrant=self.again)


class Levels(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return {"fine": x, "coarse": 4 * nn.functional.avg_pool2d(x, 2)}


def pyramid(layer, **options):
    torch.manual_seed(0)
    model = Pyramid(**options)
    torch.manual_seed(3)
    return model, fc.insert(model, layer, "dsc:reduced=2,step=0.5", example=toy(1)[0])


@pytest.mark.parametrize("layer", ["head", "levels"])
def test_rates_of_all_tensors_and_calls_add_up(layer):
    model, cut = pyramid(layer)
    model.train()
    x = toy(4)[0]
    with torch.no_grad():
        stem = model.levels.stem(x)
        levels = [stem, 4 * nn.functional.avg_pool2d(stem, 2)]
    torch.manual_seed(5)
    model(x)
    losses = cut.codec.losses()
    cut.remove()
    features = levels if layer == "levels" else [model.head(level) for level in levels]
    torch.manual_seed(5)
    by_hand = 0.0
    for feature in features:
        cut.codec(feature)
        by_hand += float(cut.codec.losses()["rate"].detach())
    assert losses.keys() == {"rate"}
    assert float(losses["rate"].detach()) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("layer", ["head", "levels"])
@pytest.mark.parametrize("train", ["bottleneck", "tail", "all"])
def test_shared_heads_and_pyramids_train(layer, train):
    model, cut = pyramid(layer)
    phase = bottleneck(3, train=train, losses={"task": 1.0, "rate": 0.001, "features": 0.1})
    history = fit(model, cut, batches(), phase, validation=batches())
    assert history.losses()[-1] < history.losses()[0]
    with torch.no_grad():
        cut.stats.reset()
        model(toy(5)[0])
    assert cut.stats.samples == 5
    assert history.epochs[-1]["validation"]["bits"] == pytest.approx(cut.stats.bits_per_sample, rel=0.2)


def test_features_of_all_calls_are_matched():
    """The last call alone would hide what the first one lost."""
    model, cut = pyramid("head")
    phase = bottleneck(1, lr=1e-9, losses={"features": 1.0, "rate": 0.0})
    (loss,) = fit(model, cut, batches(shuffle=False), phase).losses("features")
    cut.remove()
    cut.codec.train()
    errors = []
    for level in model.levels(toy()[0]).values():
        parts = model.head(level).split(16)
        errors.append([float(((cut.codec(part) - part).square().mean() / part.square().mean()).detach()) for part in parts])
    by_hand = [sum(level) / 4 for level in errors]
    assert by_hand[0] != pytest.approx(by_hand[1], rel=0.02)
    assert loss == pytest.approx(sum(by_hand) / 2, rel=1e-3)


def test_a_shared_head_cannot_be_cached():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(192, 4))
    cut = fc.insert(model, "0", "dsc:reduced=2,step=0.5", example=toy(1)[0])
    with pytest.raises(fc.LayerError, match="called 2 times"):
        fit(model, cut, batches(), bottleneck(1), cache="memory")
    model, cut = pyramid("levels")
    with pytest.raises(fc.LayerError, match="need a layer that gives one tensor, got dict"):
        fit(model, cut, batches(), bottleneck(1), cache="memory")


def test_checkpointing_within_a_training():
    histories = []
    for again in (None, False):
        model, cut = pyramid("head", again=again)
        histories.append(fit(model, cut, batches(), bottleneck(2, train="all")).losses())
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)
    model, cut = pyramid("head", again=True)
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        fit(model, cut, batches(), bottleneck(1, train="all"))


# ---- inputs ----------------------------------------------------------------------------------------------------------

BATCHES = {
    "tuple": lambda x, y: ((x, torch.tensor(2.0)), y),
    "list": lambda x, y: [x, y],
    "dict": lambda x, y: ({"x": x, "scale": torch.tensor(2.0)}, y),
    "keywords": lambda x, y: {"labels": y, "x": x, "scale": torch.tensor(2.0)},
    "mapping": lambda x, y: UserDict(x=x, targets=y),
}


class Scaled(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x=None, scale=None):
        return self.net(x if scale is None else x * scale)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("cache", [None, "memory"])
def test_batches_of_any_kind(name, cache, net):
    x, y = toy()
    data = [BATCHES[name](x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    data.insert(1, BATCHES[name](x[:0], y[:0]))
    cut = put(net)
    schedule = bottleneck(2, losses={"task": 1.0, "rate": 0.01, "kd": 0.1})
    history = fit(Scaled(net), cut, data, schedule, validation=data, cache=cache)
    losses = history.losses()
    assert losses[-1] < losses[0]
    assert 0 < history.epochs[-1]["validation"]["metric"] <= 1


class Teller(nn.Module):
    """Gives an object, as Hugging Face's models do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pixel_values):
        return {"logits": self.net(pixel_values), "note": None}


class LogitsRight:
    """top-1 by update and compute."""

    def __init__(self):
        self.counts = [5, 5]

    def reset(self):
        self.counts = [0, 0]

    def update(self, outputs, targets):
        self.counts[0] += int((outputs["logits"].argmax(1) == targets).sum())
        self.counts[1] += len(targets)

    def compute(self):
        return self.counts[0] / self.counts[1]


def test_a_task_gets_what_the_model_gives_and_a_metric_may_compute(net):
    x, y = toy()
    data = [{"pixel_values": x[i : i + 24], "labels": y[i : i + 24]} for i in (0, 24, 48)]
    cut = put(net)
    model = Teller(net)
    history = fit(
        model,
        cut,
        data,
        bottleneck(2),
        task=lambda out, y: CROSS_ENTROPY(out["logits"], y),
        validation=data,
        metric=LogitsRight(),
    )
    with torch.no_grad():
        right = float((net(x).argmax(1) == y).float().mean())
    assert history.epochs[-1]["validation"]["metric"] == pytest.approx(right, abs=0.05)


# ---- metrics ---------------------------------------------------------------------------------------------------------


def test_validation_scores_as_evaluate_does(net):
    def mean(outputs, targets):
        return (outputs.argmax(1) == targets).float().mean()

    with put(net) as cut:
        with pytest.raises(ValueError, match=r"one score per sample, a tensor \(16,\) here, got a tensor \(\)"):
            fit(net, cut, batches(), bottleneck(1), validation=batches(), metric=mean)
        with pytest.raises(TypeError, match="got a float"):
            fit(net, cut, batches(), bottleneck(1), validation=batches(), metric=lambda out, y: 0.5, cache="memory")
        steps = []
        with pytest.raises(TypeError, match="a metric is a function of outputs and targets"):
            fit(net, cut, batches(), bottleneck(1), validation=batches(), metric=0.5, progress=steps.append)
        assert steps == []
        with pytest.raises(ValueError, match="top-1 wants"):
            fit(net, cut, batches(), bottleneck(1), validation=[(x, y[:, None]) for x, y in batches()])


class Figures(LogitsRight):
    def update(self, outputs, targets):
        super().update({"logits": outputs}, targets)

    def compute(self):
        return {"right": super().compute(), "unknown": float("nan"), "vector": [1, 2]}


@pytest.mark.parametrize("cache", [None, "memory"])
def test_figures_by_name_are_in_the_history(cache, net, tmp_path):
    lines = []
    with put(net) as cut:
        history = fit(
            net, cut, batches(), bottleneck(2), validation=batches(), metric=Figures(), cache=cache, progress=lines.append
        )
        wanted = fc.evaluate(net, batches(), layer="c", codec="raw", metric=Figures()).metric["right"]
    validation = history.epochs[-1]["validation"]
    assert validation.keys() == {"metric.right", "metric.unknown", "bits"}
    assert validation["metric.right"] == pytest.approx(wanted, abs=0.05)
    assert validation["metric.unknown"] is None
    history.save(tmp_path / "h.json")
    assert json.loads((tmp_path / "h.json").read_text())["epochs"][-1]["validation"] == validation
    show = training.show_progress()
    for event in lines:
        show(event)


# ---- layers that nobody calls, modes ------------------------------------------------------------------------------------


class Uncalled(nn.Module):
    def __init__(self):
        super().__init__()
        self.mha, self.fc, self.some = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 4), nn.Linear(6, 6)
        self.mode = "always"

    def forward(self, x):
        y = self.mha(x, x, x)[0]
        takes = {"always": True, "large": len(x) > 2, "eval": not self.training, "training": self.training}[self.mode]
        return self.fc(self.some(y) if takes else y).mean(1)


@pytest.mark.parametrize("layer", ["mha.out_proj", "some"])
def test_a_layer_that_is_not_called_is_told(layer):
    torch.manual_seed(0)
    data = [(torch.rand(n, 5, 6), torch.zeros(n, dtype=torch.long)) for n in (4, 2)]
    model = Uncalled().train()
    phase = Phase(name="x", epochs=1, train="all")
    cut = fc.insert(model, layer, "raw")
    modes = ["always"] if layer == "mha.out_proj" else ["large", "eval", "training"]
    for model.mode in modes:
        with pytest.raises(fc.LayerError, match=f"layer '{layer}' was not called: nothing went through the codec"):
            fit(model, cut, data, phase)
    assert model.training
    if layer == "some":
        model.mode = "always"
        late = [*data[:1], (torch.rand(2, 5, 6), torch.zeros(2, dtype=torch.long))]
        fit(model, cut, late, phase)
        model.mode = "large"
        with pytest.raises(fc.LayerError, match="'some' was not called"):
            fit(model, cut, data[:1], phase, validation=data)


def test_what_the_user_froze_keeps_its_statistics(net):
    """A batch norm whose parameters want no gradient, within a model that is trained whole."""
    net.train()
    net.a[1].requires_grad_(False)
    before = state_of(net.a[1])
    seen = []
    net.a[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(1, train="all"))
    assert not any(seen)
    after = state_of(net.a[1])
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(m.training for m in net.modules())


def test_a_training_that_fails_leaves_modes_and_gradients_as_they_were(net):
    net.train()
    net.a[1].eval()
    net.fc.bias.requires_grad_(False)
    with put(net) as cut:
        modes = [m.training for m in net.modules()]
        wants = [p.requires_grad for p in net.parameters()]
        with pytest.raises(fc.FeatureError, match="the loss 'task' is nan"):
            fit(net, cut, batches(), bottleneck(1), task=lambda out, y: out.sum() * float("nan"))
        assert [m.training for m in net.modules()] == modes
        assert [p.requires_grad for p in net.parameters()] == wants


def test_a_teacher_of_one_s_own_keeps_its_mode(net):
    other = type(net)().train()
    other.a[1].eval()
    modes = [m.training for m in other.modules()]
    before = state_of(other)
    with put(net) as cut:
        fit(net, cut, batches(), training.knowledge_distillation(1, task=0, weights={"rate": 0.0}), teacher=other)
    assert [m.training for m in other.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in state_of(other).items())


def test_time_first_with_the_batch_axis():
    torch.manual_seed(0)

    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.fc = nn.GRU(6, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.gru(x)[0].mean(0))

    model = TimeFirst()
    cut = fc.insert(model, "gru", "huffman:bits=6,axis=map", tensors=0, batch_axis=1)
    data = [(torch.rand(7, n, 6), torch.zeros(n, dtype=torch.long)) for n in (3, 2)]
    history = fit(model, cut, data, Phase(name="x", epochs=2, train="all", lr=0.05), validation=data)
    assert history.losses()[-1] < history.losses()[0]
    assert history.epochs[-1]["validation"]["metric"] == 1
    assert history.epochs[-1]["validation"]["bits"] < 7 * 8 * 32
