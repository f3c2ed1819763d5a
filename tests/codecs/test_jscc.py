"""jscc: power constraints, the mean that is not sent, sizes, training over the air."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.ops.power import to_unit_power
from featcodec.payloads.symbols import from_payload
from tests.features import batch

pytestmark = pytest.mark.usefixtures("one_thread")

SIGMOID = "jscc:maps=8,height=7,width=5,symbols=24,output=sigmoid,power=peak"


def powers(codec: fc.Codec, x: torch.Tensor) -> np.ndarray:
    """Mean square of each packet's symbols."""
    return np.array([np.mean(packet.payload.astype(np.float64) ** 2) for packet in codec.encode(x)])


@pytest.mark.parametrize("output", ["tanh", "sigmoid"])
@pytest.mark.parametrize("remove_mean", [False, True])
def test_every_packet_has_unit_power(output, remove_mean):
    codec = fc.get_codec("jscc:maps=8,height=7,width=5,symbols=13", output=output, remove_mean=remove_mean).eval()
    assert powers(codec, batch((8, 7, 5))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("output", "low"), [("tanh", -1), ("sigmoid", 0)])
def test_the_peak_is_one(output, low):
    codec = fc.get_codec("jscc:maps=8,height=7,width=5,symbols=13,power=peak", output=output).eval()
    sent = np.stack([packet.payload for packet in codec.encode(batch((8, 7, 5)))])
    assert low <= sent.min() < sent.max() <= 1


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1.0, 1e20, 3e38])
def test_unit_power_of_any_scale(scale):
    rows = to_unit_power(torch.randn(4, 9).clamp(-1, 1) * scale)
    assert rows.square().mean(1) == pytest.approx(1, abs=1e-5)


def test_zeros_keep_to_zero_and_the_scale_has_no_gradient():
    zeros = torch.zeros(2, 5, requires_grad=True)
    to_unit_power(zeros).sum().backward()
    assert torch.equal(to_unit_power(zeros), torch.zeros(2, 5))
    assert torch.isfinite(zeros.grad).all()
    z = torch.randn(3, 5, requires_grad=True)
    (to_unit_power(z) * torch.randn(3, 5)).sum().backward()
    assert z.grad.any()
    assert (z.grad * z).sum(1).detach() == pytest.approx(0, abs=1e-5)


def test_the_mean_is_not_sent_and_comes_back():
    codec, bare = fc.get_codec(SIGMOID, remove_mean=True).train(), fc.get_codec(SIGMOID)
    x = torch.relu(torch.randn(200, 8, 7, 5))
    assert torch.equal(codec.mean, torch.full((24,), 0.5))
    for _ in range(60):
        codec(x)
    codec.eval()
    bare.load_state_dict({k: v for k, v in codec.state_dict().items() if k != "mean"})
    bare.eval()
    sent = bare.latents(x)
    assert torch.allclose(codec.mean, sent.mean(0), atol=1e-3)
    with_dc, without = powers(bare, x).mean(), powers(codec, x).mean()
    assert without == pytest.approx(sent.double().var(0, unbiased=False).mean().item(), rel=1e-3)
    assert 10 * np.log10(with_dc / without) > 6  # what the trained ones save is 7 dB and more
    assert torch.allclose(codec(x), bare(x), atol=1e-5)


def test_at_one_psnr_the_mean_costs_nothing_and_saves_power():
    codec, bare = fc.get_codec(SIGMOID, remove_mean=True).eval(), fc.get_codec(SIGMOID).eval()
    bare.load_state_dict({k: v for k, v in codec.state_dict().items() if k != "mean"})
    x = torch.relu(torch.randn(300, 8, 7, 5))
    air = fc.get_channel("awgn:psnr_db=10")
    clean = bare(x)
    errors = [(c(x, air) - clean).square().mean().item() for c in (codec, bare)]
    assert errors[0] == pytest.approx(errors[1], rel=0.1)


