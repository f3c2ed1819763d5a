"""The session form of a message: items against what two sides agreed on when a session opened.

Shapes, dtypes, kinds and configs are not sent again. The format is normative in docs/runtime.md. NumPy and the core only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from featcodec._core import crc32c
from featcodec.bitstream import Cursor, Packet, PayloadKind, flat_bytes, varint
from featcodec.errors import BitstreamError, FeatureError
from featcodec.message import (
    MAX_MESSAGE_ELEMENTS,
    MAX_SAMPLES,
    Item,
    PlainTensor,
    check_left,
    read_values,
    values_of,
)

OPEN = -1  # in place of a size that each request brings

_CRC = struct.Struct("<I")
_EMPTY = {kind: np.empty(0, dtype) for kind, dtype in zip(PayloadKind, (np.uint8, np.dtype("<f4"), np.int8), strict=True)}


class Agreed(Protocol):
    """What both sides know of an item before it is sent."""

    def write(self, item: Item) -> bytes:
        """Return an item in session form; FeatureError where it is another one."""

    def read(self, cursor: Cursor, left: int) -> tuple[Item, int]:
        """Return an item, and how many elements it has; BitstreamError where it is none."""


@dataclass(frozen=True)
class AgreedPackets:
    """Packets of one codec.

    Attributes
    ----------
    shape
        Of one sample; `OPEN` in place of a size that each request brings.
    dtype, kind, config_crc
        As in every packet's header.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: PayloadKind
    config_crc: int

    def write(self, item: Item) -> bytes:
        """Return their number, the open sizes, and the packets: compact where they are of the session."""
        if not isinstance(item, tuple) or not 1 <= len(item) <= MAX_SAMPLES:
            raise FeatureError(f"the session sends 1..{MAX_SAMPLES} packets here, got {_kind(item)}")
        like = _like(self, item[0].shape)
        front = varint(len(item)) + _open_sizes(self.shape, item[0].shape)
        return front + b"".join(p.to_bytes(compact=_alike(p, like)) for p in item)

    def read(self, cursor: Cursor, left: int) -> tuple[Item, int]:
        """Return the packets, all of one shape, and their elements."""
        count = cursor.varint("the number of packets")
        if not 1 <= count <= MAX_SAMPLES:
            raise BitstreamError(f"1..{MAX_SAMPLES} packets make an item, it claims {count}")
        like = _like(self, _read_shape(cursor, self.shape))
        check_left(count * like.num_elements, left)
        packets: list[Packet] = []
        for i in range(count):
            packet, cursor.position = Packet.read_from(cursor.data, cursor.position, like)
            if packet.shape != like.shape or packet.dtype != like.dtype:
                raise BitstreamError(
                    f"packet {i} is {packet.dtype} {packet.shape}, the session's are {like.dtype} {like.shape}"
                )
            packets.append(packet)
        return tuple(packets), count * like.num_elements


@lru_cache(maxsize=256)
def _like(agreed: AgreedPackets, shape: tuple[int, ...]) -> Packet:
    """The session's packet."""
    try:
        return Packet(shape, agreed.dtype, agreed.kind, agreed.config_crc, _EMPTY[agreed.kind])
    except FeatureError as e:
        raise BitstreamError(f"no packet has the sizes that came: {e}") from e


@dataclass(frozen=True)
class AgreedTensor:
    """A plain tensor.

    Attributes
    ----------
    dtype
        By name.
    shape
        With every axis; `OPEN` in place of a size that each request brings.
    """

    dtype: str
    shape: tuple[int, ...]

    def write(self, item: Item) -> bytes:
        """Return the open sizes and the values."""
        if not isinstance(item, PlainTensor) or item.dtype != self.dtype:
            raise FeatureError(f"the session sends a plain tensor of {self.dtype} here, got {_kind(item)}")
        return _open_sizes(self.shape, item.shape) + values_of(item)

    def read(self, cursor: Cursor, left: int) -> tuple[Item, int]:
        """Return the tensor and its elements."""
        tensor = read_values(cursor, self.dtype, _read_shape(cursor, self.shape), left)
        return tensor, int(np.prod(tensor.shape, dtype=np.int64))


