"""profile: every legal cut and no other, checked against the exported graph; costs against counts by hand."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from benchmarks.part_models import FPN, EfficientNet, UNet, transformer_encoder, vgg
from featcodec.bench.models import resnet20
from featcodec.errors import PlanError
from featcodec.macs import profile as macs_of
from featcodec.planning import profile, profile_lines
from featcodec.planning.load import busy
from tests.planning.graphs import separators

PICTURE = torch.randn(1, 3, 32, 32)


class Inception(nn.Module):
    """Two branches that meet, the second of which reads what the first begins with."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1)
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(5, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(self.pool(torch.cat([self.a(x), self.b(torch.relu(x))], 1))).mean((2, 3))


class Masked(nn.Module):
    """A second input that is needed behind the cut, and positions that follow from sizes alone."""

    def __init__(self):
        super().__init__()
        self.embed, self.one, self.two = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], dtype=torch.float32)
        x = self.embed(ids) + places[:, None]
        return self.two(torch.tanh(self.one(x)) * mask[..., None])


class Early(nn.Module):
    """A first answer that the head knows, and that does not cross."""

    def __init__(self):
        super().__init__()
        self.a, self.exit, self.b = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.a(x))
        return self.exit(y), self.b(y)


MODELS = {
    "resnet20": (resnet20, PICTURE),
    "vgg": (vgg, PICTURE),
    "efficientnet": (EfficientNet, PICTURE),
    "transformer": (transformer_encoder, torch.randn(1, 9, 16)),
    "inception": (Inception, PICTURE),
    "unet": (UNet, PICTURE),
}


def built(name):
    torch.manual_seed(0)
    build, example = MODELS[name]
    return build().eval(), example


@pytest.mark.parametrize("name", MODELS)
def test_the_cuts_of_one_tensor_are_the_vertices_that_every_way_goes_through(name):
    model, example = built(name)
    found = profile(model, example, calls=1)
    assert [unnumbered(cut.crossing[0].name) for cut in found.cuts] == [unnumbered(n) for n in separators(model, example)]


def unnumbered(name):
    """An operation's name without its number: sizes that stay open are operations, too."""
    return re.sub(r"_\d+$", "", name)


def layers(found):
    """Cuts by their layers: all names of each, the outermost first; None where no layer ends."""
    return [None if cut.layer is None else (cut.layer, *cut.others) for cut in found.cuts]


def test_the_cuts_of_an_inverted_residual_network_by_hand():
    model, example = built("efficientnet")
    assert layers(profile(model, example, calls=1)) == [
        ("stem.0",),
        ("stem.1",),
        ("stem", "stem.2"),
        ("blocks.0",),  # its shortcut leaves no cut inside
        ("blocks.1.expand.0",),  # no shortcut: a cut behind every operation
        ("blocks.1.expand.1",),
        ("blocks.1.expand", "blocks.1.expand.2"),
        None,  # padding, which is no layer
        ("blocks.1.depthwise",),
        ("blocks.1.norm",),
        ("blocks.1.relu",),
        ("blocks.1.project.0",),
        ("blocks.1", "blocks.1.project", "blocks.1.project.1"),
        ("blocks", "blocks.2"),
        None,  # mean
        ("dropout",),
    ]


def test_the_cuts_of_a_stack_of_transformer_blocks_by_hand():
    model, example = built("transformer")
    wanted = []
    for block in ("0.layers.0", "0.layers.1"):
        # sum and norm behind the attention, sum and norm behind the feed-forward layers
        wanted += [None, (f"{block}.norm1",), None, (block, f"{block}.norm2")]
    wanted[-1] = ("0", "0.layers.1", "0.layers.1.norm2")
    assert layers(profile(model, example, calls=1)) == wanted


def test_a_u_net_has_a_cut_in_its_middle_where_three_tensors_may_cross():
    model, example = built("unet")
    one, three = (profile(model, example, max_tensors=n, calls=1) for n in (1, 3))
    with pytest.raises(PlanError, match=r"UNet has no cut behind 'mid' at which 1 tensor\(s\) cross; known: down1"):
        one.at("mid")
    cut = three.at("mid")
    assert [tensor.shape for tensor in cut.crossing] == [(6, 32, 32), (8, 16, 16), (8, 8, 8)]
    assert cut.elements == 6 * 1024 + 8 * 256 + 8 * 64
    assert cut.amplification == cut.elements / 3072
    assert {c.name for c in one.cuts} < {c.name for c in three.cuts}


def test_an_input_that_is_needed_later_crosses_and_what_follows_from_sizes_does_not():
    torch.manual_seed(0)
    example = {"ids": torch.randint(0, 20, (1, 7)), "mask": torch.ones(1, 7)}
    found = profile(Masked().eval(), example, max_tensors=2, calls=1)
    assert {tensor.name for tensor in found.at("one").crossing} == {"mask", "linear"}
    assert [c.name for c in profile(Masked().eval(), example, calls=1).cuts] != []
    assert all(len(cut.crossing) == 2 for cut in found.cuts if cut.name in ("embed", "one"))


