"""The C++ core against plain Python, and what it refuses."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcodec import BitstreamError, _core
from tests import reference

u8 = np.uint8
u16 = np.uint16


def as_bytes(array: np.ndarray) -> bytes:
    return array.tobytes()


def crushed(x: np.ndarray, y: np.ndarray) -> int:
    """Row by row as design has it."""
    wide, after = x.astype(np.float64), y.astype(np.float64)
    errors = ((wide - after) ** 2).sum(axis=1)
    return int((errors > 0.5 * ((wide - wide.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)).sum())


@pytest.mark.parametrize("scale", [1.0, 2e37, 1e-41, 1e-45], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (5, 3), (64, 8), (33, 257), (300, 100)], ids=str)
def test_crushed_tokens_are_counted(shape, scale):
    rng = np.random.default_rng(shape[1])
    x = (rng.standard_normal(shape) * scale).astype(np.float32)
    damage = rng.standard_normal(shape) * scale * rng.choice([0.0, 0.3, 0.6, 0.9, 2.0], (shape[0], 1))
    y = (x + damage).astype(np.float32)
    assert np.isfinite(y).all()
    found = _core.crushed_tokens(x, y)
    assert found == crushed(x, y)
    assert shape[0] < 30 or scale < 1e-44 or 0.1 * shape[0] < found < 0.9 * shape[0]
    assert _core.crushed_tokens(x, x) == 0
    assert _core.crushed_tokens(x, -x) == crushed(x, -x)


def test_what_counts_as_crushed():
    constant = np.full((4, 1000), 0.1, np.float32)
    assert _core.crushed_tokens(constant, constant) == 0
    assert _core.crushed_tokens(constant, np.nextafter(constant, np.float32(1))) == 4
    x = np.array([[-3.4e38, 3.4e38], [1, -1], [1, -1], [1e-45, 0], [5, 5]], np.float32)
    y = np.array([[3.4e38, -3.4e38], [0, -1], [0.01, -1.01], [0, 0], [5, 5]], np.float32)
    assert _core.crushed_tokens(x, y) == 2  # the first and the fourth: an error of half the spread itself is none
    assert _core.crushed_tokens(x[:0], y[:0]) == 0
    assert _core.crushed_tokens(x[:, :0].copy(), y[:, :0].copy()) == 0


def test_crushed_tokens_refuses_what_is_no_pair_of_arrays():
    x = np.zeros((4, 6), np.float32)
    for other in (np.zeros((6, 4), np.float32), np.zeros(24, np.float32)):
        with pytest.raises(ValueError, match=r"one shape .* got \(4, 6\) and \("):
            _core.crushed_tokens(x, other)
    for other in (x.astype(np.float64), x[:, ::-1], x.astype(np.float16)):
        with pytest.raises(TypeError, match="incompatible"):
            _core.crushed_tokens(x, other)


@given(st.binary(max_size=200), st.integers(0, 50))
def test_crc32c_is_the_bitwise_one_whole_or_in_parts(data, cut):
    assert _core.crc32c(data) == reference.crc32c(data)
    assert _core.crc32c(data[cut:], _core.crc32c(data[:cut])) == reference.crc32c(data)


def test_crc32c_known_value():
    assert _core.crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4


@given(st.integers(1, 16).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, 2**n - 1), max_size=90))))
def test_pack_bits_is_the_textual_one_and_round_trips(case):
    bits, symbols = case
    packed = _core.pack_bits(np.array(symbols, u16), bits)
    assert as_bytes(packed) == reference.pack_bits(symbols, bits)
    assert _core.unpack_bits(packed, len(symbols), bits).tolist() == symbols


def test_unpack_bits_refuses_wrong_lengths_and_dirty_padding():
    packed = _core.pack_bits(np.array([1, 2, 3], u16), 3)
    with pytest.raises(BitstreamError, match="ends before"):
        _core.unpack_bits(packed[:1], 3, 3)
    with pytest.raises(BitstreamError, match="left over"):
        _core.unpack_bits(np.append(packed, u8(0)), 3, 3)
    packed[-1] |= 1
    with pytest.raises(BitstreamError, match="left over"):
        _core.unpack_bits(packed, 3, 3)


@pytest.mark.parametrize("bits", [0, 17])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match=r"1\.\.16"):
        _core.pack_bits(np.zeros(3, u16), bits)
    with pytest.raises(ValueError, match=r"1\.\.16"):
        _core.huffman_decode(np.zeros(3, u8), 3, bits)


@given(st.lists(st.integers(0, 2**32 - 2), max_size=60))
def test_golomb_round_trips_and_says_what_it_used(values):
    data = _core.golomb_encode(np.array(values, np.uint32))
    back, used = _core.golomb_decode(np.concatenate([data, np.full(3, 255, u8)]), len(values))
    assert back.tolist() == values
    assert used == data.size


@given(st.binary(max_size=40), st.integers(0, 100))
def test_golomb_decodes_or_refuses_any_bytes(data, count):
    try:
        values, used = _core.golomb_decode(np.frombuffer(data, u8), count)
    except BitstreamError:
        return
    assert values.size == count
    assert used <= len(data)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
def test_code_lengths_are_optimal_where_the_limit_does_not_bind(counts):
    lengths = _core.huffman_code_lengths(np.array(counts, np.uint32))
    present = [i for i, c in enumerate(counts) if c > 0]
    assert all((lengths[i] > 0) == (counts[i] > 0 and len(present) > 1) for i in range(len(counts)))
    if len(present) > 1:
        assert sum(2.0 ** -int(lengths[i]) for i in present) == 1.0
        assert sum(int(lengths[i]) * counts[i] for i in present) == reference.huffman_cost(counts)


def test_code_lengths_keep_the_limit_on_fibonacci_counts():
    counts = [1, 1]
    while len(counts) < 40:
        counts.append(counts[-1] + counts[-2])
    lengths = _core.huffman_code_lengths(np.array(counts, np.uint32))
    assert lengths.max() == _core.MAX_CODE_LENGTH
    assert sum(2.0 ** -int(length) for length in lengths) == 1.0
    # no limited code can beat the free one, and the limit costs little here
    limited = sum(int(length) * c for length, c in zip(lengths, counts, strict=True))
    assert reference.huffman_cost(counts) <= limited < 1.001 * reference.huffman_cost(counts)


def test_code_lengths_of_a_full_16_bit_alphabet():
    lengths = _core.huffman_code_lengths(np.ones(1 << 16, np.uint32))
    assert set(lengths.tolist()) == {16}


@settings(deadline=None)
@given(
    st.integers(1, 16).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.one_of(st.integers(0, 2**n - 1), st.integers(0, min(3, 2**n - 1))), min_size=1, max_size=300),
        )
    )
)
def test_huffman_round_trips_and_is_the_documented_stream(case):
    bits, symbols = case
    array = np.array(symbols, u16)
    data = _core.huffman_encode(array, bits)
    assert _core.huffman_decode(data, array.size, bits).tolist() == symbols
    counts = np.bincount(array, minlength=2**bits).astype(np.uint32)
    lengths = _core.huffman_code_lengths(counts)
    stream = reference.huffman_stream(symbols, {int(s): int(lengths[s]) for s in np.flatnonzero(counts)})
    packed = b"\0" + reference.pack_bits(symbols, bits)
    assert as_bytes(data) == (stream if len(stream) < len(packed) else packed)


def test_huffman_decodes_codes_longer_than_its_lookup():
    counts = [1, 1]
    while len(counts) < 22:
        counts.append(counts[-1] + counts[-2])
    symbols = np.repeat(np.arange(len(counts)), counts).astype(u16)
    np.random.default_rng(0).shuffle(symbols)
    data = _core.huffman_encode(symbols, 5)
    assert data[0] == 1
    assert np.array_equal(_core.huffman_decode(data, symbols.size, 5), symbols)


def test_huffman_refuses_tables_that_no_encoder_writes():
    def decode(data: bytes, count: int = 4, bits: int = 2) -> None:
        _core.huffman_decode(np.frombuffer(data, u8), count, bits)

    with pytest.raises(BitstreamError, match="mode"):
        decode(b"\x07\0\0")
    with pytest.raises(BitstreamError, match="ends before"):
        decode(b"")
    with pytest.raises(BitstreamError, match="table"):  # lengths 1, 1, 1: Kraft sum above one
        decode(reference.huffman_stream([0, 1, 2], {0: 1, 1: 1, 2: 1}), 3)
    with pytest.raises(BitstreamError, match="table"):  # lengths 2, 2: Kraft sum below one
        decode(reference.huffman_stream([0, 1], {0: 2, 1: 2}), 2)
    with pytest.raises(BitstreamError, match="table"):  # symbol 4 of an alphabet of 4
        decode(reference.huffman_stream([0, 4], {0: 1, 4: 1}), 2)
    good = reference.huffman_stream([0, 1, 0, 0], {0: 1, 1: 1})
    decode(good)
    with pytest.raises(BitstreamError, match="left over"):
        decode(good + b"\0")
    with pytest.raises(BitstreamError, match="ends before"):
        decode(good, 400)


def test_huffman_encode_refuses_symbols_outside_the_alphabet_and_nothing():
    with pytest.raises(ValueError, match="below"):
        _core.huffman_encode(np.array([4], u16), 2)
    with pytest.raises(ValueError, match="symbol"):
        _core.huffman_encode(np.array([], u16), 2)


@settings(deadline=None)
@given(st.binary(max_size=120), st.integers(1, 16), st.integers(1, 500))
def test_huffman_decodes_or_refuses_any_bytes(data, bits, count):
    for head in (b"", b"\x01"):
        try:
            symbols = _core.huffman_decode(np.frombuffer(head + data, u8), count, bits)
        except BitstreamError:
            continue
        assert symbols.size == count
        assert symbols.max() < 2**bits


def test_arrays_of_another_dtype_or_rank_are_type_and_value_errors():
    with pytest.raises(TypeError):
        _core.pack_bits(np.zeros(3, np.int32), 4)
    with pytest.raises(TypeError):
        _core.huffman_encode(np.zeros(6, u16)[::2], 4)
    with pytest.raises(ValueError, match="1-D"):
        _core.pack_bits(np.zeros((3, 2), u16), 4)


def test_the_gil_is_released():
    symbols = (np.random.default_rng(0).geometric(0.01, 3_000_000) % 4096).astype(u16)
    ticks = 0
    done = threading.Event()

    def work() -> None:
        for _ in range(3):
            _core.huffman_encode(symbols, 12)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        time.sleep(0.0005)
        ticks += 1
    thread.join()
    # holding the GIL would let this thread run between calls only: a handful of times
    assert ticks > 10
