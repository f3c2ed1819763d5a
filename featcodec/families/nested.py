"""NestedBottleneckCodec: a bottleneck whose latents go through another codec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import Packet
from featcodec.channel import Channel
from featcodec.codec import Codec, FloatArray, Payload
from featcodec.families.bottleneck import BottleneckCodec
from featcodec.features import check_feature
from featcodec.ops.images import image_shape

if TYPE_CHECKING:
    from typing_extensions import Self


class NestedBottleneckCodec(BottleneckCodec):
    """A bottleneck whose latents go through another codec, `inner`: a subclass sets it and writes no coder of its own.

    Payload: the inner codec's, without its header, which follows from the feature's shape and the config.
    """

    inner: Codec

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell what the inner codec tells."""
        _, height, width = image_shape(shape)
        return self.inner.payload_parts(payload, self.latent_shape(height, width))

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Send z through the inner codec: a lossless coder's values on the device, else its real bytes."""
        arrived: Tensor = self.inner(z)
        return arrived

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Encode with the inner codec."""
        return [packet.payload for packet in self.inner.encode_over(torch.from_numpy(np.ascontiguousarray(z)), channel)]

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode with the inner codec, which checks every byte."""
        crc = self.inner.config_crc()
        packets = [Packet(shape, "float32", self.inner.payload_kind, crc, np.ascontiguousarray(p)) for p in payloads]
        values: FloatArray = self.inner.decode(packets).numpy()
        return values

    @property
    def needs_calibration(self) -> bool:
        """As the inner codec."""
        return self.inner.needs_calibration

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Calibrate the inner codec on the latents of features (B, C, h, w), or batches of them, at the present weights.

        Raises
        ------
        FeatureError
            The features are not of this codec, or their latents are all alike.
        """
        if not self.needs_calibration:
            return self
        batches = [features] if isinstance(features, Tensor) else features
        latents = []
        for batch in batches:
            check_feature(batch)
            latents.append(self.latents(batch))
        self.inner.calibrate(latents)
        return self
