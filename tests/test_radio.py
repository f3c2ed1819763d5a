"""AWGN and Rayleigh: what noise they add, error rates against theory, seeds, kinds, and the twins for training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import AWGN, Rayleigh
from featcodec.channel.modulation import MODULATIONS, ebn0_to_snr_db, modulation
from featcodec.ops.soft_bits import LLR_SCALE, bit_probabilities, expected_words, words_to_bits


def symbols(size=40_000, seed=0):
    return np.random.default_rng(seed).random(size, np.float32)


def packet(payload):
    kind = {np.float32: PayloadKind.SYMBOLS, np.uint8: PayloadKind.BYTES, np.int8: PayloadKind.LLR}[payload.dtype.type]
    return Packet((4,), "float32", kind, 1, payload)


def random_bytes(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def q(x):
    return 0.5 * math.erfc(x / math.sqrt(2))


# ---- analog symbols -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("psnr_db", "sigma"), [(25, 0.05623), (20, 0.1), (15, 0.17783), (10, 0.31623), (5, 0.56234)])
def test_psnr_is_one_over_the_noise_variance(psnr_db, sigma):
    sent = symbols()
    noise = AWGN(psnr_db=psnr_db)(packet(sent)).payload - sent
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean()) < 5 * sigma / math.sqrt(sent.size)
    assert AWGN(psnr_db=psnr_db).noise_variance(123.0) ** 0.5 == pytest.approx(sigma, abs=1e-5)


def test_snr_is_measured_on_the_packet_dc_and_all_unless_the_power_is_given():
    sent = symbols()
    # U[0, 1] has E[s^2] = 1/3: a PSNR of 20 dB is an SNR of 15.23 dB
    noise = AWGN(15.2288)(packet(sent)).payload - sent
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    fixed = AWGN(10, power=0.5)(packet(sent)).payload - sent
    assert fixed.std() == pytest.approx(math.sqrt(0.05), rel=0.02)
    zeros = AWGN(10)(packet(np.zeros(9, np.float32))).payload
    assert not zeros.any()
    assert AWGN(10)(packet(np.zeros(0, np.float32))).payload.size == 0


@pytest.mark.parametrize("fading", ["block", "fast"])
@pytest.mark.parametrize("size", [1, 7, 4000])
def test_rayleigh_with_known_gain_is_the_symbol_plus_noise_over_the_gain(fading, size):
    sent = symbols(size)
    quiet = Rayleigh(120, fading=fading)(packet(sent)).payload
    np.testing.assert_allclose(quiet, sent, atol=1e-2)
    assert quiet.shape == sent.shape


def test_rayleigh_with_unknown_gain_turns_and_scales_the_symbols():
    sent = np.ones(20_000, np.float32)
    fast = Rayleigh(120, fading="fast", known_gain=False)(packet(sent)).payload.view(np.complex64) / (1 + 1j)
    assert np.mean(abs(fast) ** 2) == pytest.approx(1, rel=0.05)  # E|h|^2 = 1
    assert abs(fast.mean()) < 0.05
    assert np.mean(abs(fast) < 0.5) == pytest.approx(1 - math.exp(-0.25), abs=0.02)  # Rayleigh's distribution
    block = Rayleigh(120, known_gain=False)(packet(sent)).payload.view(np.complex64)
    assert np.ptp(block.real) < 1e-3 > np.ptp(block.imag)
    other = Rayleigh(120, known_gain=False)(packet(sent), seed=1).payload.view(np.complex64)
    assert abs(block[0] - other[0]) > 1e-3


def test_the_noise_of_rayleigh_is_that_of_its_average_snr():
    sent = symbols(60_000)
    for fading in ("block", "fast"):
        channel = Rayleigh(psnr_db=20, known_gain=False, fading=fading)
        quiet = Rayleigh(psnr_db=200, known_gain=False, fading=fading)
        noise = channel(packet(sent)).payload - quiet(packet(sent)).payload
        assert noise.std() == pytest.approx(0.1, rel=0.03)


# ---- modulated bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bpsk", "qpsk"])
@pytest.mark.parametrize("ebn0_db", [0.0, 4.0])
def test_bit_errors_of_bpsk_and_qpsk_on_awgn_are_q_of_root_2_ebn0(name, ebn0_db):
    sent = random_bytes(50_000)
    llr = AWGN(ebn0_to_snr_db(ebn0_db, name), modulation=name)(packet(sent)).payload
    errors = np.mean((llr < 0) != np.unpackbits(sent))
    wanted = q(math.sqrt(2 * 10 ** (ebn0_db / 10)))
    assert errors == pytest.approx(wanted, abs=5 * math.sqrt(wanted / (8 * sent.size)))


@pytest.mark.parametrize(("name", "levels"), [("16qam", 4), ("64qam", 8)])
def test_symbol_errors_of_qam_on_awgn_are_the_textbook_s(name, levels):
    snr_db = 12.0
    sent = random_bytes(60_000)
    llr = AWGN(snr_db, modulation=name)(packet(sent)).payload
    m = 2 * int(math.log2(levels))
    wrong = ((llr < 0) != np.unpackbits(sent)).reshape(-1, m).any(axis=1).mean()
    # E[s^2] / sigma^2 per dimension: half the distance is sqrt(3 SNR / (L^2 - 1)) sigma
    per_dimension = 2 * (1 - 1 / levels) * q(math.sqrt(3 * 10 ** (snr_db / 10) / (levels**2 - 1)))
    assert wrong == pytest.approx(1 - (1 - per_dimension) ** 2, rel=0.05)


@pytest.mark.parametrize("name", ["bpsk", "qpsk"])
def test_bit_errors_on_fast_rayleigh_are_the_textbook_s(name):
    ebn0_db = 6.0
    sent = random_bytes(50_000)
    llr = Rayleigh(ebn0_to_snr_db(ebn0_db, name), fading="fast", modulation=name)(packet(sent)).payload
    g = 10 ** (ebn0_db / 10)
    assert np.mean((llr < 0) != np.unpackbits(sent)) == pytest.approx(0.5 * (1 - math.sqrt(g / (1 + g))), rel=0.05)


@pytest.mark.parametrize("channel", ["awgn:snr_db=3", "rayleigh:snr_db=6,fading=fast", "awgn:snr_db=3,modulation=qpsk"])
def test_llrs_say_how_often_their_bits_are_wrong(channel):
    sent = random_bytes(100_000)
    llr = fc.get_channel(channel)(packet(sent)).payload
    wrong = (llr < 0) != np.unpackbits(sent)
    for size in (2, 4, 7):
        at = abs(llr) == size
        assert wrong[at].mean() == pytest.approx(1 / (1 + math.exp(size / LLR_SCALE)), rel=0.1)
    assert not (llr == 0).any()


def test_an_unknown_gain_leaves_bits_to_chance():
    sent = random_bytes(20_000)
    llr = Rayleigh(30, fading="fast", known_gain=False, modulation="qpsk")(packet(sent)).payload
    assert np.mean((llr < 0) != np.unpackbits(sent)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", MODULATIONS)
@pytest.mark.parametrize("size", [1, 2, 5, 0])
def test_bits_that_do_not_fill_a_symbol_arrive_too(name, size):
    sent = random_bytes(size)
    for channel in (AWGN(60, modulation=name), Rayleigh(120, modulation=name), Rayleigh(120, fading="fast", modulation=name)):
        arrived = channel(packet(sent))
        assert arrived.kind is PayloadKind.LLR
        assert np.array_equal(np.packbits(arrived.payload < 0), sent)


def test_a_digital_codec_decodes_what_arrives_and_a_checksum_tells_wrong_decisions():
    x = torch.rand(2, 3, 4, 4)
    codec = fc.get_codec("huffman:bits=4")
    assert torch.equal(codec(x, channel=AWGN(30)), codec(x))
    plain = fc.get_codec("bitpack:bits=8")
    sent = plain.encode(x[:1])[0].with_checksum()
    assert torch.equal(plain.decode([AWGN(30)(sent)]), plain(x[:1]))
    with pytest.raises(fc.BitstreamError, match="checksum"):
        plain.decode([AWGN(3)(sent)])


# ---- seeds, configs, refusals -------------------------------------------------------------------------------------------

SPECS = [
    "awgn:snr_db=5",
    "awgn:psnr_db=5,modulation=16qam,seed=2",
    "awgn:snr_db=-1.5,power=0.5",
    "rayleigh:snr_db=5",
    "rayleigh:psnr_db=10,fading=fast,known_gain=false,modulation=64qam",
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("payload", [symbols(99), random_bytes(99)])
def test_noise_depends_on_payload_and_seed_alone(spec, payload):
    channel = fc.get_channel(spec)
    first = channel(packet(payload)).payload
    assert np.array_equal(first, fc.get_channel(channel.config())(packet(payload)).payload)
    assert not np.array_equal(first, channel(packet(payload), seed=4).payload)


PINNED_AWGN = [13, 5, 18, 5, 1, 10, 3, 10, 13, 17, 9, 7, 4, 12, 16, -15, 5, 8, -4, 3, 2, 3, -2, 3]
PINNED_RAYLEIGH = [8, 17, -8, 12, 4, 10, 6, -3, 6, 2, 11, 7, 2, 5, 10, -7]


@pytest.mark.skipif(LLR_SCALE != 2, reason="pinned in steps of half a nat")
def test_draws_are_pinned():
    found = AWGN(3)(packet(np.arange(3, dtype=np.uint8))).payload
    assert found.tolist() == PINNED_AWGN
    assert Rayleigh(3)(packet(np.arange(2, dtype=np.uint8))).payload.tolist() == PINNED_RAYLEIGH


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AWGN(), "give one of snr_db and psnr_db, got snr_db=None, psnr_db=None"),
        (lambda: AWGN(1, psnr_db=2), "give one of snr_db and psnr_db, got snr_db=1, psnr_db=2"),
        (lambda: AWGN(float("nan")), r"snr_db must be a number -200\.\.200, got nan"),
        (lambda: AWGN(psnr_db=float("inf")), "psnr_db must be a number"),
        (lambda: AWGN("3"), "snr_db must be a number"),
        (lambda: AWGN(True), "snr_db must be a number"),
        (lambda: AWGN(3, power=0.0), "power must be a number"),
        (lambda: AWGN(psnr_db=3, power=1.0), "power goes with snr_db"),
        (lambda: AWGN(3, modulation="8psk"), "modulation must be one of bpsk, qpsk, 16qam, 64qam, got '8psk'"),
        (lambda: Rayleigh(3, fading="slow"), "fading must be one of block, fast, got 'slow'"),
        (lambda: Rayleigh(3, known_gain=1), "known_gain must be true or false"),
        (lambda: fc.get_channel("awgn:p=0.1"), "no parameter p; it takes modulation, power, psnr_db, seed, snr_db"),
    ],
)
def test_wrong_parameters_are_refused(make, message):
    with pytest.raises(fc.ConfigError, match=message):
        make()


@pytest.mark.parametrize("channel", [AWGN(3), Rayleigh(3)])
def test_wrong_payloads_and_tensors_are_refused(channel):
    with pytest.raises(fc.FeatureError, match="takes BYTES or SYMBOLS, got LLR"):
        channel(packet(np.ones(4, np.int8)))
    with pytest.raises(fc.FeatureError, match="must be finite, got 1 of 2"):
        channel(packet(np.array([1, np.nan], np.float32)))
    with pytest.raises(fc.FeatureTypeError, match=r"floating-point Tensor, got torch.int64"):
        channel.perturb(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(fc.FeatureTypeError, match="got ndarray"):
        channel.perturb(np.zeros(3))
    with pytest.raises(fc.FeatureError, match="axis 0 is the batch"):
        channel.perturb(torch.tensor(1.0))
    with pytest.raises(fc.FeatureError, match=r"values in \[0, 1\], got values from 0.0 to 1.5"):
        channel.perturb_words(torch.tensor([[0.0, 1.5]]), 8)
    with pytest.raises(fc.FeatureError, match=r"values in \[0, 1\]"):
        channel.perturb_words(torch.tensor([[0.0, math.nan]]), 8)
    with pytest.raises(fc.ConfigError, match=r"bits must be an integer 1\.\.16, got 0"):
        channel.perturb_words(torch.tensor([[0.5]]), 0)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=9), st.floats(-200, 200))
def test_any_finite_symbols_arrive_finite(values, snr_db):
    sent = packet(np.array(values, np.float32))
    for channel in (AWGN(snr_db), AWGN(psnr_db=snr_db), Rayleigh(snr_db), Rayleigh(snr_db, fading="fast", known_gain=False)):
        assert np.isfinite(channel(sent).payload).all()


# ---- the twins for training ---------------------------------------------------------------------------------------------


def moments(values, sent):
    """Mean and spread, quantiles of the damage, and how far it follows the symbols."""
    damage = np.asarray(values, np.float64) - sent
    return [*np.quantile(damage, [0.05, 0.25, 0.5, 0.75, 0.95]), np.mean(np.clip(damage, -3, 3) * sent)]


@pytest.mark.parametrize(
    "spec",
    [*SPECS, "rayleigh:snr_db=5,fading=fast", "rayleigh:snr_db=5,known_gain=false", "rayleigh:snr_db=8,fading=fast,power=2"],
)
def test_perturb_has_the_statistics_of_packets(spec):
    channel = fc.get_channel(spec)
    samples, size = 3000, 31
    sent = np.random.default_rng(3).normal(0.4, 1, (samples, size)).astype(np.float32)
    packets = np.stack([channel(packet(row)).payload for row in sent])
    tensors = channel.perturb(torch.from_numpy(sent), torch.Generator().manual_seed(1)).numpy()
    np.testing.assert_allclose(moments(tensors, sent), moments(packets, sent), atol=0.08, rtol=0.05)
    # how the damage within a sample hangs together: fading by block or by symbol
    spread = [np.median(abs(d - s), axis=1) for d, s in ((packets, sent), (tensors, sent))]
    for percent in (10, 50, 90):
        assert np.percentile(spread[1], percent) == pytest.approx(np.percentile(spread[0], percent), rel=0.1)


@pytest.mark.parametrize(
    "spec",
    [f"awgn:snr_db=4,modulation={m}" for m in MODULATIONS]
    + [f"rayleigh:snr_db=8,fading=fast,modulation={m}" for m in ("bpsk", "16qam")]
    + ["rayleigh:snr_db=8,modulation=qpsk", "rayleigh:snr_db=8,known_gain=false,modulation=64qam"],
)
def test_perturb_bits_has_the_statistics_of_packets(spec):
    channel = fc.get_channel(spec)
    sent = random_bytes(2000 * 5).reshape(2000, 5)
    bits = np.unpackbits(sent, axis=1)
    packets = np.stack([bit_probabilities(channel(packet(row)).payload) for row in sent])
    tensors = channel.perturb_bits(torch.from_numpy(bits), torch.Generator().manual_seed(1)).numpy()
    assert tensors.shape == bits.shape
    places = [(p, abs(p - bits)) for p in (packets, tensors)]
    for a, b in zip(*places, strict=True):
        np.testing.assert_allclose(b.mean(axis=0), a.mean(axis=0), atol=0.07)
        for threshold in (0.02, 0.1, 0.3, 0.6, 0.9):  # the steps of int8 LLRs lie between
            assert (b < threshold).mean() == pytest.approx((a < threshold).mean(), abs=0.02)
        np.testing.assert_allclose(b.mean(axis=1).std(), a.mean(axis=1).std(), atol=0.02)


def test_noise_is_differentiated_as_it_is():
    x = torch.rand(4, 6, dtype=torch.float64, requires_grad=True)
    for channel in (
        AWGN(psnr_db=10),
        AWGN(10),
        AWGN(10, power=0.3),
        Rayleigh(10),
        Rayleigh(10, fading="fast", known_gain=False),
    ):
        seeded = lambda s, c=channel: c.perturb(s, torch.Generator().manual_seed(0))  # noqa: E731
        assert torch.autograd.gradcheck(seeded, (x,))
    AWGN(psnr_db=10).perturb(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    zeros = torch.zeros(2, 3, requires_grad=True)
    AWGN(10).perturb(zeros).sum().backward()
    assert torch.isfinite(zeros.grad).all()


def test_perturb_keeps_dtype_shape_and_seed():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for shape in ((2, 3, 5), (3,), (0, 4), (2, 0)):
            x = torch.rand(shape).to(dtype)
            for channel in (AWGN(10), Rayleigh(10), Rayleigh(10, known_gain=False, fading="fast", modulation="64qam")):
                y = channel.perturb(x, torch.Generator().manual_seed(3))
                assert (y.shape, y.dtype) == (x.shape, dtype)
                assert torch.equal(y, channel.perturb(x, torch.Generator().manual_seed(3)))
                p = channel.perturb_bits((x > 0.5).to(dtype))
                assert (p.shape, p.dtype) == (x.shape, dtype)


def test_words_over_a_quiet_channel_are_the_unit_quantiser_s_with_the_identity_s_gradient():
    x = torch.rand(3, 4, 5, requires_grad=True)
    for bits in (1, 4, 8):
        y = AWGN(60, modulation="16qam").perturb_words(x, bits)
        assert torch.equal(y.detach(), (torch.round(x * (2**bits - 1)) / (2**bits - 1)).detach())
    weights = torch.rand_like(x)
    (y * weights).sum().backward()
    assert torch.equal(x.grad, weights)


def test_words_over_awgn_are_the_expectation_over_packets():
    channel = AWGN(2)
    values = torch.full((1, 3000), 5 / 7)
    bits = words_to_bits(np.full(3000, 5), 3).reshape(-1)
    llr = channel(packet(np.packbits(bits))).payload[:9000].reshape(-1, 3)
    wanted = expected_words(bit_probabilities(llr)) / 7
    found = channel.perturb_words(values, 3, torch.Generator().manual_seed(1))
    assert float(found.mean()) == pytest.approx(wanted.mean(), abs=0.02)
    assert float(found.std()) == pytest.approx(wanted.std(), rel=0.1)
    assert modulation(channel.modulation).bits_per_symbol == 1
