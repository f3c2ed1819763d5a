"""Plots: accuracy against bytes, and names written at points and lines where nothing else is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcodec.bench.tables import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = NDArray[np.float64]

# Colour-blind readers tell the first six apart (Okabe, Ito).
OURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#8c510a", "#b2182b")
PEER = "#8a8a8a"
MARKERS = "osD^v<>pPX*h"
MOST_SERIES = 10

# Codecs that carry somebody else's coder: what ours are held against.
PEERS = ("ans", "heif", "jpeg", "png", "webp")
# Where there are more series than a picture holds, these go first; those go without: they lie on their neighbours, or far off.
FIRST = ("context", "huffman", "bitpack", "trained", "jpeg", "webp", "heif", "png")
LEFT_OUT = ("ans", "auto", "half", "rans", "raw")
_POINTS_LOST = 8.0  # of accuracy: what lies lower is of no use, and would press the rest together
_MARKER = 4.0 * np.array([(0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)])  # what a marker covers, in pixels
_LEAST_SPAN = 2.0  # points of accuracy that a panel shows at least


@dataclass(frozen=True)
class Name:
    """A text to be written beside a point, in data coordinates."""

    text: str
    x: float
    y: float
    color: str


def write_names(axes: Axes, names: Sequence[Name], lines: Sequence[Points], size: float = 8.0) -> None:
    """Write names beside their points: within the axes, off each other and off the lines, as near as that allows.

    Parameters
    ----------
    lines
        (N, 2) each, in data coordinates: what is drawn, and is not to be written over. Call it when limits and scales are set.
    """
    figure = axes.figure
    scale = figure.dpi / 72
    drawn = np.concatenate([_between(axes.transData.transform(line)) for line in lines if len(line)] or [np.empty((0, 2))])
    frame = axes.get_window_extent()
    written: list[tuple[float, float, float, float]] = []
    anchors = axes.transData.transform(np.array([(name.x, name.y) for name in names]).reshape(-1, 2))
    for number, name in enumerate(names):
        at = anchors[number]
        text = axes.annotate(name.text, (name.x, name.y), (0, 0), textcoords="offset points", fontsize=size, color=name.color)
        extent = text.get_window_extent()
        width, height = extent.width, extent.height
        best: tuple[float, float, float] | None = None
        for radius in (4, 9, 15, 24, 36, 52):
            for angle in np.arange(16) * np.pi / 8:
                dx, dy = np.cos(angle), np.sin(angle)
                # the nearest edge of the text, not its corner, is `radius` away
                left = at[0] + scale * radius * dx + (dx - 1) * width / 2
                bottom = at[1] + scale * radius * dy + (dy - 1) * height / 2
                box = (left, bottom, left + width, bottom + height)
                price = radius + 60 * _covered(box, drawn) + 400 * sum(_overlap(box, other) for other in written)
                near = _distances(box, anchors)
                price += 100 * int((near < near[number] + 3).sum() - 1)  # nearer to what another name belongs to
                price += 1000 * (left < frame.x0 or bottom < frame.y0 or box[2] > frame.x1 or box[3] > frame.y1)
                if best is None or price < best[0]:
                    best = (price, left, bottom)
        assert best is not None  # there are candidates
        _, left, bottom = best
        written.append((left - 2, bottom - 1, left + width + 2, bottom + height + 1))
        text.set_position(((left - at[0]) / scale, (bottom - at[1]) / scale))
        edge = (np.clip(at[0], left, left + width), np.clip(at[1], bottom, bottom + height))
        if np.hypot(edge[0] - at[0], edge[1] - at[1]) > 12 * scale:
            ends = axes.transData.inverted().transform(np.array((at, edge)))
            axes.plot(ends[:, 0], ends[:, 1], color=name.color, linewidth=0.5, alpha=0.7)


def _between(corners: Points) -> Points:
    """Points of a line every few pixels, and around its markers."""
    parts = [(corners[:, None] + _MARKER).reshape(-1, 2)]
    for start, end in pairwise(corners):
        steps = max(2, int(np.hypot(*(end - start)) / 4))
        parts.append(start + (end - start) * np.linspace(0, 1, steps)[:, None])
    return np.concatenate(parts)


def _distances(box: tuple[float, float, float, float], points: Points) -> Points:
    """How far each point is from a box, in pixels."""
    x, y = points[:, 0], points[:, 1]
    return np.asarray(np.hypot(np.clip(x, box[0], box[2]) - x, np.clip(y, box[1], box[3]) - y), np.float64)


def _covered(box: tuple[float, float, float, float], points: Points) -> int:
    x, y = points[:, 0], points[:, 1]
    return int(((x > box[0] - 2) & (x < box[2] + 2) & (y > box[1] - 2) & (y < box[3] + 2)).sum())


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def series_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows to draw by series, `MOST_SERIES` at most: by codec id, trained codecs together.

    Of more than that those in `FIRST` are drawn, then those with the most rows on a layer's Pareto front.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if not row["stats"]["real_symbols_per_sample"]:
            found.setdefault("trained" if "trained" in row else row["codec"]["id"], []).append(row)
    fronts = [pareto_front([r for r in rows if r["layer"] == layer]) for layer in {row["layer"] for row in rows}]
    best = {id(row) for front in fronts for row in front}

    def rank(name: str) -> tuple[int, int]:
        return FIRST.index(name) if name in FIRST else len(FIRST), -sum(id(row) in best for row in found[name])

    wanted = [name for name in found if name not in LEFT_OUT] if len(found) > MOST_SERIES else found
    return {name: found[name] for name in sorted(wanted, key=rank)[:MOST_SERIES]}


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against wire bytes into a PNG file: a panel a layer, a line a codec, each named where it begins.

    A line joins the rows of a codec that none of its other rows beats.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    base = 100 * result["baseline"]["metric"]
    layers = list(dict.fromkeys(row["layer"] for row in result["rows"]))
    series = series_of(result["rows"])
    looks = _looks(list(series))
    figure, panels = plt.subplots(1, len(layers), figsize=(4.6 * len(layers), 4.6), squeeze=False)
    drawn: list[dict[str, list[tuple[float, float, str]]]] = []
    for panel, layer in zip(panels[0], layers, strict=True):
        lines = {name: _line(name, [row for row in rows if row["layer"] == layer]) for name, rows in series.items()}
        drawn.append(lines)
        panel.axhline(base, color="black", linewidth=0.8, linestyle=":")
        for name, line in lines.items():
            joined = {"linestyle": "none"} if name == "trained" else {"linewidth": 1.4}
            panel.plot([x for x, _, _ in line], [y for _, y, _ in line], markersize=5, **joined, **looks[name])
        _set_limits(panel, [point for line in lines.values() for point in line], base)
        panel.set(xlabel="bytes a sample on the wire", title=layer)
        panel.grid(alpha=0.25, linewidth=0.5)
    panels[0][0].set_ylabel("top-1 accuracy, %")
    setting = result["setting"]
    figure.suptitle(f"{setting['model']}, {setting['data']}, {setting['samples']} images; dotted: without a codec", fontsize=10)
    figure.tight_layout()
    for panel, lines in zip(panels[0], drawn, strict=True):
        _write_series(panel, lines, looks)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _line(name: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, str]]:
    """Bytes, accuracy and name of a series' points at one layer, by bytes."""
    kept = rows if name == "trained" else pareto_front(rows)
    return sorted((row["stats"]["bits_per_sample"] / 8, 100 * row["metric"], str(row.get("trained", name))) for row in kept)


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker by series: ours in colour and above, peers grey."""
    ours = [name for name in names if name not in PEERS]
    looks: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(names):
        mine = name in ours
        color = OURS[ours.index(name) % len(OURS)] if mine else PEER
        looks[name] = {"color": color, "marker": MARKERS[i % len(MARKERS)], "zorder": 3 if mine else 2}
    return looks


def _set_limits(panel: Axes, points: Sequence[tuple[float, float, str]], base: float) -> None:
    """Show the accuracies of use, and the bytes of what has them."""
    kept = [(x, y) for x, y, _ in points if y >= base - _POINTS_LOST]
    heights = [base, *(y for _, y in kept)]
    low, high = min(heights), max(heights)
    margin = max(0.08 * (high - low), (_LEAST_SPAN - (high - low)) / 2)
    panel.set_xscale("log")
    panel.set_ylim(low - margin, high + margin)
    if kept:
        panel.set_xlim(min(kept)[0] / 2.5, max(kept)[0] * 1.6)


def _write_series(
    panel: Axes, lines: Mapping[str, Sequence[tuple[float, float, str]]], looks: Mapping[str, Mapping[str, Any]]
) -> None:
    """Name every line at its cheapest visible point, and every trained codec."""
    bottom, _ = panel.get_ylim()
    names: list[Name] = []
    for series, line in lines.items():
        seen = [point for point in line if point[1] >= bottom]
        names += [Name(text, x, y, looks[series]["color"]) for x, y, text in (seen if series == "trained" else seen[:1])]
    drawn = [np.array([[x, y] for x, y, _ in line], float) for name, line in lines.items() if name != "trained"]
    drawn += [np.array([[x, y]]) for x, y, _ in lines.get("trained", [])]
    write_names(panel, names, drawn)
