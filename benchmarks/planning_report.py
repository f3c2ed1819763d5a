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
