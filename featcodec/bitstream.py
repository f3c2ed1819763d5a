"""Packet: what is sent for one sample. The header's bytes, and the parser that believes none of them unchecked.

The format is normative in docs/bitstream.md.
"""

from __future__ import annotations

import enum
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from featcodec._core import crc32c
from featcodec.errors import BitstreamError, FeatureError, FeatureTypeError

VERSION = 1
MAX_DIMS = 8
MAX_ELEMENTS = 1 << 26
MAX_PAYLOAD_BYTES = (1 << 28) + (1 << 20)

_MAGIC = b"FC"
_COMPACT_TAG = 0xC0
_CHECKSUM_FLAG = 0x10
_DTYPES = ("float32", "float16", "bfloat16")
_DTYPE_CODES = {name: code for code, name in enumerate(_DTYPES)}


class PayloadKind(enum.IntEnum):
    """What a payload's items are."""

    BYTES = 0  # uint8: entropy-coded or raw bytes
    SYMBOLS = 1  # float32: channel symbols of an analog codec
    LLR = 2  # int8: soft bits as a channel delivers them; positive means 0, 0 means erased


_PAYLOAD_DTYPES = {PayloadKind.BYTES: "u1", PayloadKind.SYMBOLS: "<f4", PayloadKind.LLR: "i1"}


