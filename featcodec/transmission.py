"""Transmission: one batch's way through a codec, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from featcodec.bitstream import Packet
from featcodec.ops.crushed import Crushed


@dataclass(frozen=True)
class Losses:
    """What a channel did to one batch, where a codec can tell.

    Attributes
    ----------
    blocks, failed_blocks
        Protected blocks, and those that could not be decoded.
    concealed_elements
        Feature elements that were made up for lost ones.
    resent_bits
        Bits sent again, as they were sent.
    """

    blocks: int = 0
    failed_blocks: int = 0
    concealed_elements: int = 0
    resent_bits: int = 0

    def __add__(self, other: Losses) -> Losses:
        """Return what both lost together."""
        return Losses(
            self.blocks + other.blocks,
            self.failed_blocks + other.failed_blocks,
            self.concealed_elements + other.concealed_elements,
            self.resent_bits + other.resent_bits,
        )


NOTHING_LOST = Losses()


class Transmission(NamedTuple):
    """One batch's way through a codec, with what it cost.

    Attributes
    ----------
    output
        (B, ...): what the receiver has, on the input's device, in its dtype, with the straight-through gradient.
    packets
        What was sent, one per sample; none of an empty batch.
    encode_s, decode_s
        Wall-clock seconds for the whole batch; on a GPU, work that was under way before is not in them.
    losses
        What was lost on the way, made up for, or sent again.
    crushed
        Tokens, and those of which less arrived than was lost.
    payload_bits, frame_bits
        Of all packets: without their headers and checksums, and those alone. Analog symbols are no bits.
    """

    output: Tensor
    packets: list[Packet]
    encode_s: float
    decode_s: float
    losses: Losses
    crushed: Crushed
    payload_bits: int
    frame_bits: int
