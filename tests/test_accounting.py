"""The ledger: its identities, the papers' figures, the parts of every codec's payload, and what the stats make of it."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import featcodec as fc
from featcodec.accounting import Ledger, ledger
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.modulation import MODULATIONS, modulation
from tests.features import taken_batch
from tests.test_conformance import build, swept


class Analog(fc.Codec):
    """Every value as it is, a channel symbol each."""

    codec_id = "analog"
    payload_kind: ClassVar[PayloadKind] = PayloadKind.SYMBOLS

    def encode_payload(self, x):
        return x.reshape(-1)

    def decode_payload(self, payload, shape):
        return payload.reshape(shape)


class Parity(fc.Codec):
    """Bytes twice: half of the payload is error correction."""

    codec_id = "parity"

    def encode_payload(self, x):
        return np.tile(x.reshape(-1).view(np.uint8), 2)

    def decode_payload(self, payload, shape):
        return payload[: payload.size // 2].view(np.float32).reshape(shape)

    def payload_parts(self, payload, shape):
        return {"fec": 4 * payload.size}


def packet(payload, shape=(4,)):
    kind = {np.float32: PayloadKind.SYMBOLS, np.uint8: PayloadKind.BYTES, np.int8: PayloadKind.LLR}[payload.dtype.type]
    return Packet(shape, "float32", kind, 1, payload)


@given(
    st.integers(0, 300),
    st.booleans(),
    st.booleans(),
    st.sampled_from(MODULATIONS),
    st.sampled_from(["full", "compact", "none"]),
    st.one_of(st.fractions(Fraction(1, 100), 1), st.tuples(st.integers(1, 2000), st.integers(1, 2000)).map(sorted)),
)
def test_identities(size, analog, checked, name, frame, code):
    sent = packet(np.zeros(size, np.float32 if analog else np.uint8))
    sent = sent.with_checksum() if checked else sent
    how = {"code_rate": code} if isinstance(code, Fraction) else {"block": (code[1], code[0])}
    book = ledger(sent, frame=frame, modulation=name, **how)
    assert book.wire_bits == book.payload_bits + book.side_bits + book.table_bits + book.frame_bits
    assert book.channel_bits == book.wire_bits + book.fec_bits
    m = modulation(name).bits_per_symbol
    assert book.complex_uses == math.ceil(book.real_symbols / 2) + math.ceil(book.channel_bits / m)
    assert book.real_symbols == (size if analog else 0)
    if isinstance(code, Fraction):
        assert 0 <= book.channel_bits - book.wire_bits / code < 1
    else:
        k, n = code
        assert book.channel_bits == n * math.ceil(book.wire_bits / k)
    if frame == "full" and not analog:
        assert book.wire_bits == sent.num_bits == 8 * len(sent.to_bytes())
    if frame == "full":
        assert book.frame_bits == sent.frame_bits
    if frame == "compact":
        assert book.frame_bits <= 8 * (8 + 4 * checked)
    assert book.latency_s(1e6) == book.complex_uses / 1e6
    assert json.loads(json.dumps(book.to_dict(), allow_nan=False))["channel_bits"] == book.channel_bits


@swept
def test_the_parts_of_every_codec_s_payload_are_parts_of_it(codec_id, example):
    codec = build(codec_id, example)
    for sent in codec.encode(taken_batch(codec)):
        book = ledger(sent, codec)
        assert book.payload_bits >= 0
        if sent.kind is PayloadKind.BYTES:
            assert book.wire_bits + book.fec_bits == sent.num_bits
        plain = ledger(sent)
        assert (plain.wire_bits, plain.side_bits, plain.table_bits) == (book.wire_bits + book.fec_bits, 0, 0)


def test_parts_of_codecs_that_tell():
    x = torch.arange(105.0).reshape(1, 3, 7, 5) % 7
    one = ledger(fc.get_codec("bitpack:bits=4").encode(x)[0], fc.get_codec("bitpack:bits=4"))
    assert (one.side_bits, one.table_bits, one.payload_bits) == (64, 0, 8 * 53)
    maps = fc.get_codec("bitpack:bits=4,axis=map")
    assert ledger(maps.encode(x)[0], maps).side_bits == 3 * 64
    assert ledger(maps.encode(x * 0)[0], maps).side_bits == 3 * 32 == 32 * 3 + ledger(maps.encode(x * 0)[0], maps).payload_bits
    step = fc.get_codec("huffman:step=0.5")
    assert ledger(step.encode(x)[0], step).side_bits == 8
    auto = fc.get_codec("auto:bits=3,axis=map")
    assert ledger(auto.encode(x)[0], auto).side_bits == 3 * 64


def test_the_table_of_ans_is_told():
    pytest.importorskip("constriction")
    codec = fc.get_codec("ans:bits=3")
    x = torch.arange(105.0).reshape(1, 3, 7, 5) % 7
    book = ledger(codec.encode(x)[0], codec)
    assert 8 * 4 < book.table_bits < 8 * 30
    assert book.payload_bits % 32 == 0
    assert ledger(codec.encode(x * 0)[0], codec).table_bits == 0


def test_a_codec_s_own_error_correction_counts_as_such():
    book = ledger(Parity().encode(torch.rand(1, 5))[0], Parity(), frame="none")
    assert (book.payload_bits, book.fec_bits, book.wire_bits, book.channel_bits) == (160, 160, 160, 320)
    outer = ledger(Parity().encode(torch.rand(1, 5))[0], Parity(), frame="none", code_rate=0.5)
    assert (outer.wire_bits, outer.channel_bits) == (160, 640)

    class Wrong(Parity):
        def payload_parts(self, payload, shape):
            return {"parity": 1}

    with pytest.raises(AssertionError, match=r"divides 320 bits into \{'parity': 1\}"):
        ledger(Wrong().encode(torch.rand(1, 5))[0], Wrong())


def test_the_papers_latencies():
    floats = packet(np.zeros(2048 * 4, np.uint8), (2048,))
    book = ledger(floats, frame="none")
    assert book.shannon_latency_s(1e6, 14.5) == pytest.approx(13.465e-3, rel=1e-4)
    assert 1 / (Ledger(1, 1, 0, 0, 0, 0, 0, "bpsk").shannon_latency_s(1e6, 14.5)) == pytest.approx(4.86710e6, rel=1e-5)
    png = packet(np.zeros(2254, np.uint8))
    assert ledger(png, frame="none").shannon_latency_s(1e6, 14.5) == pytest.approx(3.705e-3, rel=1e-3)
    analog = ledger(packet(np.zeros(32, np.float32)), frame="none")
    assert analog.latency_s(1e6) == analog.shannon_latency_s(1e6, 14.5) == 16e-6
    assert ledger(packet(np.zeros(33, np.float32)), frame="none").complex_uses == 17


def test_the_real_code_s_latency_and_the_papers_ratios():
    sent = packet(np.zeros(512, np.uint8), (8, 8, 64))
    book = ledger(sent, frame="none", modulation="16qam", code_rate=0.5)
    assert book.complex_uses == 2048
    assert book.latency_s(1e6) == 2048e-6
    assert ledger(sent, frame="none", block=(1944, 1620)).channel_bits == 3 * 1944
    assert ledger(sent, frame="none", code_rate=5 / 6).channel_bits == math.ceil(4096 * 6 / 5)
    assert book.bit_ratio == 32
    assert math.isnan(book.symbol_ratio)
    analog = ledger(packet(np.zeros(64, np.float32), (64, 8, 8)))
    assert analog.symbol_ratio == 64
    assert math.isnan(analog.bit_ratio)


def test_refusals():
    sent = packet(np.zeros(4, np.uint8))
    with pytest.raises(fc.FeatureError, match="BYTES or SYMBOLS, got LLR"):
        ledger(packet(np.zeros(4, np.int8)))
    for rate in (0, -1, 1.5, float("nan")):
        with pytest.raises(fc.ConfigError, match="code rate is above 0 and at most 1"):
            ledger(sent, code_rate=rate)
    with pytest.raises(fc.ConfigError, match="give code_rate or block"):
        ledger(sent, code_rate=0.5, block=(4, 2))
    with pytest.raises(fc.ConfigError, match=r"k of a block must be an integer 1\.\.4, got 5"):
        ledger(sent, block=(4, 5))
    with pytest.raises(fc.ConfigError, match="frame must be one of full, compact, none"):
        ledger(sent, frame="half")
    with pytest.raises(fc.ConfigError, match="modulation must be one of"):
        ledger(sent, modulation="fsk")
    with pytest.raises(fc.ConfigError, match="bandwidth_hz must be above 0, got 0"):
        ledger(sent).latency_s(0)
    with pytest.raises(fc.ConfigError, match="snr_db must be finite"):
        ledger(sent).shannon_latency_s(1.0, float("nan"))


def test_stats_count_channel_uses_and_never_take_analog_symbols_for_bits():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    x = torch.rand(5, 3, 8, 8)
    with torch.no_grad(), fc.insert(model, "1", Analog(), channel="awgn:psnr_db=20,modulation=qpsk") as cut:
        model(x)
    stats = cut.stats
    assert stats.real_symbols_per_sample == 144
    header = stats.bits_per_sample
    assert header <= 8 * 24
    assert stats.payload_bits_per_sample == 0
    assert stats.channel_uses_per_sample == 72 + header / 2
    assert stats.bpp is None
    assert math.isnan(stats.compression_ratio)
    assert math.isnan(stats.bpe)
    assert stats.to_dict()["compression_ratio"] is None
    with torch.no_grad(), fc.insert(model, "1", "half", channel="bsc:p=0+awgn:snr_db=40,modulation=64qam") as cut:
        model(x)
    assert cut.stats.channel_uses_per_sample == math.ceil(cut.stats.bits_per_sample / 6)
    assert cut.stats.real_symbols_per_sample == 0
    assert cut.stats.compression_ratio == pytest.approx(2, rel=0.1)
    with torch.no_grad(), fc.insert(model, "1", "half") as cut:
        model(x)
    assert cut.stats.channel_uses_per_sample is None
