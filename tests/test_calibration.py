"""fc.calibrate: features and gradients in one pass, what is chosen and why, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec.calibration import _projections, _Run, _Seen
from featcodec.held_out import changes
from featcodec.outputs import ALL
from featcodec.sensitivity import gradients, tapped


class Net(nn.Module):
    """A head of 6 maps, of which the tail reads two; logits of 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 6, 3, 1, 1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.tail = nn.Linear(6 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.head(x)))
        y = y * torch.tensor([1.0, 1, 0, 0, 0, 0])[:, None, None]
        return self.tail(y.flatten(1))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net().eval()


def pictures(count: int, seed: int = 1) -> Tensor:
    x = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1) * 3


def batches(count: int, size: int = 24) -> Iterator[tuple[Tensor, Tensor]]:
    for x in pictures(count).split(size):
        yield x, torch.full((len(x),), -1)  # a label that would be an error


def calibrated(**given) -> tuple[fc.Codec, list[str]]:
    lines: list[str] = []
    codec = fc.calibrate(net(), "head", given.pop("codec", "transform"), batches(96), report=lines.append, **given)
    return codec, lines


def test_it_chooses_and_says_why():
    codec, lines = calibrated(samples=80)
    assert codec.codec_id == "transform"
    assert not codec.training
    assert codec.maps == 6
    tried = [line for line in lines if "bytes at a change (l2)" in line]
    assert len(tried) >= 3
    assert all("of 20 inputs" in line for line in tried)
    assert lines[-1].startswith("chosen: transform:maps=6")
    assert torch.equal(codec.decode(codec.encode(pictures(2).repeat(1, 2, 1, 1))), codec(pictures(2).repeat(1, 2, 1, 1)))


def test_the_same_inputs_choose_the_same_state():
    assert calibrated()[0].fingerprint() == calibrated()[0].fingerprint()


def test_what_the_spec_gives_is_kept_and_a_codec_is_calibrated_itself():
    codec, _ = calibrated(codec="transform:block_height=4,block_width=4,joint=0")
    assert (codec.block_height, codec.block_width, codec.joint) == (4, 4, 0)
    mine = fc.get_codec("transform:maps=6,block_height=2")
    before = mine.fingerprint()
    codec, _ = calibrated(codec=mine)
    assert codec is mine
    assert codec.fingerprint() != before


def test_the_memory_is_kept():
    codec, _ = calibrated(max_table=50)
    assert codec.layout.numbers <= 50


def test_errors_go_where_the_tail_does_not_look():
    model, codec = net(), calibrated()[0]
    codec.quality = 60
    with torch.no_grad():
        x = model.head(pictures(24, seed=5))
        error = (codec(x) - x).square().mean((0, 2, 3))
    assert error[:2].max() < 0.2 * error[2:].min()


def test_the_model_is_left_as_it_was():
    model = net().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fc.calibrate(model, "head", "transform:joint=0", batches(48), report=None)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


def test_a_budget_gives_the_finest_quality_that_fits():
    codec, lines = calibrated(codec="transform:joint=0", budget_bytes=40)
    assert "the finest within 40 bytes" in lines[-1]
    with torch.no_grad():
        x = net().head(pictures(96)[-24:])

    def mean_bytes() -> float:
        return sum(packet.payload.size for packet in codec.encode(x)) / len(x)

    assert mean_bytes() <= 40
    codec.quality += 1
    assert mean_bytes() > 40


@pytest.mark.parametrize(("change", "most"), [("kl", 0.0002), ("l2", 0.2), (None, 0.05)])
def test_a_change_gives_the_coarsest_quality_that_keeps_to_it(change, most):
    codec, lines = calibrated(codec="transform:joint=0", max_change=most, change=change)
    name = change or "top1"
    assert f"within a change ({name}) of {most:g}" in lines[-1]
    model, x = net(), pictures(96)[-24:]

    def changed() -> float:
        with torch.no_grad():
            wanted = model(x)
            with fc.insert(model, "head", codec):
                return changes([wanted], [model(x)])[name]

    assert changed() <= most
    if change is not None:
        codec.quality -= 1
        assert changed() > most


