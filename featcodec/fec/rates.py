"""Code rates by channel: the fewest sent bits of a block that fails no more often than asked, from measured tables.

`rates.json` is made by ``python -m benchmarks.ldpc_rates`` and holds, by family and channel, what this package's decoders
did. Erasures: for codes of k bits sent as n, by how many bits the parity must exceed the erasures for a share of failures of
1/2, 1/10, 1/100, 1/1000 under maximum likelihood, by the parity alone: what the CRC fills comes on top. Noise and flips: the
least snr_db (BPSK, per real dimension) and the largest p at which 1/100 and 1/1000 of the blocks fail under min-sum.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import ConfigError
from featcodec.fec.block_codes import CRC_FILLS

MANY = 64  # a message of more than one block is planned as one of so many
_FAILURES = (0.5, 0.1, 0.01, 0.001)
Points = list[list[int]]  # [k, n] with both rising


def rate_points(family: str, channel: Mapping[str, Any], target_fer: float) -> list[Points]:
    """Return how many bits to send for k: points (k, n) for messages of one block, and for those of up to 64.

    Parameters
    ----------
    family
        "nr" or "wifi".
    channel
        A channel's config: "bec" or "bsc" with p, or "awgn" with snr_db (BPSK).
    target_fer
        The share of messages that may be lost.

    Raises
    ------
    ConfigError
        No table is made for this channel, or no code of the family is good enough for it.
    """
    table = _table()[family]
    kind = channel["id"]
    if kind == "bec":
        # nr: a block of n bits is the beginning of one of n + CRC_FILLS; without those bits at most so many dimensions more are
        # open, which the CRC fills. A wifi block of another n may be of another mother code.
        fills = CRC_FILLS if family == "nr" else 0
        found = [_erasure_points(table["bec"], channel["p"], target, fills) for target in (target_fer, target_fer / MANY)]
    elif kind == "bsc":
        found = [_noise_points(table["bsc"], -float(channel["p"]), target) for target in (target_fer, target_fer / MANY)]
    elif kind == "awgn" and channel.get("snr_db") is not None and channel.get("modulation", "bpsk") == "bpsk":
        quality = float(channel["snr_db"])
        found = [_noise_points(table["awgn"], quality, target) for target in (target_fer, target_fer / MANY)]
    else:
        raise ConfigError(f"rate=auto knows bec, bsc and awgn (snr_db, bpsk), got {dict(channel)!r}")
    if any(not points for points in found):
        raise ConfigError(f"no {family} code fails for at most {target_fer} of the messages on {dict(channel)!r}")
    return found


def interpolate(points: Points, k: int) -> int:
    """Return n of k, in integers: straight lines between the points, before them the first parity, then in proportion."""
    below = [point for point in points if point[0] <= k]
    above = [point for point in points if point[0] > k]
    if not below:  # a short block needs at least the parity of the first point
        first_k, first_n = above[0]
        return k + first_n - first_k
    (k0, n0) = below[-1]
    if not above:
        return k + -(-(n0 - k0) * k // k0)
    (k1, n1) = above[0]
    parity = (n0 - k0) * (k1 - k0) + (n1 - k1 - n0 + k0) * (k - k0)
    return k + -(-parity // (k1 - k0))


def check_points(points: Any) -> list[Points]:
    """Return what `rate_points` gave and a config carried, checked.

    Raises
    ------
    ConfigError
        It is no such list.
    """
    good = isinstance(points, Sequence) and not isinstance(points, str) and len(points) == 2
    if not good or not all(_rises(one) for one in points):
        raise ConfigError(f"rate must be a code rate, auto, or two lists of rising [k, n], got {points!r}")
    return [[[int(k), int(n)] for k, n in one] for one in points]


def _rises(points: Any) -> bool:
    if not isinstance(points, Sequence) or not points:
        return False
    pairs = [tuple(p) for p in points if isinstance(p, Sequence) and len(p) == 2]
    if len(pairs) != len(points) or not all(type(v) is int for pair in pairs for v in pair):
        return False
    parity = [n - k for k, n in pairs]
    ks = [k for k, _ in pairs]
    return (
        ks == sorted(set(ks))
        and ks[0] >= 1
        and ks[-1] <= 8448
        and parity == sorted(parity)
        and 0 < parity[0] <= parity[-1] <= 1 << 18
    )


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("featcodec.fec").joinpath("rates.json").read_text())
    return table


# ---- erasures --------------------------------------------------------------------------------------------------------------


def _erasure_points(rows: Sequence[Mapping[str, Any]], p: float, target: float, fills: int) -> list[list[int]]:
    """For every k the least parity, less the `fills` bits that the CRC stands in for; rows are {"k", "n", "margins"}."""
    points: Points = []
    for k, of_k in _with_middles(rows):
        parity = _least_parity(k, of_k, p, target)
        if parity is None and points:
            break  # larger blocks have no such low rates
        if parity is None:
            continue
        parity = max(1, parity - fills)
        points.append([k, k + max(parity, points[-1][1] - points[-1][0] if points else 0)])
    return points


def _with_middles(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, list[Mapping[str, Any]]]]:
    """Every k of the table and one between each two, with its rows by n.

    The spread of the erasures grows as the root of n: a straight line over a whole interval would give its middle too little.
    The margins there are those of the worse neighbour at the same code rate.
    """
    by_k: dict[int, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["k"], row["n"])):
        by_k.setdefault(row["k"], []).append(row)
    found = list(by_k.items())
    for (k0, of_k0), (k1, of_k1) in pairwise(by_k.items()):
        k = (k0 + k1) // 16 * 8
        found.append((k, [_middle(k, row, of_k1) for row in of_k0]))
    return sorted(found, key=lambda pair: pair[0])


def _middle(k: int, row: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A row of k bits at the code rate of `row`, as cautious as that and the one of `others` of the nearest rate."""
    rate = row["k"] / row["n"]
    other = min(others, key=lambda found: abs(found["k"] / found["n"] - rate))
    return {"k": k, "n": math.ceil(k / rate), "margins": np.maximum(row["margins"], other["margins"]).tolist()}


