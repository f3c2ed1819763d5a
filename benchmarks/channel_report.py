"""How the channel benchmark's result is shown: the summary in Markdown, the waterfalls and the cliff as plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.channel_goals import MIN_SUM, ORACLE, gap_to_bound, gap_to_oracle
from benchmarks.cliff import BARE, cliff_labels
from benchmarks.error_rates import DECODERS, MAXIMUM_LIKELIHOOD
from featcodec.bench.intervals import wilson
from featcodec.bench.pictures import MOST_SERIES, OURS, PEER, Name, write_names

Result = dict[str, Any]
Row = dict[str, Any]

WATERFALLS = "Eb/N0 in dB at which 1 in 100 / 1 in 1000 frames are lost (BPSK); in brackets, at 1 in 1000, dB over the bound."
PLOTS = {"error": ("waterfall_awgn.png", "waterfall_bec.png"), "features": ("cliff.png",)}
_SHOWN_SNR = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
_SHOWN_P = (0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5)
_LEAST_FER = 2e-4
_NAMED_FER = 2e-3  # where a curve's name is written
_FALL = 5.0  # points of accuracy
# Drawn, of each family: the shortest and the longest code, one between, and other rates of wifi's longest.
SHOWN_CODES = ("wifi 648 1/2", "wifi 1944 1/2", "wifi 1944 3/4", "wifi 1944 5/6")
SHOWN_CODES += ("nr 128/256", "nr 400/800", "nr 1024/2048", "nr 8192/16384")
_MANY = 1_000_000  # frames: of that many a rate's relative interval hangs on the lost ones alone


def where(part: Row) -> str:
    """Return what one part was measured on, as text."""
    machine = part["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["packages"].items() if number)
    threads = f"{machine['threads']} thread" + ("" if machine["threads"] == 1 else "s")
    return f"{machine['cpu']}, {threads}, core {machine['core']['isa']}, commit {machine['commit']}, {versions}"


def summary(result: Result) -> str:
    """Return the result in Markdown, the parts that were run."""
    parts = ["# Channels and LDPC codes\n"]
    if "error" in result:
        parts += [_errors(result["error"])]
    if "speed" in result:
        parts += [_speeds(result["speed"])]
    if "features" in result:
        parts += [_features(result["features"])]
    return "\n".join(parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are text."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * left + "---:|" * (len(heads) - left)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def number(value: float | None, form: str = ".2f") -> str:
    """Return a number as text; a dash for none."""
    return "-" if value is None else f"{value:{form}}"


def rate(lost: int, frames: int, form: str) -> str:
    """Return a rate as text with its 95 % interval."""
    low, high = wilson(lost, frames)
    return f"{lost / frames:{form}} [{low:{form}}, {high:{form}}]"


# ---- error rates -----------------------------------------------------------------------------------------------------------


def _errors(part: Row) -> str:
    effort = part["settings"]
    noise, erasures = _split(part)
    enough = effort["enough"]
    low, high = (end * _MANY / enough - 1 for end in wilson(enough, _MANY))
    lines = [
        "## Error rates\n",
        f"{where(part)}. A point ends after {enough} lost frames or {effort['most_bits']:,} information bits. The 95 % "
        f"interval of a rate counted from {enough} lost frames is {low:+.0%} to {high:+.0%} of it.\n",
        f"{WATERFALLS}\n",
        waterfall_table(noise),
        "Erasure probability at which 1 in 100 / 1 in 1000 frames are lost.\n",
        erasure_table(erasures),
    ]
    return "\n".join(lines)


def waterfall_table(curves: Sequence[Row]) -> str:
    """Return Eb/N0 by code and decoder, with the gap to the oracle."""
    rows = []
    for curve in curves:
        cells = [curve["code"], number(curve["shannon"]), _pair(curve["bound"], ".2f")]
        for name in DECODERS:
            gap = gap_to_bound(curve, name)
            cells.append(_pair(curve["reached"][name], ".2f") + (f" ({gap:.2f})" if gap is not None else ""))
        rows.append([*cells, number(gap_to_oracle(curve)), number(gap_to_oracle(curve, MIN_SUM, "sum-product 20"))])
    heads = ["code", "Shannon", "normal approximation", *DECODERS, f"{MIN_SUM} over {ORACLE}", "over sum-product 20"]
    return table(heads, rows)


def erasure_table(curves: Sequence[Row]) -> str:
    """Return erasure probabilities by code."""
    rows = [
        [
            curve["code"],
            number(curve["shannon"], ".3f"),
            _pair(curve["bound"], ".4f"),
            _pair(curve["reached"][MAXIMUM_LIKELIHOOD], ".4f"),
        ]
        for curve in curves
    ]
    return table(["code", "Shannon", "random codes", MAXIMUM_LIKELIHOOD], rows)


def _pair(values: dict[str, float | None], form: str) -> str:
    return " / ".join(number(value, form) for value in values.values())


def _split(part: Row) -> tuple[list[Row], list[Row]]:
    noise, erasures = ([c for c in part["curves"] if c["channel"] == channel] for channel in ("awgn", "bec"))
    return noise, erasures


# ---- speed -----------------------------------------------------------------------------------------------------------------


def _speeds(part: Row) -> str:
    rows = part["rows"]
    isas = list(dict.fromkeys(row["isa"] for row in rows))
    empty = ", ".join(f"{name} {us:.2f}" for name, us in part["empty_us"].items())
    lines = [
        "## Speed\n",
        f"{where(part)}, {part['settings']['effort']['rounds']} rounds. A call without blocks, us: {empty}.\n",
    ]
    for blocks, unit, text in (
        (1, "us", "One block, microseconds: inside the core, in a call of 16 / the core's call / Python"),
        (0, "info_mbps", "Many blocks, 10^6 information bits a second, core / Python"),
    ):
        chosen = [row for row in rows if (row["blocks"] == 1) == (blocks == 1)]
        cases = list(dict.fromkeys((row["code"], row["what"], row["quality"], row["blocks"]) for row in chosen))
        cells = []
        for case in cases:
            mine = [row for row in chosen if (row["code"], row["what"], row["quality"], row["blocks"]) == case]
            label = [case[0], f"{case[1]}, {case[2]}" if case[2] != "-" else case[1]]
            cells.append([*label, *([f"{case[3]:,}"] if blocks == 0 else []), *(_both(mine, isa, unit) for isa in isas)])
        heads = ["code", "what", *(["blocks"] if blocks == 0 else []), *isas]
        lines += [f"{text}.\n", table(heads, cells, left=2)]
    fixed = [[r["code"], *(_fer(r[f"{i} iterations"]) for i in (10, 20))] for r in part["fixed"]]
    lines += ["FER of the fixed iterations at 2.0 dB.\n", table(["code", "10", "20"], fixed)]
    failing = [[r["code"], f"{r['p']}", f"{r['frames']}", number(r["us"], ".0f")] for r in part["failing"]]
    lines += [
        "Erased frames that maximum likelihood cannot decide, microseconds.\n",
        table(["code", "p", "frames", "us"], failing),
    ]
    lines += [_peers(part)]
    return "\n".join(lines)


def _fer(found: Row) -> str:
    return rate(found["lost"], found["frames"], ".1e")


def _both(rows: Sequence[Row], isa: str, unit: str) -> str:
    found = {row["interface"]: row[unit] for row in rows if row["isa"] == isa}
    return " / ".join(_short(found[name]) for name in ("inside", "core", "python") if name in found) or "-"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _peers(part: Row) -> str:
    rows = [
        [
            row["code"],
            row["peer"],
            "yes" if row["stops_early"] else "no",
            f"{row['frames']}",
            _short(row["info_mbps"]),
            *(rate(round(row[fer] * row["frames"]), row["frames"], ".3f") for fer in ("fer", "ours_fer")),
            *(f"{row[f'ratio_{name}']:,.0f}x" for name in ("float", "int8", "single")),
        ]
        for row in part["peers"]
    ]
    heads = ["code", "peer", "stops early", "frames", "Mb/s", "its FER", "our FER", "ours, float32", "int8", "one by one"]
    text = (
        "Peers: the same frames at 2.0 dB, 10 iterations; ours stops early where the peer does. How much faster it is: all "
        "frames in one call from float32 LLRs, from int8, and one by one from int8.\n\n"
    )
    left_out = "\n".join(f"- left out: {name}: {reason}" for name, reason in part["left_out"].items())
    return text + table(heads, rows, left=3) + "\n" + left_out + "\n"


# ---- features --------------------------------------------------------------------------------------------------------------


def _features(part: Row) -> str:
    setting = part["settings"]
    lines = [
        "## Features over a channel\n",
        f"{where(part)}. ResNet-20 (embedded), {setting['layer']}, {setting['images']} images, "
        f"{100 * part['baseline']:.1f} % top-1 without a codec. Top-1 in %; in brackets, samples lost in %. {_certain(part)}\n",
    ]
    for kind, shown, name in (("bec", _SHOWN_P, "p"), ("awgn", _SHOWN_SNR, "SNR in dB")):
        rows = [row for row in part["rows"] if row["channel"] == kind]
        qualities = sorted({row["quality"] for row in rows} & set(shown)) or sorted({row["quality"] for row in rows})
        lines += [f"{kind}, {name}:\n", _accuracy_table(rows, qualities)]
    cells = [
        [
            r["family"],
            f"{r['bytes']}",
            f"{r['p']}",
            f"{r['blocks']} x {r['k']}/{r['n']}",
            f"{r['channel_bits']:,}",
            f"{r['ratio']:.3f}",
            rate(r["lost"], r["trials"], ".1e"),
            f"{r['trials']:,}",
        ]
        for r in part["costs"]
    ]
    heads = ["code", "payload B", "p", "blocks", "channel bits", "for each bit", "lost", "trials"]
    lines += ["What one feature costs over erasures with rate=auto and one loss in a thousand allowed.\n", table(heads, cells)]
    lines += [f"- left out: {name}: {reason}" for name, reason in part["left_out"].items()]
    return "\n".join(lines) + "\n"


def _certain(part: Row) -> str:
    """How sure accuracies on so many images are."""
    images = part["settings"]["images"]
    known = []
    for accuracy in (part["baseline"], 0.5, 0.1):
        low, high = (100 * end for end in wilson(round(accuracy * images), images))
        known.append(f"{100 * accuracy:.1f} % is {low:.1f} to {high:.1f}")
    return f"The 95 % interval of {', of '.join(known)}."


def _accuracy_table(rows: Sequence[Row], qualities: Sequence[float]) -> str:
    cells = []
    for label in cliff_labels(rows):
        mine = {row["quality"]: row for row in rows if row["codec"] == label}
        sizes = sorted({round(row["channel_bits"] / 8) for row in mine.values()})
        size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,}..{sizes[-1]:,}"
        row_cells = [label, size]
        for quality in qualities:
            row = mine.get(quality)
            row_cells.append("-" if row is None else f"{100 * row['accuracy']:.1f} ({100 * row['lost'] / row['samples']:.0f})")
        cells.append(row_cells)
    return table(["codec", "B sent", *(f"{quality:g}" for quality in qualities)], cells)


# ---- plots -----------------------------------------------------------------------------------------------------------------


def plot(result: Result, folder: Path) -> list[str]:
    """Draw what was measured into PNG files; return their names."""
    import matplotlib

    matplotlib.use("Agg")
    written = []
    if "error" in result:
        noise, erasures = _split(result["error"])
        for curves, axis, name in ((noise, "ebn0_db", PLOTS["error"][0]), (erasures, "p", PLOTS["error"][1])):
            if curves:
                _plot_waterfalls(curves, axis, folder / name)
                written.append(name)
    if "features" in result:
        _plot_cliff(result["features"], folder / PLOTS["features"][0])
        written += PLOTS["features"]
    return written


def _plot_waterfalls(curves: Sequence[Row], axis: str, path: Path) -> None:
    """A panel a family; in colour: ours; grey: the bound (dashed) and sum-product (dotted)."""
    from matplotlib import pyplot as plt

    families = [family for family in ("wifi", "nr") if any(curve["family"] == family for curve in curves)]
    figure, panels = plt.subplots(1, len(families), figsize=(6.2 * len(families), 5), sharey=True, squeeze=False)
    ours = MIN_SUM if axis == "ebn0_db" else MAXIMUM_LIKELIHOOD
    named = []
    for panel, family in zip(panels[0], families, strict=True):
        own = [curve for curve in curves if curve["family"] == family]
        chosen = [curve for curve in own if curve["code"] in SHOWN_CODES] or own[: MOST_SERIES // 2]
        names, lines = [], []
        for curve, color in zip(chosen, OURS, strict=False):
            for name, look in ((ORACLE, {"color": PEER, "linestyle": ":"}), (ours, {"color": color})):
                points = [(p[axis], p["decoders"][name]["fer"]) for p in curve["points"] if name in p["decoders"]]
                points = [(x, fer) for x, fer in points if fer >= _LEAST_FER]
                if points:
                    panel.plot(*zip(*points, strict=True), linewidth=1.5 if name == ours else 1, **look)
                    lines.append(np.array(points))
                if points and name == ours:
                    x, fer = min(points, key=lambda point: abs(np.log(point[1] / _NAMED_FER)))
                    names.append(Name(curve["code"], x, fer, color))
            bound = [(p[axis], p["bound"]) for p in curve["points"] if p["bound"] >= _LEAST_FER]
            panel.plot(*zip(*bound, strict=True), color=PEER, linestyle="--", linewidth=1)
            lines.append(np.array(bound))
        panel.set(yscale="log", ylim=(_LEAST_FER, 1.2), xlabel="Eb/N0, dB" if axis == "ebn0_db" else "erasure probability")
        panel.set_title(f"{family}: {ours}", fontsize=10)
        panel.grid(alpha=0.25, linewidth=0.5)
        named.append((panel, names, lines))
    panels[0][0].set_ylabel("frame error rate")
    others = "dotted: sum-product 50; dashed: normal approximation" if axis == "ebn0_db" else "dashed: random codes"
    figure.suptitle(f"Frame error rates. {others}", fontsize=10)
    figure.tight_layout()
    for panel, names, lines in named:
        write_names(panel, names, lines)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _plot_cliff(part: Row, path: Path) -> None:
    """Accuracy above, bytes sent below; a column a channel; protected packets in colour, bare ones grey."""
    from matplotlib import pyplot as plt

    kinds = [kind for kind in ("bec", "awgn") if any(row["channel"] == kind for row in part["rows"])]
    figure, panels = plt.subplots(2, len(kinds), figsize=(6.2 * len(kinds), 8), sharey="row", squeeze=False)
    labels = cliff_labels(part["rows"])
    if len(labels) > MOST_SERIES:
        labels = [label for label in labels if "wifi" not in label]
    shielded = [label for label in labels if label not in BARE]
    named = []
    for column, kind in enumerate(kinds):
        for panel, scale, key in ((panels[0][column], 100, "accuracy"), (panels[1][column], 1 / 8, "channel_bits")):
            names, lines = [], []
            for label in labels:
                rows = [row for row in part["rows"] if (row["channel"], row["codec"]) == (kind, label)]
                points = sorted((row["quality"], scale * row[key]) for row in rows)
                if not points:
                    continue
                color = PEER if label in BARE else OURS[shielded.index(label) % len(OURS)]
                panel.plot(*zip(*points, strict=True), color=color, linewidth=1.4, marker=".", zorder=2 if color == PEER else 3)
                x, y = _named_point(points) if key == "accuracy" else points[-1]
                names.append(Name(label, x, y, color))
                lines.append(np.array(points))
            panel.set_xlabel("erasure probability" if kind == "bec" else "SNR, dB (BPSK)")
            panel.margins(0.08)
            panel.grid(alpha=0.25, linewidth=0.5)
            named.append((panel, names, lines))
        panels[0][column].axhline(100 * part["baseline"], color="black", linewidth=0.8, linestyle=":")
        panels[1][column].set_yscale("log")
    panels[0][0].set_ylabel("top-1 accuracy, %")
    panels[1][0].set_ylabel("bytes sent a sample")
    setting = part["settings"]
    title = f"ResNet-20 cut after {setting['layer']}, {setting['images']} images, over a channel; dotted: without a codec"
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    for panel, names, lines in named:
        write_names(panel, names, lines)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _named_point(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a curve passes the middle between its ends; of a flat one the last point."""
    heights = [y for _, y in points]
    middle = (min(heights) + max(heights)) / 2
    if max(heights) - min(heights) >= _FALL:
        for (x1, y1), (x2, y2) in pairwise(points):
            if (y1 - middle) * (y2 - middle) < 0:
                return x1 + (x2 - x1) * (middle - y1) / (y2 - y1), middle
    return points[-1]