def test_changes_by_hand():
    a, b = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = changes([a], [b])
    assert found["top1"] == 0.5
    # without the mean of each row: (-1, 1), (.5, -.5) against (-.5, .5), (-.5, .5)
    assert found["l2"] == pytest.approx((2.5 / 2.5) ** 0.5)
    p, q = a.softmax(1), b.softmax(1)
    assert found["kl"] == pytest.approx(float((p * (p / q).log()).sum(1).mean()), rel=1e-5)
    assert changes([a[:, :1]], [b[:, :1] + 1]).keys() == {"l2"}


def test_gradients_are_those_of_projections_without_what_all_classes_share():
    model = net()
    with tapped(model, "head", ALL, 0) as tap:
        feature, found = gradients(tap, model, pictures(3), 2, torch.Generator().manual_seed(0))
    assert torch.equal(feature, model.head(pictures(3)))
    assert found.shape == (6, 6, 8, 8)
    assert found[:, :2].abs().max() > 0
    assert not found[:, 2:].any()
    v = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    leaf = feature.detach().requires_grad_(True)
    y = model.act(model.norm(leaf.clone())) * torch.tensor([1.0, 1, 0, 0, 0, 0])[:, None, None]
    (wanted,) = torch.autograd.grad(((v - v.mean(1, keepdim=True)) * model.tail(y.flatten(1))).sum(), leaf)
    assert torch.allclose(found[:3], wanted, atol=1e-6)


def test_of_configs_that_are_as_good_the_smaller_is_taken(monkeypatch):
    sizes = {0: 100.0, 8: 99.0, 16: 97.9, 24: 98.5}
    monkeypatch.setattr(_Run, "_try", lambda self, cls, params, strength, seen: sizes[params["joint"]])
    run = _Run(net(), None, torch.Generator(), False, False, lambda line: None)
    choices = [{"maps": 6, "joint": joint} for joint in sizes]
    best, _ = run.choose(fc.codec_class("transform"), choices, _Seen())
    assert best["joint"] == 8  # 0 is more than 2 % above the best, 24 larger
    assert [_projections(1 << n) for n in (0, 26, 27, 28, 40)] == [4, 4, 2, 2, 2]


def test_mirror_images_count_as_inputs():
    plain, mirrored = calibrated(codec="transform:joint=0")[0], calibrated(codec="transform:joint=0", flips=True)[0]
    assert plain.config() == mirrored.config()
    assert plain.fingerprint() != mirrored.fingerprint()


def test_batch_norm_after_the_layer_is_measured_where_asked():
    model = net()
    mean = model.norm.running_mean.clone()
    codec = fc.calibrate(model, "head", "transform:joint=0", batches(48), batch_norm=True, report=None)
    assert not torch.equal(model.norm.running_mean, mean)
    with torch.no_grad():
        arrived = codec(model.head(pictures(48)))
    assert torch.allclose(model.norm.running_mean, arrived.mean((0, 2, 3)), atol=1e-5)
    assert not model.norm.training
    assert model.norm.momentum == 0.1


def test_codecs_that_ask_for_nothing_are_calibrated_by_features_alone():
    codec = fc.calibrate(net(), "head", "huffman:bits=4,tables=static", batches(48), report=None)
    with torch.no_grad():
        wanted = fc.get_codec("huffman:bits=4,tables=static").calibrate(net().head(pictures(48)))
    assert codec.fingerprint() == wanted.fingerprint()
    with pytest.raises(fc.ConfigError, match="'huffman' has no quality to choose at run time"):
        fc.calibrate(net(), "head", "huffman:bits=4", batches(48), budget_bytes=10, report=None)


def test_dense_outputs_and_dictionaries():
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"map": self.tail(self.head(x)), "index": torch.zeros(len(x), dtype=torch.long)}

    lines: list[str] = []
    torch.manual_seed(0)
    fc.calibrate(Dense().eval(), "head", "transform:joint=0", batches(48), max_change=0.1, report=lines.append)
    assert "within a change (l2) of 0.1" in lines[-1]
    with pytest.raises(fc.ConfigError, match=r"change='top1' is of outputs \(B, classes\)"):
        fc.calibrate(Dense().eval(), "head", "transform", batches(48), max_change=0.1, change="top1", report=None)


