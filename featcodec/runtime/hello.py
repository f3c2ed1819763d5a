"""A hello, checked: what both sides hold, one against the other; where they differ, both sides' values are said."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from featcodec.bitstream import MAX_DIMS
from featcodec.message import MAX_INTEGER, MAX_RANK
from featcodec.ops.cast import DTYPES as FEATURE_DTYPES
from featcodec.parts import Port
from featcodec.parts.program import DTYPES
from featcodec.runtime import edge_pb2
from featcodec.runtime.limits import Limits
from featcodec.runtime.refusals import Cause, RefusedError
from featcodec.runtime.served import Door, Served
from featcodec.runtime.wire import PROTOCOL, SESSION_BYTES
from featcodec.session import OPEN

_SHOWN = 200  # characters of what a stranger says


def entry_of(hello: edge_pb2.Hello, entries: Mapping[str, Served]) -> str:
    """Return the name of the entry that a hello is for.

    Raises
    ------
    RefusedError
        The protocol is another, the session has no name, or there is no such entry.
    """
    if hello.protocol != PROTOCOL:
        raise RefusedError(Cause.PROTOCOL, f"the hello is of protocol {hello.protocol}, this server speaks {PROTOCOL}")
    if len(hello.session) != SESSION_BYTES:
        raise RefusedError(Cause.HELLO, f"a session is named by {SESSION_BYTES} bytes, got {len(hello.session)}")
    if not hello.entry and len(entries) == 1:
        return next(iter(entries))
    if hello.entry not in entries:
        wanted = f"the entry {hello.entry[:_SHOWN]!r}" if hello.entry else "no entry"
        raise RefusedError(Cause.ENTRY, f"the hello asks for {wanted}, this server has {', '.join(map(repr, entries))}")
    return hello.entry


def check_hello(hello: edge_pb2.Hello, served: Served, limits: Limits) -> tuple[Port, ...]:
    """Return a session's ports.

    Raises
    ------
    RefusedError
        What both sides hold differs. The cause is the first of what does, the text says all of it.
    """
    found, wanted = [p.name for p in hello.ports], [d.name for d in served.doors]
    if found != wanted or list(hello.sizes) != list(served.behind.sizes):
        theirs, ours = _list([*found, *hello.sizes]), _list([*wanted, *served.behind.sizes])
        raise RefusedError(Cause.PORTS, f"what crosses is {theirs} for the client, {ours} for the server")
    differ: list[tuple[Cause, str]] = []
    for port, door in zip(hello.ports, served.doors, strict=True):
        differ += _differing_codec(port, door)
        differ += _differing_shape(port, door, limits)
    differ += _differing_tail(hello, served)
    if differ:
        raise RefusedError(differ[0][0], "; ".join(text for _, text in differ))
    return tuple(door.port(port.dtype, port.shape) for port, door in zip(hello.ports, served.doors, strict=True))


def _differing_codec(port: edge_pb2.Port, door: Door) -> list[tuple[Cause, str]]:
    theirs, ours = _config(port), None if door.codec is None else door.codec.config()
    if theirs != ours:
        return [(Cause.CODEC, f"{door.name}: the client's codec is {_json(theirs)}, the server's {_json(ours)}")]
    state = "" if door.codec is None else door.codec.fingerprint()
    if port.codec_fingerprint != state:
        text = (
            f"{door.name}: the client's codec has the fingerprint {port.codec_fingerprint[:_SHOWN]!r}, the server's {state!r}"
        )
        return [(Cause.CODEC_STATE, f"{text}: the same config, another state")]
    return []


def _config(port: edge_pb2.Port) -> Any:
    try:
        return json.loads(port.codec) if port.codec else None
    except (ValueError, RecursionError) as e:
        raise RefusedError(
            Cause.HELLO, f"{port.name[:_SHOWN]}: a codec is the JSON of its config, got {port.codec[:_SHOWN]!r}"
        ) from e


def _differing_shape(port: edge_pb2.Port, door: Door, limits: Limits) -> list[tuple[Cause, str]]:
    known = DTYPES if door.codec is None else FEATURE_DTYPES
    if port.dtype != door.dtype and (door.dtype or port.dtype not in _names(known)):
        ours = door.dtype or " or ".join(_names(known))
        return [(Cause.DTYPE, f"{door.name}: the client sends {port.dtype[:_SHOWN]!r}, the server takes {ours}")]
    theirs = tuple(port.shape)
    if len(theirs) > (MAX_RANK if door.codec is None else MAX_DIMS - 1) or any(not OPEN <= n <= MAX_INTEGER for n in theirs):
        return [(Cause.SHAPE, f"{door.name}: no shape is {str(theirs)[:_SHOWN]}")]
    if door.shape is not None and (
        len(door.shape) != len(theirs) or any(b not in (OPEN, a) for a, b in zip(theirs, door.shape, strict=True))
    ):
        return [(Cause.SHAPE, f"{door.name}: the client sends {theirs}, the server takes {door.shape} (-1: any size)")]
    elements = math.prod(size for size in theirs if size != OPEN)
    if elements > limits.elements:
        return [(Cause.TOO_LARGE, f"{door.name}: {theirs} has {elements} elements, at most {limits.elements} are taken")]
    return []


def _names(dtypes: Mapping[str, Any]) -> list[str]:
    return list(dtypes)


def _differing_tail(hello: edge_pb2.Hello, served: Served) -> list[tuple[Cause, str]]:
    ours = served.behind.fingerprint
    if hello.fingerprint == ours or (not served.behind.must_match and (not hello.fingerprint or not ours)):
        return []
    theirs = hello.fingerprint[:_SHOWN] or "not said"
    return [(Cause.TAIL, f"the client's head belongs to a tail with the fingerprint {theirs}, the server's tail has {ours}")]


def _list(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def _json(config: Any) -> str:
    return json.dumps(config, sort_keys=True)[:_SHOWN]
