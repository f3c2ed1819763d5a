"""Multiply-accumulates against counts by hand. B samples, T tokens, D features; a (m, k) by (k, n) product is m k n."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import flop_counter

import featcodec as fc
from featcodec.macs import LayerProfile, profile

T, D = 7, 16
TOKENS = torch.rand(2, T, D)
HEADS = torch.rand(2, 4, T, 8)  # (B, heads, T, features of a head)


class Call(nn.Module):
    """A function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class Attend(nn.Module):
    """Self-attention, then a linear layer."""

    def __init__(self, features):
        super().__init__()
        self.attention = nn.MultiheadAttention(features, 4, batch_first=True)
        self.linear = nn.Linear(features, features)

    def forward(self, x, mask=None):
        return self.linear(self.attention(x, x, x, attn_mask=mask)[0])


def one(model, example):
    """The profile of a model all of whose operators are known."""
    got = profile(model, example)
    assert got.uncounted == ()
    assert sum(layer.macs for layer in got.layers.values()) == got.total_macs == got.layers[""].head_macs
    return got


def reference(model, x):
    """Convolutions and linear layers alone, from their modules and outputs: name -> (macs, everything so far)."""
    found, total = {}, 0

    def record(name, module, output):
        nonlocal total
        macs = 0
        if isinstance(module, nn.Conv2d):
            macs = output[0].numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            macs = output[0].numel() * module.in_features
        total += macs
        found[name] = (tuple(output.shape[1:]), macs, total)

    handles = [m.register_forward_hook(lambda m, _, out, n=n: record(n, m, out)) for n, m in model.named_modules()]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


def test_every_layer_of_the_embedded_network(resnet20):
    got = one(resnet20, torch.rand(2, 3, 32, 32))
    assert got.total_macs == 40_813_184
    wanted = reference(resnet20, torch.rand(1, 3, 32, 32))
    assert {n: (p.output_shape, p.macs, p.head_macs) for n, p in got.layers.items()} == wanted


def test_convolutions_cost_their_outputs_times_the_kernel():
    assert one(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), torch.rand(2, 4, 8, 8)).total_macs == 6 * 16 * 2 * 9
    assert one(nn.Conv1d(4, 6, 3, bias=False), torch.rand(2, 4, 8)).total_macs == 6 * 6 * 4 * 3
    function = Call(lambda x, w: F.conv2d(x, w.expand(5, 3, 3, 3), padding="same"))
    assert one(function, (torch.rand(2, 3, 4, 6), torch.rand(1, 3, 3, 3))).total_macs == 5 * 24 * 3 * 9


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_cost_their_inputs_times_the_kernel(dims, groups):
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    model = kind(4, 6, 3, stride=2, padding=1, output_padding=1, groups=groups)
    assert one(model, torch.rand(2, 4, *[5] * dims)).total_macs == 4 * 5**dims * 6 // groups * 3**dims


def test_a_transposed_convolution_loses_nothing_at_the_border():
    assert one(nn.ConvTranspose2d(8, 16, 3, stride=2, padding=1), torch.rand(1, 8, 4, 4)).total_macs == 18_432


@pytest.mark.parametrize("x", [TOKENS, TOKENS.mT.contiguous().mT], ids=["contiguous", "transposed"])
def test_a_linear_layer_on_tokens(x):
    assert one(nn.Linear(D, 5), x).total_macs == T * D * 5


def test_sums_over_a_product_are_charged_to_the_innermost_module():
    model = nn.Sequential(nn.Linear(D, D), Call(lambda x: x @ x.mT))
    got = one(model, TOKENS).layers
    assert got["0"] == LayerProfile("0", (T, D), T * D * D, T * D * D)
    assert got["1"] == LayerProfile("1", (T, T), T * T * D, T * D * D + T * T * D)
    assert got[""] == LayerProfile("", (T, T), 0, T * D * D + T * T * D)


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: x @ x.mT, T * T * D),
        (lambda x: torch.bmm(x, x.mT), T * T * D),
        (lambda x: torch.baddbmm(torch.zeros(2, T, T), x, x.mT), T * T * D),
        (lambda x: torch.zeros(2, T, T).baddbmm_(x, x.mT), T * T * D),
        (lambda x: torch.addbmm(torch.zeros(T, T), x, x.mT).expand(2, T, T), T * T * D),
        (lambda x: torch.einsum("btd,bsd->bts", x, x), T * T * D),
        (lambda x: torch.einsum("btd,de->bte", x, x[0].mT), T * D * T),
        (lambda x: torch.tensordot(x, x[0], dims=([2], [1])), T * D * T),
        (lambda x: x @ x[0, 0], T * D),
        (lambda x: F.linear(x, x[0], x[0, :, 0]), T * D * T),
        (
            lambda x: torch._int_mm(x.char().reshape(-1, D).repeat(2, 1), x[0].char().mT.repeat(1, 8)).unflatten(0, (2, -1)),
            14 * 16 * 56,
        ),
    ],
)
def test_products_that_are_no_modules(function, macs):
    assert one(Call(function), TOKENS).total_macs == macs


