"""BottleneckCodec: what all learned codecs share. An analysis network, a coder of its latents, a synthesis network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from featcodec.bitstream import Packet
from featcodec.channel import Channel
from featcodec.codec import Codec, FloatArray, Payload, Transmission
from featcodec.errors import BitstreamError, FeatureError
from featcodec.features import check_feature
from featcodec.layers import evaluating
from featcodec.ops.cast import saturating_cast
from featcodec.ops.images import from_images, image_shape, to_images
from featcodec.ops.straight_through import straight_through
from featcodec.ops.threads import one_thread

_WORTH_THREADS = 1 << 16  # elements of a batch
_LARGEST = 1e30  # latents and features beyond it are clipped where bytes are made: no feature overflows a coder


class BottleneckCodec(Codec):
    """A trained bottleneck: x -> analysis -> latents z -> coder -> bytes -> z^ -> synthesis -> x^.

    A subclass sets `maps`, the modules `analysis` (images -> z) and `synthesis` ((z^, (h, w)) -> images), and writes
    `latent_shape`, `pass_latents`, `encode_latents` and `decode_latents`.

    Wherever bytes are made or read, the networks run in eval mode and one sample at a time, so that a sample's bytes depend
    on no other. Where the codec is in training mode and a gradient is wanted, the batch takes the way on the device:
    analysis, the latents as the decoder would get them with the gradient of the identity, synthesis; batch norm then is in
    training mode, and `losses` has what that pass cost. A gradient in eval mode is that of the networks at the values sent.

    Features are images of `maps` maps (`featcodec.ops.images`); float weights ride in `state_dict`.

    Attributes
    ----------
    maps, height, width
        Of the features it takes; height and width None where any will do.
    seen_channel
        What the forward under way sends over; None without a channel, and where packets are made by `encode` itself.
    """

    learned = True
    stable_bytes: ClassVar[bool] = False

    seen_channel: Channel | None = None
    maps: int
    height: int | None = None
    width: int | None = None
    analysis: nn.Module
    synthesis: nn.Module

    # ---- what an author writes ------------------------------------------------------------------------------------------

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one sample's z for maps of this height and width."""
        raise NotImplementedError

    def pass_latents(self, z: Tensor) -> Tensor:
        """Return z^ of a batch on its device, differentiable; `record_loss` what the pass costs. For training."""
        raise NotImplementedError

    def encode_latents(self, z: FloatArray) -> list[Payload]:
        """Code a batch of finite latents (B, ...), each sample by itself."""
        raise NotImplementedError

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode to z^ (B, *shape); trust no byte: raise BitstreamError with the numbers."""
        raise NotImplementedError

    def analyze(self, images: Tensor) -> Tensor:
        """Return z of images (B, C, h, w)."""
        z: Tensor = self.analysis(images)
        return z

    # ---- training -------------------------------------------------------------------------------------------------------

    def record_loss(self, name: str, value: Tensor) -> None:
        """Keep a scalar for `losses`."""
        self.__dict__.setdefault("_losses", {})[name] = value

    def losses(self) -> dict[str, Tensor]:
        """Return, and forget, the scalars of the most recent training forward; see `Codec.losses`."""
        losses: dict[str, Tensor] = self.__dict__.pop("_losses", {})
        return losses

    def forward(self, x: Tensor, channel: Channel | None = None) -> Tensor:
        """Return what decodes of what was sent, differentiable in x and in the weights."""
        if self.sends(x, channel):
            return self.transmit(x, channel).output
        with self.seeing(channel):
            return self._train_on(x, channel)

    def transmit(self, x: Tensor, channel: Channel | None = None) -> Transmission:
        """Take the real way and say what it cost; see `Codec.transmit`."""
        with self.seeing(channel):
            return super().transmit(x, channel)

    @contextmanager
    def seeing(self, channel: Channel | None) -> Iterator[None]:
        """Within this context `seen_channel`, which an encoder may be told of, is this one."""
        before = self.seen_channel
        self.seen_channel = channel
        try:
            yield
        finally:
            self.seen_channel = before

    def _train_on(self, x: Tensor, channel: Channel | None) -> Tensor:
        check_feature(x)
        _, height, width = self._check_shape(tuple(x.shape[1:]), FeatureError)
        self.__dict__.pop("_losses", None)
        # half precision would round latents otherwise than the encoder does
        with torch.autocast(x.device.type, enabled=False):
            return self._through_networks(x, channel, height, width)

    def _through_networks(self, x: Tensor, channel: Channel | None, height: int, width: int) -> Tensor:
        z = self.analyze(to_images(x).to(self._weight().dtype)).float()
        with self._of_latents():
            arrived = self.pass_latents(z)
            if channel is not None:
                arrived = self.pass_channel(z, arrived, tuple(x.shape[1:]), channel)
        y = self.synthesis(arrived.to(self._weight().dtype), (height, width)).float()
        return saturating_cast(from_images(y, tuple(x.shape[1:])), x.dtype)

    def pass_channel(self, z: Tensor, arrived: Tensor, shape: tuple[int, ...], channel: Channel) -> Tensor:
        """Return z^ after a channel, differentiable: here real packets meet it, with the gradient of `arrived`.

        Parameters
        ----------
        z, arrived
            Latents of a batch, and what `pass_latents` made of them.
        shape
            Of one sample of the feature.
        channel
            What the packets meet.
        """
        check_feature(z)
        payloads = self.encode_latents(z.detach().cpu().numpy())
        packets = [Packet(shape, "float32", self.payload_kind, 0, payload) for payload in payloads]
        received = [self._receive(channel(packet)) for packet in packets]
        values = self.decode_latents(received, tuple(z.shape[1:]))
        return straight_through(arrived, torch.from_numpy(values).to(z.device))

    def sends(self, x: Tensor, channel: Channel | None) -> bool:
        """True where forward makes real bytes: always but in training mode with a gradient wanted."""
        return not (self.training and self._wants_gradient(x))

    def attach_gradient(self, x: Tensor, value: Tensor, received: Sequence[Packet]) -> Tensor:
        """Return `value`, differentiable as the networks are at the latents that arrived."""
        if not self._wants_gradient(x):
            return value
        shape = tuple(x.shape[1:])
        _, height, width = image_shape(shape)
        z = self.analyze(to_images(x).to(self._weight().dtype)).float()
        arrived = self.decode_latents([self._receive(packet) for packet in received], tuple(z.shape[1:]))
        z = straight_through(z, torch.from_numpy(arrived).to(z.device))
        y = self.synthesis(z.to(self._weight().dtype), (height, width)).float()
        return straight_through(saturating_cast(from_images(y, shape), x.dtype), value)

    # ---- bytes ----------------------------------------------------------------------------------------------------------

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode a batch: the network sample by sample, then the latents."""
        z = self.latents(torch.from_numpy(x)).numpy()
        with self._of_latents():
            return self.encode_latents(z)

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode the latents, then run the network sample by sample."""
        _, height, width = self._check_shape(shape, BitstreamError)
        z = torch.from_numpy(self.decode_latents(payloads, self.latent_shape(height, width)))
        images = self._deploy(lambda row: self.synthesis(row, (height, width)), z)
        return from_images(images, shape).contiguous().numpy()

    def latents(self, x: Tensor) -> Tensor:
        """Return z of a batch of features (B, ...) as it is sent: float32, on the CPU, sample by sample in eval mode.

        Raises
        ------
        FeatureError
            The features have another number of maps than the codec.
        """
        self._check_shape(tuple(x.shape[1:]), FeatureError)
        return self._deploy(self.analyze, to_images(x)).contiguous()

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps."""
        return {"maps": image_shape(shape)[0], **params}

    # ---- its parts ------------------------------------------------------------------------------------------------------

    def _wants_gradient(self, x: Tensor) -> bool:
        if not torch.is_grad_enabled():
            return False
        return (isinstance(x, Tensor) and x.requires_grad) or any(p.requires_grad for p in self.parameters())

    @contextmanager
    def _of_latents(self) -> Iterator[None]:
        """What is refused in here are latents, not features."""
        try:
            yield
        except FeatureError as e:
            raise FeatureError(f"the latents of {self.codec_id!r}: {e}") from e

    def _weight(self) -> Tensor:
        """A weight: whence device and dtype of the networks are known."""
        return next(self.analysis.parameters())

    def _check_shape(self, shape: tuple[int, ...], error: type[Exception]) -> tuple[int, int, int]:
        maps, height, width = image_shape(shape)
        if maps != self.maps:
            raise error(f"{self.codec_id!r} was built for {self.maps} maps, got {maps} in a feature of shape {shape}")
        if self.height is not None and (height, width) != (self.height, self.width):
            raise error(
                f"{self.codec_id!r} was built for maps of {self.height} x {self.width}, got {height} x {width} "
                f"in a feature of shape {shape}"
            )
        return maps, height, width

    def _deploy(self, network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """A network's output (B, ...), float32, finite, on the CPU, as it is deployed.

        Eval mode, full precision, one sample at a time, on one thread of the CPU: a row depends on its sample and the weights
        alone. Samples of a large batch share the CPU's threads.
        """
        weight = self._weight()

        # what torch keeps for each thread is set for each
        def run(row: Tensor) -> Tensor:
            with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
                return _finite(network(row.to(weight)).float().cpu())

        rows = [batch[i : i + 1] for i in range(len(batch))]
        with evaluating(self), one_thread() as threads:
            workers = min(threads, len(rows)) if weight.device.type == "cpu" and batch.numel() >= _WORTH_THREADS else 1
            if workers == 1:
                return torch.cat([run(row) for row in rows])
            with ThreadPoolExecutor(workers) as pool:
                return torch.cat(list(pool.map(run, rows)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the last forward's losses out of copies: they belong to its graph."""
        return {key: value for key, value in self.__dict__.items() if key != "_losses"}


def _finite(x: Tensor) -> Tensor:
    """Float32 without NaN and infinity: features near the largest float make a network overflow."""
    return torch.nan_to_num(x, nan=0.0).clamp(-_LARGEST, _LARGEST)
