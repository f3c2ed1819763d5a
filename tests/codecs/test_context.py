"""context: neighbourhoods and tables on every instruction set, cut and damaged streams, mode bytes that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec import _core
from tests.features import packet_of, smooth

AVAILABLE = _core.isas()
CONTEXT, STATIC, GRADIENT = 96, 16, 8  # the mode byte of context coding: docs/bitstream.md


def slopes(shape: tuple[int, int, int], bits: int, seed: int) -> np.ndarray:
    """Symbols of maps with slopes, edges, saturation at both ends and a little noise: what a prediction pays for."""
    rng = np.random.default_rng(seed)
    maps, height, width = shape
    y, x = np.mgrid[:height, :width]
    a, b, c = rng.normal(0, 0.02, (3, maps, 1, 1))
    surface = 0.5 + a * x + b * y + 12 * c * np.sin((x + y) / 9)
    surface = surface + 0.3 * (x > width // 2) * rng.integers(-1, 2, (maps, 1, 1)) + rng.normal(0, 0.004, shape)
    return np.clip(np.rint(surface * (2**bits - 1)), 0, 2**bits - 1).astype(np.uint8)


def static_coder(family: str, bits: int, symbols: np.ndarray) -> _core.FeatureCoder:
    coder = _core.FeatureCoder(family, bits)
    coder.set_context_tables(*coder.train_context(coder.count_symbols(symbols)[2]))
    return coder


# Lanes: whole maps, rows, symbols; of equal and of different length; from 1 lane to 64; one chunk and several.
SLOPED = [(1, 1, 40), (3, 5, 7), (2, 30, 41), (6, 17, 33), (16, 32, 32), (33, 24, 31), (1, 3, 9001), (64, 48, 64)]
SLOPED += [(5, 331, 97), (64, 90, 90)]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("tables", ["adaptive", "static"])
def test_the_gradient_neighbourhood_is_the_same_on_every_instruction_set(bits, tables):
    lanes, gradients = set(), 0
    for seed, shape in enumerate(SLOPED):
        symbols = slopes(shape, bits, seed)
        if (symbols == symbols[0, 0, 0]).all():
            continue
        coder = _core.FeatureCoder("context", bits)
        if tables == "static":
            coder = static_coder("context", bits, slopes((24, 40, 40), bits, 99))
        sent = {}
        for level in AVAILABLE:
            _core.set_isa(level)
            sent[level] = bytes(coder.encode_symbols(symbols))
        assert len(set(sent.values())) == 1, shape
        stream = np.frombuffer(sent["scalar"], np.uint8)
        for level in AVAILABLE:
            _core.set_isa(level)
            assert np.array_equal(coder.decode_symbols(stream, *shape).reshape(shape), symbols), (level, shape)
        if stream[0] >= CONTEXT:
            lanes.add(1 << (stream[0] & 7))
            gradients += bool(stream[0] & GRADIENT)
    assert gradients > (3 if bits > 2 else 0)
    assert max(lanes) == 64 or bits < 5
    assert len(lanes) > 1


@pytest.mark.parametrize("tables", [1, 16, 17, 32])
@pytest.mark.parametrize("layout", [16, 16 + 256], ids=["near", "gradient"])
def test_any_number_of_tables_is_read_on_every_instruction_set(tables, layout):
    rng = np.random.default_rng(tables)
    frequencies = np.zeros((32, 16), np.uint16)
    frequencies[:tables] = 1 + rng.multinomial(4096 - 16, rng.dirichlet(np.ones(16), tables))
    coder = _core.FeatureCoder("context", 4)
    rate = 40 << 16  # a guess of 2.5 bits a token, for the lanes
    coder.set_context_tables(np.arange(256, dtype=np.uint8) % tables, frequencies.reshape(-1), tables, layout + rate)
    for shape in SLOPED:
        symbols = slopes(shape, 4, tables)
        streams = set()
        for level in AVAILABLE:
            _core.set_isa(level)
            streams.add(bytes(coder.encode_symbols(symbols)))
        (stream,) = streams
        for level in AVAILABLE:
            _core.set_isa(level)
            assert np.array_equal(coder.decode_symbols(np.frombuffer(stream, np.uint8), *shape), symbols), (level, shape)


def outcome(coder: _core.FeatureCoder, data: np.ndarray, shape: tuple[int, int, int]) -> bytes | str:
    """What decoding gives, or why it gives nothing."""
    try:
        return coder.decode_symbols(data, *shape).tobytes()
    except fc.BitstreamError as e:
        return str(e)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("sloped", [False, True])
def test_cut_and_damaged_streams_mean_the_same_on_every_instruction_set(bits, sloped):
    """The last words and raw bits are read in another way than those before: each byte too few or too many is told."""
    rng = np.random.default_rng(bits)
    for shape in ((40, 13, 11), (3, 30, 41), (64, 48, 64)):
        rough = np.minimum(rng.geometric(0.4, shape) - 1, 2**bits - 1).astype(np.uint8)
        symbols = slopes(shape, bits, 5) if sloped else rough
        coder = static_coder("context", bits, symbols)
        good = np.frombuffer(bytes(coder.encode_symbols(symbols)), np.uint8)
        flipped = good.copy()
        flipped[rng.integers(good.size // 2, good.size)] ^= 64
        cuts = [good[: good.size - cut] for cut in (1, 2, 3, 64, 127, 128, 129)]
        for data in (good, flipped, np.append(good, 0).astype(np.uint8), *cuts):
            told = set()
            for level in AVAILABLE:
                _core.set_isa(level)
                told.add(outcome(coder, np.ascontiguousarray(data), shape))
            assert len(told) == 1, (shape, data.size)


@pytest.mark.parametrize("level", AVAILABLE)
@pytest.mark.parametrize("tables", ["adaptive", "static"])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_damaged_gradient_streams_decode_or_raise(level, tables, bits):
    _core.set_isa(level)
    rng = np.random.default_rng(7)
    shape = (24, 40, 40)
    coder = static_coder("context", bits, slopes(shape, bits, 1)) if tables == "static" else _core.FeatureCoder("context", bits)
    good = np.frombuffer(bytes(coder.encode_symbols(slopes(shape, bits, 2))), np.uint8)
    assert good[0] & GRADIENT
    for _ in range(60):
        data = good.copy()
        data[rng.integers(0, rng.choice([8, 200, data.size]), 2)] = rng.integers(0, 256, 2)
        cuts = data[: rng.integers(1, data.size)], good[: rng.integers(1, good.size)]
        for damaged in (data, np.append(data, 0).astype(np.uint8), *cuts):
            try:
                decoded = coder.decode_symbols(np.ascontiguousarray(damaged), *shape)
            except fc.BitstreamError:
                continue
            assert decoded.max() < 2**bits


def test_mode_bytes_of_context_coding_that_do_not_fit_are_refused():
    symbols = slopes((16, 32, 32), 4, 3)
    coder, static = _core.FeatureCoder("context", 4), static_coder("context", 4, symbols)
    stream = np.frombuffer(bytes(static.encode_symbols(symbols)), np.uint8).copy()
    unused = (3, 7, 8, *range(10, CONTEXT), *range(128, 256))
    for wrong in (*unused, CONTEXT + 7, CONTEXT + STATIC + 5, 127, int(stream[0]) ^ GRADIENT):
        stream[0] = wrong
        with pytest.raises(fc.BitstreamError, match="mode byte"):
            static.decode_symbols(stream, 16, 32, 32)
    stream[0] = CONTEXT + STATIC + GRADIENT
    with pytest.raises(fc.BitstreamError, match="mode byte"):
        coder.decode_symbols(stream, 16, 32, 32)
    codec = fc.get_codec("context:bits=9")
    packet = codec.encode(smooth((16, 8, 8), 1))[0]
    payload = packet.payload.copy()
    payload[8] |= GRADIENT
    with pytest.raises(fc.BitstreamError, match="mode byte"):
        codec.decode([packet_of(codec, packet.shape, payload.tobytes())])


def test_tables_of_many_contexts_are_kept_in_the_state():
    x = torch.from_numpy(slopes((24, 40, 40), 8, 1)).float()[None]
    a = fc.get_codec("context:bits=8,tables=static").calibrate(x)
    b = fc.get_codec(a.config())
    b.load_state_dict(a.state_dict())
    packet = a.encode(x)[0]
    assert packet.payload[8] & GRADIENT
    assert torch.equal(b.decode([packet]), a.reconstruct(x))