def _least_parity(k: int, rows: Sequence[Mapping[str, Any]], p: float, target: float) -> int | None:
    low, high = int(rows[0]["n"]) - k, int(rows[-1]["n"]) - k
    if _erasure_failures(k, high, rows, p) > target:
        return None
    while low < high:
        middle = (low + high) // 2
        if _erasure_failures(k, middle, rows, p) <= target:
            high = middle
        else:
            low = middle + 1
    return low


def _erasure_failures(k: int, parity: int, rows: Sequence[Mapping[str, Any]], p: float) -> float:
    """The share of blocks of n = k + parity bits that fail, each bit erased with probability p."""
    n = k + parity
    above = next((row for row in rows if row["n"] >= n), rows[-1])
    below = next((row for row in reversed(rows) if row["n"] <= n), rows[0])
    margins = np.maximum(above["margins"], below["margins"])
    return float((_binomial(n, p) * _failures_by_margin(margins, parity - np.arange(n + 1))).sum())


def _failures_by_margin(margins: NDArray[Any], margin: NDArray[Any]) -> NDArray[np.float64]:
    """log-linear between the measured shares, and on along the last line; 1 where the erasures exceed the parity."""
    steps = np.maximum.accumulate(margins.astype(np.float64) + np.arange(len(margins)) * 1e-6)
    logs = np.log(_FAILURES)
    slope = (logs[-1] - logs[-2]) / max(steps[-1] - steps[-2], 1.0)
    found = np.interp(margin, steps, logs)
    found = np.where(margin > steps[-1], logs[-1] + slope * (margin - steps[-1]), found)
    found = np.where(margin < steps[0], 0.0, found)
    shares: NDArray[np.float64] = np.exp(np.maximum(found, -60))
    return shares


def _binomial(n: int, p: float) -> NDArray[np.float64]:
    if p in (0.0, 1.0):
        sure = np.zeros(n + 1)
        sure[n if p else 0] = 1.0
        return sure
    e = np.arange(n + 1)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    logs = factorial[n] - factorial[e] - factorial[n - e] + e * math.log(p) + (n - e) * math.log1p(-p)
    shares: NDArray[np.float64] = np.exp(logs)
    return shares


# ---- noise and flips -------------------------------------------------------------------------------------------------------


def _noise_points(rows: Sequence[Mapping[str, Any]], quality: float, target: float) -> Points:
    """For every k the highest code rate whose threshold the channel meets; rows are {"k", "n", "thresholds"}."""
    points: Points = []
    for k in sorted({row["k"] for row in rows}):
        of_k = sorted((row for row in rows if row["k"] == k), key=lambda row: row["n"])
        needed = [_threshold(row["thresholds"], target) for row in of_k]
        index = next((i for i, value in enumerate(needed) if value <= quality), None)
        if index is None and points:
            break  # larger blocks have no such low rates
        if index is None:
            continue
        n = of_k[index]["n"]
        if index > 0:  # between two codes: the parity that a straight line gives
            share = (quality - needed[index]) / max(needed[index - 1] - needed[index], 1e-9)
            n -= math.floor(share * (n - of_k[index - 1]["n"]))
        points.append([k, max(n, k + points[-1][1] - points[-1][0] if points else 0)])
    return points


def _threshold(thresholds: Sequence[float], target: float) -> float:
    """The quality at which `target` of the blocks fail: along the line through 1/100 and 1/1000, in decades."""
    at_hundredth, at_thousandth = thresholds
    return at_hundredth + (at_thousandth - at_hundredth) * (math.log10(0.01) - math.log10(min(target, 0.01)))
