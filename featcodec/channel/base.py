"""Channel: what every channel is. The base takes seeds and makes words of bits; authors write `damage` and `perturb`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec._core import crc32c
from featcodec.bitstream import Packet, PayloadKind
from featcodec.errors import ConfigError, FeatureError, FeatureTypeError
from featcodec.ops.soft_bits import MAX_WORD_BITS, SURE
from featcodec.ops.soft_tensors import expected_words, words_to_bits
from featcodec.ops.straight_through import straight_through
from featcodec.spec import check_int


class Channel:
    """Takes a packet, gives what arrives. Headers are taken to arrive: short and repeatable.

    The damage depends on the payload and the seed alone: the same packet meets the same noise in every batch and on every
    run, and another seed gives another draw.

    Three forms of `perturb` do to tensors, on their device, what the channel does to packets, with the same statistics; they
    draw anew on every call, from `generator` (one of the tensor's device) or torch's own. Axis 0 is the batch: each sample
    meets its own noise, as one packet does.

    Attributes
    ----------
    channel_id
        What `featcodec.get_channel` knows it by.
    softens
        True where BYTES arrive as LLR.
    power
        E[s^2] that the noise is measured by, where it is fixed.
    """

    channel_id: ClassVar[str]
    softens: ClassVar[bool] = False
    power: float | None = None

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = check_int("seed", seed, 0, (1 << 63) - 1)

    def __call__(self, packet: Packet, seed: int | None = None) -> Packet:
        """Return what arrives of `packet`; `seed` replaces the channel's own for this call.

        Raises
        ------
        FeatureError
            The channel does not carry payloads of this kind, or symbols are not finite.
        """
        chosen = self.seed if seed is None else check_int("seed", seed, 0, (1 << 63) - 1)
        entropy = (chosen, crc32c(packet.payload.tobytes()))
        return self.damage(packet, np.random.default_rng(entropy))

    # ---- what an author writes ------------------------------------------------------------------------------------------

    def damage(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Return what arrives, drawing from `rng`."""
        raise NotImplementedError

    def perturb(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return what arrives of analog channel symbols, differentiable.

        Parameters
        ----------
        symbols
            (B, ...) float, each sample a packet's SYMBOLS in row order.
        generator
            Whence the noise is drawn.

        Returns
        -------
        Tensor
            The shape and dtype of `symbols`.

        Raises
        ------
        FeatureError
            The channel carries bits.
        """
        raise FeatureError(f"{self!r} carries bits, not analog symbols: use perturb_bits or perturb_words")

    def perturb_bits(self, bits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return P(bit = 1) for the receiver of uncoded bits.

        Parameters
        ----------
        bits
            (B, ...), each sample a packet's bits in row order: 0 and 1 of any dtype.
        generator
            Whence the noise is drawn.

        Returns
        -------
        Tensor
            The shape of `bits`, float32 (its own dtype where that is a float) in [0, 1], an erased bit 1/2: what
            `ops.soft_tensors.bit_probabilities` says of the packet that arrives. The gradient is the identity's.
        """
        raise NotImplementedError

    @property
    def state_kind(self) -> str:
        """What `state` counts: "erasures", "flips" or "noise"; ConfigError where no one number tells of the channel."""
        raise ConfigError(f"{self!r} has no one state to tell an encoder: set the codec's channel_state")

    @property
    def state(self) -> float:
        """The one number that tells an encoder what its channel is like; errors are those of `state_kind`.

        p of bits or packets that are erased or flipped; sigma of the noise for symbols of unit power.
        """
        raise ConfigError(f"{self!r} has no one state to tell an encoder: set the codec's channel_state")

    def noise_variance(self, power: float) -> float | None:
        """Return sigma^2 per real dimension for symbols of this E[s^2]; None where the channel adds no noise."""
        return None

    @property
    def modulation(self) -> str | None:
        """What bits are sent with; None where the channel takes bits as they are."""
        return None

    # ---- what follows ---------------------------------------------------------------------------------------------------

    def perturb_words(self, values: Tensor, bits: int, generator: torch.Generator | None = None) -> Tensor:
        """Send values in [0, 1] as n-bit words, uncoded, and return their expected values (BottleNet++, section III-B).

        The words are rint((2^n - 1) x) in natural binary, most significant bit first; what arrives is the expectation of
        `ops.soft_tensors.expected_words` over 2^n - 1. The gradient is that of the identity.

        Parameters
        ----------
        values
            (B, ...) float in [0, 1].
        bits
            n, 1..16.
        generator
            Whence the noise is drawn.

        Raises
        ------
        FeatureError
            A value lies outside [0, 1].
        """
        check_int("bits", bits, 1, MAX_WORD_BITS)
        check_symbols(values)
        with torch.no_grad():
            low, high = (float(v) for v in values.aminmax()) if values.numel() else (0.0, 0.0)
            if not (low >= 0 and high <= 1):
                raise FeatureError(f"words stand for values in [0, 1], got values from {low} to {high}")
            words = torch.round(values.float() * (2**bits - 1)).long()
            arrived = expected_words(self.perturb_bits(words_to_bits(words, bits), generator)) / (2**bits - 1)
        return straight_through(values, arrived.to(values.dtype))

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"seed": self.seed}

    def config(self) -> dict[str, Any]:
        """Return ``{"id": ..., **params()}``, which `get_channel` rebuilds the channel from."""
        return {"id": self.channel_id, **self.params()}

    def __repr__(self) -> str:
        """Show the config."""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.params().items())})"


