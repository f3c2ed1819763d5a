"""A learned density of integers, one for each map: what latents cost in training, and integer tables to code them by.

After the factorised prior of Balle et al. (ICLR 2018), with a mixture of logistics for a map's density. In training a value
v has the probability that uniform noise in (-1/2, 1/2) around it gives: F(v + 1/2) - F(v - 1/2).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.payloads.prior_coder import LIMIT, PRECISION, WINDOW, Integers

_COMPONENTS = 3
_LEAST = 1e-9  # of a probability in training


class FactorizedPrior(nn.Module):
    """Densities of `maps` maps, and their tables: integer buffers of fixed shapes.

    The tables follow the parameters: `refresh` makes them anew where the parameters are no longer those they were made of,
    which `made_of` keeps. It is called on leaving training mode and before anything is coded. Loaded tables are used as they
    are: no machine's exponential function comes in again.
    """

    frequencies: Tensor  # (maps, WINDOW + 1) int32, each row's sum 2^16
    first: Tensor  # (maps,) int32: the integer of a row's first entry
    made_of: Tensor  # (3, maps, components)

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(maps, _COMPONENTS))
        self.means = nn.Parameter(torch.tensor([0.0, 1.0, 3.0]).repeat(maps, 1))
        self.log_scales = nn.Parameter(torch.tensor([-1.0, 0.0, 0.7]).repeat(maps, 1))
        self.register_buffer("frequencies", torch.zeros(maps, WINDOW + 1, dtype=torch.int32))
        self.register_buffer("first", torch.zeros(maps, dtype=torch.int32))
        self.register_buffer("made_of", torch.full((3, maps, _COMPONENTS), torch.nan))
        self.refresh()

    # ---- training -------------------------------------------------------------------------------------------------------

    def bits(self, values: Tensor) -> Tensor:
        """Return -log2 of each value's probability: (B, maps, ...), any floats, differentiable in values and parameters."""
        v = values.float().unsqueeze(-1)
        shape = (1, -1) + (1,) * (values.ndim - 2) + (_COMPONENTS,)
        means, scales = self.means.float().view(shape), self.log_scales.float().clamp(-6, 8).exp().view(shape)
        upper, lower = (v + 0.5 - means) / scales, (v - 0.5 - means) / scales
        # F(a) - F(b) = F(-b) - F(-a): on the side where both are small, nothing cancels
        sign = torch.where(upper + lower > 0, -1.0, 1.0).detach()
        mass = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        p = (self.weights.float().softmax(-1).view(shape) * mass).sum(-1)
        return -torch.log2(p.clamp_min(_LEAST))

    # ---- tables ---------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> FactorizedPrior:
        """Set the mode; leaving training makes the tables anew."""
        super().train(mode)
        if not mode:
            self.refresh()
        return self

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the tables from the parameters, where they have changed."""
        now = torch.stack([self.weights, self.means, self.log_scales])
        if now.is_meta or torch.equal(now, self.made_of.to(now)):
            return
        frequencies, first = _tables(*(part.double().cpu().numpy() for part in now))
        self.frequencies.copy_(torch.from_numpy(frequencies))
        self.first.copy_(torch.from_numpy(first))
        self.made_of.copy_(now)

    def tables(self) -> tuple[Integers, Integers]:
        """Return frequencies and first, as `payloads.prior_coder` takes them."""
        return self.frequencies.cpu().numpy().astype(np.int64), self.first.cpu().numpy().astype(np.int64)


def _tables(
    weights: NDArray[np.float64], means: NDArray[np.float64], log_scales: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Frequencies of the WINDOW integers around each map's mean, and of all others together."""
    weights = np.exp(weights - weights.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    scales = np.exp(log_scales.clip(-6, 8))
    # latents seldom lie below zero: a quarter of the window does for what is left of the mean
    first = np.rint((weights * means).sum(1) - WINDOW / 4).clip(-LIMIT, LIMIT - WINDOW).astype(np.int32)
    edges = first[:, None, None] - 0.5 + np.arange(WINDOW + 1)[None, :, None]
    cdf = ((0.5 + 0.5 * np.tanh((edges - means[:, None]) / scales[:, None] / 2)) * weights[:, None]).sum(-1)
    inside = np.diff(cdf, axis=1).clip(0)
    p = np.concatenate([inside, (1 - inside.sum(1, keepdims=True)).clip(0)], axis=1)
    p /= p.sum(1, keepdims=True)
    frequencies = 1 + np.floor(p * ((1 << PRECISION) - WINDOW - 1)).astype(np.int64)
    # what rounding down left over goes to the likeliest
    frequencies[np.arange(len(p)), p.argmax(1)] += (1 << PRECISION) - frequencies.sum(1)
    return frequencies.astype(np.int32), first
