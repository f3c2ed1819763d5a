"""Training: every schedule learns, frozen means frozen, what was interrupted ends as if it had not been."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec import training
from featcodec.channel import ChannelRange
from featcodec.training import Batches, Phase, fit, get_schedule

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """Head, cut at `b`, tail; batch norm on both sides, dropout behind."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.c = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(self.b(self.a(x))).mean((2, 3)))


def toy(count: int = 64) -> tuple[Tensor, Tensor]:
    """Four classes by which corner is bright."""
    g = torch.Generator().manual_seed(1)
    y = torch.randint(4, (count,), generator=g)
    x = 0.3 * torch.randn(count, 3, 8, 8, generator=g)
    for image, label in zip(x, y.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[label % 3, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.5
    return x, y


@pytest.fixture(scope="module")
def trained_once() -> dict[str, Tensor]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in `one_thread`
    torch.manual_seed(0)
    net = Net()
    x, y = toy()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return net.state_dict()


@pytest.fixture
def trained_state(trained_once) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trained_once.items()}


@pytest.fixture
def net(trained_state) -> Net:
    net = Net()
    net.load_state_dict(trained_state)
    return net.eval()


def batches(**options) -> Batches:
    return Batches(*toy(), 16, **options)


def put(net: Net, spec: str = "dsc:reduced=2,step=0.5", channel: str | None = None) -> fc.Insertion:
    torch.manual_seed(3)
    return fc.insert(net, "b", spec, channel, example=toy(1)[0])


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def bottleneck(epochs: int = 4, **fields) -> Phase:
    return replace(training.bottleneck_only(epochs, lr=0.02, weights={"rate": 0.01})[0], **fields)


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


# ---- resuming ---------------------------------------------------------------------------------------------------------------


class StopHere(Exception):  # noqa: N818
    pass


def stop_after(epochs: int):
    left = [epochs]

    def progress(event: training.Event) -> None:
        # in the midst of an epoch: what it had done so far is lost, and done again
        if event.kind == "step" and event.step == 2:
            if left[0] == 0:
                raise StopHere
            left[0] -= 1

    return progress


def shuffled_loader() -> torch.utils.data.DataLoader:
    data = torch.utils.data.TensorDataset(*toy())
    return torch.utils.data.DataLoader(data, 16, shuffle=True)


def own_generator_loader() -> torch.utils.data.DataLoader:
    data = torch.utils.data.TensorDataset(*toy())
    return torch.utils.data.DataLoader(data, 16, shuffle=True, generator=torch.Generator().manual_seed(9))


LOADERS = {"batches": batches, "dataloader": shuffled_loader, "own generator": own_generator_loader}
RUNS = {
    "dsc": ("dsc:reduced=2,step=0.5", {"rate": 0.01}, None),
    "entropic": ("entropic:reduced=2", {"rate": 1e-3}, None),
    "over a channel": ("bottlenet++:reduced=2,csi=true", {}, "bec:p=0..0.3"),
}


INTERRUPTIONS = [
    ("dsc", "batches", 1, None),
    ("entropic", "dataloader", 2, None),
    ("over a channel", "own generator", 3, None),
    ("entropic", "dataloader", 3, "memory"),
    ("over a channel", "batches", 1, "memory"),
]


@pytest.mark.parametrize(("run", "loader", "stop", "cache"), INTERRUPTIONS)
def test_what_was_interrupted_ends_as_if_it_had_not_been(run, loader, stop, cache, trained_state, tmp_path):
    spec, weights, channel = RUNS[run]
    joint = "tail" if cache else "all"
    shared = {"losses": {"task": 1.0, **weights}, "channel": channel, "lr": 0.01}
    schedule = [Phase(name="one", epochs=2, **shared), Phase(name="two", epochs=2, train=joint, optimizer="sgd", **shared)]
    results = []
    for interrupted in (False, True):
        for attempt in range(1 + interrupted):
            net = Net()
            net.load_state_dict(trained_state)
            torch.manual_seed(77 + attempt)  # what the process drew before does not matter
            cut = fc.insert(net, "b", spec, example=toy(1)[0])
            if not attempt:
                torch.manual_seed(3)
                for p in cut.codec.parameters():
                    nn.init.normal_(p, 0.2, 0.3)
            path = tmp_path / f"{interrupted}.ckpt"
            progress = stop_after(stop) if interrupted and not attempt else None
            make = LOADERS[loader]()
            options = {"checkpoint": path, "cache": cache, "seed": 4, "progress": progress}
            options["validation"] = batches() if stop == 2 else None
            try:
                history = fit(net, cut, make, schedule, **options)
            except StopHere:
                continue
            record = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in history.epochs]
            results.append((state_of(net), record))
    assert results[0][1] == results[1][1]
    assert same(results[0][0], results[1][0])
    assert list(tmp_path.glob("*.part")) == []


