"""Tables and goals of the pruning and the search benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.entropy_goals import goals_table

Row = Mapping[str, Any]
MOST_LOST = 0.01  # of accuracy, at 30 % fewer multiply-accumulates
BYTES_FACTOR, TOLERANCE = 1.1, 0.003
DROPS = (0.01, 0.02)  # of accuracy, that goals are set for
SHOWN_DROPS = (*DROPS, 0.03, 0.05)
MINUTES = 30


def prune_goals(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what was to be reached, beside fine-tuning alone, and whether it was: what, goal, measured, met."""
    control = next(row["accuracy"] for row in rows if row["wanted"] == 0)
    found = [row for row in rows if row["method"] == "incremental" and row["wanted"] == 0.3]
    return [
        {
            "what": "incremental pruning, 30 % fewer MACs of the head, beside the same fine-tuning without pruning",
            "goal": f"at most {100 * MOST_LOST:g} point lost",
            "measured": f"{100 * (control - row['accuracy']):.2f} points at {row['saved']:.1%}",
            "met": control - row["accuracy"] <= MOST_LOST and row["saved"] >= 0.3,
        }
        for row in found
    ]


def prune_table(result: Mapping[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| method | MACs saved | dropped for good | top-1 % | change | filters dropped, top-1 % | weights |",
        "|---|---:|---:|---:|---:|---:|---:|",
        f"| as it was | - | - | {100 * result['base']:.2f} | - | - | - |",
    ]
    for row in result["rows"]:
        gone = 1 - row["dropped_macs"] / row["unpruned_head_macs"]
        change = 100 * (row["accuracy"] - result["base"])
        lines.append(
            f"| {row['method']} | {row['saved']:.1%} | {gone:.1%} | {100 * row['accuracy']:.2f} | {change:+.2f} | "
            f"{100 * row['accuracy_dropped']:.2f} | {row['parameters']:,} |"
        )
    return "\n".join(lines) + "\n"


def prune_summary(result: Mapping[str, Any]) -> str:
    """Return goals and rows, for people."""
    return f"{goals_table(prune_goals(result['rows']))}\n{prune_table(result)}"


def least_bytes(trials: Sequence[Row], accuracy: float) -> float | None:
    """Return the fewest bytes of the trials that reach an accuracy; None where none does."""
    found = [
        trial["figures"]["bytes"] for trial in trials if trial["state"] == "done" and trial["figures"]["accuracy"] >= accuracy
    ]
    return min(found, default=None)


def search_goals(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was to be reached and whether it was: what, goal, measured, met. An accuracy that no point reaches is not."""
    studies, base = result["studies"], result["base"]
    grid = studies["grid"]["trials"]
    within = f"within {BYTES_FACTOR:g}x of all {len(grid)} points' bytes, tolerance {100 * TOLERANCE:g} points"
    found: list[dict[str, Any]] = []
    for name in [name for name in studies if name != "grid"]:
        who = f"{len(_once(studies[name]))} trials, {name}"
        for drop in DROPS:
            best = least_bytes(grid, base - drop)
            own = least_bytes(studies[name]["trials"], base - drop - TOLERANCE)
            met = best is not None and own is not None and own <= BYTES_FACTOR * best
            what = f"{who}: bytes at base -{100 * drop:g} points"
            found.append({"what": what, "goal": within, "measured": _beside(own, best), "met": met})
        minutes = studies[name]["seconds"] / 60
        goal, measured = f"under {MINUTES} minutes", f"{minutes:.1f} minutes"
        found.append({"what": who, "goal": goal, "measured": measured, "met": minutes < MINUTES})
    return found


def _beside(own: float | None, best: float | None) -> str:
    if best is None:
        return "no point of the space is as accurate"
    return f"{_bytes(own)} beside {_bytes(best)}"


def _bytes(size: float | None) -> str:
    return "-" if size is None else f"{size:,.1f}"


def _once(study: Row) -> list[Row]:
    """The trials of a study that were measured, repeats left out."""
    return [trial for trial in study["trials"] if trial["state"] == "done" and trial["repeats"] is None]


def search_table(result: Mapping[str, Any]) -> str:
    """Return the studies as a Markdown table."""
    levels = " | ".join(f"fewest bytes at base -{100 * drop:g}" for drop in SHOWN_DROPS)
    lines = [f"| study | points | minutes | {levels} |", f"|---|---:|---:|{'---:|' * len(SHOWN_DROPS)}"]
    for name, study in result["studies"].items():
        done = _once(study)
        cells = " | ".join(_bytes(least_bytes(done, result["base"] - drop)) for drop in SHOWN_DROPS)
        lines.append(f"| {name} | {len(done)} | {study['seconds'] / 60:.1f} | {cells} |")
    return "\n".join(lines) + "\n"


def points_table(result: Mapping[str, Any]) -> str:
    """Return every point of the space as a Markdown table, fewest bytes first, with who tried it."""
    studies = {name: {_key(t["point"]): t for t in _once(study)} for name, study in result["studies"].items()}
    others = [name for name in studies if name != "grid"]
    lines = [f"| C_r | S | Q | bytes | top-1 % | {' | '.join(others)} |", f"|---:|---:|---:|---:|---:|{'---|' * len(others)}"]
    for key, trial in sorted(studies["grid"].items(), key=lambda item: item[1]["figures"]["bytes"]):
        point, figures = trial["point"], trial["figures"]
        tried = " | ".join("x" if key in studies[name] else "" for name in others)
        values = f"{point['reduced']} | {point['stride']} | {point['step']:g}"
        lines.append(f"| {values} | {figures['bytes']:,.1f} | {100 * figures['accuracy']:.2f} | {tried} |")
    return "\n".join(lines) + "\n"


def replays_table(result: Mapping[str, Any]) -> str:
    """Return in how many searches of other seeds the bytes are within what is allowed, as a Markdown table."""
    grid, base, replays = result["studies"]["grid"]["trials"], result["base"], result["replays"]
    levels = [(drop, best) for drop in SHOWN_DROPS if (best := least_bytes(grid, base - drop)) is not None]
    names = [name for name, found in replays.items() if isinstance(found, list)]
    lines = [f"| level | bytes | {' | '.join(names)} |", f"|---|---:|{'---:|' * len(names)}"]
    for drop, best in levels:
        counts = [sum(_is_near(found, base - drop, best) for found in replays[name]) for name in names]
        shares = " | ".join(f"{count} of {replays['seeds']}" for count in counts)
        lines.append(f"| base -{100 * drop:g} points | {best:,.1f} | {shares} |")
    return "\n".join(lines) + "\n"


def _is_near(found: Sequence[Sequence[float]], accuracy: float, best: float) -> bool:
    return any(size <= BYTES_FACTOR * best for own, size in found if own >= accuracy - TOLERANCE)


def _key(point: Row) -> tuple[Any, ...]:
    return tuple(sorted((name, str(value)) for name, value in point.items()))


def search_summary(result: Mapping[str, Any]) -> str:
    """Return goals, studies and searches of other seeds, for people."""
    return f"{goals_table(search_goals(result))}\n{search_table(result)}\n{replays_table(result)}"
