"""bottlenet++: the paper's quantiser and expectation, parameter counts, channels in training and in use, the state's plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.accounting import ledger
from featcodec.bitstream import Packet, PayloadKind
from featcodec.ops.quantizer import unit_reconstruct
from featcodec.ops.soft_bits import expected_words
from featcodec.payloads.quantizer import unit_dequantize, unit_quantize
from featcodec.payloads.words import pack_words, unpack_words, word_probabilities

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_paper_s_quantiser():
    x = np.linspace(0, 1, 1001, dtype=np.float32)
    for bits in (1, 3, 8, 16):
        q = unit_quantize(x, bits)
        assert (q.min(), q.max()) == (0, 2**bits - 1)
        assert np.abs(unit_dequantize(q, bits) - x).max() <= 0.5 / (2**bits - 1) + 1e-7
        assert np.array_equal(unit_reconstruct(torch.from_numpy(x), bits).numpy(), unit_dequantize(q, bits))


def test_the_paper_s_erasure_example():
    # 110 whose first bit is erased: 010 or 110
    llr = np.array([0, -127, 127, 5, 5, 5, 5, 5], np.int8)
    assert expected_words(word_probabilities(llr, 1, 3)).tolist() == [4.0]
    assert expected_words(np.full((1, 8), 0.5)).tolist() == [127.5]


@pytest.mark.parametrize("bits", range(1, 17))
def test_words_come_back_from_bytes_and_from_soft_bits(bits):
    words = np.random.default_rng(bits).integers(0, 1 << bits, 13)
    payload = pack_words(words, bits)
    assert payload.size == -(-13 * bits // 8)
    assert np.array_equal(unpack_words(payload, 13, bits), words)
    llr = np.array([127, -127], np.int8)[np.unpackbits(payload)]
    assert np.array_equal(expected_words(word_probabilities(llr, 13, bits)), words)
    for wrong in (payload[:-1], np.append(payload, np.uint8(0))):
        with pytest.raises(fc.BitstreamError, match="13 words"):
            unpack_words(wrong, 13, bits)
    with pytest.raises(fc.BitstreamError, match="13 words"):
        word_probabilities(llr[:-1], 13, bits)


def test_parameter_counts_and_ratio_of_the_paper():
    codec = fc.get_codec("bottlenet++", maps=512, reduced=32, csi=True)
    count = [sum(p.numel() for p in m.parameters()) for m in (codec.analysis, codec.synthesis)]
    assert count == [4 * 513 * 32 + 3 * 32, 4 * 512 * 32 + 3 * 512]
    x = torch.zeros(1, 512, 4, 4)
    packet = codec.eval().encode(x)[0]
    assert packet.payload_bits == 32 * x.numel() / 256


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (8, 6), (2, 3)])
def test_every_size(stride, size):
    codec = fc.get_codec("bottlenet++", maps=4, reduced=2, stride=stride).eval()
    x = torch.randn(2, 4, *size)
    assert codec(x).shape == x.shape
    assert tuple(codec.latents(x).shape[1:]) == codec.latent_shape(*size)


@pytest.mark.parametrize(
    "channel", ["bec:p=0.3", "bsc:p=0.3", "bec:p=1.0", "bsc:p=1.0", "awgn:snr_db=0", "rayleigh:snr_db=3", "bsc:p=0.1+bec:p=0.1"]
)
def test_any_damage_decodes(channel):
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3,bits=5").eval()
    x = torch.relu(torch.randn(3, 8, 7, 5))
    y = codec(x, fc.get_channel(channel))
    assert torch.isfinite(y).all()
    assert not torch.equal(y, codec(x))
    if channel == "bec:p=1.0":
        half = torch.full((3, *codec.latent_shape(7, 5)), 0.5)
        assert torch.allclose(y, codec.synthesis(half, (7, 5)), atol=1e-6)


def test_soft_bits_of_the_wrong_number_are_refused():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3,bits=5").eval()
    packet = fc.get_channel("bec:p=0.1")(codec.encode(torch.randn(1, 8, 7, 5))[0])
    short = Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, packet.payload[:-8])
    with pytest.raises(fc.BitstreamError, match="words of 5 bits"):
        codec.decode([short])


def test_training_meets_the_channel_and_gradients_pass_it():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3,bits=4").train()
    x = torch.relu(torch.randn(4, 8, 7, 5))
    z, arrived = [], []
    codec.analysis.register_forward_hook(lambda m, args, out: z.append(out))
    codec.synthesis.register_forward_pre_hook(lambda m, args: arrived.append(args[0]))
    codec(x)
    assert torch.equal(arrived[0], unit_reconstruct(z[0], 4))
    codec(x, fc.get_channel("bec:p=0.5")).sum().backward()
    assert not torch.equal(arrived[1], unit_reconstruct(z[1], 4))
    assert codec.analysis.convolution.weight.grad.any()


@pytest.mark.parametrize(
    "channel",
    [
        "bec:p=0.5",
        "bsc:p=0.5",
        "awgn:snr_db=0",
        "rayleigh:snr_db=0",
        "packet_erasure:p=0.5,unit_bytes=4",
        "bsc:p=0.1+bec:p=0.5",
    ],
)
def test_every_channel_trains(channel):
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3,csi=true").train()
    codec.channel_state = 0.2 if "+" in channel else None
    x = torch.relu(torch.randn(4, 8, 7, 5)).requires_grad_(True)
    codec(x, fc.get_channel(channel)).square().sum().backward()
    assert x.grad.any()
    assert torch.isfinite(x.grad).all()


def test_gradients_in_eval_mode_are_taken_at_what_arrived():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3").eval()
    channel = fc.get_channel("bec:p=0.5")
    x = torch.relu(torch.randn(4, 8, 7, 5)).requires_grad_(True)
    y = codec(x, channel)
    with torch.no_grad():
        assert torch.equal(y, codec(x, channel))
    y.sum().backward()
    assert x.grad.any()


def test_the_state_of_the_channel_is_the_encoder_s_last_map():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3,csi=true").eval()
    x = torch.relu(torch.randn(2, 8, 4, 4))
    seen = []
    codec.analysis.register_forward_pre_hook(lambda m, args: seen.append(args[0][0, -1].unique().tolist()))
    bec = fc.get_channel("bec:p=0.25")
    with torch.no_grad():
        codec(x, bec)
        codec(x)
        codec.channel_state = 0.125
        codec(x, bec)
        codec.encode(x)
    codec.train()(x, bec)
    assert seen == [[0.25]] * 2 + [[0.0]] * 2 + [[0.125]] * 5


@pytest.mark.parametrize(
    ("spec", "kind", "state"),
    [
        ("awgn:psnr_db=20", "noise", 0.1),
        ("rayleigh:snr_db=20,seed=3", "noise", 0.1),
        ("bec:p=0.1+packet_erasure:p=0.2", "erasures", 0.28),
        ("bsc:p=0.1+bsc:p=0.2+bsc:p=0.5", "flips", 0.5),
        ("bsc:p=0.1+bsc:p=0.2", "flips", 0.26),
        ("chain:links=(awgn:psnr_db=20)", "noise", 0.1),
    ],
)
def test_channels_and_chains_state_themselves(spec, kind, state):
    channel = fc.get_channel(spec)
    assert channel.state_kind == kind
    assert channel.state == pytest.approx(state)


@pytest.mark.parametrize("spec", ["bsc:p=0.1+bec:p=0.1", "bsc:p=0.1+awgn:snr_db=4", "awgn:snr_db=4+packet_erasure:p=0.1"])
def test_a_chain_of_several_kinds_does_not_tell_an_encoder_that_there_is_no_noise(spec):
    codec = fc.get_codec("bottlenet++:maps=8,reduced=3,csi=true").eval()
    x = torch.relu(torch.randn(2, 8, 4, 4))
    channel = fc.get_channel(spec)
    with pytest.raises(fc.ConfigError, match="has no one state to tell an encoder: set the codec's channel_state"):
        codec(x, channel)
    codec.channel_state = 0.1
    assert codec(x, channel).shape == x.shape


def test_other_modes_are_refused_by_name():
    with pytest.raises(fc.ConfigError, match="mode must be one of digital"):
        fc.get_codec("bottlenet++:maps=8,mode=other")


def test_it_learns_to_stand_erasures():
    torch.manual_seed(0)
    x = torch.rand(16, 1, 1, 1) * torch.rand(1, 8, 6, 6)
    codec = fc.get_codec("bottlenet++:maps=8,reduced=4,bits=4").train()
    optimizer = torch.optim.Adam(codec.parameters(), 3e-2)
    first = None
    for step in range(80):
        loss = nn.functional.mse_loss(codec(x, fc.channel.BEC(0.1, seed=step)), x)
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first


# ---- analog -------------------------------------------------------------------------------------------------------------


def test_analog_latents_are_the_symbols():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=2,mode=analog").eval()
    x = torch.relu(torch.randn(3, 8, 7, 5))
    packets = codec.encode(x)
    sent = np.stack([packet.payload for packet in packets])
    assert packets[0].kind is PayloadKind.SYMBOLS
    assert sent.shape == (3, 2 * 4 * 3)
    assert sent.min() >= 0
    assert sent.max() <= 1
    assert np.array_equal(sent, codec.latents(x).flatten(1).numpy())
    assert torch.equal(codec(x), codec.decode(packets))


def test_symbol_ratio_of_the_paper():
    packet = fc.get_codec("bottlenet++", maps=512, reduced=32, mode="analog").eval().encode(torch.zeros(1, 512, 4, 4))[0]
    assert ledger(packet).symbol_ratio == 64


def test_analog_training_meets_the_channel_whose_sigma_the_encoder_is_told():
    codec = fc.get_codec("bottlenet++:maps=8,reduced=2,mode=analog,csi=true").train()
    x = torch.relu(torch.randn(64, 8, 7, 5)).requires_grad_(True)
    z, arrived, told = [], [], []
    codec.analysis.register_forward_hook(lambda m, args, out: z.append(out))
    codec.analysis.register_forward_pre_hook(lambda m, args: told.append(args[0][0, -1].unique().tolist()))
    codec.synthesis.register_forward_pre_hook(lambda m, args: arrived.append(args[0]))
    codec(x, fc.get_channel("awgn:psnr_db=20")).sum().backward()
    assert told == [[pytest.approx(0.1)]]
    noise = arrived[0] - z[0]
    assert noise.std().item() == pytest.approx(0.1, rel=0.05)
    assert codec.analysis.convolution.weight.grad.any()
    assert x.grad.any()
    assert codec.losses() == {}


def test_modes_are_not_each_other_s_and_bits_are_not_symbols():
    analog, digital = (fc.get_codec(f"bottlenet++:maps=8,mode={mode}").eval() for mode in ("analog", "digital"))
    x = torch.rand(1, 8, 4, 4)
    with pytest.raises(fc.BitstreamError, match="config"):
        analog.decode(digital.encode(x))
    packet = analog.encode(x)[0]
    soft = Packet(packet.shape, packet.dtype, PayloadKind.LLR, packet.config_crc, np.full(packet.payload.size, 9, np.int8))
    with pytest.raises(fc.BitstreamError, match="SYMBOLS payloads, got LLR"):
        analog.decode([soft])
    with pytest.raises(fc.FeatureError, match="carries bits"):
        analog(x, fc.get_channel("bsc:p=0.1"))
    with pytest.raises(fc.FeatureError, match="carries bits"):
        analog.train()(x.expand(4, -1, -1, -1), fc.get_channel("bsc:p=0.1"))
