"""vfe: variational feature encoding. Analog symbols with learned gains; those that the task does not need are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.channel import Channel
from featcodec.errors import BitstreamError
from featcodec.families.analog import AnalogBottleneckCodec
from featcodec.nets.projection import ProjectionDecoder, ProjectionEncoder
from featcodec.nets.relevance import Gains, log_uniform_divergence
from featcodec.ops.images import image_shape
from featcodec.spec import check_bool, check_int, check_number

_LEAST_SIGMA, _MOST_SIGMA = 1e-4, 1e4


class VfeCodec(AnalogBottleneckCodec):
    """Convolution and linear map to N values of unit variance, z = tanh(gain x), live symbols alone sent, mirrored: learned.

    Shao, Mao and Zhang, "Learning task-oriented communication for edge inference: an information bottleneck approach", IEEE
    JSAC 2022. In training the losses are {"kl": nats a sample}, the divergence of what is sent from a log-uniform prior, in
    noise of the channel's sigma (or the parameter's, without such a channel); the authors weigh it by 9e-3 * 0.1 / sigma and
    draw sigma from (0.05, 0.32). It drives the gains of symbols that the task does not need to zero; `prune` drops them, and
    training may go on with those that are left. Until then all N are sent. The symbols left are an integer buffer: they ride in
    the state and in a packet's name.

    Values are normalised by batch norm without scale before the gain, so that a gain is a symbol's amplitude and nothing else
    can take its place; peak power is 1.

    Parameters
    ----------
    maps, height, width
        Shape of the feature.
    reduced
        Maps after the convolution; an eighth of `maps` unless given.
    stride
        1..8, of the 3 x 3 convolution.
    symbols
        N, the most that are sent.
    sigma
        Standard deviation of the noise where no channel tells: 0.1 is 20 dB of PSNR.
    threshold
        Gains below it are not sent.
    adaptive
        True: gains depend on sigma, which the encoder is told: the more noise, the more symbols. A packet's length then tells
        how many came.

    Attributes
    ----------
    channel_state
        Sigma that adaptive gains are told. None, the default: that of the channel which forward is given, the parameter's
        without one; a number: that, whatever the channel. `encode` by itself knows no channel.
    """

    codec_id = "vfe"
    examples = (
        {"maps": 8, "height": 7, "width": 5, "reduced": 2, "symbols": 16},
        {"maps": 8, "height": 7, "width": 5, "reduced": 1, "stride": 2, "symbols": 7, "sigma": 0.2, "adaptive": True},
    )

    def __init__(
        self,
        *,
        maps: int,
        height: int,
        width: int,
        reduced: int | None = None,
        stride: int = 1,
        symbols: int = 64,
        sigma: float = 0.1,
        threshold: float = 1e-2,
        adaptive: bool = False,
    ) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.height = check_int("height", height, 1, 1 << 16)
        self.width = check_int("width", width, 1, 1 << 16)
        self.reduced = max(1, maps // 8) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.stride = check_int("stride", stride, 1, 8)
        self.symbols = check_int("symbols", symbols, 1, 1 << 16)
        self.sigma = check_number("sigma", sigma, _LEAST_SIGMA, _MOST_SIGMA)
        self.threshold = check_number("threshold", threshold, 1e-6, 1.0)
        self.adaptive = check_bool("adaptive", adaptive)
        self.channel_state: float | None = None
        size = self.height, self.width
        self.analysis = nn.Sequential(
            ProjectionEncoder(self.maps, self.reduced, size, self.symbols, stride=self.stride, output="none"),
            nn.BatchNorm1d(self.symbols, affine=False),
        )
        self.gains = Gains(self.symbols, self.adaptive)
        self.synthesis = ProjectionDecoder(self.maps, self.reduced, size, self.symbols, stride=self.stride)

    def params(self) -> dict[str, Any]:
        """Return the sizes, the noise, the threshold and whether the gains adapt."""
        names = ("maps", "height", "width", "reduced", "stride", "symbols", "sigma", "threshold", "adaptive")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps, height and width."""
        return {**dict(zip(("maps", "height", "width"), image_shape(shape), strict=True)), **params}

    # ---- pruning --------------------------------------------------------------------------------------------------------

    def prune(self, threshold: float | None = None, *, sigma: float | None = None) -> int:
        """Drop the symbols whose gain lies below a threshold, for good; packets get another name.

        Parameters
        ----------
        threshold
            The parameter's unless given.
        sigma
            Of adaptive gains: the most noise there will be, where they are largest; without end unless given.

        Returns
        -------
        int
            Symbols left, at least 1.
        """
        most = _MOST_SIGMA if sigma is None else check_number("sigma", sigma, _LEAST_SIGMA, _MOST_SIGMA)
        return self.gains.prune(self.threshold if threshold is None else threshold, most)

    @property
    def live(self) -> int:
        """Symbols that are sent at the most."""
        return len(self._sent())

    # ---- the way through ------------------------------------------------------------------------------------------------

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (N,): symbols that are not sent are zeros."""
        return (self.symbols,)

    def symbol_counts(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """All live symbols; of adaptive ones at least one."""
        live = self.live
        return (1 if self.adaptive else live), live

    def analyze(self, images: Tensor, channel: Channel | None = None) -> Tensor:
        """Return z = tanh(gain x) in (-1, 1), zero where it is not sent."""
        x = super().analyze(images, channel).float()
        z = torch.tanh(x * self.gains(self._sigma(channel)).float())
        left = torch.zeros_like(z[0]).index_fill_(0, self._indices(channel), 1.0)
        return z * left

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Return z, which is zero where it is not sent; what it costs is the loss."""
        self.record_loss("kl", log_uniform_divergence(z, self._noise(z, channel)).sum(1).mean())
        return z

    def send(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Take the live symbols, in order."""
        return z[:, self._indices(channel)]

    def receive(self, symbols: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Put as many as came into their places."""
        indices = self._sent()[: symbols.shape[1]]
        return symbols.new_zeros(len(symbols), self.symbols).index_copy(1, indices, symbols)

    def _indices(self, channel: Channel | None) -> Tensor:
        """The symbols sent at this channel's sigma."""
        return self._sent()[: self.gains.count(self._sigma(channel), self.threshold)]

    def _sent(self) -> Tensor:
        try:
            return self.gains.sent()
        except ValueError as e:
            raise BitstreamError(str(e)) from e

    def _sigma(self, channel: Channel | None) -> float:
        """What adaptive gains are told."""
        told = self.sigma
        if self.adaptive and self.channel_state is not None:
            told = self.channel_state
        elif self.adaptive and channel is not None and channel.state_kind == "noise":
            told = channel.state
        return min(max(told, _LEAST_SIGMA), _MOST_SIGMA)

    def _noise(self, z: Tensor, channel: Channel | None) -> float:
        """Sigma in front of these symbols: where the channel's noise follows their power, of this batch's."""
        if channel is None:
            return self.sigma
        power = channel.power if channel.power is not None else float(self.send(z.detach(), channel).square().mean())
        variance = channel.noise_variance(power)
        return self.sigma if variance is None else min(max(variance**0.5, _LEAST_SIGMA), _MOST_SIGMA)
