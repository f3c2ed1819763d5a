"""What a packet of some bytes may make a receiver allocate: bounded for every codec, and the receiver may say how much."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import featcodec as fc
from benchmarks.memory import MB, PEAK_FACTOR, PEAK_OFFSET, measured

SHAPE = (64, 512, 512)  # 2^24 elements, 64 MB of float32
FLAT = (64, 1, 1 << 18)  # rows as long as maps: lanes of context coding are a row each
OUTPUT = 64 * MB

CORE = ("huffman", "rans", "context", "auto")
CORE_SPECS = [f"{family}:{spec}" for family in CORE for spec in ("bits=8", "bits=12", "step=0.25")]
OTHERS = ("bitpack:bits=1", "ans:bits=8", "jpeg:quality=20", "png")
WIDE = ("context:bits=8", "context:bits=4", "context:bits=12", "context:step=0.01")
CASES = [
    *((spec, kind, SHAPE) for spec in (*CORE_SPECS, *OTHERS) for kind in ("zero", "spike")),
    *((spec, "spike", SHAPE) for spec in ("huffman:bits=8,axis=map", "context:bits=8,axis=map", "raw", "half")),
    *((spec, "lines", FLAT) for spec in WIDE),
    *(("context:step=0.25,axis=map,maps=8", kind, (8, 1024, 2048)) for kind in ("spike", "lines")),
]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_decoding_takes_twice_its_output_at_most_and_keeps_little():
    rows = measured(CASES)
    assert len(rows) == len(CASES)
    bad = [
        f"{spec} {kind} {size} bytes: peak {peak / MB:.0f} MB, kept {kept / MB:.0f} MB"
        for spec, kind, _, size, peak, kept in rows
        if peak > PEAK_FACTOR * OUTPUT + PEAK_OFFSET or kept > 12 * MB  # 8 in buffers, and tables
    ]
    assert not bad, "\n".join(bad)


def test_a_receiver_says_how_many_elements_it_takes():
    x = torch.randn(2, 8, 7, 5)
    for spec in ("huffman:bits=8", "bitpack", "half", "jpeg"):
        codec = fc.get_codec(spec)
        packets = codec.encode(x)
        wanted = codec.decode(packets)
        for given in (packets, [p.to_bytes() for p in packets]):
            assert torch.equal(codec.decode(given, max_elements=280), wanted)
            with pytest.raises(fc.BitstreamError, match=r"a packet claims 280 elements, .*; at most 279 are taken"):
                codec.decode(given, max_elements=279)
        compact = packets[0].to_bytes(compact=True)
        assert fc.Packet.from_bytes(compact, packets[1], max_elements=280).shape == (8, 7, 5)
        with pytest.raises(fc.BitstreamError, match="at most 10 are taken"):
            fc.Packet.from_bytes(compact, packets[1], max_elements=10)
        with pytest.raises(fc.BitstreamError, match="at most 10 are taken"):
            codec.decode([compact], like=packets[1], max_elements=10)
    with pytest.raises(ValueError, match="max_elements must be an integer of at least 1, got 0"):
        codec.decode(packets, max_elements=0)


def test_a_claim_beyond_what_is_taken_is_refused_before_the_payload_is_looked_at():
    codec = fc.get_codec("huffman:bits=8")
    packet = fc.Packet((1 << 13, 1 << 13), "float32", fc.PayloadKind.BYTES, codec.config_crc(), np.zeros(4, np.uint8))
    with pytest.raises(fc.BitstreamError, match="claims 67108864 elements"):
        codec.decode([packet], max_elements=1 << 20)
