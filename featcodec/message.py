"""Message: what crosses a cut in one call of the head: packets, plain tensors and integers, one checked piece of bytes.

The format is normative in docs/parts.md. NumPy and the core only: a device without torch writes messages, too.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcodec._core import crc32c
from featcodec.bitstream import Cursor, Packet, flat_bytes, varint
from featcodec.errors import BitstreamError, FeatureError, FeatureTypeError

VERSION = 1
MAX_ITEMS = 256
MAX_SAMPLES = 1 << 16
MAX_RANK = 16
MAX_INTEGER = (1 << 35) - 1  # what a varint holds
MAX_MESSAGE_ELEMENTS = 1 << 28

_MAGIC = b"FM"
_PACKETS, _TENSOR, _INTEGER = range(3)
_SIZES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
_NAMES = tuple(_SIZES)


@dataclass(frozen=True, eq=False)
class PlainTensor:
    """A tensor that is sent as it is.

    Attributes
    ----------
    dtype
        By name: bool, an integer type, float16, bfloat16, float32, float64, complex64 or complex128.
    shape
        With the batch axis where there is one; axes of size 0 are allowed.
    data
        1-D uint8: the values in row order, little-endian; one byte, 0 or 1, for each bool.
    """

    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Refuse what no message can say."""
        if self.dtype not in _SIZES:
            raise FeatureTypeError(f"a message carries {', '.join(_NAMES)}, got {self.dtype!r}")
        if len(self.shape) > MAX_RANK or any(not 0 <= dim <= MAX_INTEGER for dim in self.shape):
            raise FeatureError(f"a tensor in a message has at most {MAX_RANK} axes, got {self.shape}")
        wanted = math.prod(self.shape) * _SIZES[self.dtype]
        if self.data.dtype != np.uint8 or self.data.shape != (wanted,):
            raise FeatureError(f"{self.dtype} {self.shape} is {wanted} bytes, got {self.data.dtype} {self.data.shape}")

    @classmethod
    def of(cls, array: NDArray[Any]) -> PlainTensor:
        """Return a NumPy array as it is sent."""
        flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        return cls(array.dtype.name, array.shape, flat.view(np.uint8))


def array_of(tensor: PlainTensor) -> NDArray[Any]:
    """Return a plain tensor as an array, a copy; bfloat16, which NumPy has not, as float32."""
    if tensor.dtype == "bfloat16":
        widened: NDArray[Any] = (tensor.data.view("<u2").astype("<u4") << 16).view("<f4")
        return widened.astype(np.float32).reshape(tensor.shape)
    dtype = np.dtype(tensor.dtype)
    values: NDArray[Any] = tensor.data.view(dtype.newbyteorder("<")).astype(dtype)
    return values.reshape(tensor.shape)


Item: TypeAlias = "tuple[Packet, ...] | PlainTensor | int"


@dataclass(frozen=True, eq=False)
class Message:
    """What crosses in one call.

    Attributes
    ----------
    check
        32 bits of the fingerprint of head and tail: a tail of another head refuses the message.
    items
        In the order that head and tail agreed on when they were made. A tensor that a codec encoded: its packets, one a
        sample, at least one. Another tensor: a `PlainTensor`. A size that the tail cannot see: an integer, not negative.
    """

    check: int
    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        """Refuse what no message can say."""
        if not 0 <= self.check < 1 << 32:
            raise FeatureError(f"check must be an unsigned 32-bit integer, got {self.check}")
        if len(self.items) > MAX_ITEMS:
            raise FeatureError(f"a message has at most {MAX_ITEMS} items, got {len(self.items)}")
        for item in self.items:
            if isinstance(item, tuple) and not 1 <= len(item) <= MAX_SAMPLES:
                raise FeatureError(f"1..{MAX_SAMPLES} packets make an item, got {len(item)}")
            if isinstance(item, int) and not 0 <= item <= MAX_INTEGER:
                raise FeatureError(f"an integer in a message is 0..{MAX_INTEGER}, got {item}")

    def to_bytes(self) -> bytes:
        """Return the message as it is sent: the only definition of its size."""
        front = _MAGIC + bytes([VERSION]) + struct.pack("<I", self.check)
        body = front + varint(len(self.items)) + b"".join(_written(item) for item in self.items)
        return body + struct.pack("<I", crc32c(body))

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, *, max_elements: int = MAX_MESSAGE_ELEMENTS) -> Message:
        """Parse what `to_bytes` wrote.

        Parameters
        ----------
        max_elements
            The most elements that all tensors together may have. A packet of a few bytes may claim as many as are allowed,
            and decoding makes them.

        Raises
        ------
        BitstreamError
            The bytes are no whole, undamaged message, or claim too much; the error says what came and what was wanted.
        """
        whole = flat_bytes(data)
        body = whole[:-4]
        cursor = Cursor(body, 0)
        front = cursor.take(7, "a message's first bytes")
        if front[:2] != _MAGIC:
            raise BitstreamError(f"a message begins with 'FM', got {front[:2]!r}")
        if front[2] != VERSION:
            raise BitstreamError(f"the message is of format version {front[2]}, this featcodec reads version {VERSION}")
        (wanted,) = struct.unpack("<I", whole[-4:])
        if (found := crc32c(body)) != wanted:
            raise BitstreamError(f"the message's checksum is {found:#010x}, the message says {wanted:#010x}: damaged")
        count = cursor.varint("the number of items")
        if count > MAX_ITEMS:
            raise BitstreamError(f"a message has at most {MAX_ITEMS} items, it claims {count}")
        items: list[Item] = []
        left = max_elements
        for _ in range(count):
            item, elements = _read(cursor, left)
            items.append(item)
            left -= elements
        if cursor.position != len(body):
            raise BitstreamError(f"the items take {cursor.position} bytes, {len(body) - cursor.position} are left over")
        return cls(struct.unpack("<I", front[3:])[0], tuple(items))


