"""BEC and BSC: statistics, seeds, kinds, and what a digital codec makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind


def packet(size: int = 20_000, kind: PayloadKind = PayloadKind.BYTES) -> Packet:
    rng = np.random.default_rng(0)
    payload = {
        PayloadKind.BYTES: rng.integers(0, 256, size, np.uint8),
        PayloadKind.LLR: rng.integers(-128, 128, size).astype(np.int8),
        PayloadKind.SYMBOLS: rng.random(size, np.float32),
    }[kind]
    return Packet((4,), torch.float32, kind, 1, payload)


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
