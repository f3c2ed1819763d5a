"""Mode 9, rANS with frequencies sent as a curve: as the document has it on every instruction set, damaged, by hand, in size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec import _core
from tests import curve_reference
from tests.kernels import KERNELS, choose

CURVE = 9


def encode(symbols: np.ndarray, bits: int) -> bytes:
    """The stream, the same from every instruction set, each of which reads it back."""
    coder = _core.FeatureCoder("rans", bits)
    flat = symbols.reshape(1, 1, -1)
    streams = set()
    for kernels in KERNELS:
        choose(*kernels)
        streams.add(bytes(coder.encode_symbols(flat)))
    (stream,) = streams
    for kernels in KERNELS:
        choose(*kernels)
        assert np.array_equal(coder.decode_symbols(np.frombuffer(stream, np.uint8), *flat.shape), flat), kernels
    return stream


def drawn(rng: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    return rng.choice(len(weights), size=count, p=weights / weights.sum()).astype(np.uint8)


def two_sided(alphabet: int, middle: float, width: float) -> np.ndarray:
    return np.exp(-np.abs(np.arange(alphabet) - middle) / width)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [100, 255, 256, 1023, 1024, 8191, 8192, 32768, 131072, 262144])
def test_streams_are_what_the_document_says(bits, count):
    rng = np.random.default_rng(bits * count)
    weights = two_sided(1 << bits, 0.0, (1 << bits) / 14)
    weights[0] *= 8
    weights[-1] += 0.001
    symbols = drawn(rng, weights, count)
    symbols[:2] = 0, 1
    stream = encode(symbols, bits)
    assert stream[0] == CURVE
    assert np.array_equal(curve_reference.decode(stream[1:], bits, count), symbols)
    if count >= 8192 and bits == 8:
        assert curve_reference.read_table(stream[1:], bits).rare


@pytest.mark.parametrize("bits", [2, 6, 8])
def test_the_most_lanes(bits):
    symbols = drawn(np.random.default_rng(bits), two_sided(1 << bits, 0.0, (1 << bits) / 14), (1 << 20) + 77)
    stream = encode(symbols, bits)
    assert curve_reference.decode(stream[1:], bits, symbols.size) == symbols.tolist()


@st.composite
def counts(draw) -> tuple[int, dict[int, int]]:
    """Few or many symbols, next to each other or scattered, seldom or often."""
    bits = draw(st.integers(1, 8))
    symbol = st.integers(0, (1 << bits) - 1)
    often = st.one_of(st.integers(1, 3), st.integers(1, 60), st.integers(1, 900))
    first, length = draw(symbol), draw(st.integers(0, 256))
    found = {i: 1 + draw(st.integers(0, 5)) for i in range(first, min(first + length, 1 << bits), draw(st.integers(1, 9)))}
    found |= draw(st.dictionaries(symbol, often, min_size=2, max_size=12))
    return bits, found


@given(counts(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_any_counts_round_trip(case, random):
    bits, found = case
    symbols = [symbol for symbol, times in found.items() for _ in range(times)]
    random.shuffle(symbols)
    stream = encode(np.array(symbols, np.uint8), bits)
    assert len(stream) <= 1 + -(-len(symbols) * bits // 8)
    if stream[0] == CURVE:
        assert curve_reference.decode(stream[1:], bits, len(symbols)) == symbols


@pytest.mark.parametrize("kernels", KERNELS)
def test_damaged_streams_decode_or_raise(kernels):
    rng = np.random.default_rng(3)
    coder = _core.FeatureCoder("rans", 8)
    for count in (300, 5000):
        stream = np.frombuffer(encode(drawn(rng, two_sided(256, 0.0, 9.0), count), 8), np.uint8)
        choose(*kernels)
        refused = 0
        head = range(8 * 40)
        for bit in [*head, *rng.integers(0, stream.size * 8, 300)]:
            bad = stream.copy()
            bad[bit // 8] ^= 128 >> bit % 8
            bad[0] = CURVE
            try:
                assert coder.decode_symbols(bad, 1, 1, count).size == count
            except fc.BitstreamError:
                refused += 1
        for size in rng.integers(1, stream.size, 100):
            with pytest.raises(fc.BitstreamError):
                coder.decode_symbols(stream[:size], 1, 1, count)
        assert refused > 200


def text_of(*fields: tuple[int, int]) -> str:
    return "".join(format(value, f"0{width}b") for value, width in fields)


def as_bytes(text: str) -> bytes:
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def one_symbol(state, *, last=3, spacing=0, unit=0, rare_level=0, knots="1111", exceptions="1", words=b"") -> bytes:
    """Mode byte and body of one symbol of 5 bits, whose lane ends in `state`; by default 0..3 have 1024 slots each."""
    curve = text_of((last, 5), (spacing, 3), (unit, 3), (rare_level, 8), (0, 3)) + knots + exceptions
    width = state.bit_length()
    states = as_bytes(text_of((width - 16, 4), (state - (1 << width - 1), width - 1)))
    return bytes([CURVE]) + as_bytes(curve) + words + states[::-1]


def read_one(data: bytes) -> int:
    return int(_core.FeatureCoder("rans", 5).decode_symbols(np.frombuffer(data, np.uint8), 1, 1, 1)[0, 0, 0])


RARE = {"rare_level": 96, "exceptions": "011" + text_of((1, 5), (0, 8), (3, 5), (9, 8))}  # 1 and 3 share one frequency


def test_streams_made_by_hand():
    # 32 * 4096 + slot becomes 32 * 1024 + offset: symbol 2 has the slots from 2048 on
    assert read_one(one_symbol(32 * 4096 + 2048)) == 2
    # frequencies 1366, 1365, 1365: state 36 * 4096 + 1366 + 12 becomes 36 * 1365 + 12 = 2^15 + 2^14, an index bit of 1
    assert read_one(one_symbol(36 * 4096 + 1366 + 12, **RARE)) == 3
    # 24 * 4096 + 1366 + 8 becomes 24 * 1365 + 8 = 2^15: index 0
    assert read_one(one_symbol(24 * 4096 + 1366 + 8, **RARE)) == 1


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (one_symbol(32 * 4096 + 2049), "code"),  # an index bit, and no rare symbol
        (one_symbol(36 * 4096 + 1366 + 13, **RARE), "code"),  # bits behind the only index
        (one_symbol(32 * 4096 + 2048, words=b"\0"), "code"),  # a byte of indices that lanes had room for
        (one_symbol(1 << 15), "end"),  # falls below 2^15, and there is no word
        (one_symbol(1 << 15, words=b"\0\0"), "code"),  # ends above 2^16
        (one_symbol(1 << 17, last=0, knots="1"), "table"),
        (one_symbol(1 << 17, spacing=6), "table"),
        (one_symbol(1 << 17, unit=5), "table"),
        (one_symbol(1 << 17, rare_level=224), "table"),
        (one_symbol(1 << 17, rare_level=20), "table"),  # no rare symbol to have it
        (one_symbol(1 << 17, knots="0" * 32 + "1"), "table"),
        (one_symbol(1 << 17, last=31, knots="1" * 32, exceptions="0" * 5 + text_of((34, 6))), "table"),  # 33 of 32 symbols
        (one_symbol(1 << 17, exceptions="010" + text_of((4, 5), (96, 8))), "table"),  # behind the last symbol
        (one_symbol(1 << 17, exceptions="011" + text_of((2, 5), (96, 8), (2, 5), (96, 8))), "table"),  # twice the same
        (one_symbol(1 << 17, exceptions="010" + text_of((2, 5), (224, 8))), "table"),
        (one_symbol(1 << 17, exceptions="100001"), "table"),  # dirty padding
        (one_symbol(1 << 17)[:3], "end"),
        (one_symbol(1 << 17)[:5], "end"),
    ],
)
def test_streams_that_no_encoder_writes_are_refused(stream, match):
    with pytest.raises(fc.BitstreamError, match=match):
        read_one(stream)


def test_a_few_bytes_that_claim_many_rare_symbols_are_refused_soon():
    # 1 and 3 share all slots but two: a state of theirs hardly moves, and no words are needed for millions of them
    table = text_of((3, 5), (0, 3), (0, 3), (223, 8), (0, 3)) + "1111"
    exceptions = "00101" + text_of((0, 5), (16, 8), (1, 5), (0, 8), (2, 5), (16, 8), (3, 5), (0, 8))
    states = as_bytes(text_of((15, 4), ((1 << 30) - 1, 30)) * 128)
    data = bytes([CURVE]) + as_bytes(table + exceptions) + states[::-1]
    with pytest.raises(fc.BitstreamError):
        _core.FeatureCoder("rans", 5).decode_symbols(np.frombuffer(data, np.uint8), 1, 1 << 13, 1 << 13)


def test_large_features_lie_close_to_their_entropy(resnet20, images):
    """The excess is what a table costs at least, where the histogram of 256 levels is not known in advance."""
    seen = []
    handle = resnet20.get_submodule("layer1").register_forward_hook(lambda m, i, out: seen.append(out))
    with torch.no_grad():
        resnet20(images[0][:16])
    handle.remove()
    x = seen[0].numpy().reshape(-1)
    symbols = np.rint((x - x.min()) / (x.max() - x.min()) * 255).astype(np.uint8)
    p = np.bincount(symbols) / symbols.size
    entropy = float(-(p[p > 0] * np.log2(p[p > 0])).sum())
    assert symbols.size == 262144
    assert entropy < 8 * len(encode(symbols, 8)) / symbols.size < entropy + 0.01
    part = symbols[:4096]
    p = np.bincount(part) / part.size
    assert 8 * len(encode(part, 8)) / part.size < -(p[p > 0] * np.log2(p[p > 0])).sum() + 0.12
