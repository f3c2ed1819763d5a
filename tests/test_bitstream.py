"""The packet format, byte by byte, and every refusal of its parser."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec.bitstream import MAX_ELEMENTS, Packet, PayloadKind
from tests import reference

PAYLOAD = np.array([1, 2, 3], np.uint8)


def packet(shape=(8, 7, 5), payload=PAYLOAD, kind=PayloadKind.BYTES, dtype="float32", crc=0x12345678) -> Packet:
    return Packet(shape, dtype, kind, crc, payload)


def test_a_packet_byte_by_byte():
    head = bytes.fromhex("4643 13 00 08 07 05 78563412 03")
    assert packet().to_bytes() == head + struct.pack("<I", reference.crc32c(head)) + b"\1\2\3"


def test_a_packet_with_checksum_large_dimension_and_half_floats_byte_by_byte():
    head = bytes.fromhex("4643 11 11 ac02 78563412 03")
    wanted = head + struct.pack("<I", reference.crc32c(head)) + b"\1\2\3" + struct.pack("<I", reference.crc32c(b"\1\2\3"))
    assert packet(shape=(300,), dtype="float16").with_checksum().to_bytes() == wanted


def test_a_compact_packet_byte_by_byte():
    session = bytes.fromhex("13 00 08 07 05 78563412")
    head = bytes.fromhex("c0 03")
    assert packet().to_bytes(compact=True) == head + struct.pack("<H", reference.crc32c(head + session) & 0xFFFF) + b"\1\2\3"


kinds = st.sampled_from([(PayloadKind.BYTES, np.uint8), (PayloadKind.SYMBOLS, np.float32), (PayloadKind.LLR, np.int8)])


@given(
    st.lists(st.integers(1, 300), max_size=3).map(tuple),
    kinds,
    st.sampled_from(["float32", "float16", "bfloat16"]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 300),
    st.booleans(),
)
def test_packets_round_trip_in_both_modes(shape, kind, dtype, crc, size, checked):
    payload = np.arange(size).astype(kind[1])
    sent = packet(shape, payload, kind[0], dtype, crc)
    sent = sent.with_checksum() if checked else sent
    for back in (
        Packet.from_bytes(sent.to_bytes()),
        Packet.from_bytes(sent.to_bytes(compact=True), like=packet(shape, payload, kind[0], dtype, crc)),
    ):
        assert (back.shape, back.dtype, back.kind, back.config_crc, back.checksum) == (
            shape,
            dtype,
            kind[0],
            crc,
            sent.checksum,
        )
        assert back.payload.dtype == payload.dtype
        assert np.array_equal(back.payload, payload)
    assert sent.num_bits == 8 * len(sent.to_bytes())
    assert sent.payload_bits == 8 * payload.nbytes


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_raise(data):
    for candidate in (data, b"FC" + data, b"\xc0" + data):
        for like in (None, packet()):
            try:
                Packet.from_bytes(candidate, like)
            except fc.BitstreamError:
                continue


def test_header_is_at_most_24_bytes_for_four_dimensions_below_64_kib():
    for shape in ((1, 127, 128, 1), (64, 16, 16, 1), (128, 128, 1, 1), (16384, 1, 1, 1)):
        size = 65535
        sent = packet(shape, np.zeros(size, np.uint8)).with_checksum()
        assert len(sent.to_bytes()) - size <= 24 + 4
        assert len(packet(shape, np.zeros(size, np.uint8)).to_bytes()) - size <= 24


def test_compact_header_is_at_most_8_bytes_at_any_size():
    for size in (0, 200, 70_000, 1 << 21, 1 << 28):
        assert len(packet(payload=np.zeros(size, np.uint8)).to_bytes(compact=True)) - size <= 8


def _with_header_crc(head: bytes, rest: bytes = b"") -> bytes:
    return head + struct.pack("<I", reference.crc32c(head)) + rest


REFUSALS = {
    "begins with": b"XY123456",
    "truncated": b"FC\x13",
    "format version 2": _with_header_crc(bytes.fromhex("4643 23 00 08 07 05 78563412 00")),
    "name no dtype": _with_header_crc(bytes.fromhex("4643 13 03 08 07 05 78563412 00")),
    "no dtype, kind or rank": _with_header_crc(bytes.fromhex("4643 13 0c 08 07 05 78563412 00")),
    "type bytes 0x13 0x20": _with_header_crc(bytes.fromhex("4643 13 20 08 07 05 78563412 00")),
    "type bytes 0x19": _with_header_crc(bytes.fromhex("4643 19 00 01 01 01 01 01 01 01 01 01 78563412 00")),
    "at least 1": _with_header_crc(bytes.fromhex("4643 13 00 08 00 05 78563412 00")),
    f"at most {MAX_ELEMENTS} elements": _with_header_crc(bytes.fromhex("4643 12 00 ffff7f ffff7f 78563412 00")),
    "shortest form": _with_header_crc(bytes.fromhex("4643 11 00 8800 78563412 00")),
    "varint of more than 5 bytes": b"FC\x11\x00\xff\xff\xff\xff\xff\xff",
    "header's checksum": bytes.fromhex("4643 11 00 08 78563412 00 00000000"),
    "payload and checksum take 3 bytes, 2 are left": _with_header_crc(bytes.fromhex("4643 11 00 08 78563412 03"), b"\1\2"),
    "takes 17 bytes, 18 came: 1 are left over": _with_header_crc(bytes.fromhex("4643 11 00 08 78563412 03"), b"\1\2\3\4"),
    "SYMBOLS payload cannot have 3 bytes": _with_header_crc(bytes.fromhex("4643 11 04 08 78563412 03"), b"\1\2\3"),
    "cannot have 4294967295 bytes": _with_header_crc(bytes.fromhex("4643 11 00 08 78563412 ffffffff0f")),
    "payload's checksum": _with_header_crc(bytes.fromhex("4643 11 10 08 78563412 03"), b"\1\2\3\0\0\0\0"),
    "pass like=": b"\xc0\x00\x12\x34",
}


@pytest.mark.parametrize("match", REFUSALS)
def test_refusals(match):
    with pytest.raises(fc.BitstreamError, match=match):
        Packet.from_bytes(REFUSALS[match])


def test_a_compact_packet_of_another_session_is_refused():
    data = packet().to_bytes(compact=True)
    for other in (packet(shape=(8, 7, 6)), packet(crc=1), packet(dtype="float16")):
        with pytest.raises(fc.BitstreamError, match="another session"):
            Packet.from_bytes(data, like=other)


def test_what_no_header_can_say_is_refused_when_built():
    for shape, match in (((0, 3), "at least 1"), ((1 << 14, 1 << 13), "elements"), ((1,) * 9, "dimensions")):
        with pytest.raises(fc.FeatureError, match=match):
            packet(shape=shape)
    with pytest.raises(TypeError, match="float64"):
        packet(dtype="float64")
    with pytest.raises(TypeError, match="1-D"):
        packet(payload=np.zeros((2, 2), np.uint8))
    with pytest.raises(TypeError, match="SYMBOLS payload"):
        packet(kind=PayloadKind.SYMBOLS)
    with pytest.raises(fc.FeatureError, match="config_crc"):
        packet(crc=-1)
    with pytest.raises(TypeError, match="bytes"):
        Packet.from_bytes("FC")


# ---- streams: several packets one behind another

packets = st.builds(
    lambda kind, size, checked, compact: (
        packet(payload=np.arange(size).astype(kind[1]), kind=kind[0], crc=size),
        checked,
        compact,
    ),
    kinds,
    st.integers(0, 200),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(packets, max_size=5), st.binary(max_size=5), st.sampled_from([bytes, bytearray, memoryview]))
def test_packets_one_behind_another_are_read_one_by_one(sent, before, buffer_type):
    sent = [(p.with_checksum() if checked else p, p, compact) for p, checked, compact in sent]
    parts = [p.to_bytes(compact) for p, _, compact in sent]
    buffer, offset = buffer_type(before + b"".join(parts)), len(before)
    for (wanted, like, _), part in zip(sent, parts, strict=True):
        found, end = Packet.read_from(buffer, offset, like=like)
        assert found.to_bytes() == wanted.to_bytes()
        assert end == offset + len(part)
        assert Packet.from_bytes(buffer[offset:end], like).to_bytes() == wanted.to_bytes()
        offset = end
    assert offset == len(buffer)
    with pytest.raises(fc.BitstreamError, match="begins with"):
        Packet.read_from(buffer, offset)


@given(packets)
def test_a_packet_cut_anywhere_is_refused_wherever_it_stands(case):
    plain, checked, compact = case
    data = (plain.with_checksum() if checked else plain).to_bytes(compact)
    for kept in range(len(data)):
        for read in (
            lambda cut: Packet.from_bytes(cut, plain),
            lambda cut: Packet.read_from(data + cut, len(data), like=plain),
        ):
            with pytest.raises(fc.BitstreamError, match=r"truncated|begins with"):
                read(data[:kept])


@given(packets, st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_packet_is_refused_or_has_other_payload(case, where, change):
    plain, checked, compact = case
    data = bytearray((plain.with_checksum() if checked else plain).to_bytes(compact))
    data[where % len(data)] ^= change
    try:
        found, end = Packet.read_from(data + b"more", like=plain)
    except fc.BitstreamError:
        return
    # 32 bits of a checksum tell all damage of one byte, 16 bits most; soft bits are wrong by nature and are not checked
    in_payload = end == len(data) and found.shape == plain.shape
    assert compact or (in_payload and (not checked or plain.kind is PayloadKind.LLR))


@pytest.mark.parametrize("offset", [-1, 1000, 1 << 70, -(1 << 70)])
def test_an_offset_outside_of_the_buffer_is_refused(offset):
    data = packet().to_bytes()
    with pytest.raises(ValueError, match=rf"must be 0\.\.{len(data)}, got {offset}"):
        Packet.read_from(data, offset)


def test_what_is_no_buffer_or_no_offset_is_refused():
    for buffer in ("FC", None, [70, 67]):
        with pytest.raises(TypeError, match="parsed from bytes"):
            Packet.read_from(buffer)
    for offset in (0.0, True, "0"):
        with pytest.raises(TypeError, match="offset is an integer"):
            Packet.read_from(packet().to_bytes(), offset)


def test_a_payload_outlives_its_buffer_and_views_of_any_kind_are_read():
    data = packet().to_bytes()
    buffer = bytearray(data + data)
    found, end = Packet.read_from(buffer, len(data))
    buffer[:] = bytes(len(buffer))
    assert (found.payload.tolist(), end) == ([1, 2, 3], 2 * len(data))
    spread = np.zeros((len(data), 2), np.uint8)
    spread[:, 0] = list(data)
    words = np.frombuffer(data.ljust(20, b"\0"), "<u4")  # a view of words counts in bytes all the same
    assert Packet.read_from(memoryview(spread[:, 0]))[1] == Packet.read_from(memoryview(words))[1] == len(data)
    assert Packet.from_bytes(memoryview(spread[:, 0])).to_bytes() == data
    with pytest.raises(fc.BitstreamError, match="begins with 'FC' or a compact tag, got b''"):
        Packet.read_from(memoryview(np.zeros((0, 3))))
