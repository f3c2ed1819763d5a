"""The codecs of min-max quantised symbols: what their shared quantiser sends, and what each adds."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec import _core
from featcodec.bitstream import Packet
from featcodec.payloads import ranged
from tests import reference
from tests.features import batch, features

IDS = ("ans", "bitpack", "huffman", "rans", "context", "auto")


def payload(codec: fc.Codec, x: torch.Tensor) -> bytes:
    return codec.encode(x)[0].payload.tobytes()


def decode(codec: fc.Codec, shape: tuple[int, ...], data: bytes) -> torch.Tensor:
    return codec.decode([Packet(shape, "float32", fc.PayloadKind.BYTES, codec.config_crc(), np.frombuffer(data, np.uint8))])


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("bits", range(1, 17))
def test_all_bit_depths_decode_to_the_seed_equation(codec_id, bits):
    codec = fc.get_codec(codec_id, bits=bits)
    for name in ("signed", "relu", "spike", "two-valued"):
        x = features((8, 7, 5))[name]
        q = reference.minmax_quantize(x.numpy(), bits)
        wanted = reference.minmax_dequantize(q, float(x.min()), float(x.max()), bits)
        assert np.array_equal(codec(x).numpy(), wanted)


def test_bitpack_byte_by_byte():
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    wanted = struct.pack("<ff", -1.0, 2.0) + reference.pack_bits([0, 1, 3], 2)
    assert payload(fc.get_codec("bitpack", bits=2), x) == wanted


@pytest.mark.parametrize("shape", [(8, 7, 5), (6, 11), (3, 2, 5, 3), (13,), ()], ids=str)
@pytest.mark.parametrize("axis", ["sample", "map", "token"])
@pytest.mark.parametrize("bits", range(1, 17))
def test_bitpack_s_core_writes_and_reads_what_numpy_does(bits, axis, shape):
    """`payloads.ranged` is its format too, and what decodes soft bits."""
    if axis == "token" and bits == 1:
        return
    codec = fc.get_codec("bitpack", bits=bits, axis=axis)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        x = (batch(shape) if shape else torch.tensor([0.5, -2.0])).clamp(-6e4, 6e4).to(dtype)
        packets = codec.encode(x)
        decoded = codec.decode(packets)
        for sample, packet, value in zip(x, packets, decoded, strict=True):
            wanted = ranged.encode(sample.float().numpy(), bits, axis, lambda symbols: _core.pack_bits(symbols, bits))
            assert packet.payload.tobytes() == wanted.tobytes()
            back = ranged.decode(wanted, shape, bits, axis, lambda data, count: _core.unpack_bits(data, count, bits))
            assert torch.equal(value, torch.from_numpy(np.asarray(back)).to(dtype))


@pytest.mark.parametrize("codec_id", [*IDS, "jpeg", "png"])
def test_a_zero_s_sign_is_not_sent(codec_id):
    """NumPy's minimum of zeros has the sign of the one its lanes meet last."""
    codec = fc.get_codec(codec_id)
    for x in (features((4, 5, 5))["relu"], torch.zeros(1, 7)):
        wanted = payload(codec, x)
        for i in (x == 0).flatten().nonzero():
            signed = x.clone()
            signed.view(-1)[i] = -0.0
            assert payload(codec, signed) == wanted
        assert payload(codec, torch.where(x == 0, -0.0, x)) == wanted


def test_bitpack_per_map_sends_no_symbols_of_constant_maps():
    x = torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]], [[0.0, 1.0]]]])
    data = payload(fc.get_codec("bitpack", bits=1, axis="map"), x)
    assert data == struct.pack("<6f", 1, 3, 5, 5, 0, 1) + reference.pack_bits([0, 1, 0, 1], 1)
    assert torch.equal(fc.get_codec("bitpack", bits=1, axis="map")(x), x)


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("axis", ["sample", "map"])
def test_constant_features_cost_four_bytes_a_group(codec_id, axis):
    codec = fc.get_codec(codec_id, axis=axis)
    x = torch.full((1, 8, 7, 5), -3.25)
    assert len(payload(codec, x)) == 4 * (8 if axis == "map" else 1)
    assert torch.equal(codec(x), x)


