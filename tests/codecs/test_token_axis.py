"""axis=token, a range for every token in which zero is a level: NumPy, torch and the core against a reading of the document."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import featcodec as fc
from featcodec import _core
from featcodec.accounting import ledger
from featcodec.ops.quantizer import minmax_reconstruct
from featcodec.payloads.quantizer import minmax_dequantize, minmax_quantize, minmax_ranges, zero_level_ranges
from tests import reference
from tests.features import features, smooth
from tests.test_flushing import flushing

IDS = ("ans", "auto", "bitpack", "context", "huffman", "rans")
CORE = ("auto", "context", "huffman", "rans")
LARGEST = float(np.finfo(np.float32).max)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
tiny = st.floats(-(2.0**-115), 2.0**-115, width=32)
huge = st.one_of(st.floats(2.0**126, LARGEST, width=32), st.floats(-LARGEST, -(2.0**126), width=32), st.just(0.0))
tokens = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    elements=st.one_of(finite, tiny, huge, st.floats(-2, 3, width=32)),
)


def wanted_ranges(x: np.ndarray, bits: int) -> list[tuple[float, float]]:
    rows = [(float(row.min()) + 0.0, float(row.max()) + 0.0) for row in x]
    return [(low, high) if low == high else reference.zero_level_range(low, high, bits) for low, high in rows]


def sent_ranges(payload: np.ndarray, count: int) -> list[tuple[float, float]]:
    """Those in front of a payload; of constant tokens alone, each twice."""
    if payload.size == 4 * count:
        return [(v, v) for v in struct.unpack(f"<{count}f", payload.tobytes())]
    values = struct.unpack(f"<{2 * count}f", payload[: 8 * count].tobytes())
    return list(zip(values[::2], values[1::2], strict=True))


@settings(deadline=None, max_examples=300)
@given(tokens, st.integers(2, 16))
def test_numpy_chooses_the_document_s_range_which_holds_all_and_has_a_level_at_zero(x, bits):
    plain = minmax_ranges(x)
    ranges = zero_level_ranges(plain, bits)
    assert ranges.tolist() == [list(pair) for pair in wanted_ranges(x, bits)]
    assert not np.signbit(ranges[ranges == 0]).any()
    assert (ranges[:, :1] <= x).all()
    assert (x <= ranges[:, 1:]).all()
    steps = (ranges[:, 1].astype(np.float64) - ranges[:, 0]) / (2**bits - 1)
    good = (steps >= 2.0**-126) & (np.abs(plain).max(axis=1) < LARGEST / 2)
    zeros = np.zeros((int(good.sum()), 1), np.float32)
    back = minmax_dequantize(minmax_quantize(zeros, ranges[good], bits), ranges[good], bits)
    assert back.tobytes() == zeros.tobytes()


@settings(deadline=None, max_examples=200)
@given(tokens, st.integers(2, 16), st.sampled_from(CORE))
def test_numpy_torch_and_the_core_agree_bit_for_bit(x, bits, codec_id):
    ranges = zero_level_ranges(minmax_ranges(x), bits)
    values = minmax_dequantize(minmax_quantize(x, ranges, bits), ranges, bits)
    batch = torch.from_numpy(x)[None]
    assert np.array_equal(minmax_reconstruct(batch, bits, "token")[0].numpy(), values)
    codec = fc.get_codec(codec_id, bits=bits, axis="token")
    payloads = set()
    for level in _core.isas():
        _core.set_isa(level)
        packet = codec.encode(batch)[0]
        payloads.add(packet.payload.tobytes())
        assert sent_ranges(packet.payload, len(x)) == [tuple(pair) for pair in ranges.tolist()]
        assert np.array_equal(codec.decode([packet])[0].numpy(), values)
    assert len(payloads) == 1


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("bits", range(2, 17))
def test_every_codec_sends_that_range_and_zeros_stay_zeros(codec_id, bits):
    codec = fc.get_codec(codec_id, bits=bits, axis="token")
    g = torch.Generator().manual_seed(bits)
    x = torch.randn(2, 13, 24, generator=g) * 10.0 ** torch.arange(-6, 7)[:, None]
    x[:, 2] = torch.relu(x[:, 2])
    x[:, 3] = -torch.relu(x[:, 3])
    x[:, 4] = 7.25
    x[:, 5] = 0.0
    x[:, 6:, ::3] = 0.0
    x[:, 7, 1] = 3e7
    packets = codec.encode(x)
    for sample, packet in zip(x.numpy(), packets, strict=True):
        assert sent_ranges(packet.payload, 13) == wanted_ranges(sample, bits)
        assert ledger(packet, codec).side_bits == 13 * 64
    y = codec.decode(packets)
    assert torch.equal(codec.reconstruct(x), y)
    zero = x == 0
    zero[:, 4] = False
    assert not y[zero].any()
    assert not torch.signbit(y[zero]).any()
    assert torch.equal(y[:, 4], x[:, 4])
    span = torch.maximum(x.amax(2), torch.zeros(())) - torch.minimum(x.amin(2), torch.zeros(()))
    # a step is wider than span / (2^n - 1) by the rounding of z, at most twofold at 2 bits, and by that of s
    step = span / (2**bits - 2) * (1 + 2.0 ** (bits - 23)) * 1.5
    assert ((y - x).abs().amax(2) <= step / 2 + 1e-30).all()
    for other in (x.half().clamp(-6e4, 6e4), x.bfloat16()):
        assert torch.equal(codec(other), codec.reconstruct(other))
        assert not codec(other)[(other == 0) & zero].any()


@pytest.mark.parametrize("codec_id", IDS)
def test_one_huge_value_spoils_its_own_token_alone(codec_id):
    x = torch.randn(1, 64, 256, generator=torch.Generator().manual_seed(0))
    x[0, 0, 3] = 22500.0
    others = x[:, 1:]

    def error(axis: str) -> float:
        y = fc.get_codec(codec_id, bits=8, axis=axis)(x)[:, 1:]
        return float((y - others).norm() / others.norm())

    assert error("sample") > 1
    assert error("token") < 0.01


@pytest.mark.parametrize("codec_id", IDS)
def test_a_sample_of_another_rank_is_one_token(codec_id):
    codec = fc.get_codec(codec_id, bits=4, axis="token")
    for shape in ((), (9,), (1, 9), (3, 4, 5), (2, 3, 4, 5)):
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1))
        flat = x.reshape(1, -1).numpy()
        packet = codec.encode(x)[0]
        assert sent_ranges(packet.payload, 1) == wanted_ranges(flat, 4)
        assert torch.equal(codec.decode([packet]), codec.reconstruct(x))
    for x in features((8, 7, 5)).values():
        assert torch.equal(codec(x), codec.reconstruct(x))


@pytest.mark.parametrize("codec_id", IDS)
def test_constant_tokens_cost_their_value_and_no_symbols(codec_id):
    codec = fc.get_codec(codec_id, bits=8, axis="token")
    x = torch.arange(-3.0, 4.0)[:, None].expand(7, 5)[None].contiguous()
    assert codec.encode(x)[0].payload_bits == 7 * 32
    assert torch.equal(codec(x), x)
    x[0, 2, 1] = 5.0
    assert torch.equal(codec(x)[0, 3:], x[0, 3:])
    assert codec.encode(-0.0 * x)[0].payload.tobytes() == bytes(28)


@pytest.mark.parametrize("codec_id", IDS)
def test_ranges_that_float32_does_not_hold_are_sent_plain(codec_id):
    codec = fc.get_codec(codec_id, bits=8, axis="token")
    ends = [(-LARGEST, LARGEST), (0.0, LARGEST), (-1e-40, 2e-40), (0.0, 2.0**-126), (-LARGEST, 1.0)]
    x = torch.tensor([[low, (low + high) / 2, high] for low, high in ends])[None]
    sent = sent_ranges(codec.encode(x)[0].payload, len(ends))
    assert sent[:4] == [tuple(row) for row in x[0, :4, ::2].tolist()]
    assert torch.equal(codec(x), codec.reconstruct(x))
    exact = torch.tensor([[0.0, 255 * 2.0**-126, 2.0**-126]])[None]  # the smallest step
    assert torch.equal(codec(exact), exact)


def test_what_is_refused():
    for codec_id in IDS:
        with pytest.raises(fc.ConfigError, match=r"axis=token takes bits 2\.\.16, .* got bits=1"):
            fc.get_codec(codec_id, bits=1, axis="token")
        with pytest.raises(fc.ConfigError, match="axis must be one of sample, map, token, got 'tokens'"):
            fc.get_codec(codec_id, axis="tokens")
    with pytest.raises(fc.ConfigError, match="takes no bits and no axis"):
        fc.get_codec("rans", step=0.5, axis="token")
    with pytest.raises(ValueError, match="at least 2 bits"):
        _core.FeatureCoder("rans", 1, True, zero_level=True)


@pytest.mark.parametrize("codec_id", CORE)
def test_static_tables_take_tokens(codec_id):
    codec = fc.get_codec(codec_id, bits=6, axis="token", tables="static").calibrate(smooth((50, 32), 1))
    x = smooth((50, 32), 2)
    adaptive = fc.get_codec(codec_id, bits=6, axis="token")
    packet = codec.encode(x)[0]
    assert torch.equal(codec.decode([packet]), adaptive(x))
    # adaptive context coding may send an order-0 mode instead, as tokens like it
    assert packet.payload_bits <= (1.01 if codec_id == "context" else 1) * adaptive.encode(x)[0].payload_bits
    assert ledger(packet, codec).table_bits == 0


def test_flushing_denormals_changes_no_byte_of_a_token():
    x = (
        torch.randn(1, 6, 40, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1e-41, 1e-38, 1e-36, 1, 1e30, 1e38])[:, None]
    )
    wanted = [fc.get_codec(c, bits=6, axis="token").encode(x)[0].to_bytes() for c in CORE]
    with flushing():
        found = [fc.get_codec(c, bits=6, axis="token").encode(x)[0].to_bytes() for c in CORE]
    assert found == wanted


@settings(deadline=None)
@given(st.integers(2, 16), st.floats(2.0**-100, 2.0**100, width=32), st.integers(1, 2**16))
def test_bounds_that_a_level_meets_exactly_are_kept(bits, step, level):
    """Where a rounding down would lose x: ends that are whole multiples of a short step, and one float beyond."""
    short = np.float32(step).view(np.uint32) >> (bits + 1) << (bits + 1)
    step = np.uint32(short).view(np.float32)
    assume(step > 0)
    z = level % (2**bits - 2) + 1
    ends = np.array([-z * float(step), (2**bits - 1 - z) * float(step)])
    for beyond in (0, 1):
        row = ends.astype(np.float32)
        if beyond:
            row = np.nextafter(row, np.array([-np.inf, np.inf], np.float32))
        ranges = zero_level_ranges(row[None], bits)
        assert tuple(ranges[0].tolist()) == reference.zero_level_range(float(row[0]), float(row[1]), bits)
        assert ranges[0, 0] <= row[0]
        assert row[1] <= ranges[0, 1]
        if not beyond:
            assert np.array_equal(ranges[0], row)
