"""Measures what `rate="auto"` picks code rates from: writes featcodec/fec/rates.json.

    python -m benchmarks.ldpc_rates [--family nr] [--out FILE]

For every code (k, n): under maximum likelihood, by how many bits the parity must exceed the erasures for a share of 1/2,
1/10, 1/100, 1/1000 of failures; under min-sum with 20 iterations, the snr_db (BPSK) and the flip probability at which 1/100
and 1/1000 of the blocks fail. Random information bits, seeded; half an hour on one core. An unfinished run goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.fec.block_codes import HARD_LLR, ldpc_of, wifi_mother
from featcodec.fec.ldpc import LDPC
from featcodec.ops.soft_bits import SURE

RATES = [Fraction(text) for text in ("1/5", "1/3", "1/2", "2/3", "3/4", "5/6", "8/9", "14/15", "24/25", "49/50", "99/100")]
SIZES = {"nr": (40, 96, 192, 384, 768, 1536, 3072, 5632, 8448), "wifi": (40, 96, 192, 320, 512, 768, 1152, 1616)}
_FAILURES = (0.5, 0.1, 0.01, 0.001)
_ITERATIONS = 20
_ROUND_BITS = 1_000_000
_MOST_BITS = 12_000_000  # information bits a measurement
_ENOUGH = 30  # failures that end a measurement

Trial = Callable[[LDPC, float, int, np.random.Generator], NDArray[np.bool_]]


def codes(family: str) -> Iterator[LDPC]:
    """Every code that the table has a row for."""
    for k in SIZES[family]:
        for rate in RATES:
            n = -(-k * rate.denominator // rate.numerator)
            if family == "nr" or wifi_mother(k, n) is not None:
                yield ldpc_of(family, k, n)


# ---- one measurement -------------------------------------------------------------------------------------------------------


def erased_blocks(code: LDPC, erasures: float, blocks: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which blocks fail with exactly so many erasures; the zero word stands for all: elimination does not look at values."""
    order = rng.random((blocks, code.n), dtype=np.float32)
    limit = np.partition(order, int(erasures) - 1, axis=1)[:, int(erasures) - 1 : int(erasures)] if erasures >= 1 else -1.0
    llr = np.where(order <= limit, np.int8(0), np.int8(SURE))
    return ~code.decode_packed(llr, algorithm="erasure").ok