@dataclass(frozen=True)
class AgreedSize:
    """A size that the tail cannot see in a tensor."""

    def write(self, item: Item) -> bytes:
        """Return the integer."""
        if not isinstance(item, int):
            raise FeatureError(f"the session sends an integer here, got {_kind(item)}")
        return varint(item)

    def read(self, cursor: Cursor, left: int) -> tuple[Item, int]:
        """Return the integer, which has no elements."""
        return cursor.varint("an integer"), 0


@dataclass(frozen=True)
class Session:
    """What two sides agreed on.

    Attributes
    ----------
    name
        16 bytes that stand for it: the fingerprint of its hello. Bodies of another session fail their checksum.
    items
        What each request brings, in order.
    """

    name: bytes
    items: tuple[Agreed, ...]

    def to_bytes(self, items: Sequence[Item]) -> bytes:
        """Return a request's items in session form.

        Raises
        ------
        FeatureError
            They are not those that were agreed on.
        """
        if len(items) != len(self.items):
            raise FeatureError(f"the session sends {len(self.items)} items, got {len(items)}")
        body = b"".join(agreed.write(item) for agreed, item in zip(self.items, items, strict=True))
        return body + _CRC.pack(crc32c(body, crc32c(self.name)))

    def from_bytes(self, data: bytes | bytearray | memoryview, *, max_elements: int = MAX_MESSAGE_ELEMENTS) -> tuple[Item, ...]:
        """Parse what `to_bytes` wrote.

        Parameters
        ----------
        max_elements
            The most elements that all tensors together may have.

        Raises
        ------
        BitstreamError
            The bytes are no whole, undamaged body of this session, or claim too much.
        """
        whole = flat_bytes(data)
        if len(whole) < _CRC.size:
            raise BitstreamError(f"truncated: a body has at least {_CRC.size} bytes, got {len(whole)}")
        body = whole[: -_CRC.size]
        (promised,) = _CRC.unpack(whole[-_CRC.size :])
        if (found := crc32c(body, crc32c(self.name))) != promised:
            raise BitstreamError(
                f"the body's checksum is {found:#010x}, the body says {promised:#010x}: damaged, or of another session"
            )
        cursor = Cursor(body, 0)
        items: list[Item] = []
        for agreed in self.items:
            item, elements = agreed.read(cursor, max_elements)
            items.append(item)
            max_elements -= elements
        if cursor.position != len(body):
            raise BitstreamError(f"the items take {cursor.position} bytes, {len(body) - cursor.position} are left over")
        return tuple(items)


def _alike(packet: Packet, like: Packet) -> bool:
    fields = (packet.shape, packet.dtype, packet.kind, packet.config_crc)
    return fields == (like.shape, like.dtype, like.kind, like.config_crc)


def _open_sizes(agreed: tuple[int, ...], shape: tuple[int, ...]) -> bytes:
    """The sizes of a shape that were left open."""
    if len(agreed) != len(shape) or any(a not in (OPEN, b) for a, b in zip(agreed, shape, strict=True)):
        raise FeatureError(f"the session sends shapes {agreed} here (-1: any size), got {shape}")
    return b"".join(varint(b) for a, b in zip(agreed, shape, strict=True) if a == OPEN)


def _read_shape(cursor: Cursor, agreed: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(cursor.varint("an open size") if size == OPEN else size for size in agreed)


def _kind(item: Item) -> str:
    if isinstance(item, PlainTensor):
        return f"a plain tensor, {item.dtype} {item.shape}"
    return f"{len(item)} packets" if isinstance(item, tuple) else f"the integer {item}"
