"""Limits: the bits that ideal coders of a given model would take, model cost included where the coder is adaptive."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coders import Symbols

TOKENS = 16
CONTEXTS = 2 * TOKENS - 1  # the left token plus the up token
LIMITS = ("order-0 entropy", "adaptive order-0", "adaptive left+up", "static left+up")

_log_gamma = np.frompyfunc(math.lgamma, 1, 1)


def limits(symbols: Symbols, calibration: Symbols, bits: int, zero: int = 0) -> dict[str, float]:
    """Return bits a symbol of each of `LIMITS`, one image at a time.

    Parameters
    ----------
    symbols
        (B, maps, h, w) below 2^bits: each image is coded on its own.
    calibration
        (B', maps, h, w) of other images: what the static model is counted on.
    zero
        The symbol of the integer 0 where symbols are signed integers: the contexts see 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
    """
    total = dict.fromkeys(LIMITS, 0.0)
    for image in symbols:
        order0 = np.bincount(image.reshape(-1), minlength=1 << bits)
        total["order-0 entropy"] += entropy_bits(order0)
        total["adaptive order-0"] += adaptive_bits(order0)
    fold = _folded(bits, zero)
    width = int(fold.max()).bit_length()
    best = [_context_bits(fold[symbols], fold[calibration], width, classes) for classes in ("octaves", "even")]
    total["adaptive left+up"], total["static left+up"] = (min(found) for found in zip(*best, strict=True))
    return {name: value / symbols.size for name, value in total.items()}


def _context_bits(symbols: NDArray[Any], calibration: NDArray[Any], bits: int, classes: str) -> tuple[float, float]:
    """Bits of all images by the adaptive and by the static context model, with one way of making tokens."""
    token = _tokens(bits, classes)
    raw = np.log2(np.bincount(token))[token]  # bits that tell a symbol from the others of its token
    trained = np.sum([_context_counts(token[image]) for image in calibration], axis=0) + 0.5
    per_token = -np.log2(trained[:, : token[-1] + 1] / trained[:, : token[-1] + 1].sum(axis=1, keepdims=True))
    adaptive = static = 0.0
    for image in symbols:
        counts = _context_counts(token[image])[:, : token[-1] + 1]
        extra = float(raw[image].sum())
        adaptive += sum(adaptive_bits(row) for row in counts if row.any()) + extra
        static += float((counts * per_token).sum()) + extra
    return adaptive, static


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Return the bits that symbols of these counts take under their own distribution, which is not sent."""
    used = counts[counts > 0]
    return float((used * np.log2(used.sum() / used)).sum())


def adaptive_bits(counts: NDArray[np.int64]) -> float:
    """Return the bits of the Krichevsky-Trofimov estimator, which learns from nothing: any order of the symbols gives the same.

    (Krichevsky and Trofimov 1981: each symbol gets (n_i + 1/2) / (n + K/2).)
    """
    half = counts.size / 2
    gained = float(_log_gamma(counts[counts > 0] + 0.5).sum()) - int(np.count_nonzero(counts)) * math.lgamma(0.5)
    return (math.lgamma(int(counts.sum()) + half) - math.lgamma(half) - gained) / math.log(2)


def _context_counts(tokens: Symbols) -> NDArray[np.int64]:
    """Return (31, 16): how often each token came with each sum of its left and up token in its map (0 beyond the edge)."""
    wide = tokens.astype(np.int64)
    context = np.zeros_like(wide)
    context[:, :, 1:] += wide[:, :, :-1]
    context[:, 1:, :] += wide[:, :-1, :]
    return np.bincount((context * TOKENS + wide).reshape(-1), minlength=CONTEXTS * TOKENS).reshape(CONTEXTS, TOKENS)


def _folded(bits: int, zero: int) -> NDArray[np.int64]:
    integers = np.arange(1 << bits) - zero
    if not zero:
        return integers
    return np.where(integers < 0, -2 * integers - 1, 2 * integers)


@cache
def _tokens(bits: int, classes: str) -> Symbols:
    """The token of every symbol: itself up to 4 bits; above, 16 even classes, or whole at the bottom and then half octaves."""
    if bits <= 4 or classes == "even":
        return (np.arange(1 << bits) >> max(0, bits - 4)).astype(np.uint8)
    exact = 8 if bits <= 7 else 4
    firsts = [*range(exact), *(first for k in range(exact.bit_length() - 1, bits) for first in (1 << k, 3 << (k - 1)))]
    while len(firsts) > TOKENS:  # 9 bits and more: whole octaves at the top
        firsts.remove(max(first for first in firsts if first & (first - 1)))
    return (np.searchsorted(firsts, np.arange(1 << bits), side="right") - 1).astype(np.uint8)
