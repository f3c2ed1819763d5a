"""bsc: the binary symmetric channel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.base import arrived, floats, to_llr, uniform
from featcodec.channel.bits import BitChannel
from featcodec.ops.soft_bits import SURE
from featcodec.ops.straight_through import straight_through


class BSC(BitChannel):
    """Binary symmetric channel: each payload bit is flipped with probability `p`; BYTES stay BYTES, an LLR changes its sign."""

    channel_id = "bsc"
    state_kind = "flips"

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