@pytest.mark.parametrize("kwargs", [{}, {"is_causal": True}, {"dropout_p": 0.5}, {"enable_gqa": True}], ids=str)
def test_scaled_dot_product_attention(kwargs):
    keys = HEADS[:, :2] if "enable_gqa" in kwargs else HEADS
    model = Call(lambda q, k: F.scaled_dot_product_attention(q, k, k, **kwargs))
    assert one(model, (HEADS, keys)).total_macs == 2 * 4 * T * T * 8


def test_scaled_dot_product_attention_of_other_values():
    model = Call(F.scaled_dot_product_attention)
    keys, values = torch.rand(2, 4, 9, 8), torch.rand(2, 4, 9, 3)
    assert one(model, (HEADS, keys, values)).total_macs == 4 * T * 9 * (8 + 3)
    assert one(model, tuple(x.bfloat16() for x in (HEADS, keys, keys))).total_macs == 4 * T * 9 * (8 + 8)


@pytest.mark.parametrize("training", [True, False])
def test_multi_head_attention(training):
    """Four projections 50 x 64 x 64 and two products 50 x 50 x 64; then the linear layer's 50 x 64 x 64."""
    got = one(Attend(64).train(training), torch.rand(1, 50, 64))
    assert got.total_macs == 4 * 204_800 + 2 * 160_000 + 204_800 == 1_344_000
    assert got.layers["attention"] == LayerProfile("attention", (50, 64), 1_139_200, 1_139_200)
    assert got.layers["linear"].macs == 204_800
    masked = {"x": torch.rand(3, 50, 64), "mask": torch.ones(50, 50).triu(1).bool()}
    assert one(Attend(64).train(training), masked).total_macs == 1_344_000


@pytest.mark.parametrize("training", [True, False])
def test_attention_to_something_else(training):
    model = nn.MultiheadAttention(D, 4, batch_first=True).train(training)
    other = torch.rand(2, 3, D)
    assert one(model, (TOKENS, other, other)).total_macs == 2 * T * D * D + 2 * 3 * D * D + 2 * T * 3 * D


ENCODER = 4 * T * D * D + 2 * T * T * D + 2 * T * D * 32


@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_layer(training):
    got = one(nn.TransformerEncoderLayer(D, 4, 32, batch_first=True).train(training), TOKENS)
    assert got.total_macs == ENCODER
    assert got.layers["linear1"].macs == got.layers["linear2"].macs == T * D * 32


