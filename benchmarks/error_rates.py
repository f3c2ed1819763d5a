"""Error rates of the LDPC codes: frames and bits lost against Eb/N0 (BPSK) and against the probability of erasure.

At a point all decoders meet the same frames, so that the gap between two of them is known better than either's error rate. A
curve starts where the best code of its length loses half of its frames and goes on, in steps of that code's decade, until every
decoder loses less than one in a thousand.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.finite_length import awgn_failures, awgn_limit_db, bec_failures, bec_limit, shannon_db
from featcodec.fec.ldpc import LDPC, WIFI_RATES
from featcodec.ops.soft_bits import SURE, quantize_llr

TARGETS = (1e-2, 1e-3)
DECODERS: dict[str, tuple[str, int]] = {
    "min-sum 10": ("oms", 10),
    "min-sum 20": ("oms", 20),
    "min-sum 50": ("oms", 50),
    "sum-product 20": ("sum-product", 20),
    "sum-product 50": ("sum-product", 50),
}
MAXIMUM_LIKELIHOOD = "maximum likelihood"
_FAR_DB = 5.0  # beyond the bound: a curve that gets there has a floor
_LEAST_STEP_DB = 0.05
_STEPS_BELOW = 40

Curve = dict[str, Any]
Noise = Callable[[int], tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]]


@dataclass(frozen=True)
class Code:
    """A code by what names it: `k` and `n`, and for wifi the rate."""

    family: str
    k: int
    n: int
    rate: str | None = None

    @classmethod
    def wifi(cls, n: int, rate: str) -> Code:
        """Return an 802.11n code as it stands, neither shortened nor punctured."""
        return cls("wifi", LDPC("wifi", n=n, rate=rate).k, n, rate)

    @property
    def name(self) -> str:
        """What tables call it: "wifi 1944 1/2", "nr 1024/2048"."""
        return f"wifi {self.n} {self.rate}" if self.family == "wifi" else f"nr {self.k}/{self.n}"

    def build(self) -> LDPC:
        """Return the code."""
        return LDPC("wifi", n=self.n, rate=self.rate) if self.family == "wifi" else LDPC("nr", k=self.k, n=self.n)


def all_codes() -> list[Code]:
    """Return every code whose noise curve is measured."""
    wifi = [Code.wifi(n, rate) for n in (648, 1296, 1944) for rate in WIFI_RATES]
    return [*wifi, *(Code("nr", k, 2 * k) for k in (128, 256, 400, 512, 1024, 2048, 4096, 8192))]


def erasure_codes() -> list[Code]:
    """Return every code whose erasure curve is measured."""
    wifi = [*(Code.wifi(n, "1/2") for n in (648, 1296)), *(Code.wifi(1944, rate) for rate in WIFI_RATES)]
    return [*wifi, *(Code("nr", k, 2 * k) for k in (400, 1024, 8192))]


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes
    ----------
    enough
        Lost frames after which a decoder is done with a point.
    most_bits
        Information bits of a point over noise, lost frames or not; of one over erasures half as many.
    stop
        A decoder that loses at most this share of frames is done with the curve.
    round_bits
        Sent bits of the largest batch.
    """

    enough: int
    most_bits: int
    stop: float
    round_bits: int = 2_000_000


QUICK = Effort(enough=12, most_bits=600_000, stop=8e-3, round_bits=400_000)
FULL = Effort(enough=50, most_bits=40_000_000, stop=8e-4)


@dataclass
class Tally:
    """What one decoder did with the frames of one point."""

    frames: int = 0
    lost: int = 0
    bit_errors: int = 0
    iterations: int = 0

    def add(self, wrong: NDArray[np.bool_], bit_errors: int, iterations: NDArray[Any]) -> None:
        """Count a batch."""
        self.frames += len(wrong)
        self.lost += int(wrong.sum())
        self.bit_errors += bit_errors
        self.iterations += int(iterations.sum())

    def row(self, k: int) -> dict[str, float]:
        """Return error rates, counts, and mean iterations."""
        frames = max(1, self.frames)
        rates = {"fer": self.lost / frames, "ber": self.bit_errors / (frames * k), "iterations": self.iterations / frames}
        return {"frames": self.frames, "lost": self.lost, **rates}