@pytest.mark.filterwarnings("error")
def test_tokens_and_inputs_by_name():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = nn.Linear(6, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.tail(self.head(x)).mean(1)}

    torch.manual_seed(0)
    model, g = Tokens().eval(), torch.Generator().manual_seed(1)
    loader = [{"x": torch.randn(16, 5, 6, generator=g).cumsum(1)} for _ in range(3)]
    codec = fc.calibrate(model, "head", "transform", loader, budget_bytes=12, max_table=80, report=None)
    assert codec.layout == (12, 1, 1, 1, 6, 0)
    with torch.no_grad(), fc.insert(model, "head", codec) as cut:
        model(**loader[-1])
    assert cut.stats.bits_per_sample <= 8 * (12 + 24)  # of a payload and a header


# ---- what is refused --------------------------------------------------------------------------------------------------------


class Detached(Net):
    """A tail that has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x).detach().flatten(1)).detach()


def test_a_tail_without_gradient_is_refused_or_every_direction_counts_alike_where_asked():
    torch.manual_seed(0)
    model = Detached().eval()
    with pytest.raises(fc.FeatureError, match=r"what follows layer 'head' cannot be differentiated.*fallback=True"):
        fc.calibrate(model, "head", "transform", batches(48), report=None)
    lines: list[str] = []
    codec = fc.calibrate(model, "head", "transform:joint=0", batches(48), fallback=True, report=lines.append)
    assert any("every direction counts alike" in line for line in lines)
    with torch.no_grad():
        plain = fc.get_codec(codec.config()).calibrate(model.head(pictures(48)))
    assert codec.fingerprint() == plain.fingerprint()


@pytest.mark.parametrize(("count", "words"), [(0, "the loader gave 0"), (15, "at least 16 inputs.*the loader gave 15")])
def test_too_few_inputs_are_refused_with_how_many_are_wanted(count, words):
    with pytest.raises(fc.FeatureError, match=words):
        fc.calibrate(net(), "head", "transform", batches(count) if count else [], report=None)


def test_constant_features_and_features_of_two_shapes_are_refused():
    model = net()
    with pytest.raises(fc.FeatureError, match="of one value"):
        fc.calibrate(model, "head", "transform", [torch.ones(24, 3, 8, 8)] * 2, report=None)
    model.tail = nn.LazyLinear(4)
    mixed = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    with pytest.raises(fc.FeatureError, match="one shape"):
        fc.calibrate(mixed, "0", "transform", [pictures(24), pictures(24)[:, :, :6]], report=None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"samples": 4}, "samples must be at least 16"),
        ({"budget_bytes": 10, "max_change": 0.1}, "not both"),
        ({"change": "mse"}, "change must be one of"),
        ({"budget_bytes": 0}, "budget_bytes must be above 0"),
        ({"budget_bytes": 0.5}, "a budget of 0.5 bytes is less than the coarsest quality takes"),
        ({"max_change": 1e-9, "change": "l2"}, "less than the finest quality makes"),
        ({"max_table": 3, "codec": "transform:group=6"}, "keeps to 3 numbers"),
    ],
)
def test_arguments_that_cannot_be_kept_are_refused(given, words):
    with pytest.raises(fc.ConfigError, match=words):
        calibrated(**({"codec": "transform:joint=0"} | given))


def test_a_layer_that_is_not_called_once_is_refused():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x)).flatten(1)

    with pytest.raises(fc.FeatureError, match="more than one crosses"):
        fc.calibrate(Twice().eval(), "layer", "transform", batches(48), report=None)
    with pytest.raises(fc.FeatureError, match="no floating-point tensor crossed"):
        fc.calibrate(Twice().eval(), "other", "transform", batches(48), report=None)
    with pytest.raises(fc.LayerError):
        fc.calibrate(Twice().eval(), "nowhere", "transform", batches(48), report=None)
