"""Which values a step quantiser has integers for, where others are refused: never clipped, and told which step would do."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import FeatureError

_DIGITS = 6


def check_step(x: NDArray[np.floating[Any]], step: float, integers: tuple[int, int], most: float) -> None:
    """Raise FeatureError where rint(x / step) of a batch (B, ...) lies beyond `integers`.

    The message names the first such sample's worst value, what this step codes and the smallest step for the batch, or says
    that none below `most` does. Values that are not finite are refused elsewhere.
    """
    low, high = float(x.min()), float(x.max())
    if has_integers(low, high, step, integers):
        return
    rows = x.astype(np.float64).reshape(len(x), -1)
    extremes = [(float(row.min()), float(row.max())) for row in rows]
    sample = next(i for i, (least, largest) in enumerate(extremes) if not _codes(least, largest, step, integers))
    least, largest = extremes[sample]
    beyond = least if least / (integers[0] - 0.5) > largest / (integers[1] + 0.5) else largest
    index = np.unravel_index(int((rows[sample] == beyond).argmax()), x.shape[1:])
    place = (sample, *map(int, index))
    wanted = smallest_step(low, high, integers)
    too_large = f"it would take a step of {wanted:g}, and steps end at {most:g}"
    remedy = f"the smallest step that would do is {wanted:g}" if wanted < most else too_large
    raise FeatureError(
        f"a step of {step:g} codes values from {integers[0] * step:g} to {integers[1] * step:g}, got {beyond:.7g} at index "
        f"{place} of shape {x.shape}: {remedy}"
    )


def has_integers(low: float, high: float, step: float, integers: tuple[int, int]) -> bool:
    """Return False where a finite value from low to high lies beyond what this step has integers for."""
    return not (math.isfinite(low) and math.isfinite(high)) or _codes(low, high, step, integers)


def smallest_step(low: float, high: float, integers: tuple[int, int]) -> float:
    """Return the smallest step that has integers for all values from low to high: a float32, rounded up to six digits."""
    least = np.float32(max(high / (integers[1] + 0.5), low / (integers[0] - 0.5)))
    while _codes(low, high, float(np.nextafter(least, np.float32(0))), integers):
        least = np.nextafter(least, np.float32(0))
    while not _codes(low, high, float(least), integers):
        least = np.nextafter(least, np.float32(np.inf))
    exact = Decimal(float(least))
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() + 1 - _DIGITS), ROUND_CEILING))


def _codes(low: float, high: float, step: float, integers: tuple[int, int]) -> bool:
    """Whether both ends, and so all between them, have an integer; rounding half to even."""
    return step > 0 and integers[0] <= round(low / step) and round(high / step) <= integers[1]
