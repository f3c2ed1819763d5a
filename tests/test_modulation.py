"""Constellations against the standard's formulas, LLRs against a search over all symbols."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec.channel.modulation import MODULATIONS, ebn0_to_snr_db, modulation, snr_to_ebn0_db
from tests.reference import max_log_llrs

# TS 38.211, 5.1.3 to 5.1.5, with b as the paper has them
STANDARD = {
    "bpsk": lambda b: complex(1 - 2 * b[0]),
    "qpsk": lambda b: ((1 - 2 * b[0]) + 1j * (1 - 2 * b[1])) / math.sqrt(2),
    "16qam": lambda b: ((1 - 2 * b[0]) * (2 - (1 - 2 * b[2])) + 1j * (1 - 2 * b[1]) * (2 - (1 - 2 * b[3]))) / math.sqrt(10),
    "64qam": lambda b: (
        (
            (1 - 2 * b[0]) * (4 - (1 - 2 * b[2]) * (2 - (1 - 2 * b[4])))
            + 1j * (1 - 2 * b[1]) * (4 - (1 - 2 * b[3]) * (2 - (1 - 2 * b[5])))
        )
        / math.sqrt(42)
    ),
}


def words(name):
    m = modulation(name).bits_per_symbol
    return [tuple(i >> k & 1 for k in reversed(range(m))) for i in range(1 << m)]


@pytest.mark.parametrize("name", MODULATIONS)
def test_constellations_are_the_standard_s_of_unit_energy_and_gray(name):
    symbols = {w: modulation(name).modulate(np.array(w, np.uint8))[0] for w in words(name)}
    for w, s in symbols.items():
        assert s == pytest.approx(STANDARD[name](w), abs=1e-6)
    energy = np.mean([abs(s) ** 2 for s in symbols.values()])
    assert energy == pytest.approx(1, abs=1e-6)
    assert modulation(name).power * modulation(name).dimensions == 1
    nearest = min(abs(s - t) for s in symbols.values() for t in symbols.values() if s != t)
    for w, s in symbols.items():
        for v, t in symbols.items():
            if 0 < abs(s - t) < nearest * 1.01:
                assert sum(a != b for a, b in zip(v, w, strict=True)) == 1


@pytest.mark.parametrize("name", MODULATIONS)
def test_llrs_are_those_of_a_search_over_all_symbols(name):
    rng = np.random.default_rng(1)
    k = 200
    received = (rng.normal(size=k) + 1j * rng.normal(size=k)) * 1.5
    variance = rng.uniform(0.01, 2, k)
    gain = rng.normal(size=k) + 1j * rng.normal(size=k)
    table = {w: STANDARD[name](w) for w in words(name)}
    for g in (None, 0.7 - 0.2j, 1.3, gain):
        for v in (0.3, variance):
            wanted = max_log_llrs(received, table, np.broadcast_to(v, k), np.broadcast_to(1 if g is None else g, k))
            np.testing.assert_allclose(modulation(name).llr(received, v, g), wanted, rtol=1e-6, atol=1e-8)
    single = modulation(name).llr(received.astype(np.complex64), 0.3)
    assert single.dtype == np.float32


@pytest.mark.parametrize("name", MODULATIONS)
def test_bits_come_back_without_noise_and_torch_does_as_numpy_does(name):
    kind = modulation(name)
    bits = np.random.default_rng(2).integers(0, 2, kind.bits_per_symbol * 31, np.uint8)
    symbols = kind.modulate(bits)
    assert np.array_equal(kind.llr(symbols, 0.1) < 0, bits == 1)
    amplitudes = kind.amplitudes(torch.from_numpy(np.stack([bits, 1 - bits])))
    assert torch.equal(amplitudes[0], torch.from_numpy(kind.amplitudes(bits)))
    llr = kind.amplitude_llrs(amplitudes, 0.1)
    assert llr.shape == (2, bits.size)
    assert np.allclose(llr[0], kind.llr(symbols, 0.1), rtol=1e-6)


@given(st.floats(-50, 50), st.sampled_from(MODULATIONS), st.floats(0.01, 1))
def test_ebn0_and_snr_are_each_other_s_inverse(db, name, rate):
    assert snr_to_ebn0_db(ebn0_to_snr_db(db, name, code_rate=rate), name, code_rate=rate) == pytest.approx(db, abs=1e-9)


def test_ebn0_by_hand():
    assert ebn0_to_snr_db(0, "bpsk") == pytest.approx(10 * math.log10(2))
    assert ebn0_to_snr_db(2.0, "qpsk", code_rate=0.5) == ebn0_to_snr_db(2.0, "bpsk", code_rate=0.5) == 2.0
    # Es/N0 = 6 Eb/N0, and the SNR of two dimensions is Es/N0
    assert ebn0_to_snr_db(1.0, "64qam") == pytest.approx(1 + 10 * math.log10(6))


def test_refusals():
    with pytest.raises(fc.ConfigError, match="modulation must be one of bpsk, qpsk, 16qam, 64qam, got '8psk'"):
        modulation("8psk")
    kind = modulation("16qam")
    with pytest.raises(ValueError, match=r"multiple of 4 bits, got shape \(6,\)"):
        kind.modulate(np.zeros(6, np.uint8))
    with pytest.raises(ValueError, match="uint8 of 0 and 1, got uint8 up to 2"):
        kind.modulate(np.array([0, 1, 2, 0], np.uint8))
    with pytest.raises(ValueError, match="noise variance is above 0, got 0"):
        kind.llr(np.zeros(2, np.complex64), 0.0)
    with pytest.raises(ValueError, match="noise variance is above 0, got nan"):
        kind.llr(np.zeros(2, np.complex64), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match=r"one value or \(K,\), got \(2,\), \(3,\)"):
        kind.llr(np.zeros(2, np.complex64), np.ones(3))
    with pytest.raises(ValueError, match="the gain is one value"):
        kind.llr(np.zeros(2, np.complex64), 1.0, np.ones(3))
    for rate in (0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="code rate is above 0"):
            ebn0_to_snr_db(1.0, "bpsk", code_rate=rate)
