"""The format of messages, byte by byte, and every refusal of its parser."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec.bitstream import Packet, PayloadKind
from featcodec.message import Message, PlainTensor
from tests import reference


def packet(value: int, shape=(2, 3), crc=7) -> Packet:
    return Packet(shape, "float32", PayloadKind.BYTES, crc, np.array([value], np.uint8))


def closed(body: bytes) -> bytes:
    return body + struct.pack("<I", reference.crc32c(body))


def test_a_message_byte_by_byte():
    plain = PlainTensor.of(np.array([[1, -2]], np.int16))
    mask = PlainTensor.of(np.array([1, 0, 1, 1, 0, 0, 0, 1, 1], bool))
    first = packet(5).to_bytes()
    wanted = b"FM\x01" + bytes.fromhex("78563412") + b"\x04"
    wanted += b"\x00\x02" + first + packet(6).to_bytes(compact=True)
    wanted += b"\x01\x03\x02\x01\x02" + b"\x01\x00\xfe\xff"
    wanted += b"\x01\x00\x01\x09" + bytes([0b10110001, 0b10000000])
    wanted += b"\x02\xac\x02"
    assert Message(0x12345678, ((packet(5), packet(6)), plain, mask, 300)).to_bytes() == closed(wanted)


def test_packets_of_several_shapes_and_configs_come_back():
    sent = (packet(1), packet(2, (4,)), packet(3), packet(4, crc=8))
    back = Message.from_bytes(Message(1, (sent,)).to_bytes()).items[0]
    assert [(p.shape, p.config_crc, *p.payload) for p in back] == [(p.shape, p.config_crc, *p.payload) for p in sent]


dtypes = st.sampled_from(["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64", "complex64"])


@given(st.integers(0, 2**32 - 1), dtypes, st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**35 - 1))
def test_tensors_and_integers_come_back(check, dtype, shape, integer):
    array = np.random.default_rng(check).integers(0, 2, shape).astype(dtype)
    back = Message.from_bytes(Message(check, (PlainTensor.of(array), integer)).to_bytes())
    assert (back.check, back.items[1]) == (check, integer)
    assert (back.items[0].dtype, back.items[0].shape) == (dtype, array.shape)
    assert np.array_equal(back.items[0].data.view(dtype).reshape(shape), array)


def test_any_byte_that_changes_is_seen():
    data = Message(1, ((packet(5),), PlainTensor.of(np.eye(2)), 3)).to_bytes()
    for at in range(len(data)):
        with pytest.raises(fc.BitstreamError):
            Message.from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(fc.BitstreamError):
            Message.from_bytes(data[:at])
    with pytest.raises(fc.BitstreamError):
        Message.from_bytes(data + b"\0")


@given(st.binary(max_size=60))
def test_any_bytes_with_a_right_checksum_parse_or_raise(data):
    for count in (1, 2):
        try:
            Message.from_bytes(closed(b"FM\x01\0\0\0\0" + bytes([count]) + data))
        except fc.BitstreamError:
            continue


FRONT = b"FM\x01\0\0\0\0"
REFUSALS = {
    "begins with 'FM'": closed(b"FX\x01\0\0\0\0\0"),
    "format version 2": closed(b"FM\x02\0\0\0\0\0"),
    "first bytes takes 7 bytes": b"FM\x01",
    "checksum is": FRONT + b"\0\0\0\0\0",
    "at most 256 items": closed(FRONT + b"\x81\x02"),
    "kind 0..2, got 3": closed(FRONT + b"\1\3"),
    "packets make an item, it claims 0": closed(FRONT + b"\1\0\0"),
    "it claims 65537": closed(FRONT + b"\1\0\x81\x80\x04"),
    "got 12 and 1": closed(FRONT + b"\1\1\x0c\1\0"),
    "got 0 and 17": closed(FRONT + b"\1\1\0\x11"),
    "claims 4294967296 elements": closed(FRONT + b"\1\1\1\1\x80\x80\x80\x80\x10"),
    "a tensor's values takes 5 bytes, 4 are left": closed(FRONT + b"\1\1\1\1\5abcd"),
    "behind a tensor of bools": closed(FRONT + b"\1\1\0\1\1\xc0"),
    "1 are left over": closed(FRONT + b"\1\2\0\0"),
    "shortest form": closed(FRONT + b"\1\2\x80\0"),
    "pass like=": closed(FRONT + b"\1\0\1\xc0\x01\x00\x00\x05"),
}


@pytest.mark.parametrize("match", REFUSALS)
def test_refusals(match):
    with pytest.raises(fc.BitstreamError, match=match):
        Message.from_bytes(REFUSALS[match])


def test_what_all_items_claim_together_is_limited():
    data = Message(0, ((packet(1), packet(2)), PlainTensor.of(np.zeros(4, bool)))).to_bytes()
    assert len(Message.from_bytes(data, max_elements=16).items) == 2
    with pytest.raises(fc.BitstreamError, match="claims 4 elements, 3 are left"):
        Message.from_bytes(data, max_elements=15)
    with pytest.raises(fc.BitstreamError, match="claims 12 elements, 11 are left"):
        Message.from_bytes(data, max_elements=11)


def test_what_no_message_can_say_is_refused_when_built():
    for check, items, match in (
        (-1, (), "check"),
        (0, (0,) * 257, "at most 256 items"),
        (0, ((),), "packets make an item, got 0"),
        (0, (-1,), "an integer in a message"),
        (0, (1 << 35,), "an integer in a message"),
    ):
        with pytest.raises(fc.FeatureError, match=match):
            Message(check, items)
    with pytest.raises(TypeError, match="float128"):
        PlainTensor("float128", (), np.zeros(16, np.uint8))
    with pytest.raises(fc.FeatureError, match="is 8 bytes, got uint8"):
        PlainTensor("float32", (2,), np.zeros(7, np.uint8))
    with pytest.raises(fc.FeatureError, match="at most 16 axes"):
        PlainTensor("bool", (1,) * 17, np.ones(1, np.uint8))