@dataclass(frozen=True, eq=False)
class Packet:
    """One sample's bytes on the wire: a checked header and a 1-D payload.

    Attributes
    ----------
    shape
        Shape of the sample, without the batch axis; at most 8 dimensions, at most 2^26 elements.
    dtype
        The feature's, by name: "float32", "float16" or "bfloat16". Decoding gives it back.
    kind
        What the payload's items are.
    config_crc
        CRC-32C of the codec's config and integer state; a codec of another config refuses the packet.
    payload
        1-D: BYTES uint8, SYMBOLS float32, LLR int8.
    checksum
        CRC-32C of the payload where the sender asked for one (`with_checksum`); checked on parsing and decoding.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: PayloadKind
    config_crc: int
    payload: np.ndarray[Any, np.dtype[Any]]
    checksum: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no header can say."""
        check_shape(self.shape)
        if not isinstance(self.dtype, str) or self.dtype not in _DTYPE_CODES:
            raise FeatureTypeError(f"a packet carries float32, float16 or bfloat16, got {self.dtype!r}")
        if not 0 <= self.config_crc < 1 << 32:
            raise FeatureError(f"config_crc must be an unsigned 32-bit integer, got {self.config_crc}")
        wanted = np.dtype(_PAYLOAD_DTYPES[self.kind])
        if not isinstance(self.payload, np.ndarray) or self.payload.ndim != 1 or self.payload.dtype != wanted:
            got = f"{self.payload.dtype} {self.payload.shape}" if isinstance(self.payload, np.ndarray) else type(self.payload)
            raise FeatureTypeError(f"a {self.kind.name} payload is a 1-D {wanted} array, got {got}")
        if self.kind is not PayloadKind.LLR and self.payload.nbytes > MAX_PAYLOAD_BYTES:
            raise FeatureError(f"a payload holds at most {MAX_PAYLOAD_BYTES} bytes, got {self.payload.nbytes}")

    def with_checksum(self) -> Packet:
        """Return this packet with the checksum of its payload: four more bytes that tell damage from data."""
        return replace(self, checksum=crc32c(self.payload.tobytes()))

    def verify(self) -> None:
        """Raise BitstreamError where the packet carries a checksum and its payload does not match it."""
        if self.checksum is None or self.kind is PayloadKind.LLR:
            return
        found = crc32c(self.payload.tobytes())
        if found != self.checksum:
            raise BitstreamError(f"the payload's checksum is {found:#010x}, the packet says {self.checksum:#010x}: damaged")

    def to_bytes(self, compact: bool = False) -> bytes:
        """Return the packet as it is sent: the only definition of its size.

        Parameters
        ----------
        compact
            Leave out what a session has agreed on (shape, dtype, kind, config): at most 8 bytes of header. The receiver
            passes a packet of the session as `like`.
        """
        body = self.payload.astype(_PAYLOAD_DTYPES[self.kind], copy=False).tobytes()
        trailer = b"" if self.checksum is None else struct.pack("<I", self.checksum)
        return self._header(compact, len(body)) + body + trailer

    @classmethod
    def from_bytes(
        cls, data: bytes | bytearray | memoryview, like: Packet | None = None, *, max_elements: int | None = None
    ) -> Packet:
        """Parse what `to_bytes` wrote.

        Parameters
        ----------
        data
            Exactly one packet.
        like
            A packet of the same session: whence a compact packet takes its shape, dtype, kind and config_crc.
        max_elements
            The most elements that the sample may have; 2^26 unless given. A few bytes may claim as many as are allowed, and
            decoding makes them.

        Raises
        ------
        BitstreamError
            The bytes are no whole, undamaged packet, or claim too many elements; the message says what came and what was
            wanted.
        """
        packet, end = cls.read_from(data, like=like, max_elements=max_elements)
        size = memoryview(data).nbytes
        if end != size:
            raise BitstreamError(f"the packet takes {end} bytes, {size} came: {size - end} are left over")
        return packet

    @classmethod
    def read_from(
        cls,
        buffer: bytes | bytearray | memoryview,
        offset: int = 0,
        like: Packet | None = None,
        *,
        max_elements: int | None = None,
    ) -> tuple[Packet, int]:
        """Parse one packet that stands somewhere in a buffer; whatever follows it is not looked at.

        Several packets, one behind another, are read by handing each call the offset that the one before gave, until it is the
        buffer's size.

        Parameters
        ----------
        buffer
            Any bytes. The packet's payload is a copy: it outlives the buffer.
        offset
            Where the packet begins, in bytes.
        like, max_elements
            As for `from_bytes`. Full and compact packets may stand in one buffer.

        Returns
        -------
        tuple
            The packet, and the offset of the byte behind it.

        Raises
        ------
        BitstreamError
            The bytes from `offset` on do not begin with a whole, undamaged packet.
        FeatureTypeError, FeatureError
            `buffer` is no bytes, `offset` no integer; `offset` lies outside of the buffer.
        """
        limit = _limit(max_elements)
        cursor = Cursor(flat_bytes(buffer), offset)
        front = cursor.peek(2)
        if front == _MAGIC:
            packet = _parse_full(cursor, limit)
        elif front[:1] and front[0] & ~0x01 == _COMPACT_TAG:
            if like is None:
                raise BitstreamError("a compact packet needs a packet of its session: pass like=")
            packet = _parse_compact(cursor, like, limit)
        else:
            raise BitstreamError(f"a packet begins with 'FC' or a compact tag, got {front!r}")
        return packet, cursor.position

    @property
    def num_bits(self) -> int:
        """Size in bits, header and all: 8 * len(to_bytes())."""
        return 8 * self.payload.nbytes + self.frame_bits

    @property
    def payload_bits(self) -> int:
        """Size in bits without the header and the checksum."""
        return 8 * self.payload.nbytes

    @property
    def frame_bits(self) -> int:
        """Bits of the header and the checksum: all but the payload's."""
        # magic and type bytes, the dimensions, the config's checksum, the payload's length, the header's checksum
        size = 4 + _varints_size(self.shape) + 4 + _varint_size(self.payload.nbytes) + 4
        return 8 * (size if self.checksum is None else size + 4)

    @property
    def num_elements(self) -> int:
        """Elements of the sample."""
        return math.prod(self.shape)

    def _session(self) -> bytes:
        """The header's fields that do not change from packet to packet."""
        head = bytes([VERSION << 4 | len(self.shape), _DTYPE_CODES[self.dtype] | self.kind << 2])
        return head + b"".join(varint(dim) for dim in self.shape) + struct.pack("<I", self.config_crc)

    def _header(self, compact: bool, payload_bytes: int) -> bytes:
        flag = 0 if self.checksum is None else 1
        size = varint(payload_bytes)
        if compact:
            head = bytes([_COMPACT_TAG | flag]) + size
            return head + struct.pack("<H", crc32c(head + self._session()) & 0xFFFF)
        session = bytearray(self._session())
        session[1] |= _CHECKSUM_FLAG * flag
        head = _MAGIC + bytes(session) + size
        return head + struct.pack("<I", crc32c(head))


