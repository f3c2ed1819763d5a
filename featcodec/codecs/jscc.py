"""jscc: joint source-channel coding. Two-step dimension reduction to N real channel symbols, under a power constraint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from featcodec.channel import Channel
from featcodec.errors import ConfigError
from featcodec.families.analog import AnalogBottleneckCodec
from featcodec.nets.projection import ConvolutionDecoder, ConvolutionEncoder, ProjectionDecoder, ProjectionEncoder
from featcodec.ops.images import image_shape
from featcodec.ops.power import to_unit_power
from featcodec.spec import check_bool, check_choice, check_int

_MOMENTUM = 0.1  # of the running mean, as batch norm's


class JsccCodec(AnalogBottleneckCodec):
    """Convolution, linear map and tanh or sigmoid to N real channel symbols, mirrored: learned, for `awgn` and `rayleigh`.

    Shao and Zhang, "Communication-computation trade-off in resource-constrained edge inference", 2020 (tanh, peak power); after
    Bourtsoulatze, Burth Kurka and Gunduz, "Deep joint source-channel coding", 2019 (unit mean power). No losses.

    With `remove_mean` a constant, the running mean of what the encoder puts out, is subtracted before sending and added after:
    the noise is the same and the power less, for a sigmoid by a factor of 4 to 6. The constant follows training forwards, rides
    in the state, and begins at what the output function gives for 0.

    Parameters
    ----------
    maps, height, width
        Shape of the feature; height and width are not needed without `symbols`.
    reduced
        Maps after the convolution; an eighth of `maps` unless given.
    stride
        1..8, of the 3 x 3 convolution.
    symbols
        N, 1 or more. None: no linear map, the convolution's output is sent: reduced * ceil(h / stride) * ceil(w / stride)
        symbols, of maps of any size.
    output
        "tanh": in (-1, 1). "sigmoid": in (0, 1).
    power
        "packet": each packet's symbols are scaled to a mean square of exactly 1 (but for one of zeros alone). "peak": sent as
        they are, at most 1 in magnitude, a tanh without its mean at most 2.
    remove_mean
        See above.
    """

    codec_id = "jscc"
    mean: Tensor
    examples = (
        {"maps": 8, "height": 7, "width": 5, "reduced": 2, "symbols": 12, "output": "tanh", "power": "packet"},
        {
            "maps": 8,
            "height": 7,
            "width": 5,
            "stride": 2,
            "symbols": 5,
            "output": "sigmoid",
            "power": "peak",
            "remove_mean": True,
        },
        {"maps": 8, "reduced": 2, "stride": 3, "symbols": None, "output": "sigmoid", "remove_mean": True},
    )

    def __init__(
        self,
        *,
        maps: int,
        height: int | None = None,
        width: int | None = None,
        reduced: int | None = None,
        stride: int = 1,
        symbols: int | None = 32,
        output: str = "tanh",
        power: str = "packet",
        remove_mean: bool = False,
    ) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.reduced = max(1, maps // 8) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.stride = check_int("stride", stride, 1, 8)
        self.symbols = None if symbols is None else check_int("symbols", symbols, 1, 1 << 16)
        self.output = check_choice("output", output, ("tanh", "sigmoid"))
        self.power = check_choice("power", power, ("packet", "peak"))
        self.remove_mean = check_bool("remove_mean", remove_mean)
        self.height, self.width = height, width
        if self.symbols is None:
            if (height, width) != (None, None):
                raise ConfigError(f"height and width go with symbols, got {height!r} and {width!r} without")
            self.analysis = ConvolutionEncoder(self.maps, self.reduced, stride=self.stride, output=self.output)
            self.synthesis = ConvolutionDecoder(self.maps, self.reduced, stride=self.stride)
            shape: tuple[int, ...] = (self.reduced, 1, 1)
        else:
            size = check_int("height", height, 1, 1 << 16), check_int("width", width, 1, 1 << 16)
            self.analysis = ProjectionEncoder(
                self.maps, self.reduced, size, self.symbols, stride=self.stride, output=self.output
            )
            self.synthesis = ProjectionDecoder(self.maps, self.reduced, size, self.symbols, stride=self.stride)
            shape = (self.symbols,)
        if self.remove_mean:
            self.register_buffer("mean", torch.full(shape, 0.5 if self.output == "sigmoid" else 0.0))

    def params(self) -> dict[str, Any]:
        """Return the sizes, the output function and the power constraint."""
        names = ("maps", "height", "width", "reduced", "stride", "symbols", "output", "power", "remove_mean")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps, and height and width where there is a linear map."""
        sizes = dict(zip(("maps", "height", "width"), image_shape(shape), strict=True))
        return {**(sizes if params.get("symbols", 32) is not None else {"maps": sizes["maps"]}), **params}

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (N,), or the shape of the convolution's output."""
        if self.symbols is not None:
            return (self.symbols,)
        return self.reduced, math.ceil(height / self.stride), math.ceil(width / self.stride)

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Let the mean follow, then pass."""
        arrived = super().pass_latents(z, channel)
        if self.remove_mean and self.training:
            with torch.no_grad():
                axes = [axis for axis in range(z.ndim) if axis != 1]
                self.mean.lerp_(z.detach().mean(axes).reshape(self.mean.shape).to(self.mean), _MOMENTUM)
        return arrived

    def send(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Take the mean away, and scale to the power."""
        symbols = (z - self.mean.to(z) if self.remove_mean else z).flatten(1)
        return to_unit_power(symbols) if self.power == "packet" else symbols

    def receive(self, symbols: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Add the mean again."""
        z = symbols.reshape(len(symbols), *shape)
        return z + self.mean.to(z) if self.remove_mean else z
