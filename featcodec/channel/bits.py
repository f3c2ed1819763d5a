"""BitChannel: what channels share that do to every bit the same thing with one probability."""

from __future__ import annotations

from typing import Any

from featcodec.channel.base import Channel
from featcodec.spec import check_probability


class BitChannel(Channel):
    """A channel with one probability per bit."""

    def __init__(self, p: float, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.p = check_probability("p", p)

    @property
    def state(self) -> float:
        """Return p."""
        return self.p

    def params(self) -> dict[str, Any]:
        """Return p and the seed."""
        return {"p": self.p, **super().params()}
