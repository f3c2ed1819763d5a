"""The laws of codecs that send channel symbols, swept over every one of them and each of its examples."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.accounting import ledger
from tests.features import features, taken_batch
from tests.test_conformance import CASES, DTYPES, IDS, build, finite_in

pytestmark = pytest.mark.usefixtures("one_thread")

ANALOG = [
    (codec_id, example)
    for codec_id, example in CASES
    if fc.codec_class(codec_id).learned and fc.get_codec(codec_id, **example).payload_kind is fc.PayloadKind.SYMBOLS
]
analog = pytest.mark.parametrize(("codec_id", "example"), ANALOG, ids=[IDS[CASES.index(case)] for case in ANALOG])
RADIO = ("awgn:psnr_db=10", "awgn:snr_db=-20", "rayleigh:snr_db=10", "rayleigh:psnr_db=10,fading=fast")
AIR = (*RADIO, "packet_erasure:p=0.5,unit_bytes=8")


@analog
def test_analog_symbols_are_finite_float32_and_decode_whatever_the_air_does(codec_id, example):
    codec = build(codec_id, example)
    for dtype in DTYPES:
        x = finite_in(taken_batch(codec), dtype)
        packets = codec.encode(x)
        for packet in packets:
            assert packet.payload.dtype == np.float32
            assert packet.payload.ndim == 1
            assert np.isfinite(packet.payload).all()
        for channel in map(fc.get_channel, AIR):
            y = codec.decode([channel(packet) for packet in packets])
            assert (y.shape, y.dtype) == (x.shape, dtype)
            assert torch.isfinite(y).all()
    with pytest.raises(fc.FeatureError, match="bits"):
        codec(x, fc.get_channel("bec:p=0.1"))


@analog
def test_analog_symbols_cost_channel_uses_and_no_bits(codec_id, example):
    codec = build(codec_id, example)
    packet = codec.encode(features(codec.example_shape)["relu"])[0]
    book = ledger(packet, codec, frame="none")
    assert (book.payload_bits, book.wire_bits) == (0, 0)
    assert book.real_symbols == packet.payload.size
    assert book.complex_uses == -(-packet.payload.size // 2)
    model = nn.Sequential(nn.ReLU(), nn.Flatten()).eval()
    with torch.no_grad(), fc.insert(model, "0", codec, channel="awgn:psnr_db=20") as cut:
        model(taken_batch(codec))
    assert cut.stats.payload_bits_per_sample == 0
    assert cut.stats.real_symbols_per_sample == packet.payload.size
    assert np.isnan(cut.stats.compression_ratio)


@analog
def test_training_over_the_air_reaches_every_weight(codec_id, example):
    codec = build(codec_id, example)
    x = torch.cat([features(codec.example_shape)[name] for name in ("relu", "signed", "integers", "two-valued")])
    for channel in map(fc.get_channel, RADIO):
        leaf = x.clone().requires_grad_(True)
        trained = copy.deepcopy(codec).train()
        y = trained(leaf, channel)
        assert not torch.equal(y, trained(leaf))
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        ((y * weight).sum() + sum(trained.losses().values())).backward()
        assert leaf.grad.any()
        for name, parameter in trained.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
