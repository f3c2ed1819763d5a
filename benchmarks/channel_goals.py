"""Goals: what the LDPC core is to reach, and what a run measured of it. A report, never a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.entropy_goals import NOT_MEASURED, Goal
from featcodec.bench.intervals import wilson

AT = "0.001"  # the share of lost frames that Eb/N0 is compared at
MIN_SUM, ORACLE = "min-sum 20", "sum-product 50"
AVX512 = ("avx512", "avx512vbmi")
RIVAL = "ldpc "

Result = dict[str, Any]
Row = dict[str, Any]


def goals(result: Result) -> list[dict[str, Any]]:
    """Return every goal of the LDPC core as a plain dict, fields as in `Goal`; parts that were not run are not measured."""
    found = [
        *_to_the_bound(result),
        *_to_the_oracle(result),
        *_erasure_limits(result),
        *_throughput(result),
        *_single_frames(result),
        *_erasure_speed(result),
        *_against_ldpc(result),
        *_feature_costs(result),
    ]
    return [asdict(goal) for goal in found]


def _goal(what: str, goal: str, wanted: float, value: float | None, note: str = "", *, least: bool, form: str = ".2f") -> Goal:
    if value is None:
        return Goal(what, goal, wanted, None, NOT_MEASURED, None)
    met = value >= wanted if least else value <= wanted
    return Goal(what, goal, wanted, value, f"{value:{form}}" + (f" ({note})" if note else ""), met)


def of_frames(lost: int, frames: int) -> str:
    """Return what a rate was counted from, with its 95 % interval."""
    low, high = wilson(lost, frames)
    return f"{lost} of {frames:,}, {low:.2e} to {high:.2e}"


# ---- error rates -----------------------------------------------------------------------------------------------------------


def gap_to_bound(curve: Row, decoder: str, at: str = AT) -> float | None:
    """Return by how many dB a decoder needs more than the best code of its length."""
    reached = curve["reached"].get(decoder, {}).get(at)
    return None if reached is None else reached - curve["bound"][at]


def gap_to_oracle(curve: Row, decoder: str = MIN_SUM, oracle: str = ORACLE, at: str = AT) -> float | None:
    """Return by how many dB a decoder needs more than sum-product in float."""
    mine, best = (curve["reached"].get(name, {}).get(at) for name in (decoder, oracle))
    return None if mine is None or best is None else mine - best


def _curves(result: Result, channel: str) -> dict[str, Row]:
    return {curve["code"]: curve for curve in result.get("error", {}).get("curves", []) if curve["channel"] == channel}


def _to_the_bound(result: Result) -> list[Goal]:
    found, curves = [], _curves(result, "awgn")
    for name, wanted in (("wifi 1944 1/2", 0.92), ("wifi 648 1/2", 1.1), ("nr 1024/2048", 0.85)):
        curve = curves.get(name)
        value = None if curve is None else gap_to_bound(curve, MIN_SUM)
        note = "" if curve is None or value is None else f"{curve['reached'][MIN_SUM][AT]:.2f} dB"
        what = f"{name}, dB over the normal approximation at FER 1e-3, min-sum 20"
        found.append(_goal(what, f"<= {wanted}", wanted, value, note, least=False))
    return found


def _to_the_oracle(result: Result) -> list[Goal]:
    found, curves = [], _curves(result, "awgn").values()
    for family, label in (("wifi", "all wifi codes"), ("nr", "nr, k 128 to 8192")):
        gaps = {curve["code"]: gap_to_oracle(curve) for curve in curves if curve["family"] == family}
        equal = [gap_to_oracle(curve, MIN_SUM, "sum-product 20") for curve in curves if curve["family"] == family]
        known = {name: gap for name, gap in gaps.items() if gap is not None}
        note = ""
        if known:
            worst = max(known, key=lambda name: known[name])
            fit = sum(gap <= 0.25 for gap in known.values())
            even = max((gap for gap in equal if gap is not None), default=float("nan"))
            note = f"{worst}; {fit} of {len(gaps)} codes within; with 20 iterations each at most {even:.2f}"
        what = f"{label}, dB over float sum-product with 50 iterations at FER 1e-3, min-sum 20"
        found.append(_goal(what, "<= 0.25", 0.25, max(known.values(), default=None), note, least=False))
    return found


def _erasure_limits(result: Result) -> list[Goal]:
    found, curves = [], _curves(result, "bec")
    for name, wanted in (("wifi 1944 1/2", 0.465), ("wifi 648 1/2", 0.444)):
        curve = curves.get(name)
        value = None if curve is None else curve["reached"]["maximum likelihood"]["0.01"]
        note = "" if curve is None else f"random codes {curve['bound']['0.01']:.4f}"
        what = f"{name}, erasure probability at FER 1e-2, maximum likelihood"
        found.append(_goal(what, f">= {wanted}", wanted, value, note, least=True, form=".4f"))
    return found


# ---- speed -----------------------------------------------------------------------------------------------------------------


def _speed(result: Result, code: str, what: str, quality: str, interface: str = "python") -> list[Row]:
    rows = result.get("speed", {}).get("rows", [])
    wanted = (code, what, quality, interface)
    return [row for row in rows if (row["code"], row["what"], row["quality"], row["interface"]) == wanted]


def _many(rows: Iterable[Row], isas: Sequence[str] | None = None) -> tuple[float | None, str]:
    """The highest throughput over many blocks."""
    chosen = [row for row in rows if row["blocks"] >= 256 and (isas is None or row["isa"] in isas)]
    best = max(chosen, key=lambda row: row["info_mbps"], default=None)
    return (None, "") if best is None else (best["info_mbps"], f"{best['isa']}, {best['blocks']} blocks")


def _single(rows: Iterable[Row]) -> tuple[float | None, str]:
    """The fewest microseconds of one block."""
    best = min((row for row in rows if row["blocks"] == 1), key=lambda row: row["us"], default=None)
    return (None, "") if best is None else (best["us"], best["isa"])


def _inside(result: Result, code: str, what: str, quality: str) -> tuple[float | None, str]:
    """The fewest microseconds of one block in the core, and of a call on one, way into C++ and back included, beside them."""
    us, isa = _single(_speed(result, code, what, quality, "inside"))
    call = _single(_speed(result, code, what, quality, "core"))
    if call[0] is None:
        return None, ""
    through = f"a call through the binding {call[0]:.2f} us"
    # judged by the call where the two were not yet told apart
    return (call[0], f"{call[1]}; {through}") if us is None else (us, f"{isa}; {through}")


def _throughput(result: Result) -> list[Goal]:
    found, code = [], "wifi 1944 1/2"
    ten = _speed(result, code, "decode, 10 iterations", "2.0 dB")
    for label, isas, wanted in (("AVX-512", AVX512, 250.0), ("AVX2", ("avx2",), 200.0)):
        what = f"{code}, 10 fixed iterations, many frames, {label}, Mb/s"
        found.append(_goal(what, f">= {wanted:.0f}", wanted, *_many(ten, isas), least=True, form=".0f"))
    fixed = next((row["10 iterations"] for row in result.get("speed", {}).get("fixed", []) if row["code"] == code), None)
    fer, note = (None, "") if fixed is None else (fixed["fer"], of_frames(fixed["lost"], fixed["frames"]))
    found.append(_goal(f"{code}, FER of these 10 iterations at 2.0 dB", "<= 2e-3", 2e-3, fer, note, least=False, form=".2e"))
    stop = _many(_speed(result, code, "decode, early stop", "4.0 dB"))
    found.append(_goal(f"{code}, early stop at 4 dB, Mb/s", ">= 400", 400.0, *stop, least=True, form=".0f"))
    encode = _many(_speed(result, code, "encode", "-"))
    found.append(_goal(f"{code}, encode from packed bytes, Mb/s", ">= 4000", 4000.0, *encode, least=True, form=".0f"))
    return found


def _single_frames(result: Result) -> list[Goal]:
    found = []
    extra: list[tuple[float, str]] = []
    for code, wanted in (("wifi 648 1/2", 4.0), ("wifi 1944 1/2", 8.0), ("nr 400/800", 4.0)):
        core = _inside(result, code, "decode, 10 iterations", "2.0 dB")
        python = _single(_speed(result, code, "decode, 10 iterations", "2.0 dB"))
        found.append(_goal(f"{code}, one frame, 10 iterations, us in the core", f"<= {wanted:.0f}", wanted, *core, least=False))
        if core[0] is not None and python[0] is not None:
            extra.append((python[0] - core[0], code))
    value, note = max(extra, default=(None, ""))
    found.append(_goal("one frame through Python, us more than the core", "<= 10", 10.0, value, note, least=False))
    return found


def _erasure_speed(result: Result) -> list[Goal]:
    found, code = [], "wifi 1944 1/2"
    for p, wanted in (("0.01", 1200.0), ("0.2", 500.0)):
        us, note = _inside(result, code, "decode erasures", f"p={p}")
        call, _ = _single(_speed(result, code, "decode erasures", f"p={p}", "core"))
        if us is not None and call is not None:
            empty = result["speed"]["empty_us"][code]
            note = f"{us:.2f} us, {note} or {972 / call:.0f} Mb/s, {empty:.2f} us of it without blocks"
        value = None if us is None else 972 / us
        what = f"{code}, one frame of erasures, p={p}, Mb/s in the core"
        found.append(_goal(what, f">= {wanted:.0f}", wanted, value, note, least=True, form=".0f"))
    times = []
    for row in result.get("speed", {}).get("failing", []):
        us, _ = _single(_speed(result, row["code"], "decode erasures", f"p={row['p']}", "core"))
        case = f"{row['code']}, p={row['p']}"
        times += [(us or 0.0, f"{case}, any frame"), (row["us"] or 0.0, f"{case}, frames that fail")]
    value, note = max((time for time in times if "wifi" in time[1]), default=(None, ""))
    what = "wifi, a frame that peeling leaves to elimination, us"
    found.append(_goal(what, "<= 1000", 1000.0, value, note, least=False, form=".0f"))
    return found


def _against_ldpc(result: Result) -> list[Goal]:
    rows = [row for row in result.get("speed", {}).get("peers", []) if row["peer"].startswith(RIVAL)]
    # its fastest algorithm on each code, whatever that does to its error rate
    best = {
        code: min((row for row in rows if row["code"] == code), key=lambda row: row["us"])
        for code in {row["code"] for row in rows}
    }
    found = []
    for ratio, kind in (("ratio_int8", "int8"), ("ratio_float", "float32")):
        worst = min(best.values(), key=lambda row: row[ratio], default=None)
        value, note = None, ""
        if worst is not None:
            value = worst[ratio]
            note = f"{worst['code']}, {worst['peer']}; FER {worst['ours_fer']:.3f} against {worst['fer']:.3f}"
        what = f"decode against PyPI ldpc, same code, LLRs and iterations, ours from {kind}"
        found.append(_goal(what, ">= 100x", 100.0, value, note, least=True, form=".0f"))
    return found


# ---- features --------------------------------------------------------------------------------------------------------------


def _feature_costs(result: Result) -> list[Goal]:
    found = []
    for family, wanted in (("nr", 1.06), ("wifi", 1.22)):
        rows = [row for row in result.get("features", {}).get("costs", []) if row["family"] == family and row["p"] == 0.01]
        worst = max(rows, key=lambda row: row["ratio"], default=None)
        note = ", ".join(f"{row['bytes']} B {row['ratio']:.3f}" for row in rows)
        value = None if worst is None else worst["ratio"]
        what = f"{family}, channel bits for a feature's over erasures p=.01, rate=auto"
        found.append(_goal(what, f"<= {wanted}", wanted, value, note, least=False, form=".3f"))
    rows = result.get("features", {}).get("costs", [])
    worst = max(rows, key=lambda row: row["failure"], default=None)
    value, note = None, ""
    if worst is not None:
        value = worst["failure"]
        case = f"{worst['family']}, {worst['bytes']} B, p={worst['p']}"
        note = f"{of_frames(worst['lost'], worst['trials'])}: {case}; the worst of {len(rows)}"
    found.append(_goal("features lost with rate=auto", "<= 1e-3", 1e-3, value, note, least=False, form=".2e"))
    return found
