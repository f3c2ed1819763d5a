"""How `make bench-transform` is shown: bytes at equal loss, their ratios, every row, and two figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.equal_loss import KL, TOP1
from benchmarks.transform_goals import LARGEST, PAPERS, PLAIN, STANDARD, change_of
from featcodec.bench.pictures import MARKERS, OURS, PEER, Name, write_names
from featcodec.spec import format_spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = Mapping[str, Any]
_LEAST_CHANGE, _MOST_CHANGE = -4.0, 0.6  # points of top-1 that a panel shows
_KL_SHOWN = (0.003, 0.3)
_SHADES = ("#4d4d4d", "#8a8a8a", "#b0b0b0", "#6b8e9e", "#a08a6b")


def cuts_of(result: Result) -> list[tuple[str, str]]:
    """Return (network, layer) of every cut, in order."""
    return list(dict.fromkeys((row["network"], row["layer"]) for row in result["rows"]))


def title_of(network: str, layer: str) -> str:
    """Return what a cut is called."""
    return f"ResNet-20, {layer}" if network == "resnet20" else f"EfficientNet-lite0, block {layer.rpartition('.')[2]}"


def sizes_table(result: Result, network: str) -> str:
    """Return the bytes of every series at each loss, as a Markdown table: a column a loss at a cut."""
    layers = [layer for name, layer in cuts_of(result) if name == network]
    targets = (TOP1 if network == "resnet20" else KL).targets
    found = {(c["layer"], c["series"]): c["bytes"] for c in result["sizes"] if c["network"] == network}
    unit = "-{:g}" if network == "resnet20" else "{:g}"
    headings = ["codec", *(f"{layer} {unit.format(target)}" for layer in layers for target in targets)]
    lines = [_line(headings), "|---|" + "---:|" * (len(headings) - 1)]
    for series in dict.fromkeys(name for _, name in found):
        sizes = [size for layer in layers for size in found.get((layer, series), [None] * len(targets))]
        lines.append(_line([series, *("-" if size is None else f"{size:,.0f}" for size in sizes)]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cells_table(result: Result) -> str:
    """Return the ratios at equal loss with their intervals, as a Markdown table."""
    lines = [_line(["cut", "at", "codec", "B", "against", "B", "ratio [95 %]"]), "|---|---:|---|---:|---|---:|---:|"]
    for c in result["cells"]:
        at = f"-{c['target']:g} points" if c["network"] == "resnet20" else f"KL {c['target']:g}"
        ours, theirs = ("-" if c[key] is None else f"{c[key]:,.0f}" for key in ("ours", "rival"))
        interval = "" if c["interval"] is None else " [{:.3f}, {:.3f}]".format(*c["interval"])
        ratio = "-" if c["ratio"] is None else f"{c['ratio']:.3f}{interval}"
        rival = c["against"] if c["best"] in (None, c["against"]) else f"{c['against']}: {c['best']}"
        lines.append(_line([title_of(c["network"], c["layer"]), at, c["series"], ours, rival, theirs, ratio]))
    return "\n".join(lines) + "\n"


def rows_table(result: Result, network: str, layer: str) -> str:
    """Return every row of a cut as a Markdown table, by series and bytes."""
    lines = [_line(["codec", "setting", "payload B", "wire B", "top-1 %", "change [95 %]", "KL"]), "|---|---|" + "---:|" * 5]
    rows = [row for row in result["rows"] if (row["network"], row["layer"]) == (network, layer)]
    order = {name: at for at, name in enumerate(dict.fromkeys(row["series"] for row in rows))}
    for row in sorted(rows, key=lambda r: (order[r["series"]], r["payload_bytes"])):
        change, low, high = change_of(row)
        sizes = [f"{row[key]:,.1f}" for key in ("payload_bytes", "wire_bytes")]
        rate = [f"{100 * row['top1']:.2f}", f"{change:+.2f} [{low:+.2f}, {high:+.2f}]", f"{row['kl']:.4f}"]
        lines.append(_line([row["series"], setting_of(row), *sizes, *rate]))
    return "\n".join(lines) + "\n"


def setting_of(row: Mapping[str, Any]) -> str:
    """Return what tells a row from others of its series."""
    if row["quality"] is not None:
        return f"quality {row['quality']}"
    config = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row["config"].items()}
    known = ("quality", "bits", "levels", "share", "step")
    return " ".join(f"{key} {config[key]}" for key in known if key in config) or format_spec({"id": config["id"]})


def plan_lines(result: Result) -> str:
    """Say what each calibration chose, how long it took, and the config that came of it."""
    lines = []
    for c in result["calibrations"]:
        pictures = f"{c['samples']} pictures" + (" and their mirror images" if c["flips"] else "")
        lines.append(
            f"- {title_of(c['network'], c['layer'])}, {c['series']}: `{c['config']}`, {pictures}, {c['seconds']:.0f} s"
        )
    return "\n".join(lines) + "\n"


def speed_lines(speed: Mapping[str, Any] | None) -> str:
    """Say what a picture's way through codecs takes."""
    if speed is None:
        return "Not measured.\n"
    headings = ["codec at layer2", "quality", "batch", "encode us", "decode us", "million values a second"]
    lines = [_line(headings), "|---|" + "---:|" * (len(headings) - 1)]
    for row in speed["rows"]:
        figures = [f"{row['encode_us']:,.0f}", f"{row['decode_us']:,.0f}", f"{row['values_per_s'] / 1e6:.1f}"]
        lines.append(_line([row["series"], str(row["quality"]), str(row["batch"]), *figures]))
    return "\n".join(lines) + f"\n\nThe head takes {speed['head_us']:,.0f} us a picture by itself, on one thread.\n"


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and width by series: ours in colour, rivals grey."""
    found: dict[str, dict[str, Any]] = {}
    ours = [name for name in names if name not in (*STANDARD, *PAPERS)]
    for at, name in enumerate(names):
        mine = name in ours
        grey = _SHADES[at % len(_SHADES)] if name in PAPERS else PEER
        color = OURS[ours.index(name) % len(OURS)] if mine else grey
        style = {"linewidth": 2.0 if name in (PLAIN, LARGEST) else 1.2, "linestyle": "--" if name in PAPERS else "-"}
        marker = MARKERS[at % len(MARKERS)]
        found[name] = {"color": color, "marker": marker, "markersize": 3.5, "zorder": 3 if mine else 2, **style}
    return found


def plot(result: Result, folder: Path) -> None:
    """Draw change.png (top-1 change against bytes at the cuts of ResNet-20) and kl.png (KL against bits of the other)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    for network, name in (("resnet20", "change.png"), ("lite0", "kl.png")):
        layers = [layer for found, layer in cuts_of(result) if found == network]
        if not layers:
            continue
        rows = [row for row in result["rows"] if row["network"] == network]
        look = looks(list(dict.fromkeys(row["series"] for row in rows)))
        figure, panels = plt.subplots(1, len(layers), figsize=(4.6 * len(layers), 4.8), squeeze=False)
        draw = _draw_change if network == "resnet20" else _draw_kl
        for panel, layer in zip(panels[0], layers, strict=True):
            panel.set(xscale="log", title=title_of(network, layer))
            panel.grid(alpha=0.25, linewidth=0.5)
            draw(panel, [row for row in rows if row["layer"] == layer], look)
        figure.tight_layout()
        figure.savefig(folder / name, dpi=90)
        plt.close(figure)


