"""rayleigh: fading, known to the receiver or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.channel.base import normal
from featcodec.channel.radio import RadioChannel
from featcodec.spec import check_bool, check_choice

_LEAST_POWER_GAIN = 1e-12  # met once in 10^12 draws; keeps the equaliser's output a number


class Rayleigh(RadioChannel):
    """Rayleigh fading: y = h s + sigma n per complex symbol, h from CN(0, 1), so that `snr_db` is the average over fades.

    Two analog symbols, I and Q, make a complex one (a last odd one rides alone); so do the amplitudes of QPSK and QAM; BPSK
    is sent on I. With a known gain the receiver equalises: analog symbols arrive as y / h, LLRs know h. With an unknown one it
    does not: analog symbols arrive as y, LLRs are those of a gain of 1, and phases being uniform, half the hard decisions
    on bits are wrong: such a link needs pilots or a code that expects it.

    Parameters
    ----------
    fading
        "block": one h for the packet. "fast": one for every complex symbol.
    known_gain
        Whether the receiver knows h.
    **others
        As for `AWGN`.
    """

    channel_id = "rayleigh"

    def __init__(
        self,
        snr_db: float | None = None,
        *,
        fading: str = "block",
        known_gain: bool = True,
        psnr_db: float | None = None,
        power: float | None = None,
        modulation: str = "bpsk",
        seed: int = 0,
    ) -> None:
        super().__init__(snr_db, psnr_db=psnr_db, power=power, modulation=modulation, seed=seed)
        self.fading = check_choice("fading", fading, ("block", "fast"))
        self.known_gain = check_bool("known_gain", known_gain)

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().params(), "fading": self.fading, "known_gain": self.known_gain}

    def _receive_symbols(self, symbols: NDArray[np.float64], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
        sent = np.pad(symbols, (0, symbols.size % 2)).view(np.complex128)
        gain = self._draw(sent.size, rng, np.complex128)
        received = gain * sent + sigma * rng.standard_normal(2 * sent.size).view(np.complex128)
        if self.known_gain:
            received = received * gain.conj() / np.maximum(abs(gain) ** 2, _LEAST_POWER_GAIN)
        return received.view(np.float64)[: symbols.size]

    def _receive_bits(
        self, amplitudes: NDArray[np.float32], variance: np.float32, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        kind = self._modulation
        sent = amplitudes.view(np.complex64) if kind.dimensions == 2 else amplitudes
        gain = self._draw(sent.size, rng, np.complex64)
        noise = rng.standard_normal(2 * sent.size, np.float32).view(np.complex64)
        received = gain * sent + np.sqrt(variance) * noise
        known = None if not self.known_gain else gain if self.fading == "fast" else gain[0]
        return kind.llr(received, float(variance), known).astype(np.float32, copy=False)

    def _draw(self, symbols: int, rng: np.random.Generator, dtype: Any) -> NDArray[Any]:
        """Gains for that many complex symbols: (1,), or one for each."""
        real = np.float32 if dtype is np.complex64 else np.float64
        parts = rng.standard_normal(2 * (symbols if self.fading == "fast" else 1), real) * real(math.sqrt(0.5))
        gains: NDArray[Any] = parts.view(dtype)
        return gains

    def _perturb_symbols(self, symbols: Tensor, sigma: Tensor | float, generator: torch.Generator | None) -> Tensor:
        size = symbols.shape[1]
        sent = torch.nn.functional.pad(symbols, (0, size % 2)).reshape(symbols.shape[0], (size + 1) // 2, 2)
        h = self._draw_on_device(sent, generator)
        scale = sigma.unsqueeze(-1) if isinstance(sigma, Tensor) else sigma
        noise = scale * normal(tuple(sent.shape), sent, generator)
        received = _times(h, sent) + noise
        if self.known_gain:
            received = _times(_conjugate(h), received) / h.square().sum(-1, keepdim=True).clamp_min(_LEAST_POWER_GAIN)
        return received.flatten(1)[:, :size]

    def _perturb_bits(self, amplitudes: Tensor, variance: float, generator: torch.Generator | None) -> Tensor:
        kind = self._modulation
        sent = amplitudes.reshape(amplitudes.shape[0], amplitudes.shape[1] // kind.dimensions, kind.dimensions)
        if kind.dimensions == 1:
            sent = torch.nn.functional.pad(sent, (0, 1))
        h = self._draw_on_device(sent, generator)
        received = _times(h, sent) + variance**0.5 * normal(tuple(sent.shape), sent, generator)
        power = h.square().sum(-1, keepdim=True) if self.known_gain else None
        if self.known_gain:
            received = _times(_conjugate(h), received)
        llr: Tensor = kind.amplitude_llrs(received[..., : kind.dimensions].flatten(1), variance, power)
        return llr

    def _draw_on_device(self, sent: Tensor, generator: torch.Generator | None) -> Tensor:
        """Gains for complex symbols (B, K, 2): (B, 1, 2), or (B, K, 2)."""
        shape = (sent.shape[0], sent.shape[1] if self.fading == "fast" else 1, 2)
        return normal(shape, sent, generator) * math.sqrt(0.5)


def _times(a: Tensor, b: Tensor) -> Tensor:
    """The product of complex numbers kept as (..., 2)."""
    real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    product: Tensor = torch.stack([real, a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]], dim=-1)
    return product


def _conjugate(a: Tensor) -> Tensor:
    conjugate: Tensor = a * a.new_tensor([1.0, -1.0])
    return conjugate
