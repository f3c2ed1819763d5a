"""How trainings are shown: step costs, trained codecs beside their controls, curves, and the goals."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import featcodec as fc
from featcodec.bench.intervals import unpaired_difference, wilson
from featcodec.bench.pictures import OURS, PEER, Name, write_names
from featcodec.bench.pretrained import Trained
from featcodec.bench.tables import short_spec

STEP_GOAL, IMAGE_STEP_GOAL = 1.15, 1.5
JSCC_SYMBOLS = inspect.signature(fc.codec_class("jscc")).parameters["symbols"].default
POINTS = 2.0  # of accuracy that a codec may lose
EQUAL = 0.5  # points within which two accuracies on 10,000 images count as equal


def steps_table(result: dict[str, Any]) -> str:
    """Return the step costs as a Markdown table: a row a codec, a column a layer."""
    layers = list(dict.fromkeys(row["layer"] for row in result["steps"]))
    lines = ["| codec | " + " | ".join(layers) + " |", "|---|" + "---:|" * len(layers)]
    for codec in dict.fromkeys(row["codec"] for row in result["steps"]):
        rows = {row["layer"]: row for row in result["steps"] if row["codec"] == codec}
        lines.append(f"| {codec} | " + " | ".join(_ratio(rows[layer]) if layer in rows else "-" for layer in layers) + " |")
    return "\n".join(lines) + "\n"


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['ratio_least']:.2f} to {row['ratio_most']:.2f})"


def _top1(accuracy: float, samples: int) -> str:
    """Top-1 in percent with its 95 % interval."""
    low, high = (100 * end for end in wilson(round(accuracy * samples), samples))
    return f"{100 * accuracy:.2f} [{low:.2f}, {high:.2f}]"


def _change(row: dict[str, Any]) -> str:
    """The change of top-1 with the 95 % interval of two independent samples: which images were right is not recorded."""
    samples = row["samples"]
    mine, backbone = ((round(rate * samples), samples) for rate in (row["accuracy"], row["backbone"]))
    low, high = (100 * end for end in unpaired_difference(mine, backbone))
    return f"{100 * (row['accuracy'] - row['backbone']):+.2f} [{low:+.2f}, {high:+.2f}]"


def trained_table(result: dict[str, Any]) -> str:
    """Return the trained codecs as a Markdown table, each beside its control."""
    headings = ["layer", "codec", "over", "top-1 %", "change", "control %", "wire bits", "payload bits", "ratio", "weights"]
    lines = ["| " + " | ".join(headings) + " |", "|---|---|---|" + "---:|" * (len(headings) - 3)]
    digital = [row for row in result["trained"] if row["symbols"] is None]
    for row in sorted(digital, key=lambda r: (r["layer"], r["control"], r["payload_bits"])):
        if row["control"]:
            gain = f"{_top1(row['accuracy'], row['samples'])} | {_change(row)}"
            lines.append(f"| {row['layer']} | none, the tail trained alike | | {gain} |" + " |" * (len(headings) - 5))
            continue
        control = control_of(row, result["trained"])
        cells = [
            row["layer"],
            short_spec(fc.get_codec(row["codec"]).config()),
            row["channel"] or "",
            _top1(row["accuracy"], row["samples"]),
            _change(row),
            "-" if control is None else f"{100 * control:.2f}",
            f"{row['wire_bits']:,.0f}",
            f"{row['payload_bits']:,.0f}",
            f"{32 * row['elements'] / row['payload_bits']:,.0f}" if row["payload_bits"] else "-",
            f"{row['parameters']:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def symbols_table(result: dict[str, Any]) -> str:
    """Return the analog codecs as a Markdown table: a row a codec, a column a channel."""
    rows = sorted((row for row in result["trained"] if row["symbols"]), key=lambda r: (r["layer"], r["id"], r["symbols"]))
    channels = sorted({channel for row in rows for channel in row["over"]}, key=_noise)
    headings = ["layer", "codec", "symbols", *channels, "control %", "weights", "ships"]
    lines = ["| " + " | ".join(headings) + " |", "|---|---|" + "---:|" * (len(headings) - 3) + "---|"]
    for row in rows:
        control = control_of(row, result["trained"])
        accuracies = [_top1(row["over"][channel], row["samples"]) if channel in row["over"] else "-" for channel in channels]
        cells = [
            row["layer"],
            row["id"],
            f"{row['symbols']:g}",
            *accuracies,
            "-" if control is None else f"{100 * control:.2f}",
        ]
        lines.append("| " + " | ".join([*cells, f"{row['parameters']:,}", "yes" if row["ships"] else ""]) + " |")
    return "\n".join(lines) + "\n"


def _noise(channel: str) -> tuple[str, float]:
    """Sorts channels from the best of a kind to the worst."""
    head, _, value = channel.rpartition("=")
    return head, -float(value) if head.endswith("_db") else float(value)


def control_of(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the accuracy of the same training without a bottleneck.

    Where the codec alone was trained, nothing is left to train without it: the backbone's own. Else a control's record.
    """
    if row["trains"] == ["bottleneck"]:
        return float(row["backbone"])
    found = [r["accuracy"] for r in rows if r["control"] and r["layer"] == row["layer"]]
    return float(found[0]) if found else None


