"""Bytes at equal loss: curves of measured rows, where they cross a loss, and intervals of their ratios over the same pictures.

A curve's rows are made monotone first (pool adjacent violators: neighbours in bytes whose losses stand in the wrong order
become one point, the means of both), since losses of near neighbours differ by less than their noise; then the logarithm of
the bytes is interpolated linearly in the loss (in its logarithm where it is a divergence). A loss that no two points enclose
gives None.

Intervals are percentiles of a bootstrap that draws pictures, the same ones for every curve: pairs stay pairs, and the choice of
the best rival is made anew in each draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.row_store import Row

Doubles = NDArray[np.float64]

DRAWS = 400
_LEAST = 1e-12  # of a divergence: rounding may leave it below zero
_ENOUGH = 0.9  # of the draws must enclose the loss, or there is no interval


@dataclass(frozen=True)
class Loss:
    """What is lost.

    Attributes
    ----------
    array
        Of a row's arrays: each picture's.
    scale
        To the unit that losses are named in: points of top-1, or nats.
    targets
        At which bytes are compared.
    is_log
        Whether curves are lines in the logarithm of the loss, which is then positive.
    """

    array: str
    scale: float
    targets: tuple[float, ...]
    is_log: bool = False

    def of(self, means: Doubles) -> Doubles:
        """Return what curves are drawn in of means over pictures, in the unit of the targets."""
        return np.log(np.maximum(means, _LEAST)) if self.is_log else means


TOP1 = Loss("lost", 100.0, (0.5, 1.0, 2.0))
KL = Loss("kl", 1.0, (0.01, 0.03, 0.1), is_log=True)


class Curve:
    """A series' rows at one cut, and what `weights` of pictures make of them.

    Parameters
    ----------
    weights
        (DRAWS + 1, N): the first draw is every picture once.
    """

    def __init__(self, name: str, rows: Sequence[Row], loss: Loss, weights: NDArray[np.float32]) -> None:
        self.name = name
        payload = np.stack([row.arrays["payload"] for row in rows]).astype(np.float32)
        losses = np.stack([row.arrays[loss.array] for row in rows]).astype(np.float32)
        self.bytes = (weights @ payload.T).astype(np.float64)
        self.loss = loss
        self.losses = loss.of((weights @ losses.T).astype(np.float64) * loss.scale)

    def at(self, target: float, draw: int = 0) -> float | None:
        """Return the bytes at a loss in a draw."""
        return crossing(self.bytes[draw], self.losses[draw], float(self.loss.of(np.array(target))))


def crossing(sizes: Doubles, losses: Doubles, target: float) -> float | None:
    """Return the size at which a falling curve has a loss: see the module; None where it is not enclosed."""
    logs, found = monotone(sizes, losses)
    for i in range(len(found) - 1):
        if found[i] >= target >= found[i + 1]:
            share = (found[i] - target) / (found[i] - found[i + 1])
            return math.exp(logs[i] + share * (logs[i + 1] - logs[i]))
    return None


def monotone(sizes: Doubles, losses: Doubles) -> tuple[list[float], list[float]]:
    """Return logarithms of sizes, rising, and losses, strictly falling: neighbours in the wrong order are pooled."""
    blocks: list[tuple[float, float, int]] = []
    for at in np.argsort(sizes, kind="stable"):
        log, loss, count = math.log(max(sizes[at], 1e-3)), float(losses[at]), 1
        while blocks and blocks[-1][1] <= loss:
            before = blocks.pop()
            whole = before[2] + count
            log = (before[0] * before[2] + log * count) / whole
            loss = (before[1] * before[2] + loss * count) / whole
            count = whole
        blocks.append((log, loss, count))
    return [block[0] for block in blocks], [block[1] for block in blocks]


def draws(pictures: int, seed: int = 0) -> NDArray[np.float32]:
    """Return the weights of pictures, (DRAWS + 1, N): of all alike, then of pictures drawn with replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(pictures, np.full(pictures, 1 / pictures), DRAWS)
    return (np.concatenate([np.ones((1, pictures)), drawn]) / pictures).astype(np.float32)


def best(curves: Sequence[Curve], target: float, draw: int = 0) -> tuple[float, str] | None:
    """Return the fewest bytes at a loss, and whose they are."""
    found = [(size, curve.name) for curve in curves if (size := curve.at(target, draw)) is not None]
    return min(found) if found else None


def cell(ours: Sequence[Curve], rivals: Sequence[Curve], target: float) -> dict[str, Any]:
    """Return bytes at a loss, ours and the best rival's, their ratio and its 95 % interval."""
    mine, theirs = best(ours, target), best(rivals, target)
    ratios = []
    for draw in range(1, DRAWS + 1):
        one, other = best(ours, target, draw), best(rivals, target, draw)
        if one and other:
            ratios.append(one[0] / other[0])
    known = mine is not None and theirs is not None and len(ratios) >= _ENOUGH * DRAWS
    return {
        "target": target,
        "ours": None if mine is None else mine[0],
        "series": None if mine is None else mine[1],
        "rival": None if theirs is None else theirs[0],
        "best": None if theirs is None else theirs[1],
        "ratio": None if mine is None or theirs is None else mine[0] / theirs[0],
        "interval": [float(np.percentile(ratios, q)) for q in (2.5, 97.5)] if known else None,
    }
