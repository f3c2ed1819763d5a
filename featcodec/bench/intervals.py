"""Two-sided 95 % intervals of rates and of their differences.

Wilson's score interval [1], Newcombe's hybrid of two of them for independent samples [2], Tango's score interval for pairs [3].
All three lie within the range of what they estimate and say something where nothing differs.

[1] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
[2] R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine 17 (1998)
    873, method 10.
[3] T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample design,
    Statistics in Medicine 17 (1998) 891.
"""

from __future__ import annotations

import math

Z = 1.959963984540054  # 97.5 % of a standard normal variable lie below
_STEPS = 60  # halvings of [-1, 1]: below the spacing of doubles


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the interval of a rate of which `count` of `total` were seen.

    Raises
    ------
    ValueError
        Not 0 <= count <= total, or total is 0.
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"a rate needs 0 <= count <= total and a total of at least 1, got {count} of {total}")
    rate, z2 = count / total, Z * Z
    middle = rate + z2 / (2 * total)
    half = Z * math.sqrt(rate * (1 - rate) / total + z2 / (4 * total * total))
    low, high = ((middle + sign * half) / (1 + z2 / total) for sign in (-1, 1))
    return 0.0 if count == 0 else low, 1.0 if count == total else high


def unpaired_difference(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Return the interval of the first rate less the second, each (count, total) of a sample of its own."""
    (low1, high1), (low2, high2) = wilson(*first), wilson(*second)
    rate1, rate2 = first[0] / first[1], second[0] / second[1]
    difference = rate1 - rate2
    return difference - math.hypot(rate1 - low1, high2 - rate2), difference + math.hypot(high1 - rate1, rate2 - low2)


def paired_difference(gained: int, lost: int, total: int) -> tuple[float, float]:
    """Return the interval of the difference of two rates on the same `total` samples.

    `gained` counts those that the first has and the second has not, `lost` the other way about; the rest agree. Without any
    that differ it is -z^2/(total + z^2)..z^2/(total + z^2).

    Raises
    ------
    ValueError
        A count is negative, or more differ than there are.
    """
    if min(gained, lost) < 0 or gained + lost > total or total < 1:
        raise ValueError(f"{gained} gained and {lost} lost of {total} samples are no counts of pairs")
    return _limit(gained, lost, total, Z), _limit(gained, lost, total, -Z)


def _limit(gained: int, lost: int, total: int, wanted: float) -> float:
    """The difference at which the score statistic, which falls as the difference grows, is `wanted`."""
    low, high = -1.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _score(gained, lost, total, middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(gained: int, lost: int, total: int, difference: float) -> float:
    """Tango's statistic: observed less supposed difference, over its deviation at the likeliest rate of losses beside it."""
    b = (2 * total - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    losses = (math.sqrt(max(0.0, b * b - 8 * total * c)) - b) / (4 * total)
    variance = total * (2 * losses + difference * (1 - difference))
    above = gained - lost - total * difference
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above) if above else 0.0