@pytest.mark.parametrize("codec_id", IDS)
def test_per_map_ranges_help_maps_of_different_scale(codec_id):
    x = features((8, 7, 5))["signed"] * (10.0 ** torch.arange(8.0))[:, None, None]
    whole, each = (fc.get_codec(codec_id, bits=6, axis=axis)(x) for axis in ("sample", "map"))
    assert (each - x)[0, 0].abs().max() < 0.1
    assert (whole - x)[0, 0].abs().max() > 0.1


@pytest.mark.parametrize("codec_id", IDS)
def test_tokens_have_a_map_per_embedding_dimension(codec_id):
    x = torch.stack([torch.linspace(0, 1, 12), torch.linspace(100, 200, 12)], dim=1)[None]  # (1, 12 tokens, 2)
    codec = fc.get_codec(codec_id, bits=8, axis="map")
    errors = (codec(x) - x).abs().amax(dim=1)[0]
    assert (errors <= torch.tensor([0.5, 50]) / 255 * 1.001).all()


def test_huffman_falls_back_to_packed_bits_where_coding_does_not_pay():
    x = torch.rand(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    data = payload(fc.get_codec("huffman", bits=8), x)
    assert data[8] == 0
    assert len(data) == 8 + 1 + 64


@pytest.mark.parametrize(
    ("codec_id", "bits", "slack"), [("huffman", 4, 0.35), ("ans", 4, 0.1), ("ans", 2, 0.1), ("ans", 8, 0.35)]
)
def test_real_features_cost_little_more_than_their_entropy(codec_id, bits, slack, resnet20, images):
    seen = []
    handle = resnet20.layer2.register_forward_hook(lambda m, i, out: seen.append(out))
    with torch.no_grad():
        resnet20(images[0][:4])
    handle.remove()
    codec = fc.get_codec(codec_id, bits=bits)
    for x in seen[0]:
        q = reference.minmax_quantize(x.numpy(), bits)
        p = np.bincount(q.reshape(-1)) / q.size
        entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
        spent = codec.encode(x[None])[0].payload_bits / x.numel()
        # huffman codes pairs of 4-bit symbols, and so sees a little of the context
        assert 0.8 * entropy < spent < entropy + slack


BAD_RANGES = {
    "more than 8 bytes, got 3|ends before its last symbol .3 bytes": b"\0\0\0",
    "got 8|ends before its last symbol .8 bytes": struct.pack("<ff", 0, 1),
    "minimum above its maximum": struct.pack("<ff", 1, 0) + b"\0\0\0",
    "not finite": struct.pack("<ff", 0, float("inf")) + b"\0\0\0",
    "is not finite": struct.pack("<f", float("nan")),
    "no group varies|not one that an encoder writes": struct.pack("<ff", 1, 1) + b"\0\0\0",
}


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("match", BAD_RANGES)
def test_ranges_that_no_encoder_writes_are_refused(codec_id, match):
    with pytest.raises(fc.BitstreamError, match=match):
        decode(fc.get_codec(codec_id, bits=8), (3,), BAD_RANGES[match])


BAD_ANS = {
    "claims 4 distinct symbols": [[3]],
    "holds symbol 4": [[1], [2, 1]],
    "left over after a single symbol": [[0], [1], [0]],
    "counts are not ones": [[1], [0, 0], [0, 1], [0, 0]],
    "counts are not": [[1], [0, 0], [1, 1], [0, 27]],
}


@pytest.mark.parametrize("match", BAD_ANS)
def test_ans_tables_that_no_encoder_writes_are_refused(match):
    from featcodec import _core

    tables = b"".join(_core.golomb_encode(np.array(v, np.uint32)).tobytes() for v in BAD_ANS[match])
    with pytest.raises(fc.BitstreamError, match=match):
        decode(fc.get_codec("ans", bits=2), (3,), struct.pack("<ff", 0, 1) + tables)


def test_ans_words_of_a_wrong_length_or_left_over_are_refused():
    codec = fc.get_codec("ans", bits=2)
    x = features((8, 7, 5))["relu"]
    data = payload(codec, x)
    with pytest.raises(fc.BitstreamError, match="4 bytes each"):
        decode(codec, (8, 7, 5), data + b"\0")
    with pytest.raises(fc.BitstreamError, match=r"left over|do not decode"):
        decode(codec, (8, 7, 5), data + b"\1\2\3\4")