def _written(item: Item) -> bytes:
    if isinstance(item, int):
        return bytes([_INTEGER]) + varint(item)
    if isinstance(item, PlainTensor):
        head = bytes([_TENSOR, _NAMES.index(item.dtype), len(item.shape)]) + b"".join(varint(dim) for dim in item.shape)
        return head + values_of(item)
    session = item[0]
    alike = [
        (p.shape, p.dtype, p.kind, p.config_crc) == (session.shape, session.dtype, session.kind, session.config_crc)
        for p in item
    ]
    packets = (packet.to_bytes(compact=i > 0 and alike[i]) for i, packet in enumerate(item))
    return bytes([_PACKETS]) + varint(len(item)) + b"".join(packets)


def _read(cursor: Cursor, left: int) -> tuple[Item, int]:
    """One item, and how many elements it has."""
    kind = cursor.take(1, "an item's kind")[0]
    if kind == _INTEGER:
        return cursor.varint("an integer"), 0
    if kind == _TENSOR:
        return _read_tensor(cursor, left)
    if kind != _PACKETS:
        raise BitstreamError(f"an item of a message is of kind 0..2, got {kind}")
    count = cursor.varint("the number of packets")
    if not 1 <= count <= MAX_SAMPLES:
        raise BitstreamError(f"1..{MAX_SAMPLES} packets make an item, it claims {count}")
    packets: list[Packet] = []
    elements = 0
    for _ in range(count):
        like = packets[0] if packets else None
        packet, cursor.position = Packet.read_from(cursor.data, cursor.position, like)
        elements += packet.num_elements
        check_left(elements, left)
        packets.append(packet)
    return tuple(packets), elements


def _read_tensor(cursor: Cursor, left: int) -> tuple[PlainTensor, int]:
    code, rank = cursor.take(2, "a tensor's dtype and rank")
    if code >= len(_NAMES) or rank > MAX_RANK:
        raise BitstreamError(f"a tensor's dtype is 0..{len(_NAMES) - 1} and its rank 0..{MAX_RANK}, got {code} and {rank}")
    shape = tuple(cursor.varint("a dimension") for _ in range(rank))
    return read_values(cursor, _NAMES[code], shape, left), math.prod(shape)


def values_of(tensor: PlainTensor) -> bytes:
    """Return a plain tensor's values as they are sent: bools as bits."""
    return (np.packbits(tensor.data) if tensor.dtype == "bool" else tensor.data).tobytes()


def read_values(cursor: Cursor, dtype: str, shape: tuple[int, ...], left: int) -> PlainTensor:
    """Read what `values_of` wrote; BitstreamError where it is not there, or has more than `left` elements."""
    elements = math.prod(shape)
    check_left(elements, left)
    if dtype != "bool":
        data = cursor.take(elements * _SIZES[dtype], "a tensor's values")
        return PlainTensor(dtype, shape, np.frombuffer(data, np.uint8))
    bits = np.unpackbits(np.frombuffer(cursor.take(-(-elements // 8), "a tensor's bits"), np.uint8))
    if bits[elements:].any():
        raise BitstreamError("the bits behind a tensor of bools are not zero")
    return PlainTensor("bool", shape, bits[:elements])


def check_left(elements: int, left: int) -> None:
    """Raise BitstreamError where an item claims more elements than are left."""
    if elements > left:
        raise BitstreamError(
            f"a message's item claims {elements} elements, {left} are left of those that are taken (max_elements)"
        )
