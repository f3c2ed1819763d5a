"""LDPC: the same on every instruction set, in any batch, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import featcodec as fc
from featcodec import _core
from featcodec.errors import FeatureError
from featcodec.fec.ldpc import ALGORITHMS, LDPC
from featcodec.ops.soft_bits import SURE, quantize_llr
from tests.ldpc_blocks import AVAILABLE, CODES, SMALL, noisy, random_bits, same


def mixed(code: LDPC, blocks: int) -> np.ndarray:
    """Good and bad blocks, in int8: clean and noisy ones, some with erasures; one in 17 of anything."""
    sent, number = code.encode(random_bits(blocks, code.k)), np.arange(blocks)[:, None]
    nats = np.where(number % 3 == 0, 8 - 16 * sent.astype(np.float32), noisy(sent, 2, code.code_rate))
    rng = np.random.default_rng(7)
    nats[rng.random(nats.shape) < number % 5 / 4 * (1 - code.code_rate)] = 0
    steps = np.clip(np.rint(2 * nats), -127, 127).astype(np.int8)
    steps[::17] = rng.integers(-128, 128, steps[::17].shape)
    return steps


@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_instruction_set_and_number_of_threads_decides_alike(code, algorithm):
    blocks = 12 if algorithm == "sum-product" else 200
    llr = mixed(code, blocks)
    results = []
    for level in AVAILABLE:
        _core.set_isa(level)
        for threads in (1, 3):
            fc.set_num_threads(threads)
            results.append(code.decode_packed(llr, algorithm=algorithm, max_iterations=6))
    assert all(same(result, results[0]) for result in results)
    assert 0 < results[0].ok.sum() < blocks


@pytest.mark.parametrize("level", AVAILABLE)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_block_does_not_depend_on_its_batch(level, algorithm):
    _core.set_isa(level)
    code = SMALL
    llr = mixed(code, 200)
    whole = code.decode_packed(llr, algorithm=algorithm, max_iterations=5)
    for first, count in ((0, 1), (199, 1), (4, 3), (0, 63), (100, 64), (7, 65), (0, 200)):
        part = code.decode_packed(llr[first : first + count], algorithm=algorithm, max_iterations=5)
        assert np.array_equal(part.bits, whole.bits[first : first + count])
        assert np.array_equal(part.ok, whole.ok[first : first + count])
        assert np.array_equal(part.iterations, whole.iterations[first : first + count]) or algorithm == "erasure"


@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize("algorithm", ["oms", "erasure"])
def test_float_llrs_decode_as_the_steps_they_round_to(code, algorithm):
    blocks = 700  # more than are made steps of at a time
    nats = mixed(code, blocks).astype(np.float32) * np.float32(0.6)
    steps = quantize_llr(nats)
    nats[steps == SURE] *= np.float32(1e30)
    for level in AVAILABLE:
        _core.set_isa(level)
        for count, threads in ((1, 1), (70, 1), (blocks, 1), (blocks, 3)):
            fc.set_num_threads(threads)
            wanted = code.decode_packed(steps[:count], algorithm=algorithm, max_iterations=4)
            assert same(code.decode_packed(nats[:count], algorithm=algorithm, max_iterations=4), wanted)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_nan_is_refused_where_it_stands(algorithm, threads):
    fc.set_num_threads(threads)
    llr = np.ones((900, SMALL.n), np.float32)
    for place in ((899, SMALL.n - 1), (300, 0), (0, 5)):
        llr[place] = np.nan
        with pytest.raises(FeatureError, match=rf"got NaN at \({place[0]}, {place[1]}\)"):
            SMALL.decode(llr, algorithm=algorithm, max_iterations=1)


@pytest.mark.parametrize("level", AVAILABLE)
def test_every_instruction_set_encodes_alike(level):
    for code in CODES:
        data = np.random.default_rng(9).integers(0, 256, (21, (code.k + 7) // 8), dtype=np.uint8)
        _core.set_isa("scalar")
        wanted = code.encode_packed(data)
        _core.set_isa(level)
        assert np.array_equal(code.encode_packed(data), wanted)
        if code.n % 8:
            assert not (wanted[:, -1] & (0xFF >> code.n % 8)).any()


def test_no_blocks_are_no_blocks():
    result = SMALL.decode(np.zeros((0, SMALL.n), np.int8))
    assert result.bits.shape == (0, SMALL.k)
    assert SMALL.encode(np.zeros((0, SMALL.k), np.uint8)).shape == (0, SMALL.n)


def test_arrays_of_any_layout():
    code = SMALL
    bits = random_bits(6, code.k)
    assert np.array_equal(code.encode(np.asfortranarray(bits)), code.encode(bits))
    assert np.array_equal(code.encode(bits[::2]), code.encode(bits)[::2])
    llr = mixed(code, 6)
    for algorithm in ALGORITHMS:
        wanted = code.decode(llr, algorithm=algorithm)
        assert same(code.decode(np.asfortranarray(llr), algorithm=algorithm), wanted)
        wide = np.repeat(llr.astype(np.float32), 2, axis=1)
        assert same(code.decode(wide[:, ::2], algorithm=algorithm), code.decode(llr.astype(np.float32), algorithm=algorithm))
    packed = np.packbits(code.encode(bits), axis=1)
    erased = np.zeros_like(packed)
    assert same(code.decode_erased(np.asfortranarray(packed), erased), code.decode_erased(packed, erased))
