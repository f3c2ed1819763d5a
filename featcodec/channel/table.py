"""The channels by id, and the specs that build them."""

from __future__ import annotations

import inspect

from featcodec.channel.base import Channel
from featcodec.channel.bits import BEC, BSC
from featcodec.channel.radio import AWGN, Rayleigh
from featcodec.errors import UnknownCodecError
from featcodec.spec import Spec, build, near_names, parse_spec

_CHANNELS: dict[str, type[Channel]] = {channel.channel_id: channel for channel in (AWGN, BEC, BSC, Rayleigh)}


def list_channels() -> tuple[str, ...]:
    """Return every channel id, sorted."""
    return tuple(sorted(_CHANNELS))


def get_channel(spec: Spec) -> Channel:
    """Build a channel from a spec: ``"bec:p=0.01"`` or ``{"id": "bec", "p": 0.01}``.

    Raises
    ------
    UnknownCodecError, ConfigError
        No such channel; parameters unknown, missing or out of range.
    """
    name, params = parse_spec(spec)
    if name not in _CHANNELS:
        raise UnknownCodecError(f"no channel {name!r}; {near_names(name, _CHANNELS)}")
    cls = _CHANNELS[name]
    channel: Channel = build("channel", name, cls, params, inspect.signature(cls).parameters)
    return channel
