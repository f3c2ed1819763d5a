"""Speed of the LDPC codes: throughput of many blocks and microseconds of one, by instruction set, and beside the peers.

"python": the interface of `featcodec.fec.ldpc.LDPC`, int8 LLRs in, packed bytes out, checks included. "core": the compiled
core's own call, which that interface calls; what of it is the way into C++ and back, a call without blocks tells. "inside", of
one block only: a block's share of a core call on 16, few enough that they are decoded one after the other. Information bits are
counted. One block is timed over 32 different ones in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_rates import Code, Tally, count_losses, count_ones, erased, noisy, seeded
from benchmarks.error_rates import Effort as ErrorEffort
from benchmarks.ldpc_peers import NOT_TRIED, Peer, all_peers, peer_versions
from benchmarks.ours import ISAS, pinned
from benchmarks.timing import Effort, Timed, time_in_turn
from featcodec import _core
from featcodec.fec.ldpc import LDPC
from featcodec.ops.soft_bits import quantize_llr

SINGLE = 32  # different blocks that calls on one block go through
TOGETHER = 16  # of them in a call for "inside": every decoder takes at least 20 before it decodes blocks side by side
FIXED_DB = 2.0  # Eb/N0 of the fixed iterations, and at which the peers' frames are drawn
STOP_DB = (2.5, 4.0)
ERASURES = (0.01, 0.2)
ML_ERASURES = {"wifi 648 1/2": 0.444, "wifi 1944 1/2": 0.465, "nr 400/800": 0.45, "nr 1024/2048": 0.47, "nr 8192/16384": 0.485}
PEER_CODES = ("wifi 648 1/2", "wifi 1944 1/2")
MOST_BITS = 4_000_000  # information bits of a call on many blocks

Row = dict[str, Any]
Call = Callable[[NDArray[Any]], Any]


@dataclass(frozen=True)
class SpeedSettings:
    """What is timed: codes, numbers of blocks, and how long.

    Attributes
    ----------
    slow_blocks
        Numbers of blocks for the scalar core; it would take minutes over more.
    frames
        Frames that error rates at `FIXED_DB` are counted over.
    peer_frames, peer_s
        The most frames that a peer decodes, and the seconds after which it is stopped.
    """

    codes: tuple[Code, ...]
    blocks: tuple[int, ...]
    slow_blocks: tuple[int, ...]
    effort: Effort
    frames: int
    peer_frames: int
    peer_s: float
    peers: bool = True


def speed_codes() -> tuple[Code, ...]:
    """Return the codes that are timed."""
    return (*(Code.wifi(n, "1/2") for n in (648, 1944)), *(Code("nr", k, 2 * k) for k in (400, 1024, 8192)))


def settings(quick: bool, *, peers: bool = True) -> SpeedSettings:
    """Return the sizes of a quick and of a full run."""
    if quick:
        return SpeedSettings((Code.wifi(648, "1/2"),), (1, 64), (1,), Effort(2, 0.02, 1.0), 2000, 16, 0.3, peers)
    return SpeedSettings(speed_codes(), (1, 256, 1024), (1, 256), Effort(9, 0.25, 5.0), 60_000, 400, 5.0, peers)


def only(setting: SpeedSettings, codes: Sequence[Code]) -> SpeedSettings:
    """Return the settings for some of the codes."""
    return replace(setting, codes=tuple(codes))


def measure_speed(setting: SpeedSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Return rows of speed, error rates of what was timed, and the peers' rows; for one thread, which the caller sets."""
    result: dict[str, Any] = {
        "empty_us": {},
        "rows": [],
        "fixed": [],
        "failing": [],
        "peers": [],
        "left_out": {},
        "packages": {},
    }
    for code in setting.codes:
        say(f"speed: {code.name}")
        result["rows"] += code_rows(code, setting)
        result["empty_us"][code.name] = empty_call_us(code, setting)
        result["fixed"].append(fixed_iterations(code, setting))
        if code.name in ML_ERASURES:
            result["failing"].append(failing_frames(code, setting))
    if setting.peers:
        peers = all_peers()
        result["packages"], result["left_out"] = peer_versions(peers), dict(NOT_TRIED)
        for code in (code for code in setting.codes if code.name in PEER_CODES):
            found, left_out = peer_rows(code, peers, setting, say)
            result["peers"] += found
            result["left_out"].update(left_out)
    return result


# ---- ours ------------------------------------------------------------------------------------------------------------------


