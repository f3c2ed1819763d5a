"""dsc: the depthwise-separable bottleneck, a step quantiser and an entropy coder with tables made from training features."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from featcodec.channel import Channel
from featcodec.families.nested import NestedBottleneckCodec
from featcodec.nets.separable import SeparableDecoder, SeparableEncoder
from featcodec.registry import get_codec
from featcodec.spec import check_choice, check_int

_CODERS = ("huffman", "rans", "context", "auto")


class DscCodec(NestedBottleneckCodec):
    """Depthwise-separable bottleneck, q = rint(z / Q), entropy coder: learned.

    Datta et al., "A low-complexity approach to rate-distortion optimized variable bit-rate compression for split DNN
    computing", ICPR 2022. In training the losses are {"rate": mean |z^|}: the paper's L1 of the quantised latents,
    straight-through. Call `calibrate` once trained: the flat tables of a new codec cost more.

    Parameters
    ----------
    maps
        C, maps of the feature.
    reduced
        C_r, maps of the latents; a sixteenth of `maps` unless given.
    stride
        S, 1..16, of the spatial reduction; any height and width are restored.
    step
        Q > 0.
    coder
        "huffman" (the paper's), "rans", "context" or "auto".
    tables
        "static": from `calibrate`, shipped with the weights (the paper's); "adaptive": made for each sample and sent.
    """

    codec_id = "dsc"
    examples = (
        {"maps": 8, "reduced": 4, "stride": 2, "step": 0.25},
        {"maps": 8, "reduced": 3, "stride": 3, "step": 0.5, "coder": "context"},
        {"maps": 8, "reduced": 2, "stride": 1, "step": 0.1, "coder": "rans", "tables": "adaptive"},
    )

    def __init__(
        self,
        *,
        maps: int,
        reduced: int | None = None,
        stride: int = 2,
        step: float = 1.0,
        coder: str = "huffman",
        tables: str = "static",
    ) -> None:
        super().__init__()
        self.maps = check_int("maps", maps, 1, 1 << 16)
        self.reduced = max(1, maps // 16) if reduced is None else check_int("reduced", reduced, 1, 1 << 16)
        self.stride = check_int("stride", stride, 1, 16)
        self.coder = check_choice("coder", coder, _CODERS)
        self.tables = check_choice("tables", tables, ("static", "adaptive"))
        self.inner = get_codec({"id": coder, "step": step, "tables": tables})
        self.step = float(step)
        self.analysis = SeparableEncoder(self.maps, self.reduced, self.stride)
        self.synthesis = SeparableDecoder(self.maps, self.reduced, self.stride)

    def params(self) -> dict[str, Any]:
        """Return the sizes, the step and the coder."""
        names = ("maps", "reduced", "stride", "step", "coder", "tables")
        return {name: getattr(self, name) for name in names}

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return (C_r, ceil(h / S), ceil(w / S))."""
        return self.reduced, -(-height // self.stride), -(-width // self.stride)

    def pass_latents(self, z: Tensor, channel: Channel | None = None) -> Tensor:
        """Quantise on the device; the rate loss is the mean of what arrives, which is not negative."""
        arrived = super().pass_latents(z, channel)
        self.record_loss("rate", arrived.abs().mean())
        return arrived
