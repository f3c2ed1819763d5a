"""awgn: additive white Gaussian noise."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.channel.base import normal
from featcodec.channel.radio import RadioChannel


class AWGN(RadioChannel):
    """Additive white Gaussian noise: r = s + sigma n, n from N(0, 1), independent in every real dimension."""

    channel_id = "awgn"

    def _receive_symbols(self, symbols: NDArray[np.float64], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
        return symbols + sigma * rng.standard_normal(symbols.size)

    def _receive_bits(
        self, amplitudes: NDArray[np.float32], variance: np.float32, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        noise = rng.standard_normal(amplitudes.size, np.float32)
        noise *= np.sqrt(variance)
        noise += amplitudes
        llr: NDArray[np.float32] = self._modulation.amplitude_llrs(noise, variance)
        return llr

    def _perturb_symbols(self, symbols: Tensor, sigma: Tensor | float, generator: torch.Generator | None) -> Tensor:
        return symbols + sigma * normal(tuple(symbols.shape), symbols, generator)

    def _perturb_bits(self, amplitudes: Tensor, variance: float, generator: torch.Generator | None) -> Tensor:
        noise = normal(tuple(amplitudes.shape), amplitudes, generator) * variance**0.5
        llr: Tensor = self._modulation.amplitude_llrs(amplitudes + noise, variance)
        return llr
