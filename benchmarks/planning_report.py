"""Tables and goals of the pruning and the search benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
MOST_LOST = 0.01  # of accuracy, at 30 % fewer multiply-accumulates
BYTES_FACTOR, TOLERANCE = 1.1, 0.003
DROPS = (0.01, 0.02)


def prune_goals(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what was to be reached, beside fine-tuning alone, and whether it was."""
    control = next(row["accuracy"] for row in rows if row["wanted"] == 0)
    found = [row for row in rows if row["method"] == "incremental" and row["wanted"] == 0.3]
    return [
        {
            "goal": "incremental pruning loses at most 1 point at 30 % fewer MACs",
            "lost": control - row["accuracy"],
            "saved": row["saved"],
            "met": control - row["accuracy"] <= MOST_LOST and row["saved"] >= 0.3,
        }
        for row in found
    ]


def prune_table(result: Mapping[str, Any]) -> str:
    """Return the rows, a line each, and the goals."""
    heading = f"{'method':<20}{'MACs saved':>11}{'dropped':>9}{'top-1 %':>9}{'change':>8}{'dropped %':>11}{'weights':>10}"
    lines = [f"unpruned: {100 * result['base']:.2f} % top-1", heading, "-" * len(heading)]
    for row in result["rows"]:
        gone = 1 - row["dropped_macs"] / row["unpruned_head_macs"]
        lines.append(
            f"{row['method']:<20}{row['saved']:>11.1%}{gone:>9.1%}{100 * row['accuracy']:>9.2f}"
            f"{100 * (row['accuracy'] - result['base']):>+8.2f}{100 * row['accuracy_dropped']:>11.2f}{row['parameters']:>10,}"
        )
    for goal in result["goals"]:
        lines.append(f"{'met' if goal['met'] else 'MISSED'}: {goal['goal']}: {100 * goal['lost']:+.2f} points lost")
    return "\n".join(lines) + "\n"


def least_bytes(trials: Sequence[Row], accuracy: float) -> float | None:
    """Return the fewest bytes of the trials that reach an accuracy; None where none does."""
    found = [
        trial["figures"]["bytes"] for trial in trials if trial["state"] == "done" and trial["figures"]["accuracy"] >= accuracy
    ]
    return min(found, default=None)


def search_goals(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was to be reached and whether it was; None where no point of the space reaches an accuracy."""
    studies, base = result["studies"], result["base"]
    goals: list[dict[str, Any]] = []
    for name in [name for name in studies if name != "grid"]:
        for drop in DROPS:
            best = least_bytes(studies["grid"]["trials"], base - drop)
            own = least_bytes(studies[name]["trials"], base - drop - TOLERANCE)
            met = None if best is None else own is not None and own <= BYTES_FACTOR * best
            goals.append({"goal": f"{name}: bytes at base -{100 * drop:g} points", "bytes": own, "all": best, "met": met})
        minutes = studies[name]["seconds"] / 60
        goals.append({"goal": f"{name}: under 30 minutes", "minutes": minutes, "met": minutes < 30})
    return goals


def search_table(result: Mapping[str, Any]) -> str:
    """Return the studies, a line each, and the goals."""
    heading = f"{'study':<10}{'trials':>8}{'minutes':>10}" + "".join(f"{f'bytes at -{100 * d:g}':>14}" for d in DROPS)
    lines = [f"base: {100 * result['base']:.2f} % top-1 on the validation images", heading, "-" * len(heading)]
    for name, study in result["studies"].items():
        done = [trial for trial in study["trials"] if trial["state"] == "done" and trial["repeats"] is None]
        found = [least_bytes(done, result["base"] - drop) for drop in DROPS]
        cells = "".join(f"{'-' if least is None else format(least, ',.1f'):>14}" for least in found)
        lines.append(f"{name:<10}{len(done):>8}{study['seconds'] / 60:>10.1f}{cells}")
    verdicts = {True: "met", False: "MISSED", None: "out of the space's reach"}
    return "\n".join([*lines, *(f"{verdicts[goal['met']]}: {goal['goal']}" for goal in result["goals"])]) + "\n"
