"""entropic: the depthwise-separable bottleneck with a learned density of its latents, coded by a range coder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from featcodec.channel import Channel
from featcodec.codec import FloatArray, Payload
from featcodec.families.bottleneck import BottleneckCodec
from featcodec.nets.factorized_prior import FactorizedPrior
from featcodec.nets.separable import SeparableDecoder, SeparableEncoder
from featcodec.ops.quantizer import check_step
from featcodec.ops.straight_through import straight_through
from featcodec.payloads.latents import INTEGERS, STEPS, EntropicCoder
from featcodec.spec import check_int, check_number


class EntropicCodec(BottleneckCodec):
    """Depthwise-separable bottleneck, q = rint(z / Q), learned factorised prior, range coder: learned.

    The networks of `dsc`; the rate is what the learned density says (Balle et al., ICLR 2018; Matsubara et al., WACV 2022),
    not an L1 norm. In training z^ is the quantised z, straight-through, and the losses are {"rate": bits a sample}, measured
    on z with uniform noise. Integer tables follow the density by themselves on leaving training mode; they ride in the state
    and in a packet's name.

    Parameters
    ----------
    maps
        C, maps of the feature.
    reduced
        C_r, maps of the latents; a sixteenth of `maps` unless given.
    stride
        S, 1..16, of the spatial reduction.
    step
        Q > 0; the networks scale latents as they need, so that it seldom matters. Latents beyond 32767 Q are a FeatureError.
    """

    codec_id = "entropic"
    examples = (
        {"maps": 8, "reduced": 4, "stride": 2, "step": 0.25},
        {"maps": 8, "reduced": 2, "stride": 1, "step": 0.01},
    )

    def __init__(self, *, maps: int, reduced: int | None = None, stride: int = 2, step: float = 1.0) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.reduced = max(1, maps // 16) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.stride = check_int("stride", stride, 1, 16)
        self.step = check_number("step", step, *STEPS)
        self.analysis = SeparableEncoder(self.maps, self.reduced, self.stride)
        self.synthesis = SeparableDecoder(self.maps, self.reduced, self.stride)
        self.prior = FactorizedPrior(self.reduced)

    def params(self) -> dict[str, Any]:
        """Return the sizes and the step."""
        return {"maps": self.maps, "reduced": self.reduced, "stride": self.stride, "step": self.step}

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (C_r, ceil(h / S), ceil(w / S))."""
        return self.reduced, -(-height // self.stride), -(-width // self.stride)

    def config_crc(self) -> int:
        """Return the packet's name for config and tables, these made anew where the density has changed."""
        self.prior.refresh()
        return super().config_crc()

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Quantise on the device; the rate is that of z with noise, which has a gradient everywhere."""
        noisy = z / self.step + torch.rand_like(z) - 0.5
        self.record_loss("rate", self.prior.bits(noisy).sum() / len(z))
        with torch.no_grad():
            check_step(z, self.step, INTEGERS, STEPS[1])
            value = torch.round(z.double() / self.step) * self.step
        return straight_through(z, value.to(z.dtype))

    def estimated_bits(self, x: Tensor) -> Tensor:
        """Return the density's estimate of what each sample of a batch of features takes: (B,) bits."""
        z = torch.round(self.latents(x) / self.step).to(self.prior.means.device)
        with torch.no_grad():
            return self.prior.bits(z).flatten(1).sum(1)

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Quantise and code, map after map."""
        return self._coder().encode_payloads(z)

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode and dequantise."""
        return self._coder().decode_payloads(payloads, shape)

    def _coder(self) -> EntropicCoder:
        return EntropicCoder(self.step, *self.prior.tables())
