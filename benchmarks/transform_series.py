"""The curves that are measured: their settings, and which of these, chosen on training pictures alone.

A sweep of every few settings over training pictures says at which of them the output's KL divergence lies in a range that holds
the changes of top-1 (or the divergences) that rows are compared at, with room on both sides; within it every setting is
measured on the test pictures, or as many of them as the series takes, spread evenly over the logarithm of that divergence.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.cut_jobs import Job, job
from benchmarks.transform_goals import LARGEST, PLAIN
from benchmarks.transform_rivals import LEVELS, SHARES, clipping_range

Where = tuple[str, str, str]
# of the output's KL divergence on training pictures, in nats
KL_RANGES = {"layer1": (0.0015, 0.12), "layer2": (0.0015, 0.12), "layer3": (0.0005, 0.3)}
LITE0_RANGE = (0.006, 0.8)  # stamps lose less than photographs at one quality
BITS = tuple(range(1, 7))


@dataclass(frozen=True)
class Series:
    """A curve.

    Attributes
    ----------
    name
        What it is called.
    settings
        All there are, in order: of ever more or ever fewer bytes.
    make
        The job of a setting at a place.
    stride
        Every how many settings the sweep measures; 0 for a series that is measured whole, without one.
    most
        Settings that are measured on the test pictures.
    """

    name: str
    settings: tuple[Any, ...]
    make: Callable[[Where, Any], Job]
    stride: int
    most: int

    def sweep(self, where: Where) -> list[Job]:
        """Return the jobs of every few settings, the last one among them."""
        return [self.make(where, self.settings[at]) for at in self.swept()]

    def swept(self) -> list[int]:
        """Return the numbers of the settings that the sweep measures."""
        if not self.stride:
            return []
        last = len(self.settings) - 1
        return sorted({*range(0, last, self.stride), last})

    def chosen(self, divergences: Sequence[float], wanted: tuple[float, float]) -> list[Any]:
        """Return the settings to measure, given the sweep's KL divergences and the range they are to lie in."""
        if not self.stride:
            return list(self.settings)
        logs = {at: math.log(value) for at, value in enumerate(self._all(divergences)) if wanted[0] <= value <= wanted[1]}
        if not logs:
            return []
        low, high = min(logs.values()), max(logs.values())
        marks = [low + (high - low) * i / max(1, self.most - 1) for i in range(self.most)]
        spread = {min(logs, key=lambda at, mark=mark: abs(logs[at] - mark)) for mark in marks}
        return [self.settings[at] for at in sorted(spread)]

    def _all(self, divergences: Sequence[float]) -> list[float]:
        """Every setting's divergence: log-linear between those of the sweep."""
        known, logs = self.swept(), [math.log(max(value, 1e-9)) for value in divergences]
        values = []
        for at in range(len(self.settings)):
            right = min(max(1, bisect.bisect_left(known, at)), len(known) - 1)
            left = right - 1
            share = (at - known[left]) / (known[right] - known[left])
            values.append(math.exp(logs[left] + share * (logs[right] - logs[left])))
        return values


def pictures_series(codec_id: str, least: int, last: int, stride: int, most: int) -> Series:
    """Return the curve of an image codec over its qualities; those above `last` lose less than anything is compared at."""
    settings = tuple(range(least, last + 1))
    return Series(codec_id, settings, lambda w, quality: job(w, codec_id, {"id": codec_id, "quality": quality}), stride, most)


def bits_series(name: str, codec_id: str, **more: Any) -> Series:
    """Return the curve of an entropy codec over 1 to 6 bits."""
    return Series(name, BITS, lambda w, bits: job(w, name, {"id": codec_id, "bits": bits, **more}), 0, len(BITS))


def contexts() -> list[Series]:
    """Return the context codec's curves: one range for the sample, and one for every map."""
    return [bits_series("context", "context"), bits_series("context, map", "context", axis="map")]


def steps(features: Tensor, name: str, path: str, maps: int, few: int) -> list[Series]:
    """Return the context codec's curves over a step: one for all maps, and one for each, as a calibration's state tells.

    Parameters
    ----------
    features
        (N, ...) of calibration pictures: steps go from a quarter of their standard deviation to eight times that.
    name, path
        Of the curve with a step for each map, and its state.
    maps
        C.
    few
        Rows of each.
    """
    spread = float(features.std())
    sizes = tuple(spread * 2.0 ** (i / 4) for i in range(-8, 13))

    def one(where: Where, step: float) -> Job:
        return job(where, "context, step", {"id": "context", "step": step})

    def each(where: Where, step: float) -> Job:
        return job(where, name, {"id": "context", "step": step, "axis": "map", "maps": maps}, state=path)

    return [Series("context, step", sizes, one, 4, few), Series(name, sizes, each, 4, few)]


def transforms(states: Sequence[tuple[str, str]], many: int) -> list[Series]:
    """Return the curves of calibrated transforms, each over its one state's qualities: `many`, half where no goal is close."""

    def made(name: str, path: str) -> Callable[[Where, int], Job]:
        return lambda where, quality: job(where, name, "transform", state=path, quality=quality)

    half = max(2, many // 2)
    return [
        Series(name, tuple(range(101)), made(name, path), 10, many if name in (PLAIN, LARGEST) else half)
        for name, path in states
    ]


def rivals(features: Tensor, many: int, few: int) -> list[Series]:
    """Return the curves of codecs without training that the transform is held against.

    Parameters
    ----------
    features
        (N, ...) of calibration pictures: the clipping ranges follow from them.
    many, few
        Rows of the fastest image codec; of the papers'. The slower image codecs have fewer.
    """

    def clip(where: Where, levels: int) -> Job:
        low, high = clipping_range(features, levels)
        return job(where, "clip", {"id": "clip", "levels": levels, "low": low, "high": high})

    def fcm(where: Where, quality: int) -> Job:
        return job(where, "fcm", {"id": "fcm", "quality": quality})

    return [
        pictures_series("jpeg", 1, 90, 9, many),
        pictures_series("webp", 0, 80, 10, 2 * many // 3),
        pictures_series("heif", 0, 60, 10, few - 1),
        *contexts(),
        Series("clip", LEVELS, clip, 1, few),
        Series("top", SHARES, lambda w, share: job(w, "top", {"id": "top", "share": share}), 1, few),
        Series("fcm", tuple(range(51)), fcm, 7, few),
    ]
