"""ChannelRange: a channel spec with ranges for values, drawn anew for every batch of a training."""

from __future__ import annotations

import re
from typing import Any

import torch

from featcodec.channel.base import Channel
from featcodec.channel.chain import Chain
from featcodec.channel.registry import get_channel
from featcodec.errors import ConfigError
from featcodec.spec import Spec, format_spec, parse_spec, split_chain

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")


class ChannelRange:
    """Channels of one kind whose parameters lie in ranges: ``"bec:p=0..0.3"``, ``"awgn:psnr_db=10..25"``.

    Parameters
    ----------
    spec
        As for `get_channel`; a value may be a range "low..high". Without a range it is that channel with
        other noise each time.

    Raises
    ------
    ConfigError, UnknownCodecError
        A range is empty, or no channel can be built at one of its ends.
    """

    def __init__(self, spec: Spec) -> None:
        links = split_chain(spec) if isinstance(spec, str) else [spec]
        self._links = [parse_spec(link) for link in links]
        self.spec = "+".join(format_spec({"id": name, **params}) for name, params in self._links)
        for end in (0.0, 1.0):
            self._build([end] * sum(_ends(v) is not None for _, params in self._links for v in params.values()), 0)

    def draw(self, generator: torch.Generator | None = None) -> Channel:
        """Return a channel of the range: every range's value uniform between its ends, and a seed, drawn from `generator`."""
        count = sum(_ends(value) is not None for _, params in self._links for value in params.values())
        fractions = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
        return self._build(fractions, int(torch.randint(1 << 62, (), generator=generator)))

    def _build(self, fractions: list[float], seed: int) -> Channel:
        left = list(fractions)
        links = [
            get_channel({"id": name, "seed": seed, **{key: _between(value, left) for key, value in params.items()}})
            for name, params in self._links
        ]
        return links[0] if len(links) == 1 else Chain(links, seed=seed)

    def __repr__(self) -> str:
        """Show the spec."""
        return f"ChannelRange({self.spec!r})"


def _ends(value: Any) -> tuple[float, float] | None:
    """The ends of a value that is written as a range."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    low, high = float(match[1]), float(match[2])
    if low > high:
        raise ConfigError(f"a range is written low..high, got {value!r}")
    return low, high


def _between(value: Any, fractions: list[float]) -> Any:
    """The value, or what the next fraction makes of its range."""
    ends = _ends(value)
    return value if ends is None else ends[0] + (ends[1] - ends[0]) * fractions.pop(0)
