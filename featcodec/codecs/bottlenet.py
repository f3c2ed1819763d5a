"""bottlenet: a bottleneck around an image coder (BottleNet): fewer maps, fewer pixels, 8 bits, mosaic, JPEG."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from featcodec.errors import ConfigError
from featcodec.families.nested import NestedBottleneckCodec
from featcodec.registry import get_codec
from featcodec.spec import Spec, check_choice, check_int, format_spec


class BottleNetCodec(NestedBottleneckCodec):
    """Channel and spatial reduction, an inner codec (JPEG of the 8-bit mosaic), and their restoration: learned.

    Eshratifar, Esmaili and Pedram, "BottleNet", ISLPED 2019. In training the inner codec really runs, samples in parallel
    threads, and its gradient is that of the identity; a lossless one is quantised on the device instead. No losses.

    Parameters
    ----------
    maps
        C, maps of the feature.
    reduced
        c', maps sent; a sixteenth of `maps` unless given.
    stride
        s, 1..16, of the spatial reduction; 1 leaves the spatial units out.
    inner
        Spec of the codec of the reduced maps, one without weights.
    order
        "channel-first": maps are reduced before pixels, which is cheap; "spatial-first": the order of the paper's text.
    """

    codec_id = "bottlenet"
    examples = (
        {"maps": 8, "reduced": 2, "stride": 2, "inner": "jpeg:quality=20", "order": "channel-first"},
        {"maps": 8, "reduced": 3, "stride": 2, "inner": "huffman:bits=4,axis=sample", "order": "spatial-first"},
        {"maps": 8, "reduced": 1, "stride": 1, "inner": "webp:quality=80,lossless=false"},
    )

    def __init__(
        self,
        *,
        maps: int,
        reduced: int | None = None,
        stride: int = 2,
        inner: Spec = "jpeg:quality=20",
        order: str = "channel-first",
    ) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.reduced = max(1, maps // 16) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.stride = check_int("stride", stride, 1, 16)
        self.order = check_choice("order", order, ("channel-first", "spatial-first"))
        self.inner = get_codec(inner)
        if self.inner.learned:
            raise ConfigError(f"the inner codec of a bottleneck has no weights of its own, got {inner!r}")
        self.analysis = _Reduction(self.maps, self.reduced, self.stride, self.order == "spatial-first")
        self.synthesis = _Restoration(self.maps, self.reduced, self.stride, self.order == "spatial-first")

    def params(self) -> dict[str, Any]:
        """Return the sizes, the inner codec and the order."""
        inner = format_spec(self.inner.config())
        return {"maps": self.maps, "reduced": self.reduced, "stride": self.stride, "inner": inner, "order": self.order}

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (c', ceil(h / s), ceil(w / s))."""
        return self.reduced, -(-height // self.stride), -(-width // self.stride)


def _unit(convolution: nn.Module, maps: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(maps), nn.ReLU())


class _Reduction(nn.Module):
    """1 x 1 from C to c' maps, and 3 x 3 with stride s, in either order; batch norm and ReLU after each."""

    def __init__(self, maps: int, reduced: int, stride: int, spatial_first: bool) -> None:
        super().__init__()
        width = maps if spatial_first else reduced
        channel = _unit(nn.Conv2d(maps, reduced, 1), reduced)
        spatial = [_unit(nn.Conv2d(width, width, 3, stride, 1), width)] if stride > 1 else []
        self.units = nn.Sequential(*([*spatial, channel] if spatial_first else [channel, *spatial]))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.units(x)
        return z


class _Restoration(nn.Module):
    """The reduction mirrored."""

    def __init__(self, maps: int, reduced: int, stride: int, spatial_first: bool) -> None:
        super().__init__()
        width = maps if spatial_first else reduced
        self.spatial_first = spatial_first
        self.channel = _unit(nn.Conv2d(reduced, maps, 1), maps)
        self.spatial = nn.ConvTranspose2d(width, width, 3, stride, 1) if stride > 1 else None
        self.spatial_norm = nn.BatchNorm2d(width) if stride > 1 else None

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        y = self.channel(z) if self.spatial_first else z
        if self.spatial is not None and self.spatial_norm is not None:
            y = self.spatial_norm(self.spatial(y, output_size=list(size))).relu_()
        x: Tensor = y if self.spatial_first else self.channel(y)
        return x