def to_llr(packet: Packet, channel: Channel) -> NDArray[np.int8]:
    """Return the bits of a BYTES or LLR payload as LLRs, those of BYTES sure; FeatureError for SYMBOLS."""
    if packet.kind is PayloadKind.LLR:
        return packet.payload.view(np.int8)
    if packet.kind is PayloadKind.BYTES:
        return np.array([SURE, -SURE], np.int8)[np.unpackbits(packet.payload)]
    raise FeatureError(f"{channel!r} carries bits, got a payload of {packet.kind.name}")


def arrived(packet: Packet, kind: PayloadKind, payload: NDArray[Any]) -> Packet:
    """Return `packet` with the payload that arrived; its checksum, if any, stays what the sender wrote."""
    return replace(packet, kind=kind, payload=payload)


def check_symbols(symbols: Tensor) -> None:
    """Raise FeatureTypeError or FeatureError where `symbols` is no batch of floats."""
    if not (isinstance(symbols, Tensor) and symbols.is_floating_point()):
        got = str(symbols.dtype) if isinstance(symbols, Tensor) else type(symbols).__name__
        raise FeatureTypeError(f"a channel perturbs a floating-point Tensor, got {got}")
    check_batched(symbols)


def check_batched(values: Tensor) -> None:
    """Raise FeatureError where a tensor has no axis for the batch."""
    if values.ndim == 0:
        raise FeatureError("axis 0 is the batch: a channel perturbs (B, ...), got a tensor without axes")


def rows(values: Tensor) -> Tensor:
    """Return (B, ...) as (B, N), a packet a row."""
    return values.reshape(values.shape[0], -1) if values.numel() else values.new_zeros(values.shape[0], 0)


def floats(bits: Tensor) -> Tensor:
    """Return bits or probabilities (B, ...) as floats."""
    check_batched(bits)
    return bits if bits.is_floating_point() else bits.float()


def uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from [0, 1) in the shape and on the device of `like`, float32."""
    return torch.rand(like.shape, device=like.device, generator=generator)


def normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from N(0, 1) on the device of `like`, in float32, or float64 where `like` is."""
    dtype = torch.float64 if like.dtype is torch.float64 else torch.float32
    return torch.randn(shape, dtype=dtype, device=like.device, generator=generator)
