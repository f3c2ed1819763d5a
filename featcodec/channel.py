"""Channels: what may damage a payload between encode and decode. Headers are taken to arrive: short and repeatable."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from featcodec._core import crc32c
from featcodec.bitstream import Packet, PayloadKind
from featcodec.errors import FeatureError, UnknownCodecError
from featcodec.spec import Spec, build, check_int, check_probability, near_names, parse_spec

SURE = 127  # the LLR of a bit that arrived beyond doubt; positive means 0


class Channel:
    """Takes a packet, gives what arrives.

    The damage depends on the payload and the seed alone: the same packet meets the same noise in every batch and on every
    run, and another seed gives another draw.
    """

    channel_id: ClassVar[str]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = check_int("seed", seed, 0, (1 << 63) - 1)

    def __call__(self, packet: Packet, seed: int | None = None) -> Packet:
        """Return what arrives of `packet`; `seed` replaces the channel's own for this call."""
        chosen = self.seed if seed is None else check_int("seed", seed, 0, (1 << 63) - 1)
        entropy = (chosen, crc32c(packet.payload.tobytes()))
        return self.damage(packet, np.random.default_rng(entropy))

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Return what arrives, drawing from `rng`; what a channel's author writes."""
        raise NotImplementedError

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"seed": self.seed}

    def config(self) -> dict[str, Any]:
        """Return ``{"id": ..., **params()}``, which `get_channel` rebuilds the channel from."""
        return {"id": self.channel_id, **self.params()}

    def __repr__(self) -> str:
        """Show the config."""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params().items())})"


class _BitChannel(Channel):
    """A channel with one probability per bit."""

    def __init__(self, p: float, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.p = check_probability("p", p)

    def params(self) -> dict[str, Any]:
        return {"p": self.p, **super().params()}


class BEC(_BitChannel):
    """Binary erasure channel: each payload bit is erased with probability `p`.

    BYTES arrive as LLR: +127 for 0, -127 for 1, 0 for an erased bit, most significant bit first. LLR payloads keep their
    values but where a bit is erased.
    """

    channel_id = "bec"

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Erase bits."""
        llr = _to_llr(packet, self)
        erased = rng.random(llr.size) < self.p
        arrived = np.where(erased, np.int8(0), llr)
        return Packet(packet.shape, packet.dtype, PayloadKind.LLR, packet.config_crc, arrived, packet.checksum)


class BSC(_BitChannel):
    """Binary symmetric channel: each payload bit is flipped with probability `p`; BYTES stay BYTES, an LLR changes its sign."""

    channel_id = "bsc"

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Flip bits."""
        llr = _to_llr(packet, self)
        flipped = rng.random(llr.size) < self.p
        if packet.kind is PayloadKind.LLR:
            # -(-128) is no int8: clip first
            arrived: Any = np.where(flipped, -np.maximum(llr, -SURE), llr)
        else:
            arrived = packet.payload ^ np.packbits(flipped)
        return Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, arrived, packet.checksum)


_CHANNELS: dict[str, type[_BitChannel]] = {"bec": BEC, "bsc": BSC}


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
    channel: Channel = build("channel", name, _CHANNELS[name], params, ("p", "seed"))
    return channel


def _to_llr(packet: Packet, channel: Channel) -> NDArray[np.int8]:
    if packet.kind is PayloadKind.LLR:
        return packet.payload.view(np.int8)
    if packet.kind is PayloadKind.BYTES:
        return np.array([SURE, -SURE], np.int8)[np.unpackbits(packet.payload)]
    raise FeatureError(f"{channel!r} carries bits, got a payload of {packet.kind.name}")
