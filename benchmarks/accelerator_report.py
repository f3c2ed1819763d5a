"""How crossings on a GPU are shown: what one adds to a forward pass, and the parts of it."""

from __future__ import annotations

from typing import Any

PARTS = ("to_host", "encode", "decode", "to_device")


def crossing_table(result: dict[str, Any]) -> str:
    """Return the crossings as a Markdown table: milliseconds a batch."""
    headings = ["network", "feature", "batch", "codec", "wire B", "bare", "with", "adds", *PARTS, "rest"]
    lines = [f"| {' | '.join(headings).replace('_', ' ')} |", "|---|---|---:|---|" + "---:|" * (len(headings) - 4)]
    for row in result["rows"]:
        where = [f"{row['network']} {row['layer']}", " x ".join(map(str, row["shape"])), str(row["batch"]), row["codec"]]
        times = [row["bare_ms"], row["with_ms"], adds(row), *(row[f"{part}_ms"] for part in PARTS), rest(row)]
        cells = [*where, f"{row['wire_bytes']:,.0f}", *(f"{ms:.2f}" for ms in times)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def adds(row: dict[str, Any]) -> float:
    """Return the milliseconds that a codec adds to a forward pass."""
    return float(row["with_ms"] - row["bare_ms"])


def rest(row: dict[str, Any]) -> float:
    """Return what of them is in no part: hooks, checks, waiting for the device, and the count of crushed tokens."""
    return adds(row) - sum(row[f"{part}_ms"] for part in PARTS)
