"""bottlenet++: a bottleneck whose latents in [0, 1] are sent as uncoded words of n bits, or over the air as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec.bitstream import PayloadKind
from featcodec.channel import Channel
from featcodec.codec import FloatArray, Payload
from featcodec.families.uncoded import UncodedBottleneckCodec
from featcodec.ops.quantizer import unit_reconstruct
from featcodec.ops.soft_bits import expected_words
from featcodec.payloads.quantizer import unit_dequantize, unit_quantize
from featcodec.payloads.symbols import from_payload, to_payload
from featcodec.payloads.words import Words
from featcodec.spec import check_bool, check_choice, check_int


class BottleNetPlusPlusCodec(UncodedBottleneckCodec):
    """Convolution, batch norm and sigmoid; n-bit words, uncoded, or analog symbols; deconvolution, batch norm, ReLU: learned.

    Shao and Zhang, "BottleNet++: an end-to-end approach for feature compression in device-edge co-inference systems", ICC
    Workshops 2020. Digital: over an erasure channel words decode to their expectation, soft bits likewise; the gradient passes
    quantiser and channel as the identity's. Analog: the latents, in [0, 1], are real channel symbols for `awgn` and `rayleigh`,
    mean and all; the gradient is the channel's. Train it with the channel in place (`insert(..., channel=)`). No losses.

    Parameters
    ----------
    maps
        C, maps of the feature.
    reduced
        C', maps sent; a sixteenth of `maps` unless given.
    stride
        2: 2 x 2 kernels (the paper's); 1: 3 x 3 kernels.
    bits
        n, 1..16; of the digital mode.
    mode
        "digital" or "analog".
    csi
        True: a constant plane with the channel's state goes into the encoder as a last map.

    Attributes
    ----------
    channel_state
        What that plane holds. None, the default: the state of the channel that forward is given (p of an erasure or
        symmetric channel, sigma of a noisy one), 0 without one; a number: that, whatever the channel. `encode` by itself
        knows no channel.
    """

    codec_id = "bottlenet++"
    examples = (
        {"maps": 8, "reduced": 2, "stride": 2, "bits": 8, "mode": "digital", "csi": False},
        {"maps": 8, "reduced": 3, "stride": 2, "bits": 3, "csi": True},
        {"maps": 8, "reduced": 1, "stride": 1, "bits": 5},
        {"maps": 8, "reduced": 2, "stride": 2, "mode": "analog", "csi": True},
    )

    def __init__(
        self,
        *,
        maps: int,
        reduced: int | None = None,
        stride: int = 2,
        bits: int = 8,
        mode: str = "digital",
        csi: bool = False,
    ) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.reduced = max(1, maps // 16) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.stride = check_int("stride", stride, 1, 2)
        self.bits = check_int("bits", bits, 1, 16)
        self.mode = check_choice("mode", mode, ("digital", "analog"))
        if mode == "analog":
            self.payload_kind = PayloadKind.SYMBOLS
        self.csi = check_bool("csi", csi)
        self.channel_state: float | None = None
        self.analysis = _Encoder(self.maps + self.csi, self.reduced, self.stride)
        self.synthesis = _Decoder(self.maps, self.reduced, self.stride)

    def params(self) -> dict[str, Any]:
        """Return the sizes, the bits, the mode and whether the encoder is told the channel's state."""
        names = ("maps", "reduced", "stride", "bits", "mode", "csi")
        return {name: getattr(self, name) for name in names}

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (C', ceil(h / s), ceil(w / s))."""
        return self.reduced, -(-height // self.stride), -(-width // self.stride)

    def analyze(self, images: Tensor, channel: Channel | None = None) -> Tensor:
        """Return z in [0, 1]; the state's plane goes last."""
        if self.csi:
            state = self.channel_state
            if state is None:
                state = 0.0 if channel is None else channel.state
            images = torch.cat([images, torch.full_like(images[:, :1], state)], dim=1)
        return super().analyze(images, channel)

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Quantise on the device; symbols pass as they are."""
        return z if self.mode == "analog" else unit_reconstruct(z, self.bits)

    def pass_channel(self, z: Tensor, arrived: Tensor, shape: tuple[int, ...], channel: Channel) -> Tensor:
        """Send symbols or words over the channel on the device: the statistics of real packets, without making them."""
        return channel.perturb(z) if self.mode == "analog" else channel.perturb_words(z, self.bits)

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Pack the words, or send the latents as they are."""
        return [to_payload(row) for row in z] if self.mode == "analog" else super().encode_latents(z, channel)

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Unpack words, or take the symbols that arrived."""
        if self.mode == "digital":
            return super().decode_latents(payloads, shape)
        count = self.num_words(shape)
        return np.stack([from_payload(payload, count, count) for payload in payloads]).reshape(len(payloads), *shape)

    def to_words(self, z: FloatArray) -> Words:
        """Quantise."""
        return unit_quantize(z.reshape(len(z), -1), self.bits)

    def from_words(self, words: Words) -> FloatArray:
        """Return the words' values."""
        return unit_dequantize(words, self.bits)

    def from_probabilities(self, probabilities: NDArray[np.float64]) -> FloatArray:
        """Return the words' expected values."""
        return unit_dequantize(expected_words(probabilities), self.bits)


class _Encoder(nn.Module):
    """Conv k2 s2 (or k3 s1), batch norm, sigmoid; an odd side gets a row or column of zeros."""

    def __init__(self, maps: int, reduced: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(maps, reduced, 2, 2) if stride == 2 else nn.Conv2d(maps, reduced, 3, 1, 1)
        self.norm = nn.BatchNorm2d(reduced)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.stride == 2 and (height % 2 or width % 2):
            x = nn.functional.pad(x, (0, width % 2, 0, height % 2))
        z: Tensor = self.norm(self.convolution(x)).sigmoid()
        return z


class _Decoder(nn.Module):
    """Deconv k2 s2 (or k3 s1), batch norm, ReLU; cut to size."""

    def __init__(self, maps: int, reduced: int, stride: int) -> None:
        super().__init__()
        kernel = (2, 2) if stride == 2 else (3, 1, 1)
        self.convolution = nn.ConvTranspose2d(reduced, maps, *kernel)
        self.norm = nn.BatchNorm2d(maps)

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        y: Tensor = self.convolution(z)
        if y.shape[-2:] != size:  # a cut's gradient is a copy
            y = y[..., : size[0], : size[1]]
        x: Tensor = self.norm(y).relu_()
        return x
