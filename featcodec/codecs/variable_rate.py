"""variable-rate: several trained bottlenecks of one layer behind one codec; each packet says which one made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor, nn

from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import Channel
from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError, ConfigError
from featcodec.families.bottleneck import BottleneckCodec
from featcodec.ops.cast import DTYPE_NAMES
from featcodec.ops.straight_through import straight_through
from featcodec.registry import fit_spec, get_codec
from featcodec.spec import Spec, check_int, format_spec, split_outside_parentheses

if TYPE_CHECKING:
    from typing_extensions import Self


class VariableRateCodec(Codec):
    """K bottlenecks, switched at run time: only their weights change, the head's and the tail's stay: learned.

    Datta et al., ICPR 2022, section IV. The level takes ceil(log2 K) bits, written in a byte of its own before the payload of
    that level; a decoder follows the packet, whatever its own level. Training trains the present level alone; its losses are
    that bottleneck's.

    Parameters
    ----------
    levels
        Specs of learned bottlenecks, a list or a string with ";" between them, say "dsc:maps=64,reduced=2;dsc:maps=64".
        By custom the cheapest comes first.
    """

    codec_id = "variable-rate"
    stable_bytes: ClassVar[bool] = False
    learned = True
    examples = (
        {
            "levels": "dsc:maps=8,reduced=3,stride=2,step=0.5,coder=huffman,tables=static;"
            "dsc:maps=8,reduced=4,stride=2,step=0.1,coder=huffman,tables=static;"
            "bottlenet++:maps=8,reduced=2,stride=2,bits=6,mode=digital,csi=false"
        },
        {"levels": "bottlenet:maps=8,reduced=2,stride=2,inner=(jpeg:quality=20),order=channel-first"},
    )

    def __init__(self, *, levels: str | Sequence[Spec]) -> None:
        super().__init__()
        specs = _specs(levels)
        if not 1 <= len(specs) <= 256:
            raise ConfigError(f"levels must be 1..256 specs, got {len(specs)}")
        self.bottlenecks = nn.ModuleList(_bottleneck(spec) for spec in specs)
        self.levels = ";".join(format_spec(bottleneck.config()) for bottleneck in self._all())
        self._level = 0

    def params(self) -> dict[str, Any]:
        """Return the levels' specs."""
        return {"levels": self.levels}

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Fill in every level's sizes."""
        if "levels" not in params:
            return dict(params)
        return {**params, "levels": [fit_spec(spec, shape) for spec in _specs(params["levels"])]}

    # ---- levels ---------------------------------------------------------------------------------------------------------

    @property
    def level(self) -> int:
        """Which bottleneck encodes and trains, 0..K - 1; no parameter: set it at any time."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        self._level = check_int("level", level, 0, len(self.bottlenecks) - 1)

    @property
    def level_bits(self) -> int:
        """ceil(log2 K)."""
        return (len(self.bottlenecks) - 1).bit_length()

    @property
    def bottleneck(self) -> BottleneckCodec:
        """The bottleneck of the present level."""
        return self._all()[self._level]

    def fit(self, *, budget_bits: float, features: Tensor) -> int:
        """Take the level that spends the most without exceeding a budget, and return it.

        Parameters
        ----------
        budget_bits
            Bits a sample: the mean of what `features` take on the wire, header included, must not exceed it.
        features
            (B, ...) features to measure on.

        Raises
        ------
        ConfigError
            No level keeps to the budget; the level then stays what it was.
        """
        array, shape = self._check_input(features), tuple(features.shape[1:])
        spent = []
        for level in range(len(self.bottlenecks)):
            payloads = self._encode_at(level, array, None)
            packets = [Packet(shape, DTYPE_NAMES[features.dtype], self.payload_kind, 0, payload) for payload in payloads]
            spent.append(sum(packet.num_bits for packet in packets) / len(features))
        fitting = [level for level, bits in enumerate(spent) if bits <= budget_bits]
        if not fitting:
            least = min(range(len(spent)), key=spent.__getitem__)
            raise ConfigError(f"no level keeps to {budget_bits} bits: the cheapest, level {least}, takes {spent[least]:.1f}")
        self.level = max(fitting, key=spent.__getitem__)
        return self._level

    @property
    def needs_calibration(self) -> bool:
        """True where a level does."""
        return any(bottleneck.needs_calibration for bottleneck in self._all())

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Calibrate every level; see that codec."""
        batches = [features] if isinstance(features, Tensor) else list(features)
        for bottleneck in self._all():
            bottleneck.calibrate(batches)
        return self

    def config_crc(self) -> int:
        """Return the packet's name for config and tables, these brought up to date at every level."""
        for bottleneck in self._all():
            bottleneck.config_crc()
        return super().config_crc()

    # ---- the way through ------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, channel: Channel | None = None) -> Tensor:
        """Go through the bottleneck of the present level."""
        if self.sends(x, channel):
            return self.transmit(x, channel).output
        y: Tensor = self.bottleneck(x, channel)
        return y

    def sends(self, x: Tensor, channel: Channel | None) -> bool:
        """As the bottleneck of the present level does."""
        return self.bottleneck.sends(x, channel)

    def losses(self) -> dict[str, Tensor]:
        """Return those of the present level."""
        return self.bottleneck.losses()

    def keep_losses(self, losses: Mapping[str, Tensor]) -> None:
        """Add to those of the present level."""
        self.bottleneck.keep_losses(losses)

    def attach_gradient(self, x: Tensor, value: Tensor, received: Sequence[Packet], channel: Channel | None) -> Tensor:
        """Return `value`, differentiable as the bottleneck that made it."""
        parts = [self._split(self._receive(packet)) for packet in received]
        levels = {level for level, _ in parts}
        if len(levels) > 1:  # damaged on the channel
            return straight_through(x, value)
        bare = [Packet(p.shape, p.dtype, p.kind, p.config_crc, body) for p, (_, body) in zip(received, parts, strict=True)]
        return self._all()[levels.pop()].attach_gradient(x, value, bare, channel)

    def encode_payloads_over(self, x: FloatArray, channel: Channel | None) -> list[Payload]:
        """Encode at the present level, and put the level before each payload."""
        return self._encode_at(self._level, x, channel)

    def _encode_at(self, level: int, x: FloatArray, channel: Channel | None) -> list[Payload]:
        payloads = self._all()[level].encode_payloads_over(x, channel)
        if not self.level_bits:
            return payloads
        first = np.array([level << (8 - self.level_bits)], np.uint8)
        return [np.concatenate([first, payload]) for payload in payloads]

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode each payload at its own level."""
        rows = []
        for payload in payloads:
            level, body = self._split(payload)
            bottleneck = self._all()[level]
            if body.dtype == np.int8:
                body = bottleneck._receive(Packet(shape, "float32", PayloadKind.LLR, 0, body))
            rows.append(bottleneck.decode_payloads([body], shape))
        return np.concatenate(rows)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Count the level's byte as side; then what the level's bottleneck tells."""
        level, body = self._split(payload)
        parts = self._all()[level].payload_parts(body, shape)
        return {**parts, "side": parts.get("side", 0) + 8} if self.level_bits else parts

    def _split(self, payload: Payload) -> tuple[int, Payload]:
        """The level and what follows it, of bytes or of soft bits."""
        if not self.level_bits:
            return 0, payload
        items = 8 if payload.dtype == np.int8 else 1
        if payload.size < items:
            raise BitstreamError(f"a payload of {len(self.bottlenecks)} levels begins with its level, got {payload.size} items")
        head, body = payload[:items], payload[items:]
        if items == 8 and not head[: self.level_bits].all():
            raise BitstreamError("the level was erased on the channel")
        byte = int(np.packbits(head < 0)[0]) if items == 8 else int(head[0])
        level, rest = byte >> (8 - self.level_bits), byte & ((1 << (8 - self.level_bits)) - 1)
        if level >= len(self.bottlenecks) or (rest and items == 1):
            raise BitstreamError(f"the payload's first byte {byte:#04x} is no level of {len(self.bottlenecks)}")
        return level, np.ascontiguousarray(body)

    def _receive(self, packet: Packet) -> Payload:
        return packet.payload if packet.kind is PayloadKind.LLR else super()._receive(packet)

    def _all(self) -> list[BottleneckCodec]:
        return [bottleneck for bottleneck in self.bottlenecks if isinstance(bottleneck, BottleneckCodec)]


def _specs(levels: Any) -> list[Spec]:
    if isinstance(levels, str):
        return [*split_outside_parentheses(levels, ";")]
    if not isinstance(levels, Sequence):
        raise ConfigError(f"levels must be specs, a list or a string with ';' between them, got {levels!r}")
    return list(levels)


def _bottleneck(spec: Spec) -> BottleneckCodec:
    codec = get_codec(spec)
    if not isinstance(codec, BottleneckCodec) or codec.payload_kind is not PayloadKind.BYTES:
        raise ConfigError(f"a level must be a learned bottleneck that sends bytes, got {spec!r}")
    return codec
