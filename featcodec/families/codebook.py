"""CodebookCodec: conv and linear reduction, then nearest codewords; what a codeword is tells `learned_scalar` from `vq`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.channel import Channel
from featcodec.codec import FloatArray
from featcodec.families.uncoded import UncodedBottleneckCodec
from featcodec.nets.projection import ProjectionDecoder, ProjectionEncoder
from featcodec.ops.images import image_shape
from featcodec.ops.straight_through import straight_through
from featcodec.payloads.latents import nearest
from featcodec.payloads.words import Words
from featcodec.spec import check_int


class CodebookCodec(UncodedBottleneckCodec):
    """A subclass gives the shape of its codebook: (books, 2^bits, length); one book serves every group of latents.

    In training the losses are {"vq": MSE(e, sg(z)) + 0.5 MSE(sg(e), z)}, e the nearest codewords and sg no gradient; the
    authors weigh it by 0.1 or 1. With `warm_up` set, training passes z as it is, and "vq" is its first term alone: the
    codebook moves to the latents before they meet it.

    Attributes
    ----------
    warm_up
        False unless set; no parameter.
    """

    max_bits: ClassVar[int]

    def __init__(
        self, *, maps: int, height: int, width: int, reduced: int | None, hidden: int, bits: int, books: int, length: int
    ) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.height = check_int("height", height, 1, 1 << 16)
        self.width = check_int("width", width, 1, 1 << 16)
        self.reduced = max(1, maps // 8) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.hidden = check_int("hidden", hidden, 1, 1 << 16)
        self.bits = check_int("bits", bits, 1, self.max_bits)
        size = self.height, self.width
        self.analysis = ProjectionEncoder(self.maps, self.reduced, size, self.hidden)
        self.synthesis = ProjectionDecoder(self.maps, self.reduced, size, self.hidden)
        spread = torch.linspace(-1, 1, 1 << bits) if length == 1 else torch.empty(books, 1 << bits, length).uniform_(-1, 1)
        self.codebook = nn.Parameter(spread.expand(books, -1).unsqueeze(-1).clone() if length == 1 else spread)
        self.warm_up = False

    def params(self) -> dict[str, Any]:
        """Return the sizes of the networks and of the codebook."""
        names = ("maps", "height", "width", "reduced", "hidden", "bits")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps, height and width."""
        return {**dict(zip(("maps", "height", "width"), image_shape(shape), strict=True)), **params}

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (hidden,)."""
        return (self.hidden,)

    def num_words(self, shape: tuple[int, ...]) -> int:
        """Return the number of codewords of a sample."""
        return self.hidden // self.codebook.shape[2]

    def nearest(self, z: Tensor) -> Tensor:
        """Return the index of the nearest codeword of each group: latents (B, hidden) -> (B, N); the first of equals."""
        groups = z.detach().double().reshape(len(z), -1, 1, self.codebook.shape[2])
        distances = (groups - self.codebook.detach().double()).square().sum(-1)
        return distances.argmin(-1)

    def codewords(self, indices: Tensor) -> Tensor:
        """Return the codewords (B, hidden) of indices (B, N), differentiable in the codebook."""
        books = torch.arange(indices.shape[1], device=indices.device) % self.codebook.shape[0]
        return self.codebook[books, indices].reshape(len(indices), -1)

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Replace latents by their codewords, straight-through; see the class for the loss."""
        e = self.codewords(self.nearest(z)).float()
        loss = nn.functional.mse_loss(e, z.detach())
        if not self.warm_up:
            loss = loss + 0.5 * nn.functional.mse_loss(z, e.detach())
        self.record_loss("vq", loss)
        return z if self.warm_up else straight_through(z, e.detach())

    def to_words(self, z: FloatArray) -> Words:
        """Return the codewords' indices."""
        return nearest(z, self._codebook_array())

    def device_state(self) -> dict[str, NDArray[Any]]:
        """Return the codebook."""
        return {"codebook": self._codebook_array()}

    def _codebook_array(self) -> NDArray[np.floating[Any]]:
        books: NDArray[np.floating[Any]] = (
            self.codebook.detach().cpu().to(torch.promote_types(self.codebook.dtype, torch.float32)).numpy()
        )
        return books

    def from_words(self, words: Words) -> FloatArray:
        """Look the codewords up."""
        with torch.no_grad():
            z: FloatArray = self.codewords(torch.from_numpy(words).to(self.codebook.device)[None]).float().cpu().numpy()
        return z

    def from_probabilities(self, probabilities: NDArray[np.float64]) -> FloatArray:
        """Return the mean of the codewords, each weighed by the probability of its index."""
        weights = np.ones((len(probabilities), 1))
        for bit in range(self.bits):
            p = probabilities[:, bit : bit + 1]
            weights = np.stack([weights * (1 - p), weights * p], axis=-1).reshape(len(probabilities), -1)
        books = self._codebook_array().astype(np.float64)
        books = np.broadcast_to(books, (len(probabilities), *books.shape[1:])) if len(books) == 1 else books
        z: FloatArray = np.einsum("nk,nkd->nd", weights, books).astype(np.float32)
        return z
