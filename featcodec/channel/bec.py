"""bec: the binary erasure channel."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.base import arrived, floats, to_llr, uniform
from featcodec.channel.bits import BitChannel
from featcodec.ops.straight_through import straight_through


class BEC(BitChannel):
    """Binary erasure channel: each payload bit is erased with probability `p`.

    BYTES arrive as LLR: +127 for 0, -127 for 1, 0 for an erased bit, most significant bit first. LLR payloads keep their
    values but where a bit is erased.
    """

    channel_id = "bec"
    state_kind = "erasures"
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
