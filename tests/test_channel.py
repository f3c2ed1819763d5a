"""BEC and BSC, chains, and laws of every channel: statistics, seeds, kinds, and what a digital codec makes of them."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import RadioChannel
from featcodec.ops.soft_bits import bit_probabilities
from featcodec.spec import format_spec


def packet(size: int = 20_000, kind: PayloadKind = PayloadKind.BYTES) -> Packet:
    rng = np.random.default_rng(0)
    payload = {
        PayloadKind.BYTES: rng.integers(0, 256, size, np.uint8),
        PayloadKind.LLR: rng.integers(-128, 128, size).astype(np.int8),
        PayloadKind.SYMBOLS: rng.random(size, np.float32),
    }[kind]
    return Packet((4,), "float32", kind, 1, payload)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 1.0])
def test_bec_erases_with_probability_p_and_keeps_the_rest(p):
    sent = packet()
    arrived = fc.channel.BEC(p)(sent)
    assert arrived.kind is PayloadKind.LLR
    llr = arrived.payload
    bits = np.unpackbits(sent.payload)
    assert np.array_equal((llr < 0)[llr != 0], bits[llr != 0] == 1)
    assert abs((llr == 0).mean() - p) < 4 * np.sqrt(p * (1 - p) / llr.size) + 1e-12


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 1.0])
def test_bsc_flips_with_probability_p(p):
    sent = packet()
    arrived = fc.channel.BSC(p)(sent)
    assert arrived.kind is PayloadKind.BYTES
    flips = np.unpackbits(sent.payload ^ arrived.payload)
    assert abs(flips.mean() - p) < 4 * np.sqrt(p * (1 - p) / flips.size) + 1e-12


def test_soft_bits_are_erased_or_change_their_sign():
    sent = packet(kind=PayloadKind.LLR)
    assert not fc.channel.BEC(1.0)(sent).payload.any()
    assert np.array_equal(fc.channel.BSC(1.0)(sent).payload, -np.maximum(sent.payload, -127))


def test_noise_depends_on_payload_and_seed_alone():
    channel = fc.get_channel("bsc:p=0.1,seed=3")
    first = channel(packet()).payload
    assert np.array_equal(first, channel(packet()).payload)
    assert np.array_equal(first, fc.get_channel(channel.config())(packet()).payload)
    assert not np.array_equal(first, channel(packet(), seed=4).payload)
    assert not np.array_equal(first, fc.channel.BSC(0.1, seed=5)(packet()).payload)


def test_a_harmless_channel_delivers_and_erasures_are_named():
    x = torch.rand(2, 3, 4, 4)
    codec = fc.get_codec("huffman:bits=4")
    assert torch.equal(codec(x, channel=fc.channel.BEC(0.0)), codec(x))
    with pytest.raises(fc.BitstreamError, match=r"of \d+ payload bits were erased on the channel; 'huffman' needs every bit"):
        codec(x, channel=fc.channel.BEC(0.2))


def test_a_checksum_tells_damage_on_the_way():
    codec = fc.get_codec("bitpack:bits=8")
    sent = codec.encode(torch.rand(1, 3, 4, 4))[0]
    damaged = fc.channel.BSC(0.02)(sent.with_checksum())
    with pytest.raises(fc.BitstreamError, match="checksum"):
        codec.decode([damaged])


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "a", True, None])
def test_probabilities_outside_0_1_are_refused(p):
    with pytest.raises(fc.ConfigError, match=r"p must be a probability in \[0, 1\]"):
        fc.channel.BEC(p)


def test_wrong_seeds_parameters_and_payloads_are_refused():
    with pytest.raises(fc.ConfigError, match="seed"):
        fc.channel.BSC(0.1, seed=-1)
    with pytest.raises(fc.ConfigError, match="seed"):
        fc.channel.BSC(0.1)(packet(), seed=0.5)
    with pytest.raises(fc.ConfigError, match="no parameter q"):
        fc.get_channel("bec:q=0.1")
    with pytest.raises(fc.ConfigError, match="cannot be built"):
        fc.get_channel("bec")
    with pytest.raises(fc.FeatureError, match="carries bits, got a payload of SYMBOLS"):
        fc.channel.BEC(0.1)(packet(kind=PayloadKind.SYMBOLS))


# ---- on tensors, for training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", [fc.channel.BEC(0.2), fc.channel.BSC(0.2)])
def test_perturb_bits_has_the_statistics_of_packets_and_the_identity_s_gradient(channel):
    sent = packet(4000)
    bits = torch.from_numpy(np.unpackbits(sent.payload)).reshape(8, -1)
    soft = channel.perturb_bits(bits, torch.Generator().manual_seed(0))
    arrived = channel(sent)
    llr = arrived.payload if arrived.kind is PayloadKind.LLR else 127 * (1 - 2 * np.unpackbits(arrived.payload).astype(np.int8))
    for share in (lambda p, b: p == 0.5, lambda p, b: p == b, lambda p, b: p == 1 - b):
        here = share(soft, bits).float().mean()
        there = share(bit_probabilities(llr).reshape(8, -1), bits.numpy()).mean()
        assert float(here) == pytest.approx(float(there), abs=0.02)
    x = bits.double().requires_grad_()
    (channel.perturb_bits(x) * 3).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 3.0))
    with pytest.raises(fc.FeatureError, match="carries bits, not analog symbols: use perturb_bits"):
        channel.perturb(x)


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_words_over_bec_and_bsc_have_the_seed_s_means(bits, p):
    x = torch.rand(200, 50, requires_grad=True)
    unit = (torch.round(x * (2**bits - 1)) / (2**bits - 1)).detach()
    for channel, mean in ((fc.channel.BEC(p), (1 - p) * unit + p / 2), (fc.channel.BSC(p), (1 - p) * unit + p * (1 - unit))):
        y = channel.perturb_words(x, bits, torch.Generator().manual_seed(2))
        assert float((y.detach() - mean).mean()) == pytest.approx(0, abs=0.02)
        if p in (0.0, 1.0):
            torch.testing.assert_close(y.detach(), mean)
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(grad, torch.ones_like(x))


# ---- chains -------------------------------------------------------------------------------------------------------------


def test_a_chain_is_its_links_one_after_another():
    chain = fc.get_channel("bsc:p=0.1+bec:p=0.2")
    assert [type(link).__name__ for link in chain.links] == ["BSC", "BEC"]
    sent = packet()
    llr = chain(sent).payload
    bits = np.unpackbits(sent.payload)
    assert (llr == 0).mean() == pytest.approx(0.2, abs=0.01)
    assert ((llr < 0) != bits)[llr != 0].mean() == pytest.approx(0.1, abs=0.01)
    soft = chain.perturb_bits(torch.from_numpy(bits).reshape(4, -1), torch.Generator().manual_seed(0)).reshape(-1).numpy()
    assert (soft == 0.5).mean() == pytest.approx(0.2, abs=0.01)
    assert (soft == 1 - bits)[soft != 0.5].mean() == pytest.approx(0.1, abs=0.01)


def test_equal_links_draw_independently():
    twice = fc.channel.Chain([fc.channel.BSC(0.3), "bsc:p=0.3"])
    sent = packet()
    flips = np.unpackbits(sent.payload ^ twice(sent).payload).mean()
    assert flips == pytest.approx(2 * 0.3 * 0.7, abs=0.01)


def test_symbols_go_through_a_chain_too():
    chain = fc.get_channel("awgn:psnr_db=40 + packet_erasure:p=0.5,unit_bytes=40")
    sent = packet(kind=PayloadKind.SYMBOLS)
    arrived = chain(sent).payload
    assert (arrived == 0).mean() == pytest.approx(0.5, abs=0.1)
    assert abs(arrived - sent.payload)[arrived != 0].std() < 0.02
    x = torch.rand(3, 1000, requires_grad=True)
    y = chain.perturb(x)
    y.sum().backward()
    assert torch.equal(x.grad, (y != 0).float())


@pytest.mark.parametrize(
    "spec",
    [
        "bec:p=0.1",
        "chain:links=(bec:p=1e-2)",
        "bsc:p=0.1,seed=4+packet_erasure:p=3e-1,burst=1e+1,unit_bytes=5",
        "awgn:snr_db=3,modulation=16qam+bec:p=0.1",
        {"id": "chain", "links": ["bsc:p=0.1", {"id": "chain", "links": "bsc:p=0.2+bec:p=0.5", "seed": 7}], "seed": 1},
    ],
)
def test_a_chain_s_config_rebuilds_it_as_json_and_as_a_spec(spec):
    channel = fc.get_channel(spec)
    sent = packet(300)
    wanted = channel(sent)
    for again in (json.loads(json.dumps(channel.config())), format_spec(channel.config())):
        rebuilt = fc.get_channel(again)
        assert rebuilt.config() == channel.config()
        assert np.array_equal(rebuilt(sent).payload, wanted.payload)
    assert not np.array_equal(channel(sent, seed=99).payload, wanted.payload)
    links = getattr(channel, "links", ())
    if len(links) > 1:
        other = fc.channel.Chain([*links[:-1], {**links[-1].config(), "seed": 123}], seed=channel.seed)
        assert not np.array_equal(other(sent).payload, wanted.payload)


def test_what_chains_refuse():
    with pytest.raises(fc.ConfigError, match=r"1\.\.16 links, channels or specs, got 0"):
        fc.channel.Chain([])
    with pytest.raises(fc.ConfigError, match="got 17"):
        fc.channel.Chain(["bec:p=0"] * 17)
    with pytest.raises(fc.ConfigError, match="got BEC"):
        fc.channel.Chain(fc.channel.BEC(0.1))
    with pytest.raises(fc.ConfigError, match="a spec begins with an id"):
        fc.get_channel("bec:p=0.1+")
    with pytest.raises(fc.UnknownCodecError, match="no channel 'bac'; did you mean"):
        fc.get_channel("bec:p=0.1+bac:p=0.1")
    late = fc.get_channel("bec:p=0.1+awgn:snr_db=3")
    with pytest.raises(fc.FeatureError, match="takes BYTES or SYMBOLS, got LLR"):
        late(packet())
    with pytest.raises(fc.FeatureError, match="takes bits, not soft bits: put it before what erases"):
        late.perturb_bits(torch.zeros(2, 8))
    with pytest.raises(fc.FeatureError, match="carries bits"):
        late.perturb(torch.rand(2, 8))


# ---- every channel ------------------------------------------------------------------------------------------------------

EVERY = {
    "awgn": "awgn:snr_db=3",
    "bec": "bec:p=0.3",
    "bsc": "bsc:p=0.3",
    "chain": "bsc:p=0.1+bec:p=0.3",
    "packet_erasure": "packet_erasure:p=0.5,unit_bytes=4",
    "rayleigh": "rayleigh:snr_db=3,modulation=qpsk",
}


def test_every_channel_is_in_this_file():
    assert tuple(EVERY) == fc.channel.list_channels()


@pytest.mark.parametrize("spec", EVERY.values())
@pytest.mark.parametrize("kind", [PayloadKind.BYTES, PayloadKind.SYMBOLS])
def test_the_packet_that_is_sent_stays_as_it_was_and_its_header_arrives(spec, kind):
    channel = fc.get_channel(spec)
    sent = packet(100, kind).with_checksum()
    before = sent.payload.copy()
    sent.payload.flags.writeable = False  # as bytes from the network are
    if kind is PayloadKind.SYMBOLS and not isinstance(channel, (RadioChannel, fc.channel.PacketErasure)):
        with pytest.raises(fc.FeatureError, match="carries bits, got a payload of SYMBOLS"):
            channel(sent)
        return
    found = channel(sent)
    assert np.array_equal(sent.payload, before)
    assert (found.shape, found.dtype, found.config_crc, found.checksum) == (
        sent.shape, sent.dtype, sent.config_crc, sent.checksum,
    )  # fmt: skip
    assert found.kind is (PayloadKind.LLR if kind is PayloadKind.BYTES and channel.softens else kind)
    assert found.payload.size == (800 if found.kind is PayloadKind.LLR else 100)
    assert isinstance(copy.deepcopy(channel), type(channel))
    assert repr(channel).startswith(type(channel).__name__)


@pytest.mark.parametrize("spec", EVERY.values())
def test_perturbing_words_is_reproducible_and_on_average_pulls_to_the_middle(spec):
    channel = fc.get_channel(spec)
    x = torch.full((50, 40), 1.0)
    y = channel.perturb_words(x, 8, torch.Generator().manual_seed(5))
    assert torch.equal(y, channel.perturb_words(x, 8, torch.Generator().manual_seed(5)))
    assert 0.4 < float(y.mean()) < 1.0
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1


@pytest.mark.parametrize("spec", [*EVERY.values(), "packet_erasure:p=0.3,burst=4", "awgn:snr_db=3,modulation=64qam"])
def test_everything_happens_on_the_tensors_device(spec):
    """Without a GPU: a tensor of the CPU that met one of the meta device would raise."""
    channel = fc.get_channel(spec)
    x = torch.zeros(3, 50, device="meta")
    assert channel.perturb_bits(x).device.type == "meta"
    if isinstance(channel, (RadioChannel, fc.channel.PacketErasure)):
        assert channel.perturb(x).device.type == "meta"
