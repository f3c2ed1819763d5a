"""LDPC codes to try, blocks for them, and what plain NumPy says of them."""

from __future__ import annotations

import numpy as np

from featcodec import _core
from featcodec.fec.ldpc import LDPC

AVAILABLE = _core.isas()
SMALL = LDPC("wifi", n=648, rate="1/2", k=200, punctured=50)
CODES = [
    LDPC("wifi", n=648, rate="1/2"),
    LDPC("wifi", n=648, rate="5/6", k=533, punctured=9),
    LDPC("wifi", n=1296, rate="3/4", k=901),
    LDPC("wifi", n=1944, rate="2/3"),
    LDPC("nr", k=1, n=30),
    LDPC("nr", k=100, n=320),
    LDPC("nr", k=400, n=800),
    LDPC("nr", k=60, n=1000),
    LDPC("nr", k=1300, n=2000),
]


def random_bits(blocks: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (blocks, width), dtype=np.uint8)


def noisy(sent: np.ndarray, ebn0_db: float, rate: float, seed: int = 1) -> np.ndarray:
    """LLRs in nats of BPSK in white Gaussian noise."""
    variance = 1 / (2 * rate * 10 ** (ebn0_db / 10))
    noise = np.random.default_rng(seed).standard_normal(sent.shape) * variance**0.5
    return ((1 - 2.0 * sent + noise) * 2 / variance).astype(np.float32)


def dense(code: LDPC) -> np.ndarray:
    pointers, columns, shape = code.parity_checks()
    checks = np.zeros(shape, np.uint8)
    checks[np.repeat(np.arange(shape[0]), np.diff(pointers)), columns] = 1
    return checks


def eliminate(rows: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Reduced row echelon form over GF(2), the last column a right side, and the pivots' columns."""
    rows, pivots = rows.copy(), []
    for column in range(rows.shape[1] - 1):
        found = np.flatnonzero(rows[len(pivots) :, column])
        if not found.size:
            continue
        at = len(pivots)
        rows[[at, at + found[0]]] = rows[[at + found[0], at]]
        others = np.flatnonzero(rows[:, column])
        rows[others[others != at]] ^= rows[at]
        pivots.append(column)
    return rows, pivots


def same(a, b) -> bool:
    return bool(np.array_equal(a.bits, b.bits) and np.array_equal(a.ok, b.ok) and np.array_equal(a.iterations, b.iterations))
