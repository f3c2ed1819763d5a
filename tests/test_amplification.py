"""What a packet of some bytes may make a receiver allocate: bounded for every codec, and the receiver may say how much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import featcodec as fc

MB = 1 << 20
SHAPE = (64, 512, 512)  # 2^24 elements, 64 MB of float32
FLAT = (64, 1, 1 << 18)  # rows as long as maps: lanes of context coding are a row each
OUTPUT = 64 * MB

# Two processes forked from one for each case, so that neither's memory is the other's: one encodes, one decodes and measures.
MEASURE = """
import json, os, sys
import numpy as np
import torch
import featcodec as fc

torch.set_num_threads(1)

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))

def forked(work):
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(read)
        try:
            with os.fdopen(write, "wb") as out:
                out.write(work())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        data = file.read()
    os.wait()
    return data

def feature(kind, shape):
    x = torch.zeros(1, *shape)
    if kind == "spike":
        x.view(-1)[5] = 1.0
    if kind == "lines":
        x += torch.linspace(0, 1, shape[-1])
    return x

def sent(spec, kind, shape):
    return fc.get_codec(spec).encode_over(feature(kind, shape), None)[0].to_bytes()

def measure(spec, kind, shape, data):
    codec = fc.get_codec(spec)
    small = codec.encode_over(torch.rand(1, 4, 64, 64), None)
    codec.decode([p.to_bytes() for p in small])
    before = memory("VmRSS")
    y = codec.decode([data])
    peak = memory("VmHWM") - before
    assert kind != "lines" or torch.equal(y, codec.reconstruct(feature(kind, shape)))
    y = None
    return json.dumps([len(data), peak, memory("VmRSS") - before]).encode()

for case in json.loads(sys.argv[1]):
    data = forked(lambda: sent(*case))
    print(json.dumps([*case, *json.loads(forked(lambda: measure(*case, data)))]), flush=True)
"""


def measured(cases: list[tuple[str, str, tuple[int, ...]]]) -> list[list[Any]]:
    """[spec, kind, shape, bytes of the packet, peak above what was there before, what is kept] of each case."""
    # malloc gives large blocks back at once, so that what is kept is ours
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(MB), "MALLOC_TRIM_THRESHOLD_": str(MB)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(cases)], capture_output=True, text=True, timeout=600, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


CORE = ("huffman", "rans", "context", "auto")
CORE_SPECS = [f"{family}:{spec}" for family in CORE for spec in ("bits=8", "bits=12", "step=0.25")]
OTHERS = ("bitpack:bits=1", "ans:bits=8", "jpeg:quality=20", "png")
WIDE = ("context:bits=8", "context:bits=4", "context:bits=12", "context:step=0.01")
CASES = [
    *((spec, kind, SHAPE) for spec in (*CORE_SPECS, *OTHERS) for kind in ("zero", "spike")),
    *((spec, "spike", SHAPE) for spec in ("huffman:bits=8,axis=map", "context:bits=8,axis=map", "raw", "half")),
    *((spec, "lines", FLAT) for spec in WIDE),
]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_decoding_takes_twice_its_output_at_most_and_keeps_little():
    rows = measured(CASES)
    assert len(rows) == len(CASES)
    bad = [
        f"{spec} {kind} {size} bytes: peak {peak / MB:.0f} MB, kept {kept / MB:.0f} MB"
        for spec, kind, _, size, peak, kept in rows
        if peak > 2 * OUTPUT + 32 * MB or kept > 12 * MB  # 8 in buffers, and tables
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
