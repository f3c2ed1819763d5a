"""Limits of codes of n bits: Shannon's, and what the best code of that length can do over noise and over erasures.

Polyanskiy, Poor, Verdu, "Channel coding rate in the finite blocklength regime", IEEE Trans. Inf. Theory 56(5), 2010: the normal
approximation with its (1/2) log2 n term, eq. 296, for noise; the dependence-testing bound, eq. 76, for erasures.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

_NODES = 200  # of the Gauss-Hermite rule; the integrand is smooth at every SNR of interest


def biawgn(snr: float) -> tuple[float, float]:
    """Return capacity in bits and dispersion in bits^2 of BPSK with white noise, `snr` = 1 / sigma^2 per real dimension."""
    nodes, weights = _hermite()
    received = 1 + nodes / math.sqrt(snr)
    density = 1 - np.logaddexp(0, -2 * snr * received) / math.log(2)
    capacity = float(weights @ density)
    return capacity, float(weights @ (density - capacity) ** 2)


@functools.cache
def _hermite() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / math.sqrt(2 * math.pi)


def awgn_failures(k: int, n: int, ebn0_db: float) -> float:
    """Return the share of blocks that the best (n, k) code loses over BPSK with noise: the normal approximation."""
    capacity, dispersion = biawgn(2 * k / n * 10 ** (ebn0_db / 10))
    return _tail((n * capacity + math.log2(n) / 2 - k) / math.sqrt(n * dispersion))


def awgn_limit_db(k: int, n: int, failures: float) -> float:
    """Return the Eb/N0 in dB at which the normal approximation says that this share of blocks is lost."""
    return _bisect(lambda ebn0_db: awgn_failures(k, n, ebn0_db) > failures, -2.0, 20.0)


def shannon_db(rate: float) -> float:
    """Return the Eb/N0 in dB at which the capacity of BPSK with noise is the code rate."""
    return _bisect(lambda ebn0_db: biawgn(2 * rate * 10 ** (ebn0_db / 10))[0] < rate, -2.0, 20.0)


def bec_failures(k: int, n: int, p: float) -> float:
    """Return the share of blocks that a random (n, k) code loses at most with erasures: the dependence-testing bound."""
    if p <= 0:
        return 2.0 ** (k - n)
    erased = np.arange(n + 1)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    logs = factorial[n] - factorial[erased] - factorial[n - erased] + erased * math.log(p) + (n - erased) * math.log1p(-p)
    # k - 1: the wrong word wins a tie half of the time
    return float(np.exp(logs + math.log(2) * np.minimum(0, erased - (n - k) - 1)).sum())


def bec_limit(k: int, n: int, failures: float) -> float:
    """Return the erasure probability up to which a random (n, k) code loses at most this share of blocks."""
    return _bisect(lambda p: bec_failures(k, n, p) <= failures, 0.0, 1 - k / n)


def _bisect(below: Callable[[float], bool], low: float, high: float) -> float:
    """Where `below` turns from True to False."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def _tail(x: float) -> float:
    """Q(x), the normal distribution's upper tail."""
    return math.erfc(x / math.sqrt(2)) / 2
