"""PacketErasure: what a lost unit is, how often units are lost and how they hang together, on packets and on tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import PacketErasure


def packet(payload):
    kind = {np.float32: PayloadKind.SYMBOLS, np.uint8: PayloadKind.BYTES, np.int8: PayloadKind.LLR}[payload.dtype.type]
    return Packet((4,), "float32", kind, 1, payload)


def bytes_of(size):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def runs(lost):
    """Lengths of the runs of lost units."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def test_a_lost_unit_is_erased_bits_zeros_or_erased_llrs():
    channel = PacketErasure(0.5, unit_bytes=8, seed=2)
    sent = bytes_of(8 * 50 + 3)
    arrived = channel(packet(sent))
    assert arrived.kind is PayloadKind.LLR
    bits = np.unpackbits(sent)
    units = [arrived.payload[i : i + 64] for i in range(0, bits.size, 64)]
    lost = [not unit.any() for unit in units]
    assert 10 < sum(lost) < 40
    for i, unit in enumerate(units):
        if not lost[i]:
            assert np.array_equal(unit, np.where(bits[64 * i : 64 * i + unit.size], -127, 127))
    floats = np.arange(1, 104, dtype=np.float32)
    symbols = channel(packet(floats)).payload
    pairs = symbols[:102].reshape(-1, 2)
    assert set((pairs != 0).sum(axis=1)) == {0, 2}
    assert np.array_equal(symbols[symbols != 0], floats[symbols != 0])
    llr = channel(packet(np.full(128, 3, np.int8))).payload
    assert set(llr[:64]) in ({0}, {3})


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_small_feature_is_one_unit_all_or_nothing(p):
    x = torch.rand(2, 3, 4, 4)
    codec = fc.get_codec("huffman:bits=4")
    if p == 0:
        assert torch.equal(codec(x, channel=PacketErasure(p)), codec(x))
    else:
        with pytest.raises(fc.BitstreamError, match=r"(\d+) of \1 payload bits were erased"):
            codec(x, channel=PacketErasure(p))


CHAINS = [
    {"p": 0.2},
    {"p": 0.2, "burst": 5},
    {"p": 0.1, "burst": 3, "loss_bad": 0.6, "loss_good": 0.02},
    {"p": 0.6, "burst": 1.6},  # bad states rather end: the chain swaps
    {"p": 0.5, "burst": 1},  # lost, not lost, lost, ...
]


@pytest.mark.parametrize("params", CHAINS)
def test_losses_are_as_frequent_and_as_long_as_said_on_packets_and_on_tensors(params):
    channel = PacketErasure(**params, unit_bytes=4)
    lost = {
        "packets": channel(packet(np.ones(400_000, np.float32))).payload == 0,
        "tensors": (channel.perturb(torch.ones(1, 400_000), torch.Generator().manual_seed(1)) == 0)[0].numpy(),
    }
    for way in lost.values():
        assert way.mean() == pytest.approx(params["p"], rel=0.03)
        if params.get("loss_bad", 1.0) == 1.0:
            assert runs(way).mean() == pytest.approx(params.get("burst", 1 / (1 - params["p"])), rel=0.03)
    for gap in (1, 2, 5):
        together = [(way[gap:] & way[:-gap]).mean() for way in lost.values()]
        assert together[0] == pytest.approx(together[1], abs=0.005)


@pytest.mark.parametrize("params", CHAINS)
def test_the_states_are_those_of_the_chain_step_by_step(params):
    channel = PacketErasure(**params, unit_bytes=4)
    draws = torch.rand(2, 3, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = channel._lost_units(draws)
    burst = params.get("burst")
    for row in range(3):
        bad = False
        for i in range(500):
            chain, loss = draws[0, row, i], draws[1, row, i]
            if burst is None:
                wanted = loss < params["p"]
            else:
                good, worse = params.get("loss_good", 0.0), params.get("loss_bad", 1.0)
                share = (params["p"] - good) / (worse - good)
                enter = share / burst / (1 - share)
                bad = bool(chain < (share if i == 0 else 1 - 1 / burst if bad else enter))
                wanted = loss < (worse if bad else good)
            assert bool(wanted) == bool(found[row, i])


def test_tensors_lose_units_per_sample_and_their_gradient_with_them():
    channel = PacketErasure(0.5, unit_bytes=8)
    x = torch.rand(40, 2, 5, dtype=torch.float64, requires_grad=True)
    y = channel.perturb(x, torch.Generator().manual_seed(0))
    y.sum().backward()
    assert torch.equal(x.grad, (y != 0).double())
    kept = (y != 0).reshape(40, 5, 2)
    assert set(kept.sum(-1).flatten().tolist()) == {0, 2}
    assert 0.3 < kept.double().mean() < 0.7
    bits = torch.randint(0, 2, (20, 8, 16))
    soft = channel.perturb_bits(bits, torch.Generator().manual_seed(0)).reshape(20, 2, 64)
    erased = (soft == 0.5).sum(-1)
    assert set(erased.flatten().tolist()) == {0, 64}
    assert torch.equal(soft[erased == 0].long(), bits.reshape(20, 2, 64)[erased == 0])
    assert channel.perturb(torch.rand(0, 3)).shape == (0, 3)
    assert PacketErasure(0.5, burst=2).perturb(torch.rand(2, 0)).shape == (2, 0)


@pytest.mark.parametrize("params", CHAINS)
def test_configs_and_seeds(params):
    channel = PacketErasure(**params, unit_bytes=12, seed=3)
    again = fc.get_channel(channel.config())
    assert again.config() == channel.config()
    sent = packet(bytes_of(3000))
    assert np.array_equal(channel(sent).payload, again(sent).payload)
    assert not np.array_equal(channel(sent).payload, channel(sent, seed=1).payload)
    assert channel(packet(bytes_of(0))).payload.size == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"p": 1.5}, r"p must be a probability in \[0, 1\], got 1.5"),
        ({"p": 0.1, "unit_bytes": 3}, "unit_bytes must be an integer 4..268435456, got 3"),
        ({"p": 0.1, "burst": 0.5}, r"burst must be a number 1\.\.1e\+09, got 0.5"),
        ({"p": 0.1, "burst": float("nan")}, "burst must be a number"),
        ({"p": 0.1, "loss_bad": 0.5}, "go with a burst, got none"),
        ({"p": 0.1, "burst": 2, "loss_good": 0.2}, "p lies between loss_good and loss_bad, got p=0.1, loss_good=0.2"),
        ({"p": 0.8, "burst": 2}, "p=0.8 takes a burst of 4 or more"),
        ({"p": 1.0, "burst": 2}, "p=1.0 takes a burst of inf or more"),
    ],
)
def test_refusals(params, message):
    with pytest.raises(fc.ConfigError, match=message):
        PacketErasure(**params)
