"""Session form: items against what a hello agreed on. Sizes by hand, one test for each refusal."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec._core import crc32c
from featcodec.bitstream import Packet, PayloadKind
from featcodec.message import Message, PlainTensor
from featcodec.session import AgreedPackets, AgreedSize, AgreedTensor, Session

NAME = bytes(range(16))
CODEC = fc.get_codec("bitpack", bits=3).eval()
PACKETS = AgreedPackets((7, 5), "float32", CODEC.payload_kind, CODEC.config_crc())
OPEN_PACKETS = AgreedPackets((-1, 5), "float32", CODEC.payload_kind, CODEC.config_crc())


def packets(samples=2, shape=(7, 5)):
    generator = torch.Generator().manual_seed(0)
    return tuple(CODEC.encode(torch.randn(samples, *shape, generator=generator)))


def same(a, b) -> bool:
    if isinstance(a, tuple):
        return [p.to_bytes() for p in a] == [p.to_bytes() for p in b]
    if isinstance(a, PlainTensor):
        return (a.dtype, a.shape, a.data.tolist()) == (b.dtype, b.shape, b.data.tolist())
    return a == b


CASES = [
    (PACKETS, packets()),
    (OPEN_PACKETS, packets(3, (200, 5))),
    (AgreedTensor("float32", (2, -1)), PlainTensor.of(np.arange(6, dtype=np.float32).reshape(2, 3))),
    (AgreedTensor("bool", (-1, 5)), PlainTensor.of(np.array([[True, False, True, True, False]] * 2))),
    (AgreedTensor("int64", (-1,)), PlainTensor.of(np.empty(0, np.int64))),
    (AgreedTensor("int32", ()), PlainTensor.of(np.array(7, np.int32))),
    (AgreedSize(), 300),
]


@pytest.mark.parametrize(("agreed", "item"), CASES)
def test_an_item_comes_back(agreed, item):
    session = Session(NAME, (agreed, AgreedSize()))
    back, size = session.from_bytes(session.to_bytes([item, 5]))
    assert same(item, back)
    assert size == 5


def test_sizes_by_hand():
    sent = packets(2)
    payload = sent[0].payload.nbytes
    assert payload < 128
    session = Session(NAME, (PACKETS,))
    # the number of packets; for each a tag, a length and two bytes of checksum; the body's checksum
    assert len(session.to_bytes([sent])) == 1 + 2 * (4 + payload) + 4
    assert len(Session(NAME, (OPEN_PACKETS,)).to_bytes([sent])) == 1 + 1 + 2 * (4 + payload) + 4
    assert len(Message(0, (sent,)).to_bytes()) > len(session.to_bytes([sent])) + 19
    tensor = AgreedTensor("float32", (2, -1)), PlainTensor.of(np.zeros((2, 200), np.float32))
    assert len(Session(NAME, tensor[:1]).to_bytes(tensor[1:])) == 2 + 1600 + 4


def test_a_packet_of_soft_bits_is_full_and_is_read():
    one = packets(1)[0]
    soft = Packet(one.shape, one.dtype, PayloadKind.LLR, one.config_crc, np.ones(8, np.int8))
    session = Session(NAME, (PACKETS,))
    body = session.to_bytes([(one, soft)])
    assert [p.kind for p in session.from_bytes(body)[0]] == [PayloadKind.BYTES, PayloadKind.LLR]


def body(items: bytes, name: bytes = NAME) -> bytes:
    return items + struct.pack("<I", crc32c(name + items))


REFUSED = [
    (PACKETS, b"", "a body has at least 4 bytes, got 0"),
    (PACKETS, body(b"\x00"), "1..65536 packets make an item, it claims 0"),
    (PACKETS, body(b"\x01"), "a packet begins with"),
    (
        PACKETS,
        body(b"\x01" + packets(1, (5, 7))[0].to_bytes()),
        r"packet 0 is float32 \(5, 7\), the session's are",
    ),
    (PACKETS, body(b"\x01" + packets(1, (5, 7))[0].to_bytes(compact=True)), "another session"),
    (PACKETS, body(b"\xff\x01" + b"\xc0"), "8925 elements, 1000 are left"),
    (OPEN_PACKETS, body(b"\x01\xff\xff\xff\xff\x01"), "at most 67108864 elements, got 2684354555"),
    (OPEN_PACKETS, body(b"\x01\x00"), "no packet has the sizes that came"),
    (AgreedTensor("int8", (-1, -1)), body(b"\x02\x02abc"), "a tensor's values takes 4 bytes, 3 are left"),
    (AgreedTensor("int8", (-1,)), body(b"\x02abc"), "the items take 3 bytes, 1 are left over"),
    (AgreedTensor("bool", (3,)), body(b"\x01"), "bits behind a tensor of bools are not zero"),
    (AgreedSize(), body(b""), "an integer takes 1 bytes, 0 are left"),
    (AgreedSize(), body(b"\x05", bytes(16)), "damaged, or of another session"),
]


@pytest.mark.parametrize(("agreed", "data", "said"), REFUSED)
def test_what_is_no_body_is_refused(agreed, data, said):
    with pytest.raises(fc.BitstreamError, match=said):
        Session(NAME, (agreed,)).from_bytes(data, max_elements=1000)


@pytest.mark.parametrize(
    ("agreed", "item", "said"),
    [
        (PACKETS, 5, "packets here, got the integer 5"),
        (PACKETS, (), "packets here, got 0 packets"),
        (PACKETS, packets(1, (5, 7)), r"shapes \(7, 5\) here \(-1: any size\), got \(5, 7\)"),
        (
            AgreedTensor("int8", (3,)),
            PlainTensor.of(np.zeros(3, np.int16)),
            "of int8 here, got a plain tensor, int16",
        ),
        (AgreedTensor("int8", (3,)), PlainTensor.of(np.zeros(4, np.int8)), r"shapes \(3,\)"),
        (AgreedSize(), packets(1), "an integer here, got 1 packets"),
    ],
)
def test_what_was_not_agreed_on_is_not_written(agreed, item, said):
    with pytest.raises(fc.FeatureError, match=said):
        Session(NAME, (agreed,)).to_bytes([item])
    with pytest.raises(fc.FeatureError, match="sends 1 items, got 0"):
        Session(NAME, (agreed,)).to_bytes([])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_read_or_refused(data, signed):
    session = Session(NAME, (OPEN_PACKETS, AgreedTensor("bool", (-1,)), AgreedSize()))
    try:
        items = session.from_bytes(body(data) if signed else data, max_elements=1000)
    except fc.BitstreamError:
        return
    assert session.from_bytes(session.to_bytes(items))
