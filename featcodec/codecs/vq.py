"""vq: two-step dimension reduction, then grouped vector quantisation."""

from __future__ import annotations

from typing import Any

from featcodec.errors import ConfigError
from featcodec.families.codebook import CodebookCodec
from featcodec.spec import check_int


class VqCodec(CodebookCodec):
    """Conv and linear reduction, the latents in G groups, each the index of its nearest of 2^b codewords: learned.

    G = 1 is what the authors' code of Shao and Zhang (2020) does: one codeword an image. Rate: groups * bits. Losses in
    training: {"vq"}; `warm_up` passes latents by (see `CodebookCodec`).

    Parameters
    ----------
    maps, height, width
        Shape of the feature.
    reduced
        Maps after the convolution; an eighth of `maps` unless given.
    hidden
        Latents of a sample; a multiple of `groups`.
    groups
        G; each has a codebook of its own.
    bits
        b, 1..12.
    """

    codec_id = "vq"
    max_bits = 12
    examples = (
        {"maps": 8, "height": 7, "width": 5, "reduced": 2, "hidden": 12, "groups": 4, "bits": 5},
        {"maps": 8, "height": 7, "width": 5, "reduced": 1, "hidden": 6, "groups": 1, "bits": 8},
    )

    def __init__(
        self,
        *,
        maps: int,
        height: int,
        width: int,
        reduced: int | None = None,
        hidden: int = 32,
        groups: int = 1,
        bits: int = 8,
    ) -> None:
        check_int("hidden", hidden, 1, 1 << 16)
        if hidden % check_int("groups", groups, 1, hidden):
            raise ConfigError(f"hidden must be a multiple of groups, got {hidden} and {groups}")
        super().__init__(
            maps=maps,
            height=height,
            width=width,
            reduced=reduced,
            hidden=hidden,
            bits=bits,
            books=groups,
            length=hidden // groups,
        )
        self.groups = groups

    def params(self) -> dict[str, Any]:
        """Return the sizes of the networks, the groups and the bits."""
        return {**super().params(), "groups": self.groups}
