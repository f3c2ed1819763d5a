"""jpeg, png, webp, heif: what is sent of the image coder's file, and that the decoder needs no more."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import featcodec as fc
from featcodec.bitstream import Packet
from featcodec.payloads.jpeg import jpeg_header, quantization_table
from featcodec.payloads.quantizer import minmax_quantize, minmax_ranges
from featcodec.payloads.tiling import tile
from tests import reference
from tests.features import features

IDS = ("heif", "jpeg", "png", "webp")
SHAPE = (10, 12, 9)


def picture_of(x: torch.Tensor) -> np.ndarray:
    return reference.mosaic(reference.minmax_quantize(x[0].numpy(), 8).astype(np.uint8))


@pytest.mark.parametrize("quality", [1, 5, 20, 49, 50, 75, 95, 100])
def test_jpeg_tables_are_pillow_s_own_at_that_quality(quality):
    out = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(out, "JPEG", quality=quality)
    with Image.open(out) as image:
        assert image.quantization[0] == quantization_table(quality)


@pytest.mark.parametrize("quality", [5, 20, 95])
def test_jpeg_sends_the_scan_alone_and_decodes_to_what_the_whole_file_holds(quality):
    x = features(SHAPE)["relu"]
    codec = fc.get_codec("jpeg", quality=quality)
    sent = codec.encode(x)[0].payload.tobytes()[8:]
    whole = io.BytesIO()
    Image.fromarray(picture_of(x)).save(whole, "JPEG", quality=quality)
    assert len(whole.getvalue()) - len(sent) > 320
    rebuilt = jpeg_header(quality, *picture_of(x).shape) + sent + b"\xff\xd9"
    with Image.open(whole) as a, Image.open(io.BytesIO(rebuilt)) as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("spec", ["png", "webp:lossless=true"])
def test_lossless_coders_lose_only_the_quantiser_s_half_step(spec):
    codec = fc.get_codec(spec)
    for x in features(SHAPE).values():
        wanted = fc.get_codec("bitpack:bits=8")(x)
        assert torch.equal(codec(x), wanted)


@pytest.mark.parametrize("codec_id", ["heif", "jpeg", "webp"])
def test_quality_buys_accuracy_with_bits(codec_id):
    x = torch.nn.functional.interpolate(features((16, 6, 6))["signed"], scale_factor=4, mode="bilinear")
    bits, errors = [], []
    for quality in (5, 40, 95):
        codec = fc.get_codec(codec_id, quality=quality)
        packets = codec.encode(x)
        bits.append(packets[0].payload_bits)
        errors.append((codec.decode(packets) - x).square().mean().item())
    assert bits[0] < bits[1] < bits[2]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (10, 12, 9), (197, 16), (17, 4), (33,), (), (3, 2, 4, 5)])
def test_any_shape_makes_a_picture(codec_id, shape):
    codec = fc.get_codec(codec_id)
    x = torch.linspace(-1, 1, max(2, int(np.prod(shape)))).reshape(-1)[: int(np.prod(shape))].reshape(1, *shape)
    y = codec(x)
    assert y.shape == x.shape
    assert (y - x).abs().mean() < 0.35


@pytest.mark.parametrize("codec_id", IDS)
def test_constant_features_cost_four_bytes(codec_id):
    x = torch.full((1, *SHAPE), 2.5)
    assert fc.get_codec(codec_id).encode(x)[0].payload_bits == 32
    assert torch.equal(fc.get_codec(codec_id)(x), x)


@pytest.mark.parametrize(("codec_id", "width"), [("webp", 16384), ("jpeg", 65501), ("heif", 8193)])
def test_pictures_too_large_for_the_coder_are_refused_at_both_ends(codec_id, width):
    codec = fc.get_codec(codec_id)
    x = torch.linspace(0, 1, width).reshape(1, 1, 1, width)
    with pytest.raises(fc.FeatureError, match=f"makes 1 x {width}"):
        codec.encode(x)
    claim = Packet((1, 1, width), "float32", fc.PayloadKind.BYTES, codec.config_crc(), np.arange(20, dtype=np.uint8))
    with pytest.raises(fc.BitstreamError):
        codec.decode([claim])


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("limit", [80, 1])  # of 120 pixels: Pillow would warn, and fail
def test_pillow_s_limit_of_pixels_is_the_user_s_own(codec_id, limit, monkeypatch):
    codec = fc.get_codec(codec_id)
    x = features((1, 12, 10))["signed"]
    packets = codec.encode(x)
    wanted = codec.decode(packets)
    too_large = Packet((1, 1, 1 << 17), "float32", fc.PayloadKind.BYTES, codec.config_crc(), np.arange(20, dtype=np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert codec.encode(x)[0].to_bytes() == packets[0].to_bytes()
        assert torch.equal(codec.decode(packets), wanted)
        with pytest.raises(fc.FeatureError, match="makes 1 x 131072"):
            codec.encode(torch.linspace(0, 1, 1 << 17).reshape(1, 1, 1, -1))
        with pytest.raises(fc.BitstreamError, match=r"makes 1 x 131072|range"):
            codec.decode([too_large])
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_webp_that_claims_another_size_is_refused_before_it_is_decoded():
    codec = fc.get_codec("webp:lossless=true")
    packet = codec.encode(features(SHAPE)["relu"])[0]
    data = packet.payload.copy()
    data[9:13] = 255  # 16384 x 16384
    with pytest.raises(fc.BitstreamError, match=r"claims \(16384, 16384\)"):
        codec.decode([Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, data)])


def test_a_png_stream_that_ends_early_is_refused_though_pillow_forgives_it():
    codec = fc.get_codec("png")
    packet = codec.encode(features(SHAPE)["signed"])[0]
    data = np.ascontiguousarray(packet.payload[:-12])
    with pytest.raises(fc.BitstreamError, match="inflate"):
        codec.decode([Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, data)])


def test_the_picture_that_is_coded_is_the_seed_s_mosaic():
    x = features(SHAPE)["relu"]
    flat = x.reshape(1, -1).numpy()
    symbols = minmax_quantize(flat, minmax_ranges(flat), 8).astype(np.uint8).reshape(SHAPE)
    assert np.array_equal(tile(symbols), picture_of(x))