def test_an_encoder_layer_in_one_operator():
    # no hook is on a layer that the model does not own: torch takes its fast path
    layer = nn.TransformerEncoderLayer(D, 4, 32, batch_first=True).eval()
    assert one(Call(lambda x: layer(x)), TOKENS).total_macs == ENCODER


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("owned", [True, False])
def test_padding_that_torch_skips_costs_nothing(owned):
    layer = nn.TransformerEncoderLayer(D, 4, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    padding = (torch.arange(T) >= 4).expand(2, T)
    got = one(model if owned else Call(lambda **kwargs: model(**kwargs)), {"src": TOKENS, "src_key_padding_mask": padding})
    assert got.total_macs == 2 * (4 * 4 * D * D + 2 * 4 * 4 * D + 2 * 4 * D * 32)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_recurrent_layers(kind, gates, training):
    model = kind(D, 8, num_layers=2, bidirectional=True, batch_first=True).train(training)
    got = one(model, TOKENS)
    assert got.total_macs == T * 2 * gates * 8 * ((D + 8) + (16 + 8))
    assert got.layers[""].output_shape == (T, 16)


def test_a_recurrent_layer_that_projects():
    model = nn.LSTM(D, 8, proj_size=4, batch_first=True)
    assert one(model, TOKENS).total_macs == T * (4 * 8 * (D + 4) + 8 * 4)


def test_operators_of_other_devices():
    with torch.device("meta"):
        weights = [torch.empty(32, D), torch.empty(32, 8), torch.empty(32), torch.empty(32)]
        x, state, heads = torch.empty(2, T, D), torch.empty(1, 2, 8), torch.empty(2, 4, T, 8)
    rnn = (4, None, state, state, 2, 8, 0, 1, True, 0.0, False, False, [], None)  # an LSTM
    assert one(Call(lambda x: torch.ops.aten._cudnn_rnn(x, weights, *rnn)), x).total_macs == T * 32 * (D + 8)
    # under autocast biases come with two axes
    weights[2:] = [bias.unsqueeze(1) for bias in weights[2:]]
    assert one(Call(lambda x: torch.ops.aten._cudnn_rnn(x, weights, *rnn)), x).total_macs == T * 32 * (D + 8)
    flash = Call(lambda q: torch.ops.aten._scaled_dot_product_flash_attention(q, q, q)[0])
    assert one(flash, heads).total_macs == 2 * 4 * T * T * 8


def test_inference_mode_hides_nothing():
    with torch.inference_mode():
        x = torch.rand(2, T, D)
        assert one(nn.LSTM(D, 8, batch_first=True), x).total_macs == T * 32 * (D + 8)
        assert one(Attend(D).eval(), x).total_macs == 5 * T * D * D + 2 * T * T * D


@torch.library.custom_op("featcodec_tests::gram", mutates_args=())
def gram(x: Tensor) -> Tensor:
    return x @ x.mT


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (torch.fft.fft, ("aten::_fft_r2c",)),
        (gram, ("featcodec_tests::gram",)),
        (lambda x: torch.cdist(x, x), ("aten::_cdist_forward",)),
        (lambda x: gram(torch.fft.ifft(x).real), ("aten::_fft_r2c", "featcodec_tests::gram")),
        (lambda x: torch.linalg.svdvals(x), ("aten::_linalg_svd",)),
        (lambda x: torch.linalg.inv(x @ x.mT + torch.eye(T)), ("aten::linalg_inv_ex",)),
    ],
)
def test_what_is_not_counted_is_named(function, names):
    model = Call(function)
    assert profile(model, TOKENS).uncounted == names
    report = fc.evaluate(model, [(TOKENS, torch.zeros(2))], metric=lambda out, y: y)
    assert report.uncounted == names


def test_ordinary_work_is_not_named():
    def ordinary(x):
        image = x[:, None]
        return (
            F.layer_norm(x, (D,)) + F.gelu(x).softmax(-1) + F.normalize(x) + torch.lgamma(x) + x.cummax(1)[0] + x.sort()[0],
            F.interpolate(image, scale_factor=2, mode="bilinear") + F.interpolate(image, scale_factor=2, mode="bicubic"),
            F.interpolate(x, 3, mode="linear") + F.adaptive_avg_pool1d(x, 3),
            F.max_pool2d(image, 2) + F.unfold(image, 2).mean(),
            F.grid_sample(image, torch.rand(2, 3, 3, 2), align_corners=False),
            F.embedding(torch.zeros(2, dtype=torch.long), x[0]) + torch.hamming_window(D),
            F.batch_norm(x, torch.zeros(T), torch.ones(T)) + F.prelu(x, torch.ones(1)) + F.pairwise_distance(x, x)[..., None],
            torch.linalg.cross(x[..., :3], x[..., 3:6]) + F.cosine_similarity(x, x, dim=-1)[..., None],
        )

    got = profile(Call(ordinary), TOKENS)
    assert (got.total_macs, got.uncounted) == (0, ())


