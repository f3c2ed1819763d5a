"""Pictures: size and cost along a network, and the choice over bandwidth and load. matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featcodec.errors import MissingDependencyError
from featcodec.planning.choices import ChoiceMap
from featcodec.planning.cuts import ModelProfile

# Colour-blind readers tell these apart (Okabe, Ito).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#8a8a8a", "#6a3d9a", "#8c510a")
_MOST_TICKS = 24


def draw_profile(profile: ModelProfile, path: str | Path) -> None:
    """Draw what crosses at each cut, in multiples of the input, and the halves' times into a PNG file.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    plt = _pyplot()
    cuts = profile.main_cuts()
    at = np.arange(len(cuts))
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(max(6.0, 0.3 * len(cuts) + 3), 6.4), sharex=True)
    upper.bar(at, [cut.amplification for cut in cuts], color=COLORS[0], width=0.8)
    upper.axhline(1, color="black", linewidth=0.8, linestyle=":")
    upper.set(ylabel="elements that cross / input's", title=f"{profile.model}: what crosses, and what each half costs")
    upper.set_yscale("log")
    lower.stackplot(
        at,
        [cut.head_ms for cut in cuts],
        [cut.tail_ms for cut in cuts],
        labels=["head", "tail"],
        colors=(COLORS[1], COLORS[5]),
        alpha=0.85,
    )
    lower.set(ylabel="ms of one sample", ylim=(0, None))
    share = lower.twinx()
    share.plot(at, [100 * cut.head_macs / max(1, profile.total_macs) for cut in cuts], color="black", linewidth=1.2)
    share.set(ylabel="line: head's share of MACs, %", ylim=(0, 105))
    lower.legend(loc="upper left", fontsize=8)
    step = max(1, -(-len(cuts) // _MOST_TICKS))
    lower.set_xticks(at[::step], [_short(cut.name) for cut in cuts[::step]], rotation=60, ha="right", fontsize=7)
    for axes in (upper, lower):
        axes.grid(alpha=0.25, linewidth=0.5, axis="y")
    _save(plt, figure, path)


def draw_map(found: ChoiceMap, path: str | Path) -> None:
    """Draw which candidate is best at each rate of the link and load of the server into a PNG file.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    plt = _pyplot()
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    names = found.names()
    cells = np.array([[names.index(cell.name) for cell in row] for row in found.best])
    colors = _colors(len(names))
    figure, axes = plt.subplots(figsize=(7.6, 4.6))
    shown: Any = {"cmap": ListedColormap(colors), "vmin": -0.5, "vmax": len(names) - 0.5, "shading": "nearest"}
    axes.pcolormesh([rate / 1e6 for rate in found.rates_bps], list(found.loads), cells, **shown)
    scale = "log" if min(found.loads) > 0 else "linear"
    axes.set(xscale="log", yscale=scale, xlabel="link, Mbit/s", ylabel="server's load: times its time by itself")
    axes.plot([found.link.rate_bps / 1e6], [1.0], "k*", markersize=11)
    axes.set_title(f"best by {found.objective}, {found.link.name} (star: this link, an idle server)", fontsize=10)
    handles = [Patch(color=color, label=_short(name, 44)) for name, color in zip(names, colors, strict=True)]
    axes.legend(handles=handles, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    _save(plt, figure, path)


def _colors(count: int) -> list[Any]:
    """So many different colours."""
    from matplotlib.colors import hsv_to_rgb

    return list(COLORS[:count]) if count <= len(COLORS) else [tuple(hsv_to_rgb((i / count, 0.8, 0.9))) for i in range(count)]


def _short(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"...{name[3 - most :]}"


def _pyplot() -> Any:
    try:
        import matplotlib
    except ModuleNotFoundError as e:
        raise MissingDependencyError(
            "a picture needs matplotlib, which is not installed: pip install 'featcodec[bench]'"
        ) from e
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _save(plt: Any, figure: Any, path: str | Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
