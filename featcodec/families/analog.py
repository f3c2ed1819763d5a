"""AnalogBottleneckCodec: what bottlenecks share whose latents are channel symbols, sent over the air as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import PayloadKind
from featcodec.channel import Channel
from featcodec.codec import FloatArray, Payload
from featcodec.families.bottleneck import BottleneckCodec
from featcodec.payloads.symbols import from_payload, to_payload


class AnalogBottleneckCodec(BottleneckCodec):
    """Latents as real channel symbols: payloads of SYMBOLS, float32.

    In training the symbols meet `Channel.perturb`, whose gradient is the channel's own; elsewhere packets meet the channel.
    Any finite symbols decode. A subclass may write `send` and `receive`, which stand between latents and symbols.
    """

    payload_kind = PayloadKind.SYMBOLS

    # ---- what an author may write ---------------------------------------------------------------------------------------

    def send(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Return the symbols (B, N) of latents (B, ...) for a channel, each row from its own sample alone; differentiable."""
        return z.flatten(1)

    def receive(self, symbols: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the latents (B, *shape) of symbols that arrived, (B, N); differentiable."""
        return symbols.reshape(len(symbols), *shape)

    def symbol_counts(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return how many symbols, at least and at most, a sample with latents of this shape is sent as."""
        return math.prod(shape), math.prod(shape)

    # ---- the way through ------------------------------------------------------------------------------------------------

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Return what arrives where nothing is lost."""
        return self.receive(self.send(z, channel), tuple(z.shape[1:]))

    def pass_channel(self, z: Tensor, arrived: Tensor, shape: tuple[int, ...], channel: Channel) -> Tensor:
        """Send the symbols over the channel, on their device."""
        return self.receive(channel.perturb(self.send(z, channel)), tuple(z.shape[1:]))

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Return each sample's symbols, made by itself: sums in a batch may round otherwise."""
        with torch.no_grad():
            latents = torch.from_numpy(np.ascontiguousarray(z)).to(self._weight().device)
            return [to_payload(self.send(latents[i : i + 1], channel).float().cpu().numpy()) for i in range(len(latents))]

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Check and take the symbols."""
        least, most = self.symbol_counts(shape)
        device = self._weight().device
        with torch.no_grad():
            symbols = [torch.from_numpy(from_payload(payload, least, most))[None].to(device) for payload in payloads]
            rows = [self.receive(row, shape).cpu() for row in symbols]
        values: FloatArray = torch.cat(rows).numpy()
        return values