def name_of(config: Mapping[str, Any], integers: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> int:
    """Return a packet's config_crc: the CRC-32C of a config's canonical JSON and of a state's integer arrays, in order."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    crc = crc32c(text.encode())
    for name, array in integers.items():
        crc = crc32c(name.encode() + array.tobytes(), crc)
    return crc


def parse_batch(packets: Sequence[Packet | bytes], like: Packet | None, max_elements: int | None = None) -> list[Packet]:
    """Return packets of one shape and dtype and at most so many elements, parsed where they are bytes, their checksums checked.

    Raises
    ------
    FeatureTypeError
        They are not several, but one packet.
    FeatureError
        There are none.
    BitstreamError
        One is damaged, too large, or not of the first one's shape and dtype.
    """
    if isinstance(packets, (Packet, bytes, bytearray, memoryview)):
        raise FeatureTypeError("decode takes a list of packets; put the one packet into a list")
    parsed = [p if isinstance(p, Packet) else Packet.from_bytes(p, like, max_elements=max_elements) for p in packets]
    if not parsed:
        raise FeatureError("there must be at least one packet to decode")
    first = parsed[0]
    for i, packet in enumerate(parsed):
        if (packet.shape, packet.dtype) != (first.shape, first.dtype):
            raise BitstreamError(
                f"one batch holds one shape and dtype: packet 0 is {first.shape} {first.dtype}, "
                f"packet {i} is {packet.shape} {packet.dtype}"
            )
        packet.verify()
    _check_elements(first.shape, _limit(max_elements))
    return parsed


def _limit(max_elements: int | None) -> int:
    """The elements that a sample may have."""
    if max_elements is None:
        return MAX_ELEMENTS
    if isinstance(max_elements, bool) or not isinstance(max_elements, int) or max_elements < 1:
        raise ValueError(f"max_elements must be an integer of at least 1, got {max_elements!r}")
    return max_elements


def _check_elements(shape: tuple[int, ...], limit: int) -> None:
    if math.prod(shape) > limit:
        raise BitstreamError(f"a packet claims {math.prod(shape)} elements, {shape}; at most {limit} are taken")


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise FeatureError where no packet can carry a sample of this shape."""
    if len(shape) > MAX_DIMS:
        raise FeatureError(f"a sample has at most {MAX_DIMS} dimensions, got {len(shape)}: {shape}")
    if any(dim < 1 for dim in shape):
        raise FeatureError(f"every dimension must be at least 1, got {shape}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise FeatureError(f"a sample has at most {MAX_ELEMENTS} elements, got {math.prod(shape)}: {shape}")


def check_batch_shape(shape: tuple[int, ...]) -> None:
    """Raise FeatureError where no batch of features has this shape; a batch of no samples is one."""
    if not 1 <= len(shape) <= MAX_DIMS:
        raise FeatureError(f"a feature has 1..{MAX_DIMS} dimensions, batch first, got {len(shape)}: {shape}")
    if math.prod(shape[1:]) == 0:
        raise FeatureError(f"a sample must not be empty, got shape {shape}")
    check_shape(shape[1:])


def flat_bytes(buffer: Any) -> bytes | memoryview:
    """The bytes of a buffer, not copied where they lie one behind another."""
    if isinstance(buffer, bytes):
        return buffer
    if not isinstance(buffer, (bytearray, memoryview)):
        raise FeatureTypeError(f"a packet is parsed from bytes, got {type(buffer).__name__}")
    view = memoryview(buffer)
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


class Cursor:
    """A position in untrusted bytes; every read is checked, and a copy."""

    def __init__(self, data: bytes | memoryview, offset: int) -> None:
        if isinstance(offset, bool) or not isinstance(offset, int):
            raise FeatureTypeError(f"an offset is an integer, got {offset!r}")
        if not 0 <= offset <= len(data):
            raise FeatureError(f"an offset into {len(data)} bytes must be 0..{len(data)}, got {offset}")
        self.data = data
        self.start = self.position = offset

    def peek(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end, and stay before them."""
        return bytes(self.data[self.position : self.position + size])

    def taken(self) -> bytes:
        """All that was read."""
        return bytes(self.data[self.start : self.position])

    def take(self, size: int, what: str) -> bytes:
        """Return the next bytes; BitstreamError, saying what they were to be, where fewer are left."""
        left = len(self.data) - self.position
        if size > left:
            raise BitstreamError(f"truncated: {what} takes {size} bytes, {left} are left")
        self.position += size
        return bytes(self.data[self.position - size : self.position])

    def varint(self, what: str) -> int:
        """Return the integer that comes next; BitstreamError where there is none in its shortest form."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1, what)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise BitstreamError(f"{what} is not written in its shortest form")
                return value
        raise BitstreamError(f"{what} is a varint of more than 5 bytes")

    def payload(self, kind: PayloadKind, size: int, flagged: bool) -> tuple[np.ndarray[Any, np.dtype[Any]], int | None]:
        """The rest of the packet: payload and, where flagged, its checksum."""
        dtype = np.dtype(_PAYLOAD_DTYPES[kind])
        if size > MAX_PAYLOAD_BYTES or size % dtype.itemsize:
            raise BitstreamError(f"a {kind.name} payload cannot have {size} bytes")
        left, wanted = len(self.data) - self.position, size + 4 * flagged
        if left < wanted:
            raise BitstreamError(f"truncated: payload and checksum take {wanted} bytes, {left} are left")
        payload = np.frombuffer(self.take(size, "the payload"), dtype)
        return payload, struct.unpack("<I", self.take(4, "the checksum"))[0] if flagged else None


def _parse_full(cursor: Cursor, limit: int) -> Packet:
    _, version_dims, codes = cursor.take(4, "the packet's first bytes")[1:]
    version, num_dims = version_dims >> 4, version_dims & 0x0F
    if version != VERSION:
        raise BitstreamError(f"the packet is of format version {version}, this featcodec reads version {VERSION}")
    dtype_code, kind_code, reserved = codes & 0x03, codes >> 2 & 0x03, codes >> 5
    if num_dims > MAX_DIMS or dtype_code >= len(_DTYPES) or kind_code >= len(PayloadKind) or reserved:
        raise BitstreamError(f"the header's type bytes {version_dims:#04x} {codes:#04x} name no dtype, kind or rank")
    shape = tuple(cursor.varint("a dimension") for _ in range(num_dims))
    (config_crc,) = struct.unpack("<I", cursor.take(4, "the config's checksum"))
    size = cursor.varint("the payload's length")
    head = cursor.taken()
    (wanted,) = struct.unpack("<I", cursor.take(4, "the header's checksum"))
    found = crc32c(head)
    if found != wanted:
        raise BitstreamError(f"the header's checksum is {found:#010x}, the packet says {wanted:#010x}: damaged")
    try:
        check_shape(shape)
    except FeatureError as e:
        raise BitstreamError(str(e)) from e
    _check_elements(shape, limit)
    kind = PayloadKind(kind_code)
    payload, checksum = cursor.payload(kind, size, bool(codes & _CHECKSUM_FLAG))
    packet = Packet(shape, _DTYPES[dtype_code], kind, config_crc, payload, checksum)
    packet.verify()
    return packet


def _parse_compact(cursor: Cursor, like: Packet, limit: int) -> Packet:
    _check_elements(like.shape, limit)
    flagged = bool(cursor.take(1, "the compact tag")[0] & 0x01)
    size = cursor.varint("the payload's length")
    head = cursor.taken()
    (wanted,) = struct.unpack("<H", cursor.take(2, "the header's checksum"))
    found = crc32c(head + like._session()) & 0xFFFF
    if found != wanted:
        raise BitstreamError(f"the compact header's checksum is {found:#06x}, the packet says {wanted:#06x}: another session")
    payload, checksum = cursor.payload(like.kind, size, flagged)
    packet = replace(like, payload=payload, checksum=checksum)
    packet.verify()
    return packet


def varint(value: int) -> bytes:
    """Write an integer, 0 or more."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint_size(value: int) -> int:
    """How many bytes `varint` writes."""
    return max(1, (value.bit_length() + 6) // 7)


@lru_cache(maxsize=1024)
def _varints_size(values: tuple[int, ...]) -> int:
    return sum(map(_varint_size, values))
