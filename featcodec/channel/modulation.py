"""Modulation: bits to channel symbols and back to LLRs. BPSK, QPSK, 16-QAM and 64-QAM, Gray mapped.

QPSK, 16-QAM and 64-QAM are those of 3GPP TS 38.211, 5.1.3 to 5.1.5: of a symbol's bits the even ones set I, the odd ones Q, and
a first bit of 0 is positive. BPSK is +1 for 0 and -1 for 1 and uses one real dimension. Every constellation has unit average
energy per symbol. Noise is sigma^2 per real dimension throughout; docs/conventions.md relates it to Es/N0 and Eb/N0.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.spec import check_choice

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Modulation:
    """A constellation; get one with `modulation(name)`.

    Attributes
    ----------
    name
        "bpsk", "qpsk", "16qam" or "64qam".
    bits_per_symbol
        m: 1, 2, 4 or 6.
    dimensions
        Real dimensions a symbol uses: 1 for BPSK, else 2 (I and Q).
    levels
        Amplitudes of one dimension by the value of its bits, most significant first.
    """

    name: str
    bits_per_symbol: int
    dimensions: int
    levels: tuple[float, ...]

    def modulate(self, bits: Bits) -> NDArray[np.complex64]:
        """Map bits (m K,) of 0 and 1, uint8, to symbols (K,) complex64.

        Raises
        ------
        ValueError
            The bits are no whole number of symbols, or not bits.
        """
        bits = np.asarray(bits)
        if bits.ndim != 1 or bits.size % self.bits_per_symbol:
            raise ValueError(f"{self.name} takes a 1-D multiple of {self.bits_per_symbol} bits, got shape {bits.shape}")
        if bits.dtype != np.uint8 or (bits.size and bits.max() > 1):
            raise ValueError(f"bits are uint8 of 0 and 1, got {bits.dtype} up to {bits.max() if bits.size else 0}")
        amplitudes: NDArray[np.float32] = self.amplitudes(bits)
        if self.dimensions == 1:
            return amplitudes.astype(np.complex64)
        symbols: NDArray[np.complex64] = amplitudes.view(np.complex64)
        return symbols

    def llr(
        self, received: NDArray[Any], noise_variance: float | NDArray[Any], gain: complex | NDArray[Any] | None = None
    ) -> NDArray[np.floating[Any]]:
        """Return the exact max-log LLRs: the least |y - g s|^2 / 2 sigma^2 over symbols with bit 1 less that with bit 0.

        Parameters
        ----------
        received
            (K,) complex, y = g s + n.
        noise_variance
            sigma^2 per real dimension, above 0: one value or (K,).
        gain
            g, complex or real: one value or (K,); 1 where not given.

        Returns
        -------
        array
            (m K,) in nats, float32 for complex64; positive means 0.

        Raises
        ------
        ValueError
            A shape is wrong, or a variance is not above 0.
        """
        received = np.asarray(received)
        variance = np.asarray(noise_variance, received.real.dtype)
        if received.ndim != 1 or variance.shape not in ((), received.shape):
            raise ValueError(
                f"received is (K,) and its noise variance one value or (K,), got {received.shape}, {variance.shape}"
            )
        if not (variance > 0).all():
            raise ValueError(f"a noise variance is above 0, got {variance.min()}")
        power: Any = None
        if gain is not None:
            g = np.asarray(gain, received.dtype if np.iscomplexobj(received) else None)
            if g.shape not in ((), received.shape):
                raise ValueError(f"the gain is one value or (K,), got {g.shape} for {received.shape}")
            # matched, not divided by: a deep fade gives small LLRs and no large numbers
            received, power = received * g.conj(), (g * g.conj()).real
            power = np.broadcast_to(power, received.shape)[:, None]
        if self.dimensions == 1:
            amplitudes = np.ascontiguousarray(received.real)
        else:
            amplitudes = np.stack([received.real, received.imag], axis=1).reshape(-1)
        llrs: NDArray[np.floating[Any]] = self.amplitude_llrs(
            amplitudes, variance[:, None] if variance.ndim else variance, power
        )
        return llrs

    # ---- one real dimension at a time: what the channels work with, in NumPy and torch alike ----------------------------

    def amplitudes(self, bits: Any) -> Any:
        """Map bits (..., m K) to the amplitudes (..., dimensions K) of their symbols, I before Q, float32; array or Tensor."""
        *batch, size = bits.shape
        groups = bits.reshape(*batch, size // self.bits_per_symbol, self.bits_per_dimension, self.dimensions)
        is_tensor = isinstance(bits, Tensor)
        labels = groups[..., 0, :].long() if is_tensor else groups[..., 0, :]
        for i in range(1, self.bits_per_dimension):
            labels = labels * 2 + groups[..., i, :]
        levels = torch.tensor(self.levels, device=bits.device) if is_tensor else np.array(self.levels, np.float32)
        return levels[labels].reshape(*batch, size // self.bits_per_dimension)

    def amplitude_llrs(self, received: Any, noise_variance: Any, power_gain: Any = None) -> Any:
        """Return the LLRs (..., m K) of amplitudes (..., dimensions K) that met noise; array or Tensor.

        `noise_variance` and `power_gain` have a shape that goes with (..., K, dimensions). With a power gain |g|^2 the
        amplitudes are those of conj(g) y.
        """
        *batch, size = received.shape
        pairs = received.reshape(*batch, size // self.dimensions, self.dimensions)
        if self.bits_per_dimension == 1:
            # two levels, +-a: the squares cancel
            return (pairs * (2 * self.levels[0] / noise_variance)).reshape(*batch, size)
        largest = torch.maximum if isinstance(received, Tensor) else np.maximum
        # |y - l|^2 without y^2, which cancels: the largest of these is the nearest level
        metrics = [pairs * (2 * a) - (a * a if power_gain is None else power_gain * (a * a)) for a in self.levels]
        llrs = []
        for place in reversed(range(self.bits_per_dimension)):
            zero, one = (
                functools.reduce(largest, [m for label, m in enumerate(metrics) if label >> place & 1 == bit]) for bit in (0, 1)
            )
            llrs.append((zero - one) / (2 * noise_variance))
        stack: Any = torch.stack if isinstance(received, Tensor) else np.stack
        return stack(llrs, -2).reshape(*batch, size * self.bits_per_dimension)

    @property
    def bits_per_dimension(self) -> int:
        """Bits that one real dimension of a symbol carries."""
        return self.bits_per_symbol // self.dimensions

    @property
    def power(self) -> float:
        """E[s^2] per real dimension used: 1 for BPSK, else 1/2."""
        return 1 / self.dimensions


def modulation(name: str) -> Modulation:
    """Return the modulation of this name; ConfigError where there is none."""
    return _MODULATIONS[check_choice("modulation", name, MODULATIONS)]


def ebn0_to_snr_db(ebn0_db: float, name: str, *, code_rate: float = 1.0) -> float:
    """Return the snr_db (E[s^2] / sigma^2 per real dimension) at which a modulation works at this Eb/N0.

    SNR = 2 m R / d Eb/N0 with m bits per symbol, d real dimensions, code rate R, N0 = 2 sigma^2, Eb per information bit. BPSK
    and QPSK, both with m / d = 1, agree.
    """
    return ebn0_db + _bits_per_noise_db(name, code_rate)


def snr_to_ebn0_db(snr_db: float, name: str, *, code_rate: float = 1.0) -> float:
    """Return the Eb/N0 in dB at which a modulation works at this snr_db: undoes `ebn0_to_snr_db`."""
    return snr_db - _bits_per_noise_db(name, code_rate)


def _bits_per_noise_db(name: str, code_rate: float) -> float:
    if not 0 < code_rate <= 1:
        raise ValueError(f"a code rate is above 0 and at most 1, got {code_rate!r}")
    return 10 * math.log10(2 * modulation(name).bits_per_dimension * code_rate)


def _level(bits: tuple[int, ...]) -> int:
    """The odd integer of TS 38.211: (1 - 2 b0)(2^(n-1) - (1 - 2 b1)(2^(n-2) - ...))."""
    return (1 - 2 * bits[0]) * ((1 << len(bits) - 1) - (_level(bits[1:]) if len(bits) > 1 else 0))


def _make(name: str, bits_per_dimension: int, dimensions: int) -> Modulation:
    labels = range(1 << bits_per_dimension)
    integers = [_level(tuple(label >> i & 1 for i in reversed(range(bits_per_dimension)))) for label in labels]
    energy = dimensions * sum(i * i for i in integers) / len(integers)
    return Modulation(name, bits_per_dimension * dimensions, dimensions, tuple(i / math.sqrt(energy) for i in integers))


_MODULATIONS = {m.name: m for m in (_make("bpsk", 1, 1), _make("qpsk", 1, 2), _make("16qam", 2, 2), _make("64qam", 3, 2))}
MODULATIONS = tuple(_MODULATIONS)