def test_a_finished_training_is_not_done_again(net, tmp_path):
    with put(net) as cut:
        first = fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c")
        state = state_of(net)
        steps = []
        again = fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c", progress=lambda e: steps.append(e))
        assert steps == []
        assert again.to_dict() == first.to_dict()
        assert same(state, state_of(net))
        fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c", resume=False, progress=lambda e: steps.append(e))
        assert len(steps) == 2 * (4 + 1)


CHANGES = {
    r"schedule\.0\.lr is 0\.02 there, 0\.5 here": {"schedule": bottleneck(2, lr=0.5)},
    r"schedule\.0\.losses\.rate is 0\.01 there, 0\.5 here": {"schedule": bottleneck(2, losses={"task": 1.0, "rate": 0.5})},
    r"seed is 0 there, 1 here": {"seed": 1},
    r"codec\.reduced is 2 there, 3 here": {"spec": "dsc:reduced=3,step=0.5"},
    r"cached is False there, True here": {"cache": "memory"},
    r"frozen is \d+ there, \d+ here": {"other": True},
}


@pytest.mark.parametrize("message", CHANGES)
def test_a_checkpoint_of_another_run_is_refused_naming_what_differs(message, net, tmp_path):
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c")
    change = dict(CHANGES[message])
    if change.pop("other", False):
        net.a[0].weight.data += 1
    schedule, spec = change.pop("schedule", bottleneck(2)), change.pop("spec", "dsc:reduced=2,step=0.5")
    with put(net, spec) as cut:
        before = state_of(net)
        with pytest.raises(fc.ConfigError, match=message):
            fit(net, cut, batches(), schedule, checkpoint=tmp_path / "c", **change)
        assert same(before, state_of(net))


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a checkpoint ran code",))


@pytest.mark.parametrize("content", [b"", b"nonsense", "pickle"])
def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(content, net, tmp_path):
    path = tmp_path / "c"
    if content == "pickle":
        torch.save({"format": 1, "run": Evil(), "state": {}}, path)
    else:
        path.write_bytes(content)
    with put(net) as cut, pytest.raises(fc.ConfigError, match="is no checkpoint"):
        fit(net, cut, batches(), bottleneck(1), checkpoint=path)


# ---- caching ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("train", ["bottleneck", "tail"])
def test_cached_features_train_as_the_whole_model_does(where, train, trained_state, tmp_path):
    results = []
    losses = {"task": 1.0, "rate": 0.01, "kd": 0.5, "features": 0.1}
    for cache in (None, "memory" if where == "memory" else tmp_path):
        net = Net()
        net.load_state_dict(trained_state)
        with put(net) as cut:
            history = fit(
                net, cut, batches(seed=2), bottleneck(2, train=train, losses=losses, match=("c",)), cache=cache, seed=6
            )
            results.append((state_of(net), history.losses()))
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)
    for name, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mapped_bytes", [0, 1 << 30])
def test_a_cached_epoch_runs_no_head_and_a_folder_serves_the_next_run(mapped_bytes, net, tmp_path, monkeypatch):
    monkeypatch.setattr("featcodec.training.cache._MAPPED_BYTES", mapped_bytes)
    runs = []
    net.a.register_forward_hook(lambda *_: runs.append(1))
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(3), cache=tmp_path)
        first, files = len(runs), sorted(p.name for p in tmp_path.iterdir())
        fit(net, cut, batches(), bottleneck(3), cache=tmp_path)
        assert len(runs) - first < 4 < first  # where modules lie, and the cut; not once a batch
        assert sorted(p.name for p in tmp_path.iterdir()) == files
        assert len(files) == 2
        net.a[0].weight.data += 0.1
        fit(net, cut, batches(), bottleneck(1), cache=tmp_path)
        assert len(list(tmp_path.iterdir())) == 4


def test_no_cache_where_the_head_or_the_inputs_change(net):
    with put(net) as cut:
        with pytest.raises(fc.ConfigError, match="'all' changes the head"):
            fit(net, cut, batches(), bottleneck(1, train="all"), cache="memory")
        with pytest.raises(fc.ConfigError, match="augmented inputs"):
            fit(net, cut, batches(augment=lambda x, g: x), bottleneck(1), cache="memory")


# ---- losses -----------------------------------------------------------------------------------------------------------------


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


# ---- channels ---------------------------------------------------------------------------------------------------------------


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


# ---- what is wrong is named -------------------------------------------------------------------------------------------------


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
    with pytest.raises(fc.LayerError, match="is not in this model"):
        fit(net, cut, batches(), bottleneck(1))
    with put(Net()) as cut, pytest.raises(fc.LayerError, match="is not in this model"):
        fit(net, cut, batches(), bottleneck(1))


BAD_LOADERS = {
    "gave no samples": list,
    "needs targets": lambda: [toy(4)[0]],
    "4 inputs with 3 targets": lambda: [(toy(4)[0], toy(4)[1][:3])],
    "yields tensors": lambda: [{"image": toy(4)[0]}],
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


# ---- data and progress ------------------------------------------------------------------------------------------------------


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
