"""The range coder, in Python and in the core, and the factorised prior: they give back what they take, and refuse rubbish."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec import _core
from featcodec.nets.factorized_prior import LIMIT, WINDOW, FactorizedPrior
from featcodec.payloads import prior_coder
from tests import prior_reference
from tests.prior_reference import PRECISION, RangeDecoder, RangeEncoder

TOTAL = 1 << PRECISION


def decode(data: bytes, table: np.ndarray, count: int) -> list[int]:
    decoder = RangeDecoder(data)
    out = []
    for _ in range(count):
        k = int(np.searchsorted(table, decoder.peek(), side="right")) - 1
        decoder.take(int(table[k]), int(table[k + 1] - table[k]))
        out.append(k)
    decoder.finish()
    return out


def encode(symbols: list[int], table: np.ndarray) -> bytes:
    encoder = RangeEncoder()
    encoder.encode((int(table[k]), int(table[k + 1] - table[k])) for k in symbols)
    return encoder.finish()


@pytest.mark.parametrize("seed", range(40))
def test_symbols_come_back_within_a_byte_of_their_information(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 300))
    # flat, skewed, and one symbol that takes nearly everything
    weights = rng.random(size) ** rng.integers(0, 40) + 1e-9
    inner = np.sort(rng.choice(np.arange(1, TOTAL), size - 1, replace=False)) if seed % 2 else None
    if inner is None:
        frequencies = 1 + np.floor(weights / weights.sum() * (TOTAL - size)).astype(np.int64)
        frequencies[frequencies.argmax()] += TOTAL - frequencies.sum()
    else:
        frequencies = np.diff(np.concatenate([[0], inner, [TOTAL]]))
    table = np.concatenate([[0], frequencies.cumsum()])
    count = int(rng.integers(0, 2000))
    symbols = rng.choice(size, count, p=frequencies / TOTAL).tolist() + [size - 1, 0] * 3
    data = encode(symbols, table)
    assert decode(data, table, len(symbols)) == symbols
    information = -np.log2(frequencies[symbols] / TOTAL).sum()
    assert len(data) <= information / 8 * 1.0001 + 1


def test_carries_run_through_any_number_of_bytes():
    table = np.array([0, 1, TOTAL - 1, TOTAL])
    for symbols in ([2] * 60, [2] * 30 + [0] * 30, [1] * 500 + [2] * 9, [2] * 9 + [1] * 500 + [2], []):
        assert decode(encode(symbols, table), table, len(symbols)) == symbols


def test_bytes_that_no_symbol_used_are_refused():
    table = np.array([0, 3, TOTAL])
    data = encode([0, 1, 0], table)
    for more in (data + b"\0", data + b"\1" * 40):
        with pytest.raises(fc.BitstreamError, match="bytes came"):
            decode(more, table, 3)


# ---- the core's -----------------------------------------------------------------------------------------------------------


def tables(maps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies from flat to one entry that takes nearly everything, and first integers to the ends of what is coded."""
    rng = np.random.default_rng(seed)
    weights = rng.random((maps, WINDOW + 1)) ** rng.choice([0, 1, 8, 60], (maps, 1)) + 1e-9
    frequencies = 1 + np.floor(weights / weights.sum(1, keepdims=True) * (TOTAL - WINDOW - 1)).astype(np.int64)
    frequencies[np.arange(maps), rng.integers(0, WINDOW + 1, maps)] += TOTAL - frequencies.sum(1)
    return frequencies, rng.choice([-16, 0, -LIMIT, LIMIT - WINDOW, -40_000, 40_000, -(1 << 31)], maps)


def outcome(decode, *arguments) -> list[list[int]] | None:
    try:
        return decode(*arguments).tolist()
    except fc.BitstreamError:
        return None


numbers = st.integers(-LIMIT, LIMIT) | st.integers(-20, 60) | st.sampled_from([-LIMIT, LIMIT, WINDOW - 1, WINDOW, -1])
batches = st.tuples(st.integers(0, 4), st.integers(0, 30)).flatmap(
    lambda shape: st.lists(numbers, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda values: np.array(values, np.int64).reshape(shape)
    )
)