def code_rows(code: Code, setting: SpeedSettings) -> list[Row]:
    """Time every case of one code on every instruction set, through every interface."""
    built, rows = code.build(), []
    for what, quality, data, calls in _cases(code, built, max(setting.blocks)):
        sizes = sorted({min(size, max(1, MOST_BITS // code.k)) for size in setting.blocks})
        for size in sizes:
            single, seen = size == 1, data[: SINGLE if size == 1 else size]
            timed = {name: _through(call, _cut(seen, size)) for name, call in calls.items()}
            if single and what.startswith("decode"):
                timed["inside"] = _through(calls["core"], _cut(seen, TOGETHER))
            jobs = [
                (isa, name, Timed(f"{isa} {name}", {"call": run}, lambda isa=isa: pinned(isa)))
                for isa in _core.isas()
                if isa in ISAS and (isa != "scalar" or size in setting.slow_blocks)
                for name, run in timed.items()
            ]
            time_in_turn([job for _, _, job in jobs], setting.effort)
            for isa, name, job in jobs:
                us = job.median_us("call") * size / len(seen)
                rows.append(
                    {
                        "code": code.name,
                        "what": what,
                        "quality": quality,
                        "isa": isa,
                        "interface": name,
                        "blocks": size,
                        "us": us,
                        "info_mbps": size * code.k / us,
                        "spread": job.spread("call"),
                    }
                )
    return rows


def _cases(code: Code, built: LDPC, most: int) -> list[tuple[str, str, NDArray[Any], dict[str, Call]]]:
    """What is timed: name, channel, blocks, and the call by interface."""
    most = max(SINGLE, min(most, max(1, MOST_BITS // code.k)))
    cases: list[tuple[str, str, NDArray[Any], dict[str, Call]]] = []
    fixed = _noisy_llr(code, built, FIXED_DB, most)
    for iterations in (10, 20):
        cases.append(
            (f"decode, {iterations} iterations", f"{FIXED_DB} dB", fixed, _min_sum(built, iterations, early_stop=False))
        )
    for ebn0_db in STOP_DB:
        data = _noisy_llr(code, built, ebn0_db, most)
        cases.append(("decode, early stop", f"{ebn0_db} dB", data, _min_sum(built, 20, early_stop=True)))
    info = seeded(code, 0).integers(0, 256, (most, (built.k + 7) // 8), dtype=np.uint8)
    cases.append(("encode", "-", info, {"python": built.encode_packed, "core": built._core.encode}))
    erasure: dict[str, Call] = {
        "python": lambda llr: built.decode_packed(llr, algorithm="erasure"),
        "core": built._core.decode_erasure,
    }
    for p in (*ERASURES, *([ML_ERASURES[code.name]] if code.name in ML_ERASURES else [])):
        cases.append(("decode erasures", f"p={p}", erased(built, p, seeded(code, p))(most)[1]["erasure"], erasure))
    return cases


def _min_sum(built: LDPC, iterations: int, *, early_stop: bool) -> dict[str, Call]:
    return {
        "python": lambda llr: built.decode_packed(llr, max_iterations=iterations, early_stop=early_stop),
        "core": lambda llr: built._core.decode_min_sum(llr, iterations, early_stop),
    }


def _noisy_llr(code: Code, built: LDPC, ebn0_db: float, blocks: int) -> NDArray[np.int8]:
    llr: NDArray[np.int8] = noisy(built, ebn0_db, seeded(code, ebn0_db))(blocks)[1]["oms"]
    return llr


def _cut(data: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """The blocks, so many at a time."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def _through(call: Call, inputs: Sequence[NDArray[Any]]) -> Callable[[], None]:
    def run() -> None:
        for data in inputs:
            call(data)

    return run


def empty_call_us(code: Code, setting: SpeedSettings) -> float:
    """Return the microseconds of a decoding call without blocks: what the binding itself takes."""
    built, nothing = code.build(), np.empty((0, code.n), np.int8)
    job = Timed("empty", {"call": lambda: built._core.decode_erasure(nothing)}, lambda: pinned(None))
    time_in_turn([job], setting.effort)
    return job.median_us("call")


def fixed_iterations(code: Code, setting: SpeedSettings) -> Row:
    """Count the frames that the fixed iterations lose where they are timed; every instruction set loses the same."""
    built = code.build()
    effort = ErrorEffort(enough=200, most_bits=setting.frames * code.k, stop=0.0)
    decoders = {f"{iterations} iterations": ("oms", iterations) for iterations in (10, 20)}
    tallies = count_losses(built, noisy(built, FIXED_DB, seeded(code, -FIXED_DB)), decoders, effort, early_stop=False)
    return {"code": code.name, "ebn0_db": FIXED_DB, **{name: tally.row(code.k) for name, tally in tallies.items()}}


def failing_frames(code: Code, setting: SpeedSettings) -> Row:
    """Time frames one by one that maximum likelihood cannot decide, at the erasure probability where few of them fail."""
    built, p = code.build(), ML_ERASURES[code.name]
    draw = erased(built, p, seeded(code, -p))
    failing: list[NDArray[Any]] = []
    for _ in range(40 if setting.frames > 10_000 else 4):
        _, llrs = draw(256)
        lost = np.flatnonzero(~built.decode_packed(llrs["erasure"], algorithm="erasure").ok)
        failing += [llrs["erasure"][i : i + 1] for i in lost]
        if len(failing) >= SINGLE:
            break
    if not failing:
        return {"code": code.name, "p": p, "frames": 0, "us": None}
    job = Timed("failing", {"call": _through(built._core.decode_erasure, failing[:SINGLE])}, lambda: pinned(None))
    time_in_turn([job], setting.effort)
    count = min(SINGLE, len(failing))
    return {"code": code.name, "p": p, "frames": count, "us": job.median_us("call") / count}


# ---- beside the peers ------------------------------------------------------------------------------------------------------


def peer_rows(
    code: Code, peers: Sequence[Peer], setting: SpeedSettings, say: Callable[[str], None]
) -> tuple[list[Row], dict[str, str]]:
    """Time every peer and ours in turn on the same frames: 10 iterations at `FIXED_DB`, stopping early where a peer does."""
    built, left_out, rows = code.build(), {}, []
    info, llrs = noisy(built, FIXED_DB, seeded(code, FIXED_DB + 50))(setting.peer_frames)
    llr = llrs["sum-product"]
    for peer in peers:
        reason = peer.reason(built)
        if reason is not None:
            left_out[peer.name] = reason
            continue
        say(f"speed: {code.name} {peer.name}")
        peer.load(built, 10)
        done, seconds, tally = 0, 0.0, Tally()
        while done < setting.peer_frames and seconds < setting.peer_s:
            part = slice(done, min(done + (16 if done else 4), setting.peer_frames))
            frames = np.ascontiguousarray(llr[part])
            start = perf_counter()
            bits = peer.decode(frames)
            seconds += perf_counter() - start
            _count(tally, np.packbits(bits[:, : built.k], axis=1), info[part])
            done = part.stop
        mine = _ours_on(built, llr[:done], info[:done], peer.stops_early)
        us = 1e6 * seconds / done
        row = {"code": code.name, "peer": peer.name, "stops_early": peer.stops_early, "frames": done, "us": us}
        ratios = {name.replace("ours_us", "ratio"): us / ours for name, ours in mine.items() if name.startswith("ours_us")}
        rows.append({**row, "info_mbps": code.k / us, "fer": tally.row(code.k)["fer"], **mine, **ratios})
    return rows, left_out


def _count(tally: Tally, bits: NDArray[np.uint8], info: NDArray[np.uint8]) -> None:
    differ = bits ^ info
    tally.add(differ.any(axis=1), count_ones(differ), np.zeros(0))


def _ours_on(built: LDPC, llr: NDArray[np.float32], info: NDArray[np.uint8], early_stop: bool) -> Row:
    """Our microseconds a frame: all in one call from the same float32 LLRs, quantisation included; from int8; one by one."""
    tally = Tally()
    _count(tally, built.decode_packed(llr, max_iterations=10, early_stop=early_stop).bits, info)

    steps = quantize_llr(llr)
    inputs = {"float": [llr], "int8": [steps], "single": [steps[i : i + 1] for i in range(min(SINGLE, len(steps)))]}

    def decode(data: NDArray[Any]) -> object:
        return built.decode_packed(data, max_iterations=10, early_stop=early_stop)

    job = Timed("ours", {name: _through(decode, data) for name, data in inputs.items()}, lambda: pinned(None))
    time_in_turn([job], Effort(5, 0.1, 1.0))
    frames = {"float": len(llr), "int8": len(llr), "single": len(inputs["single"])}
    times = {f"ours_us_{name}": job.median_us(name) / frames[name] for name in inputs}
    return {**times, "ours_fer": tally.row(built.k)["fer"]}
