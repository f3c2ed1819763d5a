"""The binary erasure channel and the binary symmetric channel."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.base import Channel, arrived, floats, to_llr, uniform
from featcodec.ops.soft_bits import SURE
from featcodec.ops.straight_through import straight_through
from featcodec.spec import check_probability


class BitChannel(Channel):
    """A channel with one probability per bit."""

    def __init__(self, p: float, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.p = check_probability("p", p)

    def params(self) -> dict[str, Any]:
        """Return p and the seed."""
        return {"p": self.p, **super().params()}


class BEC(BitChannel):
    """Binary erasure channel: each payload bit is erased with probability `p`.

    BYTES arrive as LLR: +127 for 0, -127 for 1, 0 for an erased bit, most significant bit first. LLR payloads keep their
    values but where a bit is erased.
    """

    channel_id = "bec"
    softens: ClassVar[bool] = True

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Erase bits."""
        llr = to_llr(packet, self)
        erased = rng.random(llr.size) < self.p
        return arrived(packet, PayloadKind.LLR, np.where(erased, np.int8(0), llr))

    def perturb_bits(self, bits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the bits (or probabilities), 1/2 where erased."""
        sent = floats(bits)
        return straight_through(sent, torch.where(uniform(sent, generator) < self.p, 0.5, sent.detach()))


class BSC(BitChannel):
    """Binary symmetric channel: each payload bit is flipped with probability `p`; BYTES stay BYTES, an LLR changes its sign."""

    channel_id = "bsc"

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Flip bits."""
        llr = to_llr(packet, self)
        flipped = rng.random(llr.size) < self.p
        if packet.kind is PayloadKind.LLR:
            # -(-128) is no int8: clip first
            return arrived(packet, PayloadKind.LLR, np.where(flipped, -np.maximum(llr, -SURE), llr))
        return arrived(packet, PayloadKind.BYTES, packet.payload ^ np.packbits(flipped))

    def perturb_bits(self, bits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the bits (or probabilities), those of flipped bits taken from 1."""
        sent = floats(bits)
        return straight_through(sent, torch.where(uniform(sent, generator) < self.p, 1 - sent.detach(), sent.detach()))