def test_a_formula_of_one_s_own_counts():
    flop_counter.register_flop_formula(torch.ops.featcodec_tests.gram)(lambda shape, **_: 2 * math.prod(shape) * shape[-2])
    try:
        assert one(Call(gram), TOKENS).total_macs == T * T * D
    finally:
        del flop_counter.flop_registry[torch.ops.featcodec_tests.gram]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.shared = nn.Linear(D, D), nn.Sequential(nn.Linear(D, D), nn.ReLU())
        self.tied = nn.Linear(D, D, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        return self.tied(self.shared(self.first(self.shared(x))))


def test_a_module_called_twice_adds_up_and_ends_with_its_last_call():
    each = T * D * D
    got = one(Twice(), TOKENS).layers
    assert [(n, p.macs // each, p.head_macs // each) for n, p in got.items()] == [
        ("first", 1, 2),
        ("shared.0", 2, 3),
        ("shared.1", 0, 3),
        ("shared", 0, 3),
        ("tied", 1, 4),
        ("", 0, 4),
    ]


@dataclass
class Output:
    loss: Tensor
    mask: Tensor
    logits: Tensor
    missing: int = field(init=False)


@pytest.mark.parametrize(
    "give",
    [
        lambda x: (x, None),
        lambda x: {"index": torch.zeros(2, 5, dtype=torch.long), "levels": [x, x[:, :2]]},
        lambda x: Output(x.sum(), x > 0, x),
    ],
)
def test_layers_that_return_several_things(give):
    model = nn.Sequential(nn.Linear(D, 3), Call(give), Call(lambda _: None))
    got = one(model, TOKENS).layers
    assert (got["1"].output_shape, got["1"].head_macs) == ((T, 3), T * D * 3)
    assert (got["2"].output_shape, got[""].output_shape) == (None, None)


def test_inputs_of_every_kind():
    double = Call(lambda a, b: a @ b.mT)
    assert one(double, (TOKENS, TOKENS)).total_macs == T * T * D
    assert one(double, {"b": TOKENS, "a": TOKENS}).total_macs == T * T * D
    pictures = Call(lambda images: [F.conv2d(x[None], torch.ones(4, 3, 1, 1)) for x in images])
    assert one(pictures, [torch.rand(3, 5, 6), torch.rand(3, 5, 6)]).total_macs == 30 * 3 * 4


def test_what_cannot_be_told_per_sample():
    shared = Call(lambda x: x + torch.ones(3, 5) @ torch.ones(5, 1))  # 15 for the whole batch
    with pytest.raises(ValueError, match="15 multiply-accumulates do not split evenly among 2 samples: profile one sample"):
        profile(shared, torch.rand(2, 3, 1))
    assert one(shared, torch.rand(1, 3, 1)).total_macs == 15
    with pytest.raises(ValueError, match="at least one sample"):
        profile(nn.Linear(D, 3), TOKENS[:0])


def hooks(model):
    return [h for m in model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]


def test_the_model_runs_once_as_it_is_and_hooks_come_off():
    seen = []
    model = nn.Sequential(nn.Linear(D, D), nn.Dropout(), Call(lambda x: seen.append(torch.is_grad_enabled()) or x))
    one(model, TOKENS)
    assert (seen, model.training, hooks(model)) == ([False], True, [])
    broken = nn.Sequential(nn.Linear(D, D), nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        profile(broken, TOKENS)
    assert hooks(broken) == []


def test_a_layer_whose_error_the_model_catches():
    class Tries(nn.Module):
        def __init__(self):
            super().__init__()
            self.wrong, self.right = nn.Linear(3, 3), nn.Linear(D, 3)

        def forward(self, x):
            try:
                return self.wrong(x)
            except RuntimeError:
                return self.right(x) @ torch.ones(3, 1)

    got = one(Tries(), TOKENS).layers
    assert (got["right"].macs, got[""].macs) == (T * D * 3, T * 3)


def test_a_scripted_layer_is_its_caller_s():
    model = nn.Sequential(torch.jit.script(nn.Linear(D, 3)), nn.ReLU())
    assert one(model, TOKENS).layers[""].macs == T * D * 3


def test_rows_that_are_shared_out_among_experts():
    rows, experts = torch.randn(12, 16, dtype=torch.bfloat16), torch.randn(3, 16, 8, dtype=torch.bfloat16)
    ends = torch.tensor([4, 4, 12], dtype=torch.int32)
    model = Call(lambda x: torch._grouped_mm(x, experts, offs=ends))
    assert profile(model, rows).total_macs * 12 == 12 * 16 * 8
