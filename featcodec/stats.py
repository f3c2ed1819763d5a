"""Stats: what has crossed a cut and what it cost. Running sums, and a bounded sample of times."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcodec.transmission import NOTHING_LOST, Losses

_NAN = float("nan")
_TIMES_KEPT = 4096


@dataclass(slots=True)
class Crossing:
    """What one forward of the model sent: `samples` is its batch, all else the sum over every tensor and call.

    Analog symbols are no bits: they count in `real_symbols` alone. `complex_uses` is None where bits went over a channel that
    has no modulation. `pixels` are those of all the batch's images, None where its inputs are no images.
    """

    samples: int = 0
    elements: int = 0
    payload_bits: int = 0
    wire_bits: int = 0
    encode_s: float = 0.0
    decode_s: float = 0.0
    pixels: int | None = None
    losses: Losses = NOTHING_LOST
    real_symbols: int = 0
    complex_uses: int | None = 0
    tokens: int = 0
    crushed_tokens: int = 0


class Stats:
    """What has crossed the cut since the insertion or the last `reset`; figures are nan before anything has.

    A sample is one of the model's inputs: what several tensors or calls of a forward sent for it is added up. Bits are of
    packets as sent, header and all, but for `payload_bits_per_sample`. Analog symbols are no bits: where they crossed, the
    ratios of bits are nan and the cost is in `real_symbols_per_sample` and `channel_uses_per_sample`. Times are a forward's
    divided by its samples; every sample of a batch counts with that time in median and p95, which are those of a random
    sample of 4,096 forwards where there were more. Any number of threads may add.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._crossings = 0
            self._sum = Crossing(pixels=0)
            self._analog = False
            self._times: list[tuple[float, float, int]] = []  # encode ms, decode ms a sample; samples
            self._random = random.Random(0)

    def add(self, crossing: Crossing) -> None:
        """Count what one forward sent."""
        c = crossing
        row = (c.encode_s / c.samples * 1e3, c.decode_s / c.samples * 1e3, c.samples)
        with self._lock:
            s = self._sum
            s.samples += c.samples
            s.elements += c.elements
            s.payload_bits += c.payload_bits
            s.wire_bits += c.wire_bits
            s.real_symbols += c.real_symbols
            s.tokens += c.tokens
            s.crushed_tokens += c.crushed_tokens
            s.pixels = None if s.pixels is None or c.pixels is None else s.pixels + c.pixels
            s.complex_uses = None if s.complex_uses is None or c.complex_uses is None else s.complex_uses + c.complex_uses
            if c.losses is not NOTHING_LOST:
                s.losses = s.losses + c.losses
            self._analog = self._analog or c.real_symbols > 0
            self._crossings += 1
            if len(self._times) < _TIMES_KEPT:
                self._times.append(row)
            # reservoir sampling (Vitter 1985): every forward is as likely to be among those that are kept
            elif (place := self._random.randrange(self._crossings)) < _TIMES_KEPT:
                self._times[place] = row

    @property
    def crossings(self) -> int:
        """Forwards of the model in which something crossed."""
        return self._crossings

    @property
    def samples(self) -> int:
        """Samples sent."""
        return self._sum.samples

    @property
    def bits_per_sample(self) -> float:
        """Mean bits on the wire per sample."""
        return self._per_sample(self._sum.wire_bits)

    @property
    def payload_bits_per_sample(self) -> float:
        """Mean payload bits per sample."""
        return self._per_sample(self._sum.payload_bits)

    @property
    def elements_per_sample(self) -> float:
        """Mean elements per sample."""
        return self._per_sample(self._sum.elements)

    @property
    def compression_ratio(self) -> float:
        """Bits of the float32 feature over bits on the wire."""
        return _NAN if self._analog else _ratio(32 * self._sum.elements, self._sum.wire_bits)

    @property
    def bpe(self) -> float:
        """Bits on the wire per feature element."""
        return _NAN if self._analog else _ratio(self._sum.wire_bits, self._sum.elements)

    @property
    def bpp(self) -> float | None:
        """Bits on the wire per pixel of the model's input.

        None where symbols are analog, or where the pixels of some crossing are not known: its input was no batch of images, or
        a module inside the model was called by itself.
        """
        if not self._crossings or self._analog or self._sum.pixels is None:
            return None
        return _ratio(self._sum.wire_bits, self._sum.pixels)

    @property
    def real_symbols_per_sample(self) -> float:
        """Mean analog channel symbols per sample, real ones, without the header."""
        return self._per_sample(self._sum.real_symbols)

    @property
    def channel_uses_per_sample(self) -> float | None:
        """Mean complex channel uses per sample, header and all, at the channel's modulation (BPSK where it has none).

        None where bits went without a channel that modulates them.
        """
        uses = self._sum.complex_uses
        return None if not self._crossings or uses is None else self._per_sample(uses)

    @property
    def tokens(self) -> int:
        """Tokens sent: rows of features (T, D); a sample of any other shape is one."""
        return self._sum.tokens

    @property
    def crushed_tokens(self) -> int:
        """Tokens of which less arrived than was lost: |x - x^|^2 > |x - mean x|^2 / 2."""
        return self._sum.crushed_tokens

    @property
    def blocks(self) -> int:
        """Protected blocks sent, by a codec that protects."""
        return self._sum.losses.blocks

    @property
    def failed_blocks(self) -> int:
        """Protected blocks that could not be decoded."""
        return self._sum.losses.failed_blocks

    @property
    def concealed_per_sample(self) -> float:
        """Mean elements per sample that were made up for lost ones."""
        return self._per_sample(self._sum.losses.concealed_elements)

    @property
    def resent_bits_per_sample(self) -> float:
        """Mean bits per sample that were sent again, beyond `bits_per_sample`."""
        return self._per_sample(self._sum.losses.resent_bits)

    @property
    def encode_ms(self) -> float:
        """Median milliseconds to encode a sample."""
        return self._percentile(0, 50)

    @property
    def encode_ms_p95(self) -> float:
        """95th percentile of the milliseconds to encode a sample."""
        return self._percentile(0, 95)

    @property
    def decode_ms(self) -> float:
        """Median milliseconds to decode a sample."""
        return self._percentile(1, 50)

    @property
    def decode_ms_p95(self) -> float:
        """95th percentile of the milliseconds to decode a sample."""
        return self._percentile(1, 95)

    def to_dict(self) -> dict[str, float | int | None]:
        """Return every figure by name, None for nan: JSON has no nan."""
        names = [name for name, value in vars(type(self)).items() if isinstance(value, property)]
        figures = {name: getattr(self, name) for name in names}
        return {name: None if value is None or np.isnan(value) else value for name, value in figures.items()}

    def _per_sample(self, total: float) -> float:
        return _ratio(total, self._sum.samples)

    def _percentile(self, column: int, percent: float) -> float:
        """NumPy's percentile, linear between neighbours, of the times as if each stood there once for every sample."""
        with self._lock:
            kept = list(self._times)
        if not kept:
            return _NAN
        rows = np.array(kept)
        rows = rows[np.argsort(rows[:, column], kind="stable")]
        ends = np.cumsum(rows[:, 2])
        place = (ends[-1] - 1) * percent / 100
        low, high = (rows[np.searchsorted(ends, at, side="right"), column] for at in (np.floor(place), np.ceil(place)))
        return float(low + (high - low) * (place - np.floor(place)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lock out of copies."""
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a state, with a lock of one's own."""
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _ratio(a: float, b: float) -> float:
    return a / b if b else _NAN