def test_an_answer_that_the_head_knows_does_not_cross():
    found = profile(Early().eval(), torch.randn(1, 4), calls=1)
    assert [cut.crossing[0].name for cut in found.cuts] == ["linear", "relu"]


def test_a_layer_that_returns_several_tensors_ends_with_the_last_of_them():
    torch.manual_seed(0)
    found = profile(FPN().eval(), torch.randn(1, 3, 32, 32), max_tensors=3, calls=1)
    (cut,) = [cut for cut in found.cuts if "fpn" in (cut.layer, *cut.others)]
    assert [tensor.shape for tensor in cut.crossing] == [(5, 4, 4), (5, 8, 8), (5, 16, 16)]


def test_a_layer_that_is_called_several_times_says_which_call():
    found = profile(resnet20(), PICTURE, calls=1)
    assert found.at("layer1").call is None
    assert found.at("layer1.0").others == ("layer1.0.relu",)
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 5), shared, nn.Linear(5, 6), shared, nn.Linear(6, 2)).eval()
    calls = [(cut.layer, cut.call) for cut in profile(model, torch.randn(1, 4), calls=1).cuts]
    assert calls == [("0", None), ("1", 0), ("2", None), ("1", 1)]


def test_costs_are_those_that_modules_count_to():
    model = resnet20()
    found, counted = profile(model, PICTURE, calls=2), macs_of(model, PICTURE)
    assert found.total_macs == counted.total_macs
    for cut in (c for c in found.cuts if c.layer is not None):
        assert cut.head_macs == counted.layers[cut.layer].head_macs
        assert cut.elements == torch.Size(counted.layers[cut.layer].output_shape).numel()
    stem = sum(p.numel() for m in (model.conv1, model.bn1) for p in m.parameters())
    assert found.at("relu").head_parameters == stem
    assert found.at("layer1").head_parameters == stem + sum(p.numel() for p in model.layer1.parameters())
    assert found.total_parameters == sum(p.numel() for p in model.parameters())
    running = 2 * 4 * 16  # running mean and variance of the stem's norm
    assert found.at("relu").weight_bytes == 4 * stem + running


def test_peak_memory_by_hand():
    """Input 3 x 8 x 8; a convolution to 4 x 8 x 8; relu beside it; a view takes nothing; a sum of 256 into 5."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    found = profile(model, torch.randn(1, 3, 8, 8), calls=1)
    image, maps = 4 * 192, 4 * 256
    assert [cut.peak_bytes for cut in found.cuts] == [image + maps, image + 2 * maps, image + 2 * maps]
    assert found.peak_bytes == image + 2 * maps
    in_place = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 5)).eval()
    assert profile(in_place, torch.randn(1, 3, 8, 8), calls=1).peak_bytes == image + maps + 4 * 5


def test_figures_are_one_sample_s_whatever_the_batch():
    model = resnet20()
    one, eight = (profile(model, PICTURE.repeat(n, 1, 1, 1), calls=1) for n in (1, 8))
    assert [(c.elements, c.head_macs, c.peak_bytes) for c in one.cuts] == [
        (c.elements, c.head_macs, c.peak_bytes) for c in eight.cuts
    ]


def test_times_add_up_to_the_whole_model_s():
    found = profile(resnet20(), PICTURE, calls=3)
    assert [c.head_ms + c.tail_ms for c in found.cuts] == pytest.approx([found.total_ms] * len(found.cuts), abs=1e-3)
    heads = [c.head_ms for c in found.cuts]
    assert heads == sorted(heads)
    assert heads[0] > 0


def test_the_model_is_left_as_it_came():
    model = resnet20().train()
    state = {name: x.clone() for name, x in model.state_dict().items()}
    profile(model, PICTURE, calls=1)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_busy_processes_compute_inside_and_are_gone_after():
    with busy(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
    assert all(process.poll() is not None for process in processes)
    assert profile(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), torch.randn(1, 2), busy_processes=1).busy_processes == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_tensors": 0}, "max_tensors must be an integer of at least 1, got 0"),
        ({"calls": 1.5}, "calls must be an integer of at least 1, got 1.5"),
        ({"busy_processes": -1}, "busy is a number of processes, 0..256, got -1"),
    ],
)
def test_options_have_their_ranges(wrong, message):
    with pytest.raises(PlanError, match=message):
        profile(nn.Sequential(nn.Linear(2, 2)).eval(), torch.randn(1, 2), **wrong)


def test_of_cuts_alike_the_table_shows_the_last_and_fits_its_width():
    found = profile(resnet20(), PICTURE, calls=1)
    names = [cut.name for cut in found.main_cuts()]
    assert names[:3] == ["relu", "layer1.0", "layer1.1"]
    assert names[-2:] == ["layer3", "avgpool"]
    for width, everything in ((100, False), (100, True), (90, False)):
        lines = profile_lines(found, width, everything)
        assert max(map(len, lines)) <= width
    lines = profile_lines(found)
    (row,) = (line for line in lines if line.startswith("layer2 "))
    assert row.split()[:8] == ["layer2", "32x16x16", "2.67", "27.7", "M", "68%", "66.1", "k"]
    assert lines[-1].startswith(f"--all shows {len(found.cuts) - len(names)} more cuts")