@given(batches, st.integers(0, 1 << 30), st.data())
def test_the_core_writes_reads_and_refuses_what_python_does(integers, seed, data):
    frequencies, first = tables(len(integers), seed)
    sent = prior_reference.encode(integers, frequencies, first)
    assert prior_coder.encode(integers, frequencies, first) == sent
    count = integers.shape[1]
    # an integer escaped far below a first of -2^31 has a distance that no decoder takes
    assert outcome(prior_coder.decode, sent, count, frequencies, first) == outcome(
        prior_reference.decode, sent, count, frequencies, first
    )
    damaged = bytearray(sent)
    for _ in range(data.draw(st.integers(0, 3)) if sent else 0):
        damaged[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(sent)))]) + data.draw(st.binary(max_size=3))
    for received in (bytes(damaged), cut):
        found = outcome(prior_coder.decode, received, count, frequencies, first)
        assert found == outcome(prior_reference.decode, received, count, frequencies, first)


@given(st.binary(max_size=60), st.integers(0, 40), st.integers(0, 1 << 30))
def test_the_core_makes_of_any_bytes_what_python_does(received, count, seed):
    own = tables(2, seed)
    assert outcome(prior_coder.decode, received, count, *own) == outcome(prior_reference.decode, received, count, *own)


def test_long_carries_and_escapes_alone_are_python_s_bytes():
    frequencies = np.full((1, WINDOW + 1), 1, np.int64)
    for likely in (0, 1, WINDOW - 1, WINDOW):
        own = frequencies.copy()
        own[0, likely] = TOTAL - WINDOW
        for last in (63, 0, 64, -1, LIMIT):
            values = np.array([[likely] * 3000 + [last] + [63] * 40 + [likely] * 200], np.int64)
            sent = prior_coder.encode(values, own, np.zeros(1, np.int64))
            assert sent == prior_reference.encode(values, own, np.zeros(1, np.int64))
            assert np.array_equal(prior_coder.decode(sent, values.shape[1], own, np.zeros(1, np.int64)), values)


def test_a_claim_of_many_integers_for_no_bytes_ends_soon():
    frequencies, first = tables(16, 1)
    frequencies[:], first[:] = 1, 0
    frequencies[:, 0] = TOTAL - WINDOW
    assert not prior_coder.decode(b"", 1 << 16, frequencies, first).any()
    frequencies[:, :2] = 1
    frequencies[:, WINDOW] = TOTAL - WINDOW  # bits that are all 0: an escape's length that never ends is refused
    with pytest.raises(fc.BitstreamError, match="not ones that an encoder writes"):
        prior_coder.decode(b"\xff" * 20, 1 << 16, frequencies, first)


def test_what_the_core_refuses():
    frequencies, first = tables(2, 3)
    zeros = np.zeros((2, 5), np.int64)
    for bad in (frequencies + 1, np.where(frequencies == frequencies.max(), 0, frequencies), -frequencies, frequencies << 48):
        with pytest.raises(fc.BitstreamError, match="no frequencies"):
            prior_coder.encode(zeros, bad, first)
        with pytest.raises(fc.BitstreamError, match="no frequencies"):
            prior_coder.decode(b"", 5, bad, first)
    with pytest.raises(fc.BitstreamError, match="no frequencies"):
        prior_coder.encode(zeros, frequencies, first + (1 << 40))
    for far in (LIMIT + 1, -LIMIT - 1, np.iinfo(np.int64).max, np.iinfo(np.int64).min):
        with pytest.raises(ValueError, match=r"within \+-32767"):
            prior_coder.encode(zeros + far, frequencies, np.zeros(2, np.int64))
    for integers, own, low in (
        (zeros[:1], frequencies, first),
        (zeros[0], frequencies, first),
        (zeros, frequencies[:, 1:].copy(), first),
    ):
        with pytest.raises(ValueError, match="expected"):
            prior_coder.encode(integers, own, low)
    for array in (zeros.astype(np.int32), zeros[:, ::-1], zeros.astype(np.float64)):
        with pytest.raises(TypeError, match="incompatible"):
            _core.prior_encode(array, frequencies, first)