def goals(steps: Sequence[dict[str, Any]], trained: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every goal with what was measured and whether it is met; None: not measured."""
    found = []
    for images in (False, True):
        rows = [row for row in steps if (row["codec"].partition(":")[0] == "bottlenet") == images]
        if rows:
            goal = IMAGE_STEP_GOAL if images else STEP_GOAL
            worst = max(rows, key=lambda row: row["ratio"])
            what = "training step with JPEG in the loop" if images else "training step with a learned codec"
            measured = f"{worst['ratio']:.2f}x at most ({worst['codec']} at {worst['layer']})"
            found.append({"what": what, "goal": f"<= {goal}x", "measured": measured, "met": worst["ratio"] <= goal})
    codecs = [row for row in trained if not row["control"]]
    for codec_id in sorted({row["id"] for row in codecs}):
        rows = [row for row in codecs if row["id"] == codec_id]
        losses: dict[str, float] = {}
        for row in rows:  # of several at a layer, the one that loses most
            losses[row["layer"]] = max(losses.get(row["layer"], -100.0), 100 * (row["backbone"] - row["accuracy"]))
        measured = ", ".join(f"{layer} {-loss:+.2f}" for layer, loss in losses.items())
        met = all(loss <= POINTS for loss in losses.values())
        found.append({"what": f"{codec_id}, trained", "goal": f"within {POINTS:g} points", "measured": measured, "met": met})
    found += _beats_jscc(codecs)
    for layer in sorted({row["layer"] for row in codecs}):
        found += _beats_huffman(layer, [row for row in codecs if row["layer"] == layer])
    return found


def _beats_huffman(layer: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fewer bits than dsc with Huffman at equal accuracy, or at a better one."""
    huffman = [row for row in rows if row["id"] == "dsc" and "coder=huffman" in row["codec"]]
    others = [row for row in rows if row["id"] == "entropic" or (row["id"] == "dsc" and row not in huffman)]
    if not huffman or not others:
        return []
    base = huffman[0]
    equal = [row for row in others if 100 * (base["accuracy"] - row["accuracy"]) <= EQUAL]
    best = min(equal or others, key=lambda row: row["payload_bits"])
    measured = (
        f"{best['id']} {best['payload_bits']:.0f} bits at {100 * best['accuracy']:.2f} %, "
        f"huffman {base['payload_bits']:.0f} at {100 * base['accuracy']:.2f} %"
    )
    met = bool(equal) and best["payload_bits"] < base["payload_bits"]
    what = f"{layer}: entropic or dsc with context against dsc with Huffman"
    return [{"what": what, "goal": "fewer payload bits", "measured": measured, "met": met}]


def _beats_jscc(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For every jscc the fewest symbols with which vfe is at least as accurate over the same channel.

    Judged by the jscc of the default number of symbols; those trained with as few as vfe found to do are listed too.
    """
    found = []
    for layer, channel in sorted({(row["layer"], row["channel"]) for row in rows if row["id"] == "vfe"}):
        alike = [row for row in rows if (row["layer"], row["channel"]) == (layer, channel)]
        pairs = []
        for other in sorted((row for row in alike if row["id"] == "jscc"), key=lambda row: row["symbols"]):
            fewest = [row["symbols"] for row in alike if row["id"] == "vfe" and row["accuracy"] >= other["accuracy"]]
            pairs.append((other, min(fewest, default=None)))
        if pairs:
            listed = "; ".join(
                f"{100 * other['accuracy']:.2f} %: {'none' if fewest is None else f'{fewest:g}'} against {other['symbols']:g}"
                for other, fewest in pairs
            )
            judged = [
                fewest is not None and fewest < JSCC_SYMBOLS for other, fewest in pairs if other["symbols"] == JSCC_SYMBOLS
            ]
            what = f"{layer}, {channel}: symbols of vfe, at least as accurate as jscc"
            goal = f"fewer than the default {JSCC_SYMBOLS}"
            found.append({"what": what, "goal": goal, "measured": listed, "met": all(judged) if judged else None})
    return found


def symbols_plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw accuracy against symbols into a PNG file: a row a layer, a panel a channel, a line a codec."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    analog = [row for row in rows if row["symbols"]]
    layers = sorted({row["layer"] for row in analog})
    channels = sorted({channel for row in analog for channel in row["over"]}, key=_noise)
    count = max(1, len(layers)), max(1, len(channels))
    figure, panels = plt.subplots(*count, figsize=(3.6 * count[1], 4 * count[0]), sharey=True, squeeze=False)
    colours = dict(zip(sorted({row["id"] for row in analog}), OURS, strict=False))
    named = []
    for layer, line in zip(layers, panels, strict=False):
        for channel, panel in zip(channels, line, strict=True):
            here = [row for row in analog if row["layer"] == layer and channel in row["over"]]
            names, lines = [], []
            for codec_id in sorted({row["id"] for row in here}):
                points = sorted((row["symbols"], 100 * row["over"][channel]) for row in here if row["id"] == codec_id)
                panel.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.4, color=colours[codec_id])
                names.append(Name(codec_id, *points[-1], colours[codec_id]))
                lines.append(np.array(points))
            for backbone in {100 * row["backbone"] for row in here}:
                panel.axhline(backbone, color="black", linewidth=0.8, linestyle=":")
            panel.set(title=f"{layer}, {channel}", xlabel="real symbols a sample", xscale="log")
            panel.title.set_fontsize(9)
            panel.margins(0.15)
            panel.grid(alpha=0.25, linewidth=0.5)
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(_few_ticks)
            named.append((panel, names, lines))
        line[0].set_ylabel("top-1, %")
    figure.suptitle("Analog codecs over noise; dotted: without a codec", fontsize=10)
    figure.tight_layout()
    for panel, names, lines in named:
        write_names(panel, names, lines)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _few_ticks(value: float, _position: int | None) -> str:
    """Label a logarithmic axis between its powers of ten, not at every line."""
    digit = f"{value:.0e}"[0]
    return f"{value:g}" if digit in "25" else ""


def curves(trained: Sequence[Trained], path: Path) -> None:
    """Draw the task's loss and the validation accuracy over the epochs into a PNG file: a column a layer, a line a codec.

    Of several trainings of one codec at a layer the first is drawn; controls are grey.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    layers = sorted({found.layer for found in trained})
    colours = dict(zip(sorted({_label(found) for found in trained if not found.is_control}), OURS, strict=False))
    count = max(1, len(layers))
    figure, panels = plt.subplots(2, count, figsize=(6.4 * count, 10), sharex="col", squeeze=False)
    named = []
    for layer, column in zip(layers, panels.T, strict=False):
        drawn = {_label(found): found for found in reversed(trained) if found.layer == layer}
        for panel, title, scale, value in (
            (column[0], "task loss", "log", _loss),
            (column[1], "validation accuracy, %", "linear", _validated),
        ):
            names, lines = [], []
            for label, found in sorted(drawn.items()):
                color = PEER if found.is_control else colours[label]
                points = [(i, value(epoch)) for i, epoch in enumerate(found.record["epochs"], 1)]
                points = [(i, y) for i, y in points if y is not None]
                if points:
                    panel.plot(*zip(*points, strict=True), color=color, linewidth=1.4, marker=".")
                    names.append(Name(label, *points[-1], color))
                    lines.append(np.array(points, float))
            panel.set(ylabel=title, yscale=scale)
            panel.margins(x=0.2)
            panel.xaxis.get_major_locator().set_params(integer=True)
            if scale == "log":
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_formatter(_few_ticks)
            panel.grid(alpha=0.25, linewidth=0.5)
            named.append((panel, names, lines))
        column[0].set_title(layer)
        column[1].set_xlabel("epoch")
    figure.suptitle("One training a codec; grey: the tail trained alike without a bottleneck", fontsize=10)
    figure.tight_layout()
    for panel, names, lines in named:
        write_names(panel, names, lines)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _label(found: Trained) -> str:
    return "control" if found.is_control else str(found.record["row"]["codec"]["id"])


def _loss(epoch: dict[str, Any]) -> float | None:
    return epoch["losses"].get("task")


def _validated(epoch: dict[str, Any]) -> float | None:
    return 100 * epoch["validation"]["metric"] if "validation" in epoch else None
