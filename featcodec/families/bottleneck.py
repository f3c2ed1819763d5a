"""BottleneckCodec: what all learned codecs share. An analysis network, a coder of its latents, a synthesis network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from featcodec.bitstream import Packet
from featcodec.channel import Channel
from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError, FeatureError
from featcodec.features import check_feature
from featcodec.layers import evaluating, weights_of
from featcodec.ops.algorithms import repeatable_algorithms
from featcodec.ops.cast import saturating_cast
from featcodec.ops.checkpointing import refuse_reentrant_checkpoint
from featcodec.ops.eager import eager
from featcodec.ops.host import to_host
from featcodec.ops.images import from_images, image_shape, to_images
from featcodec.ops.straight_through import straight_through
from featcodec.ops.threads import map_on_one_thread_each

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

    In eval mode a codec is read-only: any number of threads may encode and decode. In training mode what runs its networks
    takes turns.

    Attributes
    ----------
    maps, height, width
        Of the features it takes; height and width None where any will do.
    """

    learned = True
    stable_bytes: ClassVar[bool] = False
    _transient = (*Codec._transient, "_losses", "_lock")

    maps: int
    height: int | None = None
    width: int | None = None
    analysis: nn.Module
    synthesis: nn.Module

    # ---- what an author writes ------------------------------------------------------------------------------------------

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of one sample's z for maps of this height and width."""
        raise NotImplementedError

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Return z^ of a batch on its device, differentiable; `record_loss` what the pass costs. For training.

        `channel` is what the batch will be sent over, for a codec whose encoder is told of it; what arrives over it is
        `pass_channel`'s to say.
        """
        raise NotImplementedError

    def encode_latents(self, z: FloatArray, channel: Channel | None = None) -> list[Payload]:
        """Code a batch of finite latents (B, ...), each sample by itself, for a channel that the encoder may be told of."""
        raise NotImplementedError

    def decode_latents(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode to z^ (B, *shape); trust no byte: raise BitstreamError with the numbers."""
        raise NotImplementedError

    def analyze(self, images: Tensor, channel: Channel | None = None) -> Tensor:
        """Return z of images (B, C, h, w), which may depend on the channel they will be sent over."""
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

    def keep_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Add scalars to those of the most recent training forward; see `Codec.keep_losses`."""
        now = self.__dict__.setdefault("_losses", {})
        now.update({name: value + now[name] if name in now else value for name, value in losses.items()})

    def forward(self, x: Tensor, channel: Channel | None = None) -> Tensor:
        """Return what decodes of what was sent, differentiable in x and in the weights."""
        if self.sends(x, channel):
            return self.transmit(x, channel).output
        return self._train_on(x, channel)

    @eager
    def _train_on(self, x: Tensor, channel: Channel | None) -> Tensor:
        check_feature(x)
        _, height, width = self._check_shape(tuple(x.shape[1:]), FeatureError)
        self.losses()
        if not len(x):
            return x
        # half precision would round latents otherwise than the encoder does
        with self._turn(), torch.autocast(x.device.type, enabled=False):
            y = self._through_networks(x, channel, height, width)
        # memory of its own, in the layout of `x`: a tail may write to it, or look at it in another shape
        return torch.empty_like(x).copy_(saturating_cast(y, x.dtype))

    def _through_networks(self, x: Tensor, channel: Channel | None, height: int, width: int) -> Tensor:
        z = self.analyze(to_images(x).to(self._weight().dtype), channel).float()
        with self._of_latents():
            arrived = self.pass_latents(z, channel)
            if channel is not None:
                arrived = self.pass_channel(z, arrived, tuple(x.shape[1:]), channel)
        y = self.synthesis(arrived.to(self._weight().dtype), (height, width)).float()
        return from_images(y, tuple(x.shape[1:]))

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
        payloads = self.encode_latents(z.detach().cpu().numpy(), channel)
        packets = [Packet(shape, "float32", self.payload_kind, 0, payload) for payload in payloads]
        received = [self._receive(channel(packet)) for packet in packets]
        values = self.decode_latents(received, tuple(z.shape[1:]))
        return straight_through(arrived, torch.from_numpy(values).to(z.device))

    def sends(self, x: Tensor, channel: Channel | None) -> bool:
        """True where forward makes real bytes: always but in training mode with a gradient wanted."""
        refuse_reentrant_checkpoint(self)
        return not (self.training and self._wants_gradient(x))

    def attach_gradient(self, x: Tensor, value: Tensor, received: Sequence[Packet], channel: Channel | None) -> Tensor:
        """Return `value`, differentiable as the networks are at the latents that arrived."""
        if not self._wants_gradient(x):
            return value
        shape = tuple(x.shape[1:])
        _, height, width = image_shape(shape)
        z = self.analyze(to_images(x).to(self._weight().dtype), channel).float()
        arrived = self.decode_latents([self._receive(packet) for packet in received], tuple(z.shape[1:]))
        z = straight_through(z, torch.from_numpy(arrived).to(z.device))
        y = self.synthesis(z.to(self._weight().dtype), (height, width)).float()
        return straight_through(saturating_cast(from_images(y, shape), x.dtype), value)

    # ---- bytes ----------------------------------------------------------------------------------------------------------

    def encode_payloads_over(self, x: FloatArray, channel: Channel | None) -> list[Payload]:
        """Encode a batch: the network sample by sample, then the latents."""
        z = self.latents(torch.from_numpy(x), channel).numpy()
        with self._of_latents():
            return self.encode_latents(z, channel)

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode a batch for no channel in particular."""
        return self.encode_payloads_over(x, None)

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode the latents, then run the network sample by sample."""
        _, height, width = self._check_shape(shape, BitstreamError)
        z = torch.from_numpy(self.decode_latents(payloads, self.latent_shape(height, width)))
        images = self._deploy(lambda row: self.synthesis(row, (height, width)), z)
        return from_images(images, shape).contiguous().numpy()

    def latents(self, x: Tensor, channel: Channel | None = None) -> Tensor:
        """Return z of a batch of features (B, ...) as it is sent: float32, on the CPU, sample by sample in eval mode.

        Raises
        ------
        FeatureError
            The features have another number of maps than the codec.
        """
        self._check_shape(tuple(x.shape[1:]), FeatureError)
        return self._deploy(lambda row: self.analyze(row, channel), to_images(x)).contiguous()

    def device_network(self) -> nn.Module | None:
        """Return the analysis network, features (B, ...) to latents, for no channel in particular."""
        return _Analysis(self)

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps."""
        return {"maps": image_shape(shape)[0], **params}

    # ---- its parts ------------------------------------------------------------------------------------------------------

    def _wants_gradient(self, x: Tensor) -> bool:
        if not torch.is_grad_enabled():
            return False
        return (isinstance(x, Tensor) and x.requires_grad) or any(p.requires_grad for p in weights_of(self))

    @contextmanager
    def _of_latents(self) -> Iterator[None]:
        """What is refused in here are latents, not features."""
        try:
            yield
        except FeatureError as e:
            raise FeatureError(f"the latents of {self.codec_id!r}: {e}") from e

    def _weight(self) -> Tensor:
        """A weight: whence device and dtype of the networks are known."""
        return next(weights_of(self.analysis))

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

        Eval mode, float32 (on a GPU TF32 where torch's switches allow it), one sample at a time, on one thread of the CPU: a
        row depends on its sample and the weights alone. Samples of a large batch share the CPU's threads.
        """
        weight = self._weight()

        # what torch keeps for each thread is set for each
        def run(row: Tensor) -> Tensor:
            with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
                # memory of its own, so that no algorithm is picked by where in the batch it lies
                return _finite(network(row.to(weight, copy=not weight.is_cpu)).float())

        there = batch.to(weight.device)
        rows = [there[i : i + 1] for i in range(len(there))]
        with self._turn(), evaluating(*self.children()):
            if not weight.is_cpu:
                with repeatable_algorithms():
                    return to_host(_joined([run(row) for row in rows]))
            most = len(rows) if batch.numel() >= _WORTH_THREADS else 1
            return _joined(map_on_one_thread_each(run, rows, most))

    def _turn(self) -> AbstractContextManager[Any]:
        """In training mode, where modes are switched and statistics follow: the codec's lock."""
        if not self.training:
            return nullcontext()
        turn: AbstractContextManager[Any] = self.__dict__.setdefault("_lock", threading.RLock())
        return turn


class _Analysis(nn.Module):
    """The network's half of encoding as one module."""

    def __init__(self, codec: BottleneckCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x: Tensor) -> Tensor:
        return self.codec.analyze(to_images(x).to(self.codec._weight().dtype)).float()


def _finite(x: Tensor) -> Tensor:
    """Float32 without NaN and infinity: features near the largest float make a network overflow."""
    return torch.nan_to_num(x, nan=0.0).clamp_(-_LARGEST, _LARGEST)


def _joined(rows: list[Tensor]) -> Tensor:
    """Samples as a batch; one is a batch already."""
    return rows[0] if len(rows) == 1 else torch.cat(rows)
