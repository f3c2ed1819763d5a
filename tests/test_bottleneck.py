"""Learned codecs inserted in models: frozen backbones, copies, compiled and distributed models, autocast, evaluate."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import featcodec as fc

pytestmark = pytest.mark.usefixtures("one_thread")

SPECS = [
    {"id": codec_id, **fc.codec_class(codec_id).examples[0]}
    for codec_id in fc.list_codecs()
    if fc.codec_class(codec_id).learned
]
each = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["id"])


def net() -> nn.Sequential:
    """A model whose layer "0" gives what every codec's first example takes: (8, 7, 5)."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()), nn.Flatten(), nn.Linear(8 * 7 * 5, 3)
    )


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(6, 3, 7, 5)


def test_there_are_learned_codecs():
    assert {spec["id"] for spec in SPECS} >= {
        "bottlenet", "bottlenet++", "dsc", "entropic", "learned_scalar", "variable-rate", "vq",
    }  # fmt: skip


@each
def test_a_frozen_backbone_in_eval_mode_trains_the_codec_alone(spec, x):
    model = net().eval().requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    with fc.insert(model, "0", spec) as cut:
        cut.codec.train()
        before = copy.deepcopy(cut.codec.state_dict())
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        loss = model(x).square().mean() + sum(cut.codec.losses().values())
        loss.backward()
        optimizer.step()
        assert any(not torch.equal(v, before[k]) for k, v in cut.codec.state_dict().items())
        assert cut.stats.samples == 0
        cut.codec.eval()
        with torch.no_grad():
            model(x)
        assert cut.stats.samples == 6
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


@each
def test_evaluate_measures_real_bytes(spec, x):
    report = fc.evaluate(net(), [(x, torch.zeros(6, dtype=torch.long))], layer="0", codec=spec)
    assert report.stats["bits_per_sample"] > 0
    assert fc.get_codec(report.codec).config() == report.codec


@each
def test_copies_after_a_training_forward_train_by_themselves(spec, x):
    model = net().train()
    fc.insert(model, "0", spec)
    model(x).sum().backward()
    again = copy.deepcopy(model)
    model.zero_grad()
    again(x).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@each
def test_under_autocast(spec, x):
    model = net().train()
    with fc.insert(model, "0", spec) as cut:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(x).float().square().mean() + sum(cut.codec.losses().values())
        loss.backward()
        grads = [p.grad for p in cut.codec.parameters() if p.grad is not None]
        assert grads
        assert all(torch.isfinite(g).all() for g in grads)
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert torch.isfinite(model(x)).all()


@pytest.mark.parametrize(
    ("spec", "shape"),
    [("dsc:reduced=32", (256, 14, 14)), ("entropic:reduced=32", (256, 28, 28)), ("bottlenet++:reduced=32", (512, 8, 8))],
)
def test_latents_and_values_do_not_depend_on_threads_and_batch(spec, shape):
    """Of these sizes, sums over maps are shared among threads where there are several."""
    codec = fc.get_codec(fc.fit_spec(spec, shape)).eval()
    x = torch.relu(torch.randn(3, *shape))
    latents, values = [], []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        latents.append(codec.latents(x))
        values.append(codec(x))
        assert torch.get_num_threads() == threads
    alone = torch.cat([codec.latents(row) for row in x.split(1)])
    assert all(torch.equal(z, latents[0]) for z in (*latents, alone))
    assert all(torch.equal(v, values[0]) for v in values)


def test_compiled_models_train_and_send():
    torch.manual_seed(0)
    x = torch.randn(6, 3, 7, 5)
    model = net().eval()
    with fc.insert(model, "0", "dsc:maps=8,reduced=4,step=0.1") as cut:
        with torch.no_grad():
            eager = model(x)
            compiled = torch.compile(model, backend="eager")
            assert torch.allclose(compiled(x), eager, atol=1e-5)
        compiled.train()(x).sum().backward()
        assert cut.codec.analysis.depthwise.weight.grad.any()
        assert set(cut.codec.losses()) == {"rate"}
    torch.compiler.reset()
