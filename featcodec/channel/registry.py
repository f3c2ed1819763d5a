"""The channels by id, and the specs that build them."""

from __future__ import annotations

import inspect

from featcodec.channel.base import Channel
from featcodec.spec import Spec, build, parse_spec, split_chain
from featcodec.table import Row, Table

CHANNELS: Table[Channel] = Table(
    "channel",
    "featcodec.channel.base:Channel",
    "channel_id",
    "featcodec.channels",
    {
        "awgn": Row("featcodec.channel.awgn:AWGN"),
        "bec": Row("featcodec.channel.bec:BEC"),
        "bsc": Row("featcodec.channel.bsc:BSC"),
        "chain": Row("featcodec.channel.chain:Chain"),
        "packet_erasure": Row("featcodec.channel.packet_erasure:PacketErasure"),
        "rayleigh": Row("featcodec.channel.rayleigh:Rayleigh"),
    },
)


def list_channels() -> tuple[str, ...]:
    """Return every channel id, sorted: built-ins, registered ones, and entry points of group "featcodec.channels"."""
    return CHANNELS.ids()


def register_channel(channel_id: str, target: str | type[Channel]) -> None:
    """Register a channel for this process; as `featcodec.register_codec`."""
    CHANNELS.register(channel_id, target)


def channel_class(channel_id: str) -> type[Channel]:
    """Return the class of a channel id; UnknownCodecError where there is none."""
    return CHANNELS.class_of(channel_id)


def get_channel(spec: Spec) -> Channel:
    """Build a channel from a spec.

    Parameters
    ----------
    spec
        ``"bec:p=0.01"``, ``{"id": "bec", "p": 0.01}``, or several with a + between them, which make a `Chain`:
        ``"bsc:p=0.001+packet_erasure:p=0.05"``.

    Raises
    ------
    UnknownCodecError, ConfigError
        No such channel; parameters unknown, missing or out of range.
    """
    if isinstance(spec, str) and len(split_chain(spec)) > 1:
        spec = {"id": "chain", "links": spec}
    name, params = parse_spec(spec)
    cls = channel_class(name)
    channel: Channel = build("channel", name, cls, params, inspect.signature(cls).parameters)
    return channel
