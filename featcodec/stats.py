"""Stats: what has crossed a cut and what it cost."""

from __future__ import annotations

import dataclasses

import numpy as np

from featcodec.codec import Losses


@dataclasses.dataclass(frozen=True)
class Crossing:
    """What one batch cost: `samples` of `elements` each; bits, symbols, uses and seconds for the whole batch.

    Analog symbols are no bits: they count in `real_symbols` alone. `complex_uses` is None where bits went over a channel that
    has no modulation. `pixels` are those of one input image.
    """

    samples: int
    elements: int
    payload_bits: int
    wire_bits: int
    encode_s: float
    decode_s: float
    pixels: int | None
    losses: Losses = dataclasses.field(default_factory=Losses)
    real_symbols: int = 0
    complex_uses: int | None = None


class Stats:
    """What has crossed the cut since the insertion or the last `reset`; figures are nan before anything has.

    Bits are of packets as sent, header and all, but for `payload_bits_per_sample`. Analog symbols are no bits: where they
    crossed, the ratios of bits are nan and the cost is in `real_symbols_per_sample` and `channel_uses_per_sample`. Times are a
    batch's divided by its samples; every sample of a batch counts with that time in median and p95.
    """

    def __init__(self) -> None:
        self.crossings: list[Crossing] = []

    def reset(self) -> None:
        """Forget everything."""
        self.crossings.clear()

    @property
    def samples(self) -> int:
        """Samples sent."""
        return sum(c.samples for c in self.crossings)

    @property
    def bits_per_sample(self) -> float:
        """Mean bits on the wire per sample."""
        return _ratio(sum(c.wire_bits for c in self.crossings), self.samples)

    @property
    def payload_bits_per_sample(self) -> float:
        """Mean payload bits per sample."""
        return _ratio(sum(c.payload_bits for c in self.crossings), self.samples)

    @property
    def elements_per_sample(self) -> float:
        """Mean elements per sample."""
        return _ratio(sum(c.elements * c.samples for c in self.crossings), self.samples)

    @property
    def compression_ratio(self) -> float:
        """Bits of the float32 feature over bits on the wire."""
        return _ratio(32 * self.elements_per_sample, self.bits_per_sample) if self._digital else float("nan")

    @property
    def bpe(self) -> float:
        """Bits on the wire per feature element."""
        return _ratio(self.bits_per_sample, self.elements_per_sample) if self._digital else float("nan")

    @property
    def bpp(self) -> float | None:
        """Bits on the wire per pixel of the model's input; None where that is no image, or symbols are analog."""
        if not self.crossings or not self._digital or any(c.pixels is None for c in self.crossings):
            return None
        return _ratio(sum(c.wire_bits for c in self.crossings), sum((c.pixels or 0) * c.samples for c in self.crossings))

    @property
    def real_symbols_per_sample(self) -> float:
        """Mean analog channel symbols per sample, real ones, without the header."""
        return _ratio(sum(c.real_symbols for c in self.crossings), self.samples)

    @property
    def channel_uses_per_sample(self) -> float | None:
        """Mean complex channel uses per sample, header and all, at the channel's modulation (BPSK where it has none).

        None where bits went without a channel that modulates them.
        """
        if not self.crossings or any(c.complex_uses is None for c in self.crossings):
            return None
        return _ratio(sum(c.complex_uses or 0 for c in self.crossings), self.samples)

    @property
    def blocks(self) -> int:
        """Protected blocks sent, by a codec that protects."""
        return sum(c.losses.blocks for c in self.crossings)

    @property
    def failed_blocks(self) -> int:
        """Protected blocks that could not be decoded."""
        return sum(c.losses.failed_blocks for c in self.crossings)

    @property
    def concealed_per_sample(self) -> float:
        """Mean elements per sample that were made up for lost ones."""
        return _ratio(sum(c.losses.concealed_elements for c in self.crossings), self.samples)

    @property
    def resent_bits_per_sample(self) -> float:
        """Mean bits per sample that were sent again, beyond `bits_per_sample`."""
        return _ratio(sum(c.losses.resent_bits for c in self.crossings), self.samples)

    @property
    def encode_ms(self) -> float:
        """Median milliseconds to encode a sample."""
        return self._percentile("encode_s", 50)

    @property
    def encode_ms_p95(self) -> float:
        """95th percentile of the milliseconds to encode a sample."""
        return self._percentile("encode_s", 95)

    @property
    def decode_ms(self) -> float:
        """Median milliseconds to decode a sample."""
        return self._percentile("decode_s", 50)

    @property
    def decode_ms_p95(self) -> float:
        """95th percentile of the milliseconds to decode a sample."""
        return self._percentile("decode_s", 95)

    def to_dict(self) -> dict[str, float | int | None]:
        """Return every figure by name, None for nan: JSON has no nan."""
        names = [name for name, value in vars(type(self)).items() if isinstance(value, property) and name[0] != "_"]
        figures = {name: getattr(self, name) for name in names}
        return {name: None if value is None or np.isnan(value) else value for name, value in figures.items()}

    @property
    def _digital(self) -> bool:
        return not any(c.real_symbols for c in self.crossings)

    def _percentile(self, field: str, percent: float) -> float:
        if not self.crossings:
            return float("nan")
        times = [getattr(c, field) / c.samples * 1e3 for c in self.crossings]
        return float(np.percentile(np.repeat(times, [c.samples for c in self.crossings]), percent))


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")