def spread(maps: int, seed: int) -> np.ndarray:
    """Integers near zero, some far off."""
    rng = np.random.default_rng(seed)
    values = np.rint(rng.laplace(0, 3, (maps, 50))).astype(np.int64)
    values[rng.random(values.shape) < 0.05] *= 997
    values[0, :4] = [LIMIT, -LIMIT, WINDOW, -WINDOW]
    return values


@pytest.mark.parametrize("seed", range(5))
def test_any_integers_come_back_from_any_density(seed):
    prior = FactorizedPrior(3)
    torch.manual_seed(seed)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=[0.1, 1, 10, 1e4, 1e6][seed])
    prior.eval()
    assert (prior.frequencies.sum(1) == TOTAL).all()
    assert prior.frequencies.min() >= 1
    values = spread(3, seed)
    assert np.array_equal(prior_coder.decode(prior_coder.encode(values, *prior.tables()), 50, *prior.tables()), values)


def test_the_bytes_are_what_the_density_says():
    prior = FactorizedPrior(4).eval()
    rng = np.random.default_rng(1)
    values = np.rint(np.abs(rng.logistic(1.0, 0.8, (4, 500)))).astype(np.int64)
    bits = prior.bits(torch.from_numpy(values)[None].float()).sum().item()
    assert abs(8 * len(prior_coder.encode(values, *prior.tables())) - bits) < 0.01 * bits + 16


def test_the_probabilities_of_all_integers_sum_to_one():
    prior = FactorizedPrior(2)
    values = torch.arange(-400.0, 400.0).expand(1, 2, -1)
    p = torch.exp2(-prior.bits(values)).sum(-1)
    assert torch.allclose(p, torch.ones(1, 2), atol=1e-4)


def test_the_density_learns():
    torch.manual_seed(0)
    values = torch.round(torch.randn(64, 2, 30) * torch.tensor([[[0.5], [6.0]]]) + torch.tensor([[[0.0], [-6.0]]]))
    prior = FactorizedPrior(2)
    optimizer = torch.optim.Adam(prior.parameters(), 0.1)
    for _ in range(150):
        bits = prior.bits(values + torch.rand_like(values) - 0.5).mean()
        optimizer.zero_grad()
        bits.backward()
        optimizer.step()
    prior.eval()
    # entropies of rounded Gaussians
    wanted = [1.21, 4.63]
    for i, bits_a_value in enumerate(wanted):
        found = prior.bits(values)[:, i].mean().item()
        assert found == pytest.approx(bits_a_value, abs=0.12)
    size = sum(len(prior_coder.encode(sample.numpy().astype(np.int64), *prior.tables())) for sample in values)
    assert 8 * size == pytest.approx(prior.bits(values).sum().item(), rel=0.03)


def test_tables_follow_the_parameters_on_leaving_training_and_not_otherwise():
    prior = FactorizedPrior(2)
    before = prior.frequencies.clone()
    version = prior.frequencies._version
    prior.train().eval()
    assert prior.frequencies._version == version
    with torch.no_grad():
        prior.log_scales += 1
    prior.train()
    assert torch.equal(prior.frequencies, before)
    prior.eval()
    assert not torch.equal(prior.frequencies, before)


def test_loaded_tables_are_used_as_they_are():
    """Another machine's exponential function may give another table: the sender's counts."""
    prior = FactorizedPrior(2).eval()
    state = copy.deepcopy(prior.state_dict())
    state["frequencies"][:, 3] += 1
    state["frequencies"][:, 16] -= 1
    other = FactorizedPrior(2).eval()
    other.load_state_dict(state)
    other.train().eval()
    assert torch.equal(other.frequencies, state["frequencies"])
    state["frequencies"][:, 3] += 1
    other.load_state_dict(state)
    with pytest.raises(fc.BitstreamError, match="no frequencies"):
        prior_coder.encode(np.zeros((2, 3), np.int64), *other.tables())
