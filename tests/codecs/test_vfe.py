"""vfe: the divergence, pruning, what is sent of pruned and of adaptive symbols, training that prunes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.bitstream import Packet
from featcodec.nets.relevance import Gains, log_uniform_divergence

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = "vfe:maps=8,height=7,width=5,symbols=16"


@pytest.fixture
def x() -> torch.Tensor:
    return torch.relu(torch.randn(6, 8, 7, 5))


def with_gains(spec: str, gains: list[float]) -> fc.Codec:
    """A codec in eval mode whose first gains are these."""
    codec = fc.get_codec(spec).eval()
    with torch.no_grad():
        codec.gains.gain[: len(gains)] = torch.tensor(gains)
    return codec


# ---- the divergence -----------------------------------------------------------------------------------------------------


def test_the_divergence_is_the_paper_s():
    z, sigma = np.array([0.01, 0.1, 0.5, -0.9]), 0.1
    alpha = sigma**2 / z**2
    k1, k2, k3 = 0.63576, 1.8732, 1.48695
    wanted = -(k1 / (1 + np.exp(-(k2 + k3 * np.log(alpha)))) - 0.5 * np.log1p(1 / alpha) - k1)
    found = log_uniform_divergence(torch.tensor(z), sigma).numpy()
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_the_divergence_grows_from_zero_and_its_gradient_is_finite():
    z = torch.tensor([0.0, 1e-30, 1e-4, 1e-2, 0.1, 1.0, -1.0], requires_grad=True)
    values = log_uniform_divergence(z, 0.1)
    assert values[0].item() == pytest.approx(0, abs=1e-5)
    assert values[:6].diff().min() >= 0
    assert values[5] == values[6]
    assert log_uniform_divergence(torch.ones(1), 0.05) > log_uniform_divergence(torch.ones(1), 0.3)
    values.sum().backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad[2] > 0


def test_the_loss_is_nats_a_sample_in_the_noise_of_the_channel(x):
    codec = fc.get_codec(SPEC, sigma=0.2).train()
    codec(x)
    alone = codec.losses()["kl"]
    codec(x, fc.get_channel("awgn:psnr_db=40"))
    quiet = codec.losses()["kl"]
    codec(x, fc.channel.AWGN(psnr_db=-20 * np.log10(0.2)))
    assert codec.losses()["kl"].item() == pytest.approx(alone.item(), rel=1e-5)
    assert quiet > alone
    # where the noise follows the power of the symbols, so does the loss
    codec(x, fc.get_channel("awgn:snr_db=20"))
    followed = codec.losses()["kl"]
    with torch.no_grad():
        power = codec.analyze(x).square().mean().item()
    codec(x, fc.channel.AWGN(psnr_db=20 - 10 * np.log10(power)))
    assert codec.losses()["kl"].item() == pytest.approx(followed.item(), rel=1e-4)
    assert codec.losses() == {}


# ---- pruning ------------------------------------------------------------------------------------------------------------


def test_pruned_symbols_are_not_sent_and_arrive_as_zeros(x):
    codec = with_gains(SPEC, [1e-3, -2.0, 0.5, 0.0])
    before = codec.config_crc()
    assert codec.encode(x)[0].payload.size == 16
    assert codec.prune() == codec.live == 14
    assert codec.config_crc() != before
    packets = codec.encode(x)
    z = codec.latents(x)
    assert packets[0].payload.size == 14
    assert packets[0].payload[0] == z[0, 1]  # the largest gain first
    assert z[:, [0, 3]].eq(0).all()
    arrived = []
    codec.synthesis.register_forward_pre_hook(lambda m, args: arrived.append(args[0]))
    y = codec.decode([fc.channel.AWGN(psnr_db=0)(packet) for packet in packets])
    assert torch.cat(arrived)[:, [0, 3]].eq(0).all()
    assert torch.cat(arrived)[:, [1, 2]].ne(z[:, [1, 2]]).all()
    assert torch.isfinite(y).all()
    with pytest.raises(fc.BitstreamError, match="config"):
        fc.get_codec(SPEC).decode(packets)


def test_pruned_symbols_stay_pruned_and_one_always_stays(x):
    codec = with_gains(SPEC, [1e-3] * 8)
    assert codec.prune() == 8
    with torch.no_grad():
        codec.gains.gain.fill_(1.0)
        codec.gains.gain[11] = 1.5
    assert codec.prune() == 8
    assert codec.prune(threshold=1.2) == 1
    with torch.no_grad():
        codec.gains.gain.fill_(1e-5)
    assert codec.prune() == 1
    assert codec.gains.order.tolist() == [11, *[-1] * 15]
    assert codec(x).shape == x.shape


def test_pruning_rides_in_the_state(tmp_path, x):
    codec = with_gains(SPEC, [1e-3] * 5)
    codec.prune()
    codec.save(tmp_path / "vfe.safetensors")
    again = fc.load_codec(tmp_path / "vfe.safetensors")
    assert again.live == 11
    assert torch.equal(again.decode(codec.encode(x)), codec(x))
    assert again.encode(x)[0].to_bytes() == codec.encode(x)[0].to_bytes()
    assert copy.deepcopy(codec).encode(x)[0].to_bytes() == codec.encode(x)[0].to_bytes()


@pytest.mark.parametrize("order", [[-1] * 16, [3, 3, *[-1] * 14], [99, *[-1] * 15], [-1, *range(15)], [0, -7, *[-1] * 14]])
def test_a_state_with_no_order_of_symbols_is_refused(order, x):
    codec = fc.get_codec(SPEC).eval()
    packet = codec.encode(x)[0]
    codec.load_state_dict({**codec.state_dict(), "gains.order": torch.tensor(order)})
    packet = Packet(packet.shape, packet.dtype, packet.kind, codec.config_crc(), packet.payload)
    with pytest.raises(fc.BitstreamError, match="order of symbols is none of 16"):
        codec.decode([packet])


def test_the_noise_meets_live_symbols_alone_in_training(x):
    codec = with_gains(SPEC, [1e-3] * 5).train()
    codec.prune()
    arrived = []
    codec.synthesis.register_forward_pre_hook(lambda m, args: arrived.append(args[0]))
    codec(x, fc.get_channel("awgn:psnr_db=0")).sum().backward()
    assert arrived[0][:, :5].eq(0).all()
    assert arrived[0][:, 5:].ne(0).all()
    assert codec.gains.gain.grad[:5].eq(0).all()
    assert codec.gains.gain.grad[5:].ne(0).all()


# ---- adaptive gains -----------------------------------------------------------------------------------------------------


def adaptive() -> fc.Codec:
    """Symbol i is needed from noise of exp(i / 2 - 5) on; their order is mixed."""
    codec = fc.get_codec("vfe:maps=8,height=7,width=5,symbols=8,adaptive=true").eval()
    with torch.no_grad():
        codec.gains.onset.copy_(torch.tensor([3.0, 0.0, 1.0, -2.0, 2.0, -1.0, 0.5, -3.0]))
        codec.gains.gain[6] = 1e-3
    return codec


def test_more_noise_sends_more_symbols_and_the_first_ones_are_always_the_same(x):
    codec = adaptive()
    assert codec.prune() == 7
    assert codec.gains.order.tolist() == [7, 3, 5, 1, 2, 4, 0, -1]
    sizes = []
    for sigma in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
        codec.channel_state = sigma
        packet = codec.encode(x)[0]
        sizes.append(packet.payload.size)
        gains = codec.gains(sigma).detach().abs()
        live = {i for i in range(8) if gains[i] >= codec.threshold} - {6}
        assert live == set(codec.gains.order[: packet.payload.size].tolist())
        assert torch.isfinite(codec.decode([packet])).all()
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[3] < sizes[5]


def test_symbols_for_more_noise_than_there_will_be_are_dropped():
    codec = adaptive()
    assert codec.prune(sigma=0.3) == 6
    assert codec.gains.order.tolist() == [7, 3, 5, 1, 2, 4, -1, -1]
    with pytest.raises(fc.ConfigError, match="sigma must be a number"):
        codec.prune(sigma=0)


def test_adaptive_gains_are_told_the_channel(x):
    codec = adaptive()
    codec.prune()
    sizes = []
    model = nn.Sequential(nn.ReLU()).eval()
    for channel in ("awgn:psnr_db=45", "awgn:psnr_db=5", None):
        with torch.no_grad(), fc.insert(model, "0", codec, channel) as cut:
            model(x)
        sizes.append(cut.stats.real_symbols_per_sample)
    assert sizes[0] < sizes[2] < sizes[1]
    codec.channel_state = 0.1
    assert codec.encode(x)[0].payload.size == sizes[2]


def test_a_shorter_adaptive_packet_decodes_and_an_empty_one_does_not(x):
    codec = adaptive()
    codec.prune()
    packet = codec.encode(x)[0]
    for size in (1, 3, 7):
        short = Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, np.ones(size, np.float32))
        assert torch.isfinite(codec.decode([short])).all()
    for size in (0, 8):
        wrong = Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, np.ones(size, np.float32))
        with pytest.raises(fc.BitstreamError, match=r"1\.\.7 channel symbols"):
            codec.decode([wrong])


def test_gains_never_fall_with_noise():
    gains = Gains(5, adaptive=True)
    with torch.no_grad():
        gains.onset.uniform_(-3, 3)
        rows = torch.stack([gains(sigma) for sigma in (1e-4, 0.01, 0.1, 1.0, 1e4)])
    assert rows.diff(dim=0).min() >= 0
    assert Gains(5, adaptive=False)(0.1).equal(Gains(5, adaptive=False)(10.0))


# ---- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapts", [False, True])
def test_training_prunes_what_the_task_does_not_need(adapts):
    """Features of two degrees of freedom: of 24 symbols a few are left, and they do."""
    torch.manual_seed(0)
    directions = torch.rand(2, 8, 4, 4)
    codec = fc.get_codec("vfe:maps=8,height=4,width=4,symbols=24", adaptive=adapts).train()
    optimizer = torch.optim.Adam(codec.parameters(), 2e-2)
    air = fc.get_channel("awgn:psnr_db=20")
    for step in range(240):
        x = torch.einsum("bk,kchw->bchw", torch.rand(16, 2), directions)
        loss = nn.functional.mse_loss(codec(x, air), x)
        total = loss + (5e-4 if step > 40 else 0.0) * codec.losses()["kl"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if step == 180:
            codec.prune(0.03)
    live = codec.prune(0.03)
    assert 2 <= live <= 8
    codec.eval()
    with torch.no_grad():
        assert codec.encode(x)[0].payload.size == live
        assert nn.functional.mse_loss(codec(x, air), x) < 0.4 * x.var()
