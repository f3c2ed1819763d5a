"""The goals of planning, judged by a result."""

from __future__ import annotations

from typing import Any

PROFILE_SECONDS = 10.0


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
JUDGES = {"algorithm1": _algorithm1, "brute_force": _brute_force, "rising_load": _rising_load, "profiles": _profiles}
