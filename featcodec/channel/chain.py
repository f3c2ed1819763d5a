"""chain: one channel after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import Packet
from featcodec.channel.base import Channel
from featcodec.channel.radio import RadioChannel
from featcodec.channel.registry import get_channel
from featcodec.errors import ConfigError, FeatureError
from featcodec.spec import Spec, format_spec, split_chain

_MAX_LINKS = 16


class Chain(Channel):
    """Channels one after another: a packet meets the first, what arrives meets the second, and so on.

    Parameters
    ----------
    links
        1..16 channels or their specs, or one string of specs with a + between them: ``"bsc:p=0.001+bec:p=0.01"``. Soft bits
        enter no radio channel, so of digital packets at most one link may be one, with nothing before it that erases.
    seed
        Of the whole; each link's own seed counts too. Links draw independently of one another.

    Raises
    ------
    ConfigError, UnknownCodecError
        No links, too many, or a spec is wrong.
    """

    channel_id = "chain"

    def __init__(self, links: str | Sequence[Channel | Spec], *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        given = split_chain(links) if isinstance(links, str) else links
        if not isinstance(given, Sequence) or not 1 <= len(given) <= _MAX_LINKS:
            count = len(given) if isinstance(given, Sequence) else type(given).__name__
            raise ConfigError(f"a chain has 1..{_MAX_LINKS} links, channels or specs, got {count}")
        self.links = tuple(link if isinstance(link, Channel) else get_channel(link) for link in given)

    @property
    def softens(self) -> bool:  # type: ignore[override]
        """True where BYTES arrive as LLR."""
        return any(link.softens for link in self.links)

    @property
    def modulation(self) -> str | None:
        """What bits are sent with: that of its radio channel."""
        return next((link.modulation for link in self.links if link.modulation is not None), None)

    @property
    def state_kind(self) -> str:
        """What all links do alike; ConfigError where they do not, or several add noise, each to what arrives at it."""
        kinds = {link.state_kind for link in self.links}
        return kinds.pop() if len(self.links) == 1 or kinds in ({"erasures"}, {"flips"}) else super().state_kind

    @property
    def state(self) -> float:
        """Return the p with which all links together erase or flip a bit, or the one link's sigma; see `state_kind`."""
        kind, state = self.state_kind, self.links[0].state
        for link in self.links[1:]:
            state += link.state - state * link.state * (1 if kind == "erasures" else 2)
        return state

    def noise_variance(self, power: float) -> float | None:
        """Return that of the link that adds noise; ConfigError where several do."""
        found = [variance for link in self.links if (variance := link.noise_variance(power)) is not None]
        if len(found) > 1:
            raise ConfigError(f"{self!r} adds noise {len(found)} times, each to what arrives: no one variance tells of it")
        return found[0] if found else None

    def params(self) -> dict[str, Any]:
        """Return the links as one spec, and the seed."""
        return {"links": "+".join(format_spec(link.config()) for link in self.links), **super().params()}

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Send the packet through every link."""
        for link in self.links:
            # a generator of its own: what one link draws does not depend on how much those before it drew
            packet = link.damage(packet, np.random.default_rng((link.seed, int(rng.integers(1 << 63)))))
        return packet

    def perturb(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Send analog symbols through every link."""
        for link in self.links:
            symbols = link.perturb(symbols, generator)
        return symbols

    def perturb_bits(self, bits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Send bits through every link.

        Raises
        ------
        FeatureError
            A radio channel comes after one that makes bits soft.
        """
        soft = False
        for link in self.links:
            if soft and isinstance(link, RadioChannel):
                raise FeatureError(f"{link!r} takes bits, not soft bits: put it before what erases")
            bits = link.perturb_bits(bits, generator)
            soft = soft or link.softens
        return bits