def _draw_change(panel: Axes, rows: Sequence[Mapping[str, Any]], look: Mapping[str, Mapping[str, Any]]) -> None:
    panel.axhline(0, color="black", linewidth=0.8, linestyle=":")
    lines = {name: np.array([(r["payload_bytes"], change_of(r)[0]) for r in found]) for name, found in _by_series(rows)}
    panel.set(xlabel="payload bytes a picture", ylabel="change of top-1, points", ylim=(_LEAST_CHANGE, _MOST_CHANGE))
    _draw(panel, lines, look, lambda y: (y >= _LEAST_CHANGE) & (y <= _MOST_CHANGE))


def _draw_kl(panel: Axes, rows: Sequence[Mapping[str, Any]], look: Mapping[str, Mapping[str, Any]]) -> None:
    lines = {name: np.array([(8 * r["payload_bytes"], r["kl"]) for r in found]) for name, found in _by_series(rows)}
    panel.set(xlabel="payload bits a picture", ylabel="KL divergence of the output, nats", yscale="log", ylim=_KL_SHOWN)
    _draw(panel, lines, look, lambda y: (y >= _KL_SHOWN[0]) & (y <= _KL_SHOWN[1]))


def _by_series(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    names = dict.fromkeys(row["series"] for row in rows)
    return [(name, sorted((r for r in rows if r["series"] == name), key=lambda r: r["payload_bytes"])) for name in names]


def _draw(panel: Axes, lines: Mapping[str, np.ndarray], look: Mapping[str, Mapping[str, Any]], shown: Any) -> None:
    """Draw lines, name each at its cheapest visible point, and fit the axis of bytes to what is seen."""
    names, seen = [], []
    for name, line in lines.items():
        panel.plot(line[:, 0], line[:, 1], **look[name])
        visible = line[shown(line[:, 1])]
        if len(visible):
            names.append(Name(name, *visible[0], look[name]["color"]))
            seen.append(visible)
    if seen:
        sizes = np.concatenate(seen)[:, 0]
        panel.set_xlim(sizes.min() / 2, sizes.max() * 1.5)
        panel.figure.tight_layout()
        write_names(panel, names, list(lines.values()), 7.0)


def summary(result: Result) -> str:
    """Return the tables beside the goals, in Markdown."""
    machine = result["machine"]
    commits = sorted({row["commit"] or "?" for row in result["rows"]})
    parts = [
        f"{machine['cpu']}, {result['settings']['workers']} processes of one thread each, "
        f"torch {machine['versions']['torch']}, commit {machine['commit']}; rows were measured at {', '.join(commits)}.",
        "## Payload bytes at equal loss",
        *(sizes_table(result, network) for network in dict.fromkeys(name for name, _ in cuts_of(result))),
        "## Ratios at equal loss",
        cells_table(result),
        "## What calibration chose",
        plan_lines(result),
        "## Speed",
        speed_lines(result["speed"]),
    ]
    for network, layer in cuts_of(result):
        folded = ["<details><summary>rows</summary>", rows_table(result, network, layer), "</details>"]
        parts += [f"## {title_of(network, layer)}", *folded]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"
