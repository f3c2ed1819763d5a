"""entropic: the depthwise-separable bottleneck with a learned density of its latents, coded by a range coder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featcodec.channel import Channel
from featcodec.codec import FloatArray, Payload
from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.families.bottleneck import BottleneckCodec
from featcodec.nets.factorized_prior import FactorizedPrior
from featcodec.nets.separable import SeparableDecoder, SeparableEncoder
from featcodec.ops.quantizer import check_step
from featcodec.ops.straight_through import straight_through
from featcodec.payloads.prior_coder import LIMIT, Integers
from featcodec.spec import check_int

_MAX_LATENTS = 1 << 20  # of one sample: what a decoder works through for a few bytes that claim a large feature
_INTEGERS = (-LIMIT, LIMIT)
_MOST_STEP = 1e6


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
        if isinstance(step, bool) or not isinstance(step, (int, float)) or not 1e-6 <= step <= _MOST_STEP:
            raise ConfigError(f"step must be a number from 1e-6 to 1e6, got {step!r}")
        self.step = float(step)
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
            check_step(z, self.step, _INTEGERS, _MOST_STEP)
            value = torch.round(z.double() / self.step) * self.step
        return straight_through(z, value.to(z.dtype))

    def estimated_bits(self, x: Tensor) -> Tensor:
        """Return the density's estimate of what each sample of a batch of features takes: (B,) bits."""
        z = torch.round(self.latents(x) / self.step).to(self.prior.means.device)
        with torch.no_grad():
            return self.prior.bits(z).flatten(1).sum(1)

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Quantise and code, map after map."""
        _check_count(z.shape[1:], FeatureError)
        check_step(torch.from_numpy(z), self.step, _INTEGERS, _MOST_STEP)
        integers: Integers = np.rint(z.astype(np.float64) / self.step).astype(np.int64)
        rows = integers.reshape(len(z), self.reduced, -1)
        return [np.frombuffer(self.prior.encode(row), np.uint8) for row in rows]

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode and dequantise."""
        _check_count(shape, BitstreamError)
        count = math.prod(shape[1:])
        integers = np.stack([self.prior.decode(payload.tobytes(), count).reshape(shape) for payload in payloads])
        values: FloatArray = (integers * self.step).astype(np.float32)
        return values


def _check_count(shape: tuple[int, ...], error: type[Exception]) -> None:
    if math.prod(shape) > _MAX_LATENTS:
        raise error(f"a sample has at most {_MAX_LATENTS} latents, got {math.prod(shape)}: {shape}")