def test_the_mean_follows_training_forwards_alone():
    codec = fc.get_codec(SIGMOID, remove_mean=True)
    x = torch.relu(torch.randn(5, 8, 7, 5))
    for training, grad in ((False, True), (True, False)):
        codec.train(training)
        with torch.set_grad_enabled(grad):
            codec(x)
        assert torch.equal(codec.mean, torch.full((24,), 0.5))
    codec.train()(x, fc.get_channel("awgn:psnr_db=20"))
    assert codec.mean.ne(0.5).all()


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (8, 6), (2, 3)])
def test_every_size_without_a_linear_map(stride, size):
    codec = fc.get_codec("jscc:maps=4,reduced=2,symbols=null", stride=stride).eval()
    x = torch.randn(2, 4, *size)
    assert codec(x).shape == x.shape
    assert codec.encode(x)[0].payload.size == 2 * -(-size[0] // stride) * -(-size[1] // stride)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_linear_map_takes_one_size(stride):
    codec = fc.get_codec("jscc:maps=4,height=7,width=5,symbols=9", stride=stride).eval()
    assert codec(torch.randn(2, 4, 7, 5)).shape == (2, 4, 7, 5)
    assert codec.encode(torch.randn(1, 4, 7, 5))[0].payload.size == 9
    with pytest.raises(fc.FeatureError, match=r"maps of 7 x 5, got 5 x 7"):
        codec.encode(torch.randn(1, 4, 5, 7))


def test_sizes_from_an_example():
    assert fc.fit_spec("jscc:symbols=16", (8, 7, 5)) == {"id": "jscc", "maps": 8, "height": 7, "width": 5, "symbols": 16}
    assert fc.fit_spec("jscc:symbols=null", (8, 7, 5)) == {"id": "jscc", "maps": 8, "symbols": None}
    with pytest.raises(fc.ConfigError, match="height must be an integer"):
        fc.get_codec("jscc:maps=8")
    with pytest.raises(fc.ConfigError, match="height and width go with symbols"):
        fc.get_codec("jscc:maps=8,height=7,width=5,symbols=null")


def test_symbols_of_the_wrong_number_or_not_finite_are_refused():
    codec = fc.get_codec("jscc:maps=8,height=7,width=5,symbols=12").eval()
    packet = codec.encode(torch.randn(1, 8, 7, 5))[0]
    for payload, error in (
        (packet.payload[:-1], "12 channel symbols was expected, got 11"),
        (packet.payload * np.nan, "finite"),
    ):
        damaged = Packet(packet.shape, packet.dtype, PayloadKind.SYMBOLS, packet.config_crc, np.ascontiguousarray(payload))
        with pytest.raises(fc.BitstreamError, match=error):
            codec.decode([damaged])
    with pytest.raises(fc.BitstreamError, match=r"1\.\.3 channel symbols"):
        from_payload(np.zeros(4, np.float32), 1, 3)


def test_over_the_air_more_noise_is_more_error():
    codec = fc.get_codec("jscc:maps=8,height=7,width=5,symbols=12").eval()
    x = torch.relu(torch.randn(40, 8, 7, 5))
    errors = [(codec(x, fc.channel.AWGN(db)) - codec(x)).square().mean().item() for db in (30, 10, -10)]
    assert errors == sorted(errors)
    assert errors[0] < 0.1 * errors[2]


@pytest.mark.parametrize("params", [{}, {"output": "sigmoid", "power": "peak", "remove_mean": True}])
def test_it_learns_to_stand_noise(params):
    torch.manual_seed(0)
    x = torch.rand(16, 1, 1, 1) * torch.rand(1, 8, 6, 6)
    codec = fc.get_codec("jscc:maps=8,height=6,width=6,symbols=8", **params).train()
    optimizer = torch.optim.Adam(codec.parameters(), 1e-2)
    air = fc.get_channel("awgn:psnr_db=20")
    first = None
    for _ in range(80):
        loss = nn.functional.mse_loss(codec(x, air), x)
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * first
