"""dsc: parameter counts of the paper's tables, shapes, rate loss, static tables, training; and what all bottlenecks share."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.macs import profile
from tests.features import features

pytestmark = pytest.mark.usefixtures("one_thread")


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_of_the_paper():
    codec = fc.get_codec("dsc", maps=1024, reduced=128)
    assert (count(codec.analysis), count(codec.synthesis)) == (142_592, 144_384)
    assert count(codec) == 286_976
    codec = fc.get_codec("dsc", maps=2048, reduced=128)
    assert count(codec) == 573_696
    # the paper's count of the encoder leaves batch norm out
    assert sum(p.numel() for name, p in codec.analysis.named_parameters() if "norm" not in name) == 280_576


def test_encoder_macs_of_the_paper():
    codec = fc.get_codec("dsc", maps=1024, reduced=128, stride=2)
    macs = profile(codec.analysis.eval(), torch.zeros(1, 1024, 14, 14)).total_macs
    assert macs == pytest.approx(6.874e6, rel=1e-3)


@pytest.mark.parametrize("stride", range(1, 7))
@pytest.mark.parametrize("size", [(14, 14), (7, 5), (1, 1), (6, 1), (13, 8)])
def test_the_output_padding_is_right_for_every_size(stride, size):
    codec = fc.get_codec("dsc", maps=4, reduced=2, stride=stride).eval()
    x = torch.relu(torch.randn(2, 4, *size))
    assert codec(x).shape == x.shape
    assert tuple(codec.latents(x).shape[1:]) == codec.latent_shape(*size)


@pytest.mark.parametrize("shape", [(8,), (9, 8), (8, 7, 5), (8, 2, 3, 4)])
def test_vectors_tokens_images_and_more(shape):
    codec = fc.get_codec(fc.fit_spec("dsc:reduced=2,step=0.1", shape)).eval()
    assert codec.maps == 8
    x = torch.relu(torch.randn(3, *shape))
    y = codec.decode([p.to_bytes() for p in codec.encode(x)])
    assert y.shape == x.shape
    assert torch.equal(codec(x), y)


def test_latents_are_multiples_of_the_step_and_the_rate_is_their_mean():
    codec = fc.get_codec("dsc:maps=8,reduced=4,step=0.25").train()
    x = torch.relu(torch.randn(4, 8, 7, 5))
    sent = []
    codec.synthesis.register_forward_pre_hook(lambda m, args: sent.append(args[0]))
    codec(x)
    (z,) = sent
    assert torch.equal(z, 0.25 * (z / 0.25).round())
    assert z.min() >= 0
    rate = codec.losses()["rate"]
    assert torch.isclose(rate, z.mean())
    rate.backward()
    assert codec.analysis.pointwise_norm.weight.grad.any()
    assert codec.synthesis.pointwise.weight.grad is None


def test_losses_are_read_once_and_belong_to_the_last_training_forward():
    codec = fc.get_codec("dsc:maps=8,reduced=4").train()
    x = torch.relu(torch.randn(4, 8, 7, 5))
    assert codec.losses() == {}
    codec(x)
    assert set(copy.deepcopy(codec).losses()) == set()
    assert set(codec.losses()) == {"rate"}
    assert codec.losses() == {}
    codec.eval()(x)
    assert codec.losses() == {}
    assert fc.get_codec("raw").losses() == {}


@pytest.mark.parametrize("coder", ["huffman", "rans", "context", "auto"])
def test_tables_made_from_features_cost_less_and_are_state(coder):
    torch.manual_seed(1)
    codec = fc.get_codec("dsc", maps=8, reduced=4, step=0.1, coder=coder).eval()
    x = torch.relu(torch.randn(40, 8, 14, 14))
    flat = sum(p.payload_bits for p in codec.encode(x[:8]))
    before = codec.config_crc()
    assert codec.calibrate(x[8:]) is codec
    assert codec.config_crc() != before
    packets = codec.encode(x[:8])
    assert sum(p.payload_bits for p in packets) < 0.8 * flat
    other = fc.get_codec(codec.config()).eval()
    with pytest.raises(fc.BitstreamError, match="config"):
        other.decode(packets)
    other.load_state_dict(codec.state_dict())
    assert torch.equal(other.decode(packets), codec(x[:8]))
    assert codec.needs_calibration
    adaptive = fc.get_codec("dsc", maps=8, tables="adaptive")
    assert not adaptive.needs_calibration
    assert adaptive.calibrate(x) is adaptive


def test_batch_norm_s_count_is_not_in_a_packet_s_name():
    codec = fc.get_codec("dsc:maps=8,reduced=4").train()
    before = codec.config_crc()
    codec(torch.relu(torch.randn(4, 8, 7, 5)))
    assert codec.config_crc() == before


def test_another_number_of_maps_is_refused_on_both_sides():
    codec = fc.get_codec("dsc:maps=8").eval()
    for call in (codec, codec.encode, codec.train()):
        with pytest.raises(fc.FeatureError, match=r"built for 8 maps, got 5"):
            call(torch.zeros(1, 5, 4, 4))
    packet = fc.Packet(
        (5, 4, 4), "float32", fc.PayloadKind.BYTES, codec.config_crc(), codec.encode(torch.zeros(1, 8, 4, 4))[0].payload
    )
    with pytest.raises(fc.BitstreamError, match=r"built for 8 maps, got 5"):
        codec.decode([packet])


@pytest.mark.parametrize("spec", ["dsc", "dsc:maps=0", "dsc:maps=8,stride=0", "dsc:maps=8,step=0", "dsc:maps=8,coder=png"])
def test_bad_parameters_are_refused(spec):
    with pytest.raises(fc.ConfigError):
        fc.get_codec(spec)


def test_bytes_in_training_mode_are_those_of_eval_mode_and_leave_it_as_it_was():
    codec = fc.get_codec("dsc:maps=8,reduced=4,step=0.1").train()
    x = torch.relu(torch.randn(4, 8, 7, 5))
    sent = [p.to_bytes() for p in codec.encode(x)]
    assert all(m.training for m in codec.modules())
    state = copy.deepcopy(codec.state_dict())
    with torch.no_grad():
        codec(x)
    assert all(torch.equal(v, codec.state_dict()[k]) for k, v in state.items())
    assert [p.to_bytes() for p in codec.eval().encode(x)] == sent


def test_the_gradient_in_eval_mode_is_the_networks_at_the_values_sent():
    codec = fc.get_codec("dsc:maps=8,reduced=4,step=0.05").eval()
    x = torch.relu(torch.randn(3, 8, 7, 5))
    a, b = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    weight = torch.randn(x.shape)
    (codec(a) * weight).sum().backward()
    z = codec.analysis(b)
    sent = torch.round(z / 0.05).detach() * 0.05
    (codec.synthesis(z + (sent - z).detach(), (7, 5)) * weight).sum().backward()
    assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6)


def test_a_frozen_codec_in_training_mode_sends_real_bytes():
    codec = fc.get_codec("dsc:maps=8,reduced=4").train().requires_grad_(False)
    x = torch.relu(torch.randn(3, 8, 7, 5))
    assert codec.sends(x, None)
    assert not codec.sends(x.requires_grad_(True), None)


def test_half_weights_and_autocast():
    codec = fc.get_codec("dsc:maps=8,reduced=4,step=0.1").eval()
    x = torch.relu(torch.randn(3, 8, 7, 5))
    wanted = [p.to_bytes() for p in codec.encode(x)]
    with torch.autocast("cpu", torch.bfloat16):
        assert [p.to_bytes() for p in codec.encode(x)] == wanted
        codec.train()(x).sum().backward()
    half = codec.eval().to(torch.bfloat16)
    assert torch.isfinite(half(x.to(torch.bfloat16))).all()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 6 * 6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x))


def test_insert_fills_in_the_maps_from_an_example():
    model = Net()
    model.head.eval()
    x = torch.randn(4, 3, 6, 6)
    with fc.insert(model, "stem", "dsc:reduced=2", example=x) as cut:
        assert cut.codec.maps == 8
        assert (model.training, model.stem.training, model.head.training) == (True, True, False)
        assert any("featcodec.analysis" in name for name, _ in model.named_parameters())
    assert fc.fit_spec("dsc:maps=3", (8, 7, 5)) == {"id": "dsc", "maps": 3}
    assert fc.fit_spec("huffman:bits=4", (8, 7, 5)) == {"id": "huffman", "bits": 4}
    unused = Net()
    unused.extra = nn.ReLU()
    with pytest.raises(fc.LayerError, match="gave no floating-point tensor"):
        fc.insert(unused, "extra", "dsc", example=x)


def test_it_learns_to_pass_a_feature_and_the_rate_loss_makes_it_cheaper():
    torch.manual_seed(0)
    basis = torch.relu(torch.randn(2, 8, 1, 1))
    x = (torch.rand(16, 2, 6, 6).unsqueeze(2) * basis).sum(1)

    def trained(weight: float) -> tuple[float, int]:
        torch.manual_seed(0)
        codec = fc.get_codec("dsc:maps=8,reduced=4,stride=1,step=0.5,coder=rans").train()
        optimizer = torch.optim.Adam(codec.parameters(), 2e-2)
        for _ in range(100):
            loss = nn.functional.mse_loss(codec(x), x) + weight * codec.losses()["rate"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        codec.eval().calibrate(x)
        with torch.no_grad():
            return float(nn.functional.mse_loss(codec(x), x)), sum(p.payload_bits for p in codec.encode(x))

    error, bits = trained(0.0)
    assert error < 0.4 * float(x.var())
    assert trained(1.0)[1] < 0.8 * bits


def test_signed_features_need_no_special_care():
    codec = fc.get_codec("dsc:maps=8").eval()
    assert torch.isfinite(codec(features((8, 7, 5))["signed"] * 1e3)).all()