def noisy_blocks(code: LDPC, snr_db: float, blocks: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which blocks fail: BPSK, white noise of 10^(-snr_db / 10) a real dimension."""
    sigma = 10 ** (-snr_db / 20)
    sent, bits = _random_blocks(code, blocks, rng)
    received = (1 - 2 * bits.astype(np.float32)) + np.float32(sigma) * rng.standard_normal(bits.shape, dtype=np.float32)
    return _decode_fails(code, sent, received * np.float32(2 / sigma**2))


def flipped_blocks(code: LDPC, minus_p: float, blocks: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which blocks fail: each bit flipped with probability -minus_p (the sign makes more better, as for snr_db)."""
    p = -minus_p
    sent, bits = _random_blocks(code, blocks, rng)
    arrived = bits ^ (rng.random(bits.shape, dtype=np.float32) < p)
    return _decode_fails(code, sent, (1 - 2 * arrived.astype(np.float32)) * np.float32(HARD_LLR))


def _random_blocks(code: LDPC, blocks: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    bits = rng.integers(0, 2, (blocks, code.k), dtype=np.uint8)
    packed = np.packbits(bits, axis=1)
    return packed, np.unpackbits(code.encode_packed(packed), axis=1, count=code.n)


def _decode_fails(code: LDPC, sent: NDArray[np.uint8], llr: NDArray[np.float32]) -> NDArray[np.bool_]:
    found = code.decode_packed(llr, max_iterations=_ITERATIONS)
    return np.asarray((found.bits != sent).any(axis=1))


def failures(code: LDPC, trial: Trial, quality: float) -> float:
    """The share of failing blocks, from as many as it takes to see enough of them."""
    rng = np.random.default_rng([code.k, code.n])
    blocks = max(1, _ROUND_BITS // code.n)
    seen = bad = 0
    while seen * code.k < _MOST_BITS and bad < _ENOUGH:
        failed = trial(code, quality, blocks, rng)
        seen, bad = seen + len(failed), bad + int(failed.sum())
    return max(bad, 0.3) / seen


# ---- one row ---------------------------------------------------------------------------------------------------------------


def margins(code: LDPC) -> list[int]:
    """By how many bits the parity must exceed the erasures for each share of failures."""
    steps, shares = [0], [1.0]
    step = 0
    while shares[-1] > _FAILURES[-1] / 2 and step < code.n - code.k:
        shares.append(failures(code, erased_blocks, code.n - code.k - step))
        steps.append(step)
        step += max(1, step // 3)
    logs = np.minimum.accumulate(np.log(shares))
    unknown = code.n - code.k + 1  # more than this code has: it never fails that seldom
    return [int(np.ceil(np.interp(-np.log(share), -logs, steps))) if shares[-1] <= share else unknown for share in _FAILURES]


def thresholds(code: LDPC, trial: Trial, start: float, step: Callable[[float], float]) -> list[float] | None:
    """The quality at which 1/100 and 1/1000 of the blocks fail, going up from `start`; None where no quality is enough."""
    qualities, shares = [start], [1.0]
    while shares[-1] > 4e-4:
        quality = step(qualities[-1])
        if quality > 30 or (trial is flipped_blocks and quality > -1e-5):
            return None
        qualities.append(quality)
        shares.append(failures(code, trial, quality))
    logs = np.minimum.accumulate(np.log(shares))
    return [round(float(np.interp(-np.log(share), -logs, qualities)), 5) for share in (0.01, 0.001)]


def _shannon_snr_db(rate: float) -> float:
    """Where BPSK's cut-off is near: a start below every threshold."""
    return 10 * np.log10(2 ** (2 * rate) - 1) - 1.0


def _capacity_p(rate: float) -> float:
    """The flip probability whose capacity is the rate."""
    low, high = 1e-9, 0.5
    for _ in range(60):
        p = (low + high) / 2
        entropy = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
        low, high = (p, high) if 1 - entropy > rate else (low, p)
    return low


def measure(code: LDPC) -> dict[str, dict[str, Any]]:
    """The rows of one code."""
    rate, where = code.k / code.n, {"k": code.k, "n": code.n}
    rows: dict[str, dict[str, Any]] = {"bec": {**where, "margins": margins(code)}}
    noise = thresholds(code, noisy_blocks, _shannon_snr_db(rate), lambda q: q + 0.25)
    flips = thresholds(code, flipped_blocks, -_capacity_p(rate), lambda q: q * 0.88)
    for name, found in (("awgn", noise), ("bsc", flips)):
        if found is not None:
            rows[name] = {**where, "thresholds": found}
    return rows


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=sorted(SIZES), action="append")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "featcodec" / "fec" / "rates.json")
    arguments = parser.parse_args()
    table: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for family in arguments.family or sorted(SIZES):
        rows = table.setdefault(family, {"bec": [], "awgn": [], "bsc": []})
        done = {(row["k"], row["n"]) for row in rows["bec"]}
        for code in codes(family):
            if (code.k, code.n) in done:
                continue
            for name, row in measure(code).items():
                rows[name].append(row)
            arguments.out.write_text(_text(table))
            print(family, code.k, code.n, rows["bec"][-1]["margins"], flush=True)


def _text(table: dict[str, Any]) -> str:
    """JSON with a row a line."""
    families = []
    for family, channels in table.items():
        parts = [
            f'  "{name}": [\n' + ",\n".join("   " + json.dumps(row) for row in rows) + "\n  ]"
            for name, rows in channels.items()
        ]
        families.append(f' "{family}": {{\n' + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(families) + "\n}\n"


if __name__ == "__main__":
    main()
