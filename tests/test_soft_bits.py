"""int8 LLRs and the expectation rule of uncoded words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featcodec import _core
from featcodec.ops import soft_bits, soft_tensors
from featcodec.ops.soft_bits import (
    LLR_SCALE,
    SURE,
    bit_probabilities,
    expected_words,
    quantize_llr,
    soft_words,
    words_to_bits,
)
from tests import reference

ISAS = _core.isas()


def both(array):
    """The module and what it takes: NumPy's, and the one for tensors."""
    return [(soft_bits, array), (soft_tensors, torch.from_numpy(array))]


@pytest.mark.parametrize(("ops", "llr"), both(np.array([[0, -SURE, SURE]], np.int8)))
def test_the_paper_s_vector_110_with_its_first_bit_erased_is_4(ops, llr):
    assert ops.expected_words(ops.bit_probabilities(llr)).tolist() == [4.0]
    assert soft_words(np.asarray(llr).reshape(-1), 3).tolist() == [4.0]


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_all_erased_is_half_the_range_and_nothing_erased_is_the_word(bits):
    words = np.arange(1 << bits)
    for ops, w in both(words):
        hard = ops.words_to_bits(w, bits)
        assert hard.shape == (words.size, bits)
        assert [int("".join(map(str, row)), 2) for row in hard.tolist()] == words.tolist()
        assert ops.expected_words(hard).tolist() == words.tolist()
        sure = SURE * (1 - 2 * np.asarray(hard).astype(np.int8))
        assert soft_words(sure.reshape(-1), bits).tolist() == words.tolist()
    assert soft_words(np.zeros(bits, np.int8), bits)[0] == (2**bits - 1) / 2
    assert soft_words(np.zeros((2, 2 * bits), np.float32), bits).tolist() == [[(2**bits - 1) / 2] * 2] * 2
    erased = soft_tensors.bit_probabilities(torch.zeros(2, 2, bits))
    assert soft_tensors.expected_words(erased).tolist() == [[(2**bits - 1) / 2] * 2] * 2


def test_the_expectation_over_every_erasure_pattern_is_the_seed_s_formula():
    p, n, word = 0.3, 4, 11
    bits = words_to_bits(np.array([word]), n)[0]
    mean = 0.0
    for pattern in range(2**n):
        erased = words_to_bits(np.array([pattern]), n)[0] == 1
        weight = p ** erased.sum() * (1 - p) ** (n - erased.sum())
        mean += weight * expected_words(np.where(erased, 0.5, bits))
    assert mean / (2**n - 1) == pytest.approx((1 - p) * word / (2**n - 1) + p / 2, rel=1e-12)


def test_probabilities_of_llrs():
    nats = np.array([-800.0, -3.0, -0.25, 0.0, 0.25, 3.0, np.inf])
    wanted = 1 / (1 + np.exp(np.minimum(nats, 700)))
    for ops, llr in both(nats):
        np.testing.assert_allclose(np.asarray(ops.bit_probabilities(llr)), wanted, rtol=1e-6, atol=1e-12)
    steps = np.arange(-128, 128).astype(np.int8)
    for ops, llr in both(steps):
        found = np.asarray(ops.bit_probabilities(llr), np.float64)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(steps / LLR_SCALE)), rtol=1e-6, atol=1e-13)
        assert found[[0, 1, 128, 255]].tolist() == [1.0, 1.0, 0.5, 0.0]
        assert (np.diff(found) <= 0).all()


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=50))
def test_a_quantised_llr_is_near_keeps_its_sign_and_is_zero_only_for_zero(values):
    llr = np.array(values, np.float32)
    steps = quantize_llr(llr)
    assert np.array_equal(steps, soft_tensors.llr_steps(torch.from_numpy(llr)))
    wanted = np.clip(llr.astype(np.float64) * LLR_SCALE, -SURE, SURE)
    assert steps.dtype == np.int8
    assert np.array_equal(np.sign(steps), np.sign(llr))
    strong = abs(wanted) >= 0.5
    assert (abs(steps - wanted)[strong] <= 0.5).all()
    assert (abs(steps[~strong]) <= 1).all()


# What rounds and clips awkwardly: ties, both sides of where the steps begin and end, denormals, what doubling overflows.
AWKWARD = np.array(
    [0, 0.25, 0.5, 0.75, 1.25, 63, 63.25, 63.5, 63.75, 64, 2.0**23, 1e-45, 1e-38, 1.2e-38, 3.4e38, np.inf], np.float32
)
AWKWARD = np.concatenate([AWKWARD, np.nextafter(AWKWARD, np.float32(0)), np.nextafter(AWKWARD, np.float32(np.inf))])
AWKWARD = np.concatenate([AWKWARD, -AWKWARD])


def check_against_the_oracle(llr):
    wanted = reference.llr_steps(llr)
    for level in ISAS:
        _core.set_isa(level)
        assert np.array_equal(quantize_llr(llr), wanted)
    assert np.array_equal(quantize_llr(llr.astype(np.float64)), wanted)  # NumPy's way, which other dtypes go
    assert np.array_equal(soft_tensors.llr_steps(torch.from_numpy(llr)), wanted)


@given(
    st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from(AWKWARD.tolist()), max_size=40),
    st.integers(0, 150),
    st.integers(0, 3),
)
def test_float32_is_quantised_in_the_core_as_by_the_oracle(values, more, offset):
    llr = np.array(values + [v / 7 for v in range(-more, more, 3)], np.float32)
    check_against_the_oracle(llr[offset:])


def test_awkward_llrs_and_every_finite_exponent():
    check_against_the_oracle(AWKWARD)
    bits = np.random.default_rng(0).integers(0, 1 << 32, 300_000, dtype=np.uint32)
    every = bits.view(np.float32)
    check_against_the_oracle(every[~np.isnan(every)])


@pytest.mark.parametrize("level", ISAS)
@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00000, 0xFFC00000, 0xFFFFFFFF])
def test_no_nan_passes_the_core(level, bits):
    _core.set_isa(level)
    for size in (1, 7, 100, 200_000):
        llr = np.ones(size, np.float32)
        llr.view(np.uint32)[size // 2] = bits
        with pytest.raises(ValueError, match=rf"got NaN in 1 of \({size},\)"):
            quantize_llr(llr)


def test_any_shape_is_kept():
    for shape in ((), (0,), (3, 0, 2), (2, 3, 4)):
        assert quantize_llr(np.ones(shape, np.float32)).shape == shape
    llr = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert np.array_equal(quantize_llr(llr[:, ::2]), reference.llr_steps(llr)[:, ::2])


def test_refusals():
    with pytest.raises(ValueError, match="got NaN in 1 of"):
        quantize_llr(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="multiple of 3 LLRs, got shape"):
        soft_words(np.zeros(4, np.int8), 3)
    with pytest.raises(ValueError, match=r"1\.\.16 bits, got 17"):
        words_to_bits(np.zeros(4, np.int64), 17)
    with pytest.raises(ValueError, match="got 0"):
        expected_words(np.float64(1))
    with pytest.raises(TypeError, match="int8 steps or floats"):
        bit_probabilities(np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="int8 steps or floats"):
        soft_tensors.bit_probabilities(torch.zeros(3, dtype=torch.int32))
