"""The goals of planning, judged by a result."""

from __future__ import annotations

from typing import Any

PROFILE_SECONDS = 10.0
OFF, OFF_MS = 0.15, 2.0  # a prediction, of what is measured: by one or the other


def goals(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the goals of the parts that a result has: what, goal, measured, met."""
    found: list[dict[str, Any]] = []
    for part, judge in JUDGES.items():
        if part in result:
            found += judge(result[part])
    return found


def _goal(what: str, goal: str, measured: str, met: bool | None) -> dict[str, Any]:
    return {"what": what, "goal": goal, "measured": measured, "met": met}


def _algorithm1(found: dict[str, Any]) -> list[dict[str, Any]]:
    chosen, changed = found["chosen"], found["changed"]
    low, high = found["3g_off_ms"]
    as_audited = (round(low, 1), round(high, 1)) == (-0.7, 0.8)
    return [
        _goal(
            "Algorithm 1 on the published inputs: the choice, three links, latency and energy",
            "RB1",
            ", ".join(sorted(set(chosen.values()))),
            set(chosen.values()) == {"RB1"},
        ),
        _goal(
            "its formula beside the published latencies",
            "equal",
            f"off by {found['formula_off_ms']:.1g} ms",
            found["formula_off_ms"] < 1e-9,
        ),
        _goal(
            "TM + TC that 3G leaves beside what the others leave", "off by -.7 to +.8 ms", f"{low:+} to {high:+} ms", as_audited
        ),
        _goal(
            "where the first three blocks send more",
            "RB4",
            ", ".join(f"{name} {best}" for name, best in changed.items()),
            set(changed.values()) == {"RB4"},
        ),
    ]


def _brute_force(found: dict[str, Any]) -> list[dict[str, Any]]:
    equal, all_of_them = found["equal"], found["instances"]
    return [
        _goal("select beside brute force, random instances", "equal", f"{equal:,} of {all_of_them:,}", equal == all_of_them)
    ]


def _rising_load(found: dict[str, Any]) -> list[dict[str, Any]]:
    measured = f"earlier in {found['earlier']:,}, later in {found['later']:,} of {found['instances']:,}"
    met = found["earlier"] == 0 and found["later"] > 0
    return [_goal("the split as the server's load rises, TC falling along the network", "never earlier", measured, met)]


def _profiles(found: dict[str, Any]) -> list[dict[str, Any]]:
    judged = []
    for name, row in found.items():
        what = f"profile of {name}"
        if row is None:
            judged.append(_goal(what, f"every legal cut, under {PROFILE_SECONDS:g} s", "not measured", None))
            continue
        measured = f"{row['cuts']} of {row['legal']} cuts{'' if row['equal'] else ', not the same'}, {row['seconds']:.1f} s"
        met = row["equal"] and row["seconds"] < PROFILE_SECONDS
        judged.append(_goal(what, f"every legal cut, under {PROFILE_SECONDS:g} s", measured, met))
    return judged


def _links(found: dict[str, Any]) -> list[dict[str, Any]]:
    goal = f"within {OFF:.0%} or {OFF_MS:g} ms"
    if found["rows"] is None:
        return [_goal("predictions over shaped links", goal, f"not measured: {found['left_out']}", None)]
    judged = []
    for link in dict.fromkeys(row["link"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["link"] == link]
        worst = max(rows, key=lambda row: _excess(row))
        kept = sum(_excess(row) <= 1 for row in rows)
        off = worst["predicted_ms"] - worst["ms"]["median"]
        measured = f"{kept} of {len(rows)}; the worst, {worst['way']}, by {off:+.1f} ms, {off / worst['ms']['median']:+.0%}"
        judged.append(_goal(f"predictions over {link}, {rows[0]['rate_mbit']} Mbit/s", goal, measured, kept == len(rows)))
    return judged


def _excess(row: dict[str, Any]) -> float:
    """By how many times of what is allowed a prediction is off."""
    measured: float = row["ms"]["median"]
    off = abs(row["predicted_ms"] - measured)
    return off / max(OFF * measured, OFF_MS)


def links_table(result: dict[str, Any]) -> str:
    """Return what was predicted and measured as a Markdown table, a row each link and way."""
    found = result.get("links", {"rows": None, "left_out": "the part was not run"})
    if found["rows"] is None:
        return f"Left out: {found['left_out']}\n"
    lines = [
        "| link | Mbit/s | way | bytes | round trip ms | predicted ms | measured ms |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for row in found["rows"]:
        ms = row["ms"]
        figures = f"{row['bytes']:,.0f} | {row['rtt_ms']:.1f} | {row['predicted_ms']:.1f}"
        measured = f"{ms['median']:.1f} [{ms['low']:.1f}, {ms['high']:.1f}]"
        lines.append(f"| {row['link']} | {row['rate_mbit']} | {row['way']} | {figures} | {measured} |")
    return "\n".join(lines) + "\n"


def profiles_table(result: dict[str, Any]) -> str:
    """Return what was profiled as a Markdown table."""
    lines = [
        "| model | cuts | that are layers | MACs | ms | profiled in s | of the process |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in result.get("profiles", {}).items():
        if row is not None:
            figures = f"{row['macs']:,} | {row['total_ms']:.2f} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f}"
            lines.append(f"| {name} | {row['cuts']} | {row['layers']} | {figures} |")
    return "\n".join(lines) + "\n"


# Of each part of the suite.
JUDGES = {
    "algorithm1": _algorithm1,
    "brute_force": _brute_force,
    "rising_load": _rising_load,
    "profiles": _profiles,
    "links": _links,
}
