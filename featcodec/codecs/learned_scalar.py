"""learned_scalar: two-step dimension reduction, then one learned codebook of scalars for all latents."""

from __future__ import annotations

from featcodec.families.codebook import CodebookCodec


class LearnedScalarCodec(CodebookCodec):
    """Conv and linear reduction, each latent sent as the index of its nearest of 2^b learned scalars: learned.

    Shao and Zhang, "Communication-computation trade-off in resource-constrained edge inference", 2020: the codec of the
    paper's text. Rate: hidden * bits. Losses in training: {"vq"}; `warm_up` passes latents by (see `CodebookCodec`).

    Parameters
    ----------
    maps, height, width
        Shape of the feature.
    reduced
        Maps after the convolution; an eighth of `maps` unless given.
    hidden
        N, latents of a sample, in (-1, 1).
    bits
        b, 1..8.
    """

    codec_id = "learned_scalar"
    max_bits = 8
    examples = (
        {"maps": 8, "height": 7, "width": 5, "reduced": 2, "hidden": 12, "bits": 2},
        {"maps": 8, "height": 7, "width": 5, "reduced": 1, "hidden": 5, "bits": 3},
    )

    def __init__(
        self, *, maps: int, height: int, width: int, reduced: int | None = None, hidden: int = 32, bits: int = 4
    ) -> None:
        super().__init__(maps=maps, height=height, width=width, reduced=reduced, hidden=hidden, bits=bits, books=1, length=1)
