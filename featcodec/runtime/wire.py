"""The wire's words: protocol version, metadata keys, a hello's name, what a hello agrees on, and a tail's output as bytes.

What docs/runtime.md says, for both sides; without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from featcodec._core import crc32c
from featcodec.bitstream import Cursor, PayloadKind, varint
from featcodec.errors import BitstreamError, FeatcodecError, FeatureTypeError
from featcodec.layouts import check_layout, filled, layout_of, leaves_of, plain
from featcodec.message import MAX_MESSAGE_ELEMENTS, Message, PlainTensor
from featcodec.runtime.edge_pb2 import Hello
from featcodec.session import Agreed, AgreedPackets, AgreedSize, AgreedTensor, Session

PROTOCOL = 1
SESSION_BYTES = 16
HELLO_KEY = "featcodec-hello"  # the hello's name, in hexadecimal digits
HELLO_BYTES_KEY = "featcodec-hello-bin"  # the hello itself
TOKEN_KEY = "authorization"  # "Bearer TOKEN"
CAUSE_KEY = "featcodec-cause"  # trailing: one of the causes
RETRY_KEY = "retry-after-ms"  # trailing
UNKNOWN_SESSION = "unknown session"  # the cause upon which a client sends its hello along

_ONE_TENSOR = b'{"layout":{"leaf":0},"leaves":[{"tensor":0}]}'
_MAX_LAYOUT_BYTES = 1 << 20


def hello_name(hello: Hello) -> bytes:
    """Return the 16 bytes that stand for a hello, whichever session it opens: BLAKE2b-128 of it without its session."""
    bare = Hello()
    bare.CopyFrom(hello)
    bare.ClearField("session")
    return hashlib.blake2b(bare.SerializeToString(deterministic=True), digest_size=16).digest()


def agreed_on(hello: Hello, codecs: Mapping[str, tuple[PayloadKind, int]]) -> Session:
    """Return what a hello agrees on.

    Parameters
    ----------
    codecs
        For each port that has a codec, by name, the kind of its payloads and its config_crc.
    """
    items: list[Agreed] = []
    for port in hello.ports:
        shape = tuple(port.shape)
        if port.codec:
            items.append(AgreedPackets(shape, port.dtype, *codecs[port.name]))
        else:
            items.append(AgreedTensor(port.dtype, shape))
    return Session(hello_name(hello), (*items, *(AgreedSize() for _ in hello.sizes)))


def describe(output: Any, is_tensor: Callable[[Any], bool]) -> tuple[bytes, list[Any]]:
    """Return the layout of what a tail gave, as JSON, and its tensors in order.

    Parameters
    ----------
    output
        Tensors, numbers, strings, bools and None in tuples, lists, mappings and dataclasses.

    Raises
    ------
    FeatureTypeError
        It holds something else.
    """
    if is_tensor(output):
        return _ONE_TENSOR, [output]
    numbers = count()
    value = plain(output)
    layout = layout_of(value, lambda: next(numbers))
    leaves: list[Any] = []
    tensors: list[Any] = []
    for path, leaf in leaves_of(value, "output"):
        if is_tensor(leaf):
            leaves.append({"tensor": len(tensors)})
            tensors.append(leaf)
        elif leaf is None or type(leaf) in (bool, int, float, str):
            leaves.append({"constant": leaf})
        else:
            raise FeatureTypeError(f"{path} is {type(leaf).__name__}: an answer carries tensors, numbers and strings")
    try:
        text = json.dumps({"layout": layout, "leaves": leaves}, separators=(",", ":"), allow_nan=False)
    except ValueError as e:
        raise FeatureTypeError(f"the output holds a number that JSON does not have: {e}") from e
    return text.encode(), tensors


def pack_output(text: bytes, tensors: Sequence[PlainTensor]) -> bytes:
    """Return an output as it is sent: what `describe` gave, the tensors as plain ones."""
    return varint(len(text)) + text + Message(crc32c(text), tuple(tensors)).to_bytes()


def unpack_output(data: bytes, tensor: Callable[[PlainTensor], Any], *, max_elements: int = MAX_MESSAGE_ELEMENTS) -> Any:
    """Return what `pack_output` wrote: tensors, numbers and strings in tuples, lists and dictionaries.

    Parameters
    ----------
    tensor
        Makes a leaf of a plain tensor.

    Raises
    ------
    BitstreamError
        The bytes are no whole, undamaged output.
    """
    cursor = Cursor(data, 0)
    size = cursor.varint("the layout's length")
    if size > _MAX_LAYOUT_BYTES:
        raise BitstreamError(f"an output's layout has at most {_MAX_LAYOUT_BYTES} bytes, it claims {size}")
    text = cursor.take(size, "the layout")
    message = Message.from_bytes(memoryview(data)[cursor.position :], max_elements=max_elements)
    if message.check != crc32c(text):
        raise BitstreamError(f"the layout's checksum is {crc32c(text):#010x}, the output says {message.check:#010x}: damaged")
    try:
        about = json.loads(text)
        check_layout(about["layout"], len(about["leaves"]))
        return filled(about["layout"], [_leaf(leaf, message, tensor) for leaf in about["leaves"]])
    except BitstreamError:
        raise
    except (FeatcodecError, ValueError, KeyError, TypeError, IndexError, RecursionError) as e:
        raise BitstreamError(f"the output's layout is none: {e!r}"[:300]) from e


def _leaf(leaf: dict[str, Any], message: Message, tensor: Callable[[PlainTensor], Any]) -> Any:
    if "constant" in leaf:
        return leaf["constant"]
    item = message.items[leaf["tensor"]]
    if not isinstance(item, PlainTensor):
        raise BitstreamError("an output's leaves are plain tensors")
    return tensor(item)