# ---- one point -------------------------------------------------------------------------------------------------------------


def noisy(code: LDPC, ebn0_db: float, rng: np.random.Generator) -> Noise:
    """Return what draws B frames over BPSK with noise: the packed information bits, and LLRs for either algorithm."""
    snr = 2 * code.code_rate * 10 ** (ebn0_db / 10)

    def draw(blocks: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        info, sent = random_frames(code, blocks, rng)
        noise = rng.standard_normal(sent.shape, dtype=np.float32) / np.float32(math.sqrt(snr))
        llr = (1 - 2 * sent.astype(np.float32) + noise) * np.float32(2 * snr)
        return info, {"oms": quantize_llr(llr), "sum-product": llr}

    return draw


def erased(code: LDPC, p: float, rng: np.random.Generator) -> Noise:
    """Return what draws B frames whose bits are erased with probability p."""

    def draw(blocks: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        info, sent = random_frames(code, blocks, rng)
        llr = SURE - 2 * SURE * sent.astype(np.int16)
        llr[rng.random(sent.shape, dtype=np.float32) < p] = 0
        return info, {"erasure": llr.astype(np.int8)}

    return draw


def random_frames(code: LDPC, blocks: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return random information bits, packed, and the bits (B, n) sent for them."""
    info = np.packbits(rng.integers(0, 2, (blocks, code.k), dtype=np.uint8), axis=1)
    return info, np.unpackbits(code.encode_packed(info), axis=1, count=code.n)


def count_losses(
    code: LDPC, draw: Noise, decoders: Mapping[str, tuple[str, int]], effort: Effort, *, early_stop: bool = True
) -> dict[str, Tally]:
    """Decode batch after batch until each decoder has lost enough frames, or the point's bits are spent."""
    tallies = {name: Tally() for name in decoders}
    blocks = max(1, min(256, effort.round_bits // code.n))
    done_bits = 0
    while done_bits < effort.most_bits:
        working = {name: how for name, how in decoders.items() if tallies[name].lost < effort.enough}
        if not working:
            break
        info, llrs = draw(blocks)
        for name, (algorithm, iterations) in working.items():
            found = code.decode_packed(llrs[algorithm], algorithm=algorithm, max_iterations=iterations, early_stop=early_stop)
            differ = found.bits ^ info
            # an erasure decoder that gives up has lost the frame, whatever its guess
            wrong = differ.any(axis=1) | (~found.ok if algorithm == "erasure" else False)
            tallies[name].add(wrong, count_ones(differ), found.iterations)
        done_bits += blocks * code.k
        blocks = max(1, min(2 * blocks, effort.round_bits // code.n))
    return tallies


def count_ones(packed: NDArray[np.uint8]) -> int:
    """Return how many bits of packed bytes (B, bytes) are one."""
    return int(np.unpackbits(packed[packed.any(axis=1)]).sum())


def seeded(code: Code, quality: float) -> np.random.Generator:
    """Return the generator of one point: the same in every run, whatever was measured before it."""
    return np.random.default_rng([zlib.crc32(code.name.encode()), code.k, code.n, round(1e5 * (quality + 100))])


# ---- one curve -------------------------------------------------------------------------------------------------------------


def noise_curve(code: Code, effort: Effort) -> Curve:
    """Measure error rates against Eb/N0, all of `DECODERS`."""
    built = code.build()
    limits = {str(target): awgn_limit_db(code.k, code.n, target) for target in TARGETS}
    step = max(limits["0.001"] - limits["0.01"], _LEAST_STEP_DB)
    ebn0_db, points = awgn_limit_db(code.k, code.n, 0.5), []
    working = dict(DECODERS)
    while working and ebn0_db < limits["0.001"] + _FAR_DB:
        tallies = count_losses(built, noisy(built, ebn0_db, seeded(code, ebn0_db)), working, effort)
        rows = {name: tally.row(code.k) for name, tally in tallies.items()}
        points.append({"ebn0_db": ebn0_db, "bound": awgn_failures(code.k, code.n, ebn0_db), "decoders": rows})
        working = {name: how for name, how in working.items() if rows[name]["fer"] > effort.stop}
        ebn0_db += step
    return {
        **_head(code, "awgn"),
        "points": points,
        "shannon": shannon_db(code.k / code.n),
        "bound": limits,
        "reached": {name: _reached(points, "ebn0_db", name) for name in DECODERS},
    }


def erasure_curve(code: Code, effort: Effort) -> Curve:
    """Measure error rates against the probability of erasure under maximum likelihood."""
    built = code.build()
    limits = {str(target): bec_limit(code.k, code.n, target) for target in TARGETS}
    step = limits["0.01"] - limits["0.001"]
    p, points = bec_limit(code.k, code.n, 0.5), []
    less = Effort(effort.enough, effort.most_bits // 2, effort.stop, effort.round_bits)
    for _ in range(_STEPS_BELOW):
        tallies = count_losses(built, erased(built, p, seeded(code, p)), {MAXIMUM_LIKELIHOOD: ("erasure", 1)}, less)
        rows = {name: tally.row(code.k) for name, tally in tallies.items()}
        points.append({"p": p, "bound": bec_failures(code.k, code.n, p), "decoders": rows})
        p -= step
        if rows[MAXIMUM_LIKELIHOOD]["fer"] <= effort.stop or p <= 0:
            break
    return {
        **_head(code, "bec"),
        "points": points,
        "shannon": 1 - code.k / code.n,
        "bound": limits,
        "reached": {MAXIMUM_LIKELIHOOD: _reached(points, "p", MAXIMUM_LIKELIHOOD)},
    }


def _head(code: Code, channel: str) -> Curve:
    return {"code": code.name, "family": code.family, "k": code.k, "n": code.n, "rate": code.rate, "channel": channel}


def _reached(points: Sequence[Mapping[str, Any]], axis: str, decoder: str) -> dict[str, float | None]:
    """Where a decoder loses each target's share of frames: log-linear between points; None where no point is below it."""
    rows = [(point[axis], point["decoders"][decoder]) for point in points if decoder in point["decoders"]]
    # no lost frame counts as half a one
    logs = [(quality, math.log10(max(row["lost"], 0.5) / max(row["frames"], 1))) for quality, row in rows]
    found: dict[str, float | None] = {}
    for target in TARGETS:
        wanted = math.log10(target)
        found[str(target)] = next(
            (
                left + (right - left) * (before - wanted) / (before - after)
                for (left, before), (right, after) in pairwise(logs)
                if before > wanted >= after
            ),
            None,
        )
    return found


# ---- all curves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoints:
    """A file a curve, so that a run that was broken off goes on; curves of another effort are measured anew."""

    folder: Path
    effort: Effort
    commit: str | None = None
    reused: list[str] = field(default_factory=list)

    def curve(self, code: Code, channel: str, measure: Callable[[Code, Effort], Curve]) -> Curve:
        """Return the curve that is stored, or measure and store it."""
        path = self.folder / f"{channel} {code.name}.json".replace(" ", "_").replace("/", "-")
        if path.is_file():
            stored = json.loads(path.read_text())
            if stored["effort"] == asdict(self.effort):
                self.reused.append(path.name)
                curve: Curve = stored["curve"]
                return curve
        curve = {**measure(code, self.effort), "commit": self.commit}
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"effort": asdict(self.effort), "curve": curve}) + "\n")
        return curve


def measure_errors(
    codes: Sequence[Code], erasures: Sequence[Code], checkpoints: Checkpoints, say: Callable[[str], None]
) -> list[Curve]:
    """Measure or fetch every curve."""
    curves = []
    for channel, chosen, measure in (("awgn", codes, noise_curve), ("bec", erasures, erasure_curve)):
        for code in chosen:
            say(f"error rates: {channel} {code.name}")
            curves.append(checkpoints.curve(code, channel, measure))
    return curves
