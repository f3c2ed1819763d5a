"""LDPC: codes, encoder and decoders against plain NumPy, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcodec import _core
from featcodec.errors import ConfigError, FeatureError, FeatureTypeError
from featcodec.fec.ldpc import ALGORITHMS, LDPC, MAX_BLOCKS
from featcodec.ops.soft_bits import LLR_SCALE
from tests.ldpc_blocks import AVAILABLE, CODES, SMALL, dense, eliminate, noisy, random_bits, same

# ---- codes and the encoder ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "k", "n", "z", "mother_bits"),
    [
        (LDPC("wifi", n=1944, rate="1/2"), 972, 1944, 81, 1944),
        (LDPC("wifi", n=1296, rate="2/3"), 864, 1296, 54, 1296),
        (LDPC("wifi", n=648, rate="5/6", k=100), 100, 208, 27, 8 * 27),
        (SMALL, 200, 474, 27, 20 * 27),
        (LDPC("nr", k=400, n=800), 400, 800, 52, 18 * 52),
        (LDPC("nr", k=8448, n=25344), 8448, 25344, 384, 68 * 384),
        (LDPC("nr", k=20, n=100), 20, 100, 4, 27 * 4),
    ],
    ids=str,
)
def test_known_codes(code, k, n, z, mother_bits):
    assert (code.k, code.n, code.z, code.mother_bits) == (k, n, z, mother_bits)
    assert code.code_rate == k / n
    pointers, columns, shape = code.parity_checks()
    assert shape[1] == mother_bits
    assert pointers[0] == 0
    assert pointers[-1] == columns.size
    assert columns.max() < mother_bits
    assert repr(code) == f"LDPC({code.family!r}, k={k}, n={n})"


@pytest.mark.parametrize("code", CODES, ids=str)
def test_codewords_satisfy_every_check(code):
    bits = random_bits(3, code.k)
    mother = code.mother_codeword(bits)
    assert not (dense(code).astype(np.int64) @ mother.T % 2).any()
    assert np.array_equal(mother[:, : code.k], bits)
    assert not code.syndrome(mother).any()
    flipped = mother ^ (np.random.default_rng(2).random(mother.shape) < 0.03).astype(np.uint8)
    assert np.array_equal(code.syndrome(flipped), (dense(code).astype(np.int64) @ flipped.T % 2).sum(0))


@pytest.mark.parametrize("code", [SMALL, LDPC("nr", k=30, n=90), LDPC("nr", k=24, n=25)], ids=str)
def test_the_encoder_solves_the_checks(code):
    bits = random_bits(1, code.k)[0]
    checks = dense(code)
    # the information and the known zeros are given, the rest are unknowns
    parity = code.mother_bits - checks.shape[0]
    right = checks[:, : code.k].astype(np.int64) @ bits % 2
    rows, pivots = eliminate(np.concatenate([checks[:, parity:], right[:, None].astype(np.uint8)], 1))
    assert len(pivots) == checks.shape[0]
    mother = code.mother_codeword(bits[None])[0]
    assert np.array_equal(rows[:, -1], mother[parity:])
    assert not mother[code.k : parity].any()


@pytest.mark.parametrize("code", CODES, ids=str)
def test_what_is_sent_are_bits_of_the_mother_codeword(code):
    bits = random_bits(4, code.k)
    sent, mother = code.encode(bits), code.mother_codeword(bits)
    assert sent.shape == (4, code.n)
    assert sent.dtype == np.uint8
    if code.family == "wifi":
        known = -(-code.k // code.z) * code.z
        assert np.array_equal(sent, np.concatenate([bits, mother[:, known:]], 1)[:, : code.n])
    else:
        columns = code.parity_checks()[2][1] - code.parity_checks()[2][0]
        ring = np.concatenate([mother[:, min(2 * code.z, code.k) : code.k], mother[:, columns:]], 1)
        assert np.array_equal(sent, [np.resize(row, code.n) for row in ring])
    assert np.array_equal(code.encode_packed(np.packbits(bits, axis=1)), np.packbits(sent, axis=1))


# ---- decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_clean_blocks_decode(code, algorithm):
    bits = random_bits(3, code.k)
    sent = code.encode(bits).astype(np.float32)
    for llr in ((1 - 2 * sent) * np.float32(np.inf), (5 - 10 * sent), (31 - 62 * sent).astype(np.int8)):
        result = code.decode(llr, algorithm=algorithm)
        assert result.ok.all()
        assert result.ok.dtype == np.bool_
        assert np.array_equal(result.bits, bits)
        assert ((result.iterations >= 1) & (result.iterations <= 20)).all()
        packed = code.decode_packed(llr, algorithm=algorithm)
        assert np.array_equal(packed.bits, np.packbits(bits, axis=1))


def test_float_llrs_are_nats_and_int8_are_steps():
    code = SMALL
    nats = noisy(code.encode(random_bits(40, code.k)), 2.0, code.code_rate)
    steps = np.clip(np.rint(nats * LLR_SCALE), -127, 127)
    steps = np.where(steps == 0, np.sign(nats), steps).astype(np.int8)
    assert same(code.decode(nats), code.decode(steps))
    exact = steps.astype(np.float32) / LLR_SCALE
    assert same(code.decode(steps, algorithm="sum-product"), code.decode(exact, algorithm="sum-product"))
    # an LLR that rounds to 0 is not an erased bit
    faint = (1 - 2 * code.encode(random_bits(1, code.k)).astype(np.float32)) * np.float32(1e-20)
    assert code.decode(faint, algorithm="erasure").ok.all()


def test_an_erased_block_is_not_ok():
    for code in CODES:
        for algorithm in ALGORITHMS:
            result = code.decode(np.zeros((2, code.n), np.int8), algorithm=algorithm, max_iterations=3)
            assert not result.ok.any()
            assert not result.bits.any()


def test_early_stop_saves_iterations_only():
    code = LDPC("wifi", n=648, rate="1/2")
    llr = noisy(code.encode(random_bits(30, code.k)), 3.5, 0.5)
    stopped, fixed = code.decode(llr), code.decode(llr, early_stop=False)
    assert np.array_equal(stopped.bits, fixed.bits)
    assert (fixed.iterations == 20).all()
    assert stopped.iterations.max() < 20
    assert (code.decode(llr, max_iterations=1).iterations == 1).all()


@pytest.mark.parametrize("p", [0.3, 0.5, 0.57, 0.62])
def test_erasures_are_filled_where_the_checks_determine_them(p):
    code = SMALL
    bits = random_bits(6, code.k)
    sent = code.encode(bits)
    erased = np.random.default_rng(int(100 * p)).random(sent.shape) < p
    result = code.decode(np.where(erased, 0, 5 - 10 * sent.astype(np.int8)).astype(np.int8), algorithm="erasure")
    unpunctured = np.concatenate([np.arange(code.k), np.arange(code.mother_bits - 324, code.mother_bits - 50)])
    checks = dense(code)
    for block in range(6):
        known = np.ones(code.mother_bits, np.bool_)
        known[unpunctured[erased[block]]] = False
        known[-50:] = False
        unknown = np.flatnonzero(~known)
        right = checks[:, known].astype(np.int64) @ code.mother_codeword(bits)[block, known] % 2
        rows, pivots = eliminate(np.concatenate([checks[:, unknown], right[:, None].astype(np.uint8)], 1))
        determined = {int(unknown[c]) for i, c in enumerate(pivots) if rows[i, :-1].sum() == 1}
        all_known = all(known[i] or i in determined for i in range(code.k))
        assert result.ok[block] == all_known
        if all_known:
            assert np.array_equal(result.bits[block], bits[block])


@pytest.mark.parametrize("code", CODES, ids=str)
def test_packed_erasures_are_what_llrs_of_zero_are(code):
    blocks = 40
    sent = code.encode(random_bits(blocks, code.k))
    rng = np.random.default_rng(3)
    erased = rng.random(sent.shape) < np.linspace(0, 1.3, blocks)[:, None] * (1 - code.code_rate)
    sent[5] ^= (rng.random(code.n) < 0.1).astype(np.uint8)  # contradictions
    wanted = code.decode_packed(np.where(erased, 0, 1 - 2 * sent.astype(np.int8)).astype(np.int8), algorithm="erasure")
    garbage = np.where(erased, rng.integers(0, 2, sent.shape), sent).astype(np.uint8)
    packed, mask = np.packbits(garbage, axis=1), np.packbits(erased, axis=1)
    if code.n % 8:
        packed[:, -1] |= 0xFF >> code.n % 8
        mask[:, -1] |= 0xFF >> code.n % 8
    assert same(code.decode_erased(packed, mask), wanted)
    assert wanted.ok[0]
    assert not wanted.ok[-1] or code.k == 1


@pytest.mark.parametrize("code", CODES, ids=str)
def test_completions_are_every_word_that_fits(code):
    rng = np.random.default_rng(11)
    spare, seen = code.n - code.k, set()
    for trial in range(60):
        bits = random_bits(1, code.k, trial)
        llr = ((1 - 2 * code.encode(bits).astype(np.int8)) * 100).astype(np.int8)[0]
        llr[rng.permutation(code.n)[: max(0, spare - 8) + trial % 20]] = 0
        ok, found = code.decode_packed(llr[None], algorithm="erasure").ok[0], []
        for level in AVAILABLE:
            _core.set_isa(level)
            found.append(code.completions(llr))
        if found[0] is None:
            assert not ok
            assert all(one is None for one in found)
            continue
        info, freedom = found[0]
        assert all(np.array_equal(info, one[0]) and np.array_equal(freedom, one[1]) for one in found)
        assert len(freedom) <= 8
        assert not ok or not freedom.any()
        seen.add(len(freedom))
        words = [info ^ np.bitwise_xor.reduce(freedom[rng.random(len(freedom)) < 0.5], 0, dtype=np.uint8) for _ in range(5)]
        sent = code.encode_packed(np.array(words))
        fits = (np.unpackbits(sent, axis=1, count=code.n) == (llr < 0)) | (llr == 0)
        assert fits.all()
        # what was sent is one of them: it differs from `info` by a sum of what is free
        differs, left = np.packbits(bits, axis=1)[0] ^ info, [int.from_bytes(row.tobytes(), "big") for row in freedom]
        rest, basis = int.from_bytes(differs.tobytes(), "big"), []
        for value in left:
            for by in basis:
                value = min(value, value ^ by)
            basis += [value] if value else []
        for by in basis:
            rest = min(rest, rest ^ by)
        assert rest == 0
    assert code.k == 1 or len(seen) > 1


def test_no_completions_of_too_little_or_of_contradictions():
    code = LDPC("nr", k=400, n=440)
    assert code.completions(np.zeros(code.n, np.int8)) is None
    sure = np.full(code.n, 100, np.int8)
    assert not code.completions(sure, most=0)[0].any()
    sure[7] = -100
    assert code.completions(sure) is None
    few = np.full(code.n, 100, np.int8)
    few[100 : 100 + 43] = 0
    assert len(code.completions(few, most=8)[1]) >= 3
    assert code.completions(few, most=2) is None


def test_errors_and_erasures_together():
    code = LDPC("nr", k=400, n=1000)
    bits = random_bits(20, code.k)
    rng = np.random.default_rng(5)
    shape = (20, code.n)
    sent = code.encode(bits) ^ (rng.random(shape) < 0.02).astype(np.uint8)
    llr = np.where(rng.random(shape) < 0.2, 0, 8 - 16 * sent.astype(np.int8)).astype(np.int8)
    assert np.array_equal(code.decode(llr).bits, bits)
    assert not code.decode(llr, algorithm="erasure").ok.any()  # which takes every bit for sure


# ---- what noise does ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["oms", "sum-product"])
@pytest.mark.parametrize(
    ("code", "ebn0_db"),
    [(LDPC("wifi", n=648, rate="1/2"), 2.6), (LDPC("wifi", n=1944, rate="5/6"), 4.2), (LDPC("nr", k=400, n=800), 2.4)],
    ids=str,
)
def test_the_waterfall(code, ebn0_db, algorithm):
    bits = random_bits(100, code.k)
    sent = code.encode(bits)
    good = code.decode(noisy(sent, ebn0_db, code.code_rate), algorithm=algorithm)
    # about 1 block in 1,000 fails here
    assert good.ok.sum() >= 98
    assert np.array_equal(good.bits[good.ok], bits[good.ok])
    assert good.iterations.mean() < 12
    hopeless = code.decode(noisy(sent, ebn0_db - 4, code.code_rate), algorithm=algorithm)
    assert not hopeless.ok.any()
    assert (hopeless.iterations == 20).all()
    assert (hopeless.bits != bits).mean() < 0.5


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 700),
    extra=st.floats(0.1, 3),
    blocks=st.integers(1, 70),
    algorithm=st.sampled_from(ALGORITHMS),
    kind=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_llrs_end_bounded(k, extra, blocks, algorithm, kind, seed):
    code = LDPC("nr", k=k, n=int(k * (1 + extra)) + 1)
    rng = np.random.default_rng(seed)
    blocks = min(blocks, 4) if algorithm == "sum-product" else blocks
    any_int8 = rng.integers(-128, 128, (blocks, code.n)).astype(np.int8)
    llr = {
        0: any_int8,
        1: np.full((blocks, code.n), -128, np.int8),
        2: (any_int8 // 64).astype(np.int8),
        3: np.where(any_int8 < 0, -np.inf, np.inf).astype(np.float32),
        4: (any_int8.astype(np.float32) * np.float32(1e36)),
        5: (any_int8.astype(np.float32) * np.float32(1e-44)),
    }[kind]
    result = code.decode(llr, algorithm=algorithm, max_iterations=4)
    assert result.bits.shape == (blocks, k)
    assert result.bits.max() <= 1
    assert (result.iterations <= 4).all() or algorithm == "erasure"


# ---- refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"family": "turbo", "n": 648}, "family"),
        ({"family": "wifi", "n": 648}, "needs its rate"),
        ({"family": "wifi", "n": 648, "rate": "7/8"}, "rate"),
        ({"family": "wifi", "n": 648, "rate": 0.5}, "rate"),
        ({"family": "wifi", "n": 647, "rate": "1/2"}, "648, 1296 or 1944, got 647"),
        ({"family": "wifi", "n": 0, "rate": "1/2"}, "n must be"),
        ({"family": "wifi", "n": 3888, "rate": "1/2"}, "n must be"),
        ({"family": "wifi", "n": "648", "rate": "1/2"}, "n must be"),
        ({"family": "wifi", "n": 648, "rate": "1/2", "k": 325}, "got 325"),
        ({"family": "wifi", "n": 648, "rate": "1/2", "k": 0}, "got 0"),
        ({"family": "wifi", "n": 648, "rate": "5/6", "punctured": 108}, "0..107, got 108"),
        ({"family": "wifi", "n": 648, "rate": "5/6", "punctured": -1}, "punctured"),
        ({"family": "nr", "n": 100}, "needs k"),
        ({"family": "nr", "n": 100, "k": 101}, "got 100"),
        ({"family": "nr", "n": 100, "k": 0}, "got 0"),
        ({"family": "nr", "n": 20000, "k": 8449}, "got 8449"),
        ({"family": "nr", "n": (1 << 20) + 1, "k": 40}, "n must be"),
        ({"family": "nr", "n": 100, "k": 40, "rate": "1/2"}, "takes k and n"),
        ({"family": "nr", "n": 100, "k": 40, "punctured": 3}, "takes k and n"),
        ({"family": "nr", "n": 100, "k": True}, "k must be"),
    ],
    ids=str,
)
def test_no_such_code(arguments, match):
    with pytest.raises(ConfigError, match=match):
        LDPC(**arguments)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda c: c.decode(np.zeros((2, c.n - 1), np.int8)), FeatureError, "shape"),
        (lambda c: c.decode(np.zeros(c.n, np.int8)), FeatureError, "shape"),
        (lambda c: c.decode(np.zeros((2, c.n), np.float64)), FeatureTypeError, "float64"),
        (lambda c: c.decode(np.zeros((2, c.n), np.int16)), FeatureTypeError, "int16"),
        (lambda c: c.decode([[0] * c.n]), FeatureTypeError, "list"),
        (lambda c: c.decode(np.full((1, c.n), np.nan, np.float32)), FeatureError, "NaN"),
        (lambda c: c.decode(np.full((1, c.n), np.nan, np.float32), algorithm="sum-product"), FeatureError, "NaN"),
        (lambda c: c.decode(np.broadcast_to(np.int8(0), (MAX_BLOCKS + 1, c.n))), FeatureError, "at most"),
        (lambda c: c.decode(np.zeros((1, c.n), np.int8), algorithm="viterbi"), ConfigError, "algorithm"),
        (lambda c: c.decode(np.zeros((1, c.n), np.int8), max_iterations=0), ConfigError, "max_iterations"),
        (lambda c: c.decode(np.zeros((1, c.n), np.int8), max_iterations=1001), ConfigError, "max_iterations"),
        (lambda c: c.decode(np.zeros((1, c.n), np.int8), max_iterations=2.5), ConfigError, "max_iterations"),
        (lambda c: c.decode(np.zeros((1, c.n), np.int8), early_stop=1), ConfigError, "early_stop"),
        (lambda c: c.encode(np.zeros((1, c.k + 1), np.uint8)), FeatureError, "shape"),
        (lambda c: c.encode(np.zeros((1, c.k), np.int64)), FeatureTypeError, "int64"),
        (lambda c: c.encode(np.full((1, c.k), 2, np.uint8)), FeatureError, "0 or 1, got 2"),
        (lambda c: c.encode("bits"), FeatureTypeError, "str"),
        (lambda c: c.encode_packed(np.zeros((1, c.k), np.uint8)), FeatureError, "shape"),
        (lambda c: c.encode_packed(np.zeros((1, 25), np.int8)), FeatureTypeError, "int8"),
        (lambda c: c.mother_codeword(np.zeros((1, c.n), np.uint8)), FeatureError, "shape"),
        (lambda c: c.syndrome(np.zeros((1, c.n), np.uint8)), FeatureError, "shape"),
        (lambda c: c.completions(np.zeros((1, c.n), np.int8)), FeatureError, "shape"),
        (lambda c: c.completions(np.zeros(c.n, np.float32)), FeatureTypeError, "int8, got float32"),
        (lambda c: c.completions(np.zeros(c.n, np.int8), most=33), ConfigError, "most"),
        (lambda c: c.decode_erased(np.zeros((1, 60), np.uint8), np.zeros((2, 60), np.uint8)), FeatureError, "of one shape"),
        (lambda c: c.decode_erased(np.zeros((1, 60), np.uint8), np.zeros((1, 59), np.uint8)), FeatureError, "shape"),
        (lambda c: c.decode_erased(np.zeros((1, 60), np.uint8), np.zeros((1, 60), np.bool_)), FeatureTypeError, "bool"),
        (lambda c: c.decode_erased(np.zeros((1, 59), np.uint8), np.zeros((1, 60), np.uint8)), FeatureError, "shape"),
    ],
)
def test_bad_arrays_and_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(SMALL)


def test_the_binding_itself_checks_sizes():
    core = _core.LdpcCode.nr(40, 90)
    with pytest.raises(ValueError, match=r"\(blocks, 90\)"):
        core.decode_min_sum(np.zeros((1, 89), np.int8), 5, True)
    with pytest.raises(TypeError):
        core.decode_min_sum(np.zeros((1, 90), np.uint8), 5, True)
    with pytest.raises(ValueError, match="one block"):
        core.complete_erasure(np.zeros((2, 90), np.int8), 8)
    with pytest.raises(ValueError, match="as many blocks"):
        core.decode_erasure_packed(np.zeros((1, 12), np.uint8), np.zeros((2, 12), np.uint8))
    with pytest.raises(ValueError, match=r"1\.\.8448"):
        _core.LdpcCode.nr(0, 90)
