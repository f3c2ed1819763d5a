"""Training: every schedule learns, frozen means frozen, losses are weighed, channels drawn."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import featcodec as fc
from featcodec import training
from featcodec.channel import ChannelRange
from featcodec.training import Batches, Phase, fit, get_schedule
from tests.training.net import Net, batches, bottleneck, put, same, state_of, toy

SCHEDULES = {
    "bottleneck-only": {"epochs": 4, "lr": 0.02},
    "end-to-end": {"epochs": 4, "lr": 0.01},
    "fine-tuning": {"epochs": 4, "lr": 0.02},
    "head-distillation": {"epochs": 4, "lr": 0.02, "match": ["c", "fc"]},
    "knowledge-distillation": {"epochs": 4, "lr": 0.02, "temperature": 2.0},
    "three-step": {"epochs": 3, "joint_epochs": 1, "lr": 0.02},
}


def test_every_schedule_is_tried():
    assert SCHEDULES.keys() == training.SCHEDULES.keys()


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_lowers_its_loss_and_leaves_all_in_eval_mode(name, net):
    with put(net) as cut:
        history = fit(net, cut, batches(), get_schedule(name, weights={"rate": 0.01}, **SCHEDULES[name]))
        total = history.losses()
        assert total[-1] < 0.8 * total[0]
        assert not any(module.training for module in net.modules())
        assert all(p.requires_grad for p in net.parameters())
        assert cut.stats.samples == 0
    assert len(history.epochs) == 4


SPECS = {
    "dsc:reduced=2,step=0.5,coder=context": {"rate": 0.01},
    "entropic:reduced=2": {"rate": 1e-3},
    "bottlenet:reduced=2": {},
    "bottlenet++:reduced=2,csi=true": {},
    "learned_scalar:hidden=8": {"vq": 0.1},
    "vq:hidden=8,groups=2,bits=4": {"vq": 0.1},
    "huffman:bits=2": {},
}


@pytest.mark.parametrize("spec", SPECS)
def test_every_kind_of_codec_trains(spec, net):
    make = training.bottleneck_only if fc.codec_class(spec.partition(":")[0]).learned else training.end_to_end
    with put(net, spec) as cut:
        history = fit(net, cut, batches(), make(3, lr=0.02, weights=SPECS[spec]), validation=batches(), seed=1)
        assert history.epochs[-1]["losses"]["task"] < history.epochs[0]["losses"]["task"]
        assert history.epochs[-1]["validation"]["bits"] < 32 * 8 * 64
        assert 0 <= history.epochs[-1]["validation"]["metric"] <= 1


def test_training_the_bottleneck_leaves_the_backbone_bit_for_bit_what_it_was(net, trained_state):
    net.train()
    with put(net) as cut:
        before = state_of(cut.codec)
        fit(net, cut, batches(), bottleneck(2))
        after = state_of(cut.codec)
    assert same(state_of(net), dict(trained_state))
    assert not torch.equal(before["analysis.0.weight"], after["analysis.0.weight"]) if "analysis.0.weight" in after else True
    assert not same(before, after)


def test_training_the_tail_leaves_the_head_what_it_was(net, trained_state):
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(2, train="tail"))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, trained_state[name])}
    assert {name.split(".")[0] for name in changed} == {"c", "fc"}
    assert "c.1.running_mean" in changed


def test_training_all_trains_all_but_what_the_user_froze(net, trained_state):
    net.fc.requires_grad_(False)
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(1, train="all"))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, trained_state[name])}
    assert {"a.0.weight", "a.1.running_mean", "b.0.weight", "c.0.weight"} <= changed
    assert not any(name.startswith("fc") for name in changed)
    assert not net.fc.weight.requires_grad


def test_the_torch_generator_is_left_as_it_was(net):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    with put(net) as cut:
        torch.manual_seed(5)
        fit(net, cut, batches(), bottleneck(1))
        assert torch.equal(torch.rand(3), wanted)


def test_losses_are_weighed(net):
    weights = {"task": 2.0, "rate": 0.25, "kd": 0.5, "features": 3.0}
    with put(net) as cut:
        losses = fit(net, cut, batches(), bottleneck(1, losses=weights)).epochs[0]["losses"]
    assert losses["total"] == pytest.approx(sum(weight * losses[name] for name, weight in weights.items()), rel=1e-5)


def test_a_rate_that_weighs_more_costs_bits_less(trained_state):
    bits = []
    for weight in (0.0, 3.0):
        net = Net()
        net.load_state_dict(trained_state)
        with put(net, "entropic:reduced=2,step=0.25") as cut:
            loss = {"task": 1.0, "rate": weight * 0.01}
            history = fit(net, cut, batches(), bottleneck(8, losses=loss), validation=batches(), cache="memory")
            bits.append(history.epochs[-1]["validation"]["bits"])
    assert bits[1] < 0.9 * bits[0]


def test_distillation_needs_no_labels(net):
    inputs = Batches(toy()[0], None, 16)
    for schedule in (
        training.head_distillation(3, lr=0.02, weights={"rate": 0.0}),
        training.knowledge_distillation(3, task=0, lr=0.02, weights={"rate": 0.0}),
    ):
        for cache in (None, "memory"):
            with put(net) as cut:
                total = fit(net, cut, inputs, schedule, cache=cache).losses()
                assert total[-1] < total[0]


def test_the_teacher_is_the_model_before_training_or_another(net):
    with put(net) as cut:
        net.fc.weight.data.zero_()
        schedule = training.knowledge_distillation(1, task=0, train="bottleneck", weights={"rate": 0.0})
        assert fit(net, cut, batches(), schedule).losses("kd")[0] < 1e-6
        other = Net().eval()
        assert fit(net, cut, batches(), schedule, teacher=other).losses("kd")[0] > 1e-4


def test_learning_rates_fall_along_half_a_cosine():
    phase = Phase(name="x", epochs=2, lr=1.0, final_lr=0.2)
    assert [phase.lr_at(f) for f in (0, 0.5, 1)] == pytest.approx([1.0, 0.6, 0.2])
    assert replace(phase, cosine=False).lr_at(0.9) == 1.0


def test_attributes_of_the_codec_hold_for_their_phase(net):
    with put(net, "vq:hidden=8,groups=2,bits=4") as cut:
        seen = []
        phases = [bottleneck(1, losses={"task": 1.0, "vq": 0.1}, attributes={"warm_up": warm}) for warm in (True, False)]
        fit(net, cut, batches(), phases, progress=lambda e: seen.append(cut.codec.warm_up))
        assert seen == [True] * 5 + [False] * 5
        assert cut.codec.warm_up is False


def test_every_level_of_a_variable_rate_codec_trains(net):
    with put(net, "variable-rate:levels=(dsc:reduced=1;dsc:reduced=2)") as cut:
        before = state_of(cut.codec)
        phases = [bottleneck(1, losses={"task": 1.0, "rate": 0.01}, attributes={"level": k}) for k in (0, 1)]
        fit(net, cut, batches(), phases)
        changed = {name.split(".")[1] for name, value in state_of(cut.codec).items() if not torch.equal(value, before[name])}
        assert changed == {"0", "1"}


@pytest.mark.parametrize(
    ("spec", "name", "low", "high"),
    [
        ("bec:p=0..0.3", "p", 0, 0.3),
        ("awgn:psnr_db=10..25,modulation=qpsk", "psnr_db", 10, 25),
        ("awgn:snr_db=-5..-2", "snr_db", -5, -2),
    ],
)
def test_channel_ranges_are_drawn_from_end_to_end(spec, name, low, high):
    g = torch.Generator().manual_seed(0)
    channels = [ChannelRange(spec).draw(g) for _ in range(200)]
    values = [getattr(c, name) for c in channels]
    assert low <= min(values) < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < max(values) <= high
    assert len({c.seed for c in channels}) == 200


def test_ranges_of_chains_and_channels_without_a_range():
    g = torch.Generator().manual_seed(0)
    one, two = (ChannelRange("bsc:p=0.001..1e-2+packet_erasure:p=0.05").draw(g) for _ in range(2))
    assert one.links[0].p != two.links[0].p
    assert one.links[1].p == two.links[1].p == 0.05
    assert ChannelRange({"id": "bec", "p": 0.25}).draw(g).p == 0.25


@pytest.mark.parametrize("spec", ["bec:p=0.3..0", "bec:p=0..1.5", "bek:p=0..1", "bec:q=0..1"])
def test_ranges_that_cannot_be(spec):
    with pytest.raises((fc.ConfigError, fc.UnknownCodecError)):
        Phase(name="x", epochs=1, channel=spec)


def test_the_channel_is_another_for_every_batch_and_the_insertion_s_own_after(net):
    seen = []
    with put(net, "bottlenet++:reduced=2,csi=true", "bec:p=0.01") as cut:
        own = cut.channel
        schedule = training.three_step(1, 1, channel="bec:p=0..0.3")
        fit(net, cut, batches(), schedule, progress=lambda e: seen.append(cut.channel) if e.kind == "step" else None)
        assert len({channel.p for channel in seen}) == 8
        assert cut.channel is own


def test_words_over_an_erasure_channel_train_with_the_statistics_of_packets():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=4,bits=8").train()
    z = torch.full((64, 4, 8, 8), 200 / 255, requires_grad=True)
    arrived = codec.pass_channel(z, z, (8, 16, 16), fc.get_channel("bec:p=0.25"))
    assert float(arrived.mean().detach()) == pytest.approx(0.75 * 200 / 255 + 0.125, abs=0.005)
    arrived.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


def test_batches_are_another_order_every_epoch_and_the_same_in_every_run():
    loader = Batches(torch.arange(50)[:, None], torch.arange(50), 8, seed=1)
    epochs = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        epochs.append(torch.cat([y for _, y in loader]).tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(epochs[0]) == list(range(50))
    assert len(loader) == 7
    assert torch.equal(torch.cat([x for x, _ in loader.in_order()])[:, 0], torch.arange(50))


def test_augmentation_is_drawn_by_seed_and_epoch():
    def augment(x: Tensor, g: torch.Generator) -> Tensor:
        return x + torch.rand(x.shape, generator=g)

    loader = Batches(torch.zeros(6, 1), None, 4, shuffle=False, augment=augment, transform=lambda x: x + 1)
    one, two = (torch.cat(list(loader)) for _ in range(2))
    assert torch.equal(one, two)
    loader.set_epoch(1)
    assert not torch.equal(torch.cat(list(loader)), one)
    assert torch.equal(torch.cat(list(loader.in_order())), torch.ones(6, 1))


def test_progress_is_lines_where_nobody_watches(net):
    out = io.StringIO()
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(2), cache="memory", progress=training.show_progress(out))
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("bottleneck 2/2: task ")


def test_history_is_json_and_comes_back(net, tmp_path):
    with put(net) as cut:
        history = fit(net, cut, batches(), bottleneck(2), validation=batches())
    history.save(tmp_path / "h.json")
    assert training.History.from_dict(json.loads((tmp_path / "h.json").read_text())) == history
    assert history.run["codec"]["id"] == "dsc"


def test_static_tables_are_those_of_the_trained_features(net):
    with put(net, "dsc:reduced=2,step=0.25") as cut:
        before = cut.codec.config_crc()
        fit(net, cut, batches(), bottleneck(1))
        assert cut.codec.config_crc() != before


def test_half_precision_outside_the_codec(net):
    with put(net) as cut:
        total = fit(net, cut, batches(), bottleneck(3), amp=True, cache="memory").losses()
    assert total[-1] < total[0]


def test_on_the_best_device_there_is(net, tmp_path):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with put(net) as cut:
        total = fit(net, cut, batches(), bottleneck(3), device=device, checkpoint=tmp_path / "c").losses()
    assert total[-1] < total[0]


def test_a_phase_prepares_the_codec_and_scales_learning_rates(net, tmp_path):
    cut = put(net, "vfe:reduced=2,symbols=8")
    still, calls = state_of(cut.codec.gains)["gain"], []
    cut.codec.prune = lambda: calls.append(len(calls))
    losses = {"task": 1.0, "kl": 0.01}
    phases = [
        bottleneck(1, losses=losses, lr_scales={"gains": 0.0}),
        bottleneck(2, name="pruned", losses=losses, lr_scales={"gains": 8}, prepare=["prune"]),
    ]
    fit(net, cut, batches(), phases[:1])
    assert torch.equal(cut.codec.gains.gain, still)
    assert calls == []
    history = fit(net, cut, batches(), phases, checkpoint=tmp_path / "x", cache=None)
    assert calls == [0]
    assert not torch.equal(cut.codec.gains.gain, still)
    assert [Phase.from_dict(fields) for fields in history.to_dict()["run"]["schedule"]] == phases
    for wrong in ({"lr_scales": {"gain_": 2.0}}, {"prepare": ["_noise"]}, {"prepare": ["no"]}):
        with pytest.raises(fc.ConfigError, match=r"gain_|_noise|'no'"):
            fit(net, cut, batches(), bottleneck(1, losses=losses, **wrong))
