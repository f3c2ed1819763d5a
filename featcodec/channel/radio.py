"""RadioChannel: what channels share that take what is sent over the air. Bits are modulated and arrive as LLR."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel.base import Channel, arrived, check_symbols, floats, rows
from featcodec.channel.modulation import modulation as modulation_of
from featcodec.errors import ConfigError, FeatureError
from featcodec.ops.soft_bits import quantize_llr
from featcodec.ops.soft_tensors import bit_probabilities, llr_steps
from featcodec.ops.straight_through import straight_through
from featcodec.spec import check_number

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_DB_LIMIT = 200.0


class RadioChannel(Channel):
    """A channel with noise of variance sigma^2 in every real dimension.

    Parameters
    ----------
    snr_db
        10 log10 of E[s^2] / sigma^2 per real dimension, -200..200; this or `psnr_db`. E[s^2] of analog symbols is that of the
        packet sent (zeros meet no noise) unless `power` fixes it; that of modulated bits is their constellation's: 1 for BPSK,
        1/2 for QPSK and QAM, which have unit energy in two dimensions.
    psnr_db
        10 log10 of 1 / sigma^2: the papers' PSNR for symbols in [0, 1].
    power
        E[s^2] that `snr_db` refers to for analog symbols, above 0: the average over a data set, say.
    modulation
        What bits are sent with: "bpsk", "qpsk", "16qam" or "64qam" (`featcodec.channel.modulation`).
    seed
        Of the noise.

    Raises
    ------
    ConfigError
        Both or neither of snr_db and psnr_db, or a parameter out of range.
    """

    softens: ClassVar[bool] = True
    state_kind = "noise"

    def __init__(
        self,
        snr_db: float | None = None,
        *,
        psnr_db: float | None = None,
        power: float | None = None,
        modulation: str = "bpsk",
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        if (snr_db is None) == (psnr_db is None):
            raise ConfigError(f"give one of snr_db and psnr_db, got snr_db={snr_db!r}, psnr_db={psnr_db!r}")
        if power is not None and snr_db is None:
            raise ConfigError(f"power goes with snr_db: psnr_db={psnr_db!r} fixes the noise by itself, got power={power!r} too")
        self.snr_db = None if snr_db is None else check_number("snr_db", snr_db, -_DB_LIMIT, _DB_LIMIT)
        self.psnr_db = None if psnr_db is None else check_number("psnr_db", psnr_db, -_DB_LIMIT, _DB_LIMIT)
        self.power = None if power is None else check_number("power", power, 1e-30, 1e30)
        self._modulation = modulation_of(modulation)

    @property
    def modulation(self) -> str:
        """What bits are sent with."""
        return self._modulation.name

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments, without those that are None."""
        given = {"snr_db": self.snr_db, "psnr_db": self.psnr_db, "power": self.power}
        return {**{k: v for k, v in given.items() if v is not None}, "modulation": self.modulation, **super().params()}

    @property
    def state(self) -> float:
        """Return sigma for symbols of unit power."""
        return math.sqrt(self.noise_variance(1.0))

    def noise_variance(self, power: float) -> float:
        """Return sigma^2 per real dimension for symbols of this E[s^2]; `power` does not matter where psnr_db is given."""
        if self.psnr_db is not None:
            return float(10.0 ** (-self.psnr_db / 10))
        assert self.snr_db is not None
        return float(power * 10.0 ** (-self.snr_db / 10))

    # ---- packets --------------------------------------------------------------------------------------------------------

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Add noise to SYMBOLS; modulate BYTES and return their LLR."""
        if packet.kind is PayloadKind.SYMBOLS:
            return arrived(packet, PayloadKind.SYMBOLS, self._send_symbols(packet.payload, rng))
        if packet.kind is PayloadKind.BYTES:
            return arrived(packet, PayloadKind.LLR, self._send_bits(np.unpackbits(packet.payload), rng))
        raise FeatureError(f"{self!r} takes BYTES or SYMBOLS, got LLR: soft bits come out of a radio channel and into none")

    def _send_symbols(self, symbols: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        wide = symbols.astype(np.float64)
        power = float(np.mean(wide**2)) if wide.size else 0.0
        if not np.isfinite(power):
            raise FeatureError(
                f"channel symbols must be finite, got {int((~np.isfinite(wide)).sum())} of {wide.size} that are not"
            )
        sigma = self.noise_variance(power if self.power is None else self.power) ** 0.5
        received = self._receive_symbols(wide, sigma, rng)
        # what leaves float32's range becomes its largest: a receiver saturates
        return np.clip(received, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)

    def _send_bits(self, bits: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int8]:
        """Fill the last symbol with zeros, whose LLRs are dropped."""
        filled = np.pad(bits, (0, -bits.size % self._modulation.bits_per_symbol))
        variance = np.float32(self.noise_variance(self._modulation.power))
        llr = self._receive_bits(self._modulation.amplitudes(filled), variance, rng)
        return quantize_llr(llr[: bits.size])

    def _receive_symbols(self, symbols: NDArray[np.float64], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return what arrives of real symbols (N,)."""
        raise NotImplementedError

    def _receive_bits(
        self, amplitudes: NDArray[np.float32], variance: np.float32, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the LLRs of modulated bits, from the amplitudes of their symbols."""
        raise NotImplementedError

    # ---- training -------------------------------------------------------------------------------------------------------

    def perturb(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return what arrives of analog symbols (B, ...); see `Channel.perturb`.

        The gradient is the channel's own: through the gain, and through E[s^2] where the noise follows it.
        """
        check_symbols(symbols)
        flat = rows(symbols)
        wide = flat if flat.dtype is torch.float64 else flat.float()
        if self.psnr_db is not None or self.power is not None:
            sigma: Tensor | float = self.noise_variance(self.power or 1.0) ** 0.5
        else:
            # the root has no slope at 0: a sample of zeros stays as it is
            mean = wide.square().mean(dim=1, keepdim=True).clamp_min(torch.finfo(wide.dtype).tiny)
            sigma = mean.sqrt() * self.noise_variance(1.0) ** 0.5
        received = self._perturb_symbols(wide, sigma, generator)
        limit = torch.finfo(symbols.dtype).max
        return received.clamp(-limit, limit).to(symbols.dtype).reshape(symbols.shape)

    def perturb_bits(self, bits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Modulate bits (B, ...), add noise, and return P(bit = 1) from the int8 LLRs; see `Channel.perturb_bits`."""
        sent = floats(bits)
        with torch.no_grad():
            flat = rows(sent)
            size = flat.shape[1]
            filled = torch.nn.functional.pad(flat, (0, -size % self._modulation.bits_per_symbol)).to(torch.uint8)
            llr = self._perturb_bits(
                self._modulation.amplitudes(filled), self.noise_variance(self._modulation.power), generator
            )
            value = bit_probabilities(llr_steps(llr[:, :size]).to(torch.int8)).to(sent.dtype).reshape(sent.shape)
        return straight_through(sent, value)

    def _perturb_symbols(self, symbols: Tensor, sigma: Tensor | float, generator: torch.Generator | None) -> Tensor:
        """Return what arrives of real symbols (B, N)."""
        raise NotImplementedError

    def _perturb_bits(self, amplitudes: Tensor, variance: float, generator: torch.Generator | None) -> Tensor:
        """Return the LLRs of modulated bits, from the amplitudes (B, dimensions K) of their symbols."""
        raise NotImplementedError
