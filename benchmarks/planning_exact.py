"""Where planning must be exact: Algorithm 1 on what BottleNet publishes, and select beside brute force on random instances."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.published import LATENCY_MS, LINKS, candidates, computing_ms, link, with_early_blocks_larger
from featcodec.planning import Candidate, Link, latency_ms, select

EXACT = 1e-9  # ms: what floats leave
LARGER = {"3G": 3, "4G": 10, "Wi-Fi": 30}  # times as much sent behind RB1 to RB3: then RB4 must win
LOADS = tuple(2.0**k for k in range(8))


def algorithm1() -> dict[str, Any]:
    """Run Algorithm 1 on Table 4, for both objectives and every link, and on inputs whose first blocks send more."""
    chosen = {f"{n}, {o}": select(candidates(n), link(n), objective=o).best.name for n in LINKS for o in ("latency", "energy")}
    changed = {n: select(with_early_blocks_larger(candidates(n), times), link(n)).best.name for n, times in LARGER.items()}
    splits = {n: [c for c in candidates(n) if c.kind == "split"] for n in LINKS}
    off = [abs(latency_ms(c, link(n)) - ms) for n in LINKS for c, ms in zip(splits[n], LATENCY_MS[n], strict=True)]
    left = {n: computing_ms(n) for n in LINKS}
    differ = {n: [a - b for a, b in zip(left["3G"], left[n], strict=True)] for n in ("4G", "Wi-Fi")}
    return {"chosen": chosen, "changed": changed, "formula_off_ms": max(off), "3g_off_ms": _range(differ)}


def _range(differ: dict[str, list[float]]) -> list[float]:
    both = [value for values in differ.values() for value in values]
    return [round(min(both), 2), round(max(both), 2)]


def brute_force(instances: int, seed: int = 0) -> dict[str, Any]:
    """Compare select with trying every candidate, in numbers that floats add up exactly: ties are ties."""
    draw = random.Random(seed)
    equal = 0
    for _ in range(instances):
        found, on = _instance(draw), Link(1000.0 * 2 ** draw.randint(0, 3), rtt_ms=draw.randint(0, 80) / 8)
        load, drop = float(draw.choice((1, 2, 4))), draw.choice((None, 1, 3))
        floor = None if drop is None else 0.9 - drop / 100
        costs = []
        for c in found:
            sending = 0.0 if c.kind == "local" else 8000 * c.size_bytes / on.rate_bps + on.rtt_ms
            if floor is None or (c.accuracy is not None and c.accuracy >= floor):
                costs.append((c.head_ms + sending + load * c.tail_ms, c.head_macs, len(costs), c))
        equal += select(found, on, max_drop=drop, load=load).best is min(costs)[3]
    return {"instances": instances, "equal": equal}


def rising_load(instances: int, seed: int = 1) -> dict[str, Any]:
    """Count the instances, with TC falling along the network, in which a busier server moves the split to an earlier layer."""
    draw = random.Random(seed)
    earlier = later = 0
    for _ in range(instances):
        tails = sorted((draw.randint(1, 800) / 8 for _ in range(8)), reverse=True)
        along = [
            Candidate(f"split{i}", draw.randint(0, 400), draw.randint(0, 400) / 8, tail + (8 - i) / 8, head_macs=i)
            for i, tail in enumerate(tails)
        ]
        on = Link(1000.0 * 2 ** draw.randint(0, 3))
        chosen = [select(along, on, load=load).best.head_macs for load in LOADS]
        earlier += chosen != sorted(chosen)
        later += chosen[-1] > chosen[0]
    return {"instances": instances, "earlier": earlier, "later": later}


def _instance(draw: random.Random) -> list[Candidate]:
    """All on the device, all on the server, and one to ten splits."""

    def one(name: str, kind: str, size: int, head: int, tail: int, macs: int, accuracy: float) -> Candidate:
        return Candidate(name, size, head / 8, tail / 8, kind=kind, head_macs=macs, total_macs=9, accuracy=accuracy)

    splits = [
        one(f"split{i}", "split", draw.randint(0, 400), *(draw.randint(0, 400) for _ in range(2)), draw.randint(1, 4), accuracy)
        for i, accuracy in enumerate(draw.randint(84, 94) / 100 for _ in range(draw.randint(1, 10)))
    ]
    local = one("local", "local", 0, draw.randint(0, 800), 0, 9, 0.9)
    return [local, one("picture", "picture", draw.randint(0, 800), 0, draw.randint(0, 400), 0, 0.9), *splits]
