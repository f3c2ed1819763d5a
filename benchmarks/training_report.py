"""How trainings are shown: step costs, trained codecs beside their controls, curves, and the goals."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import featcodec as fc
from featcodec.bench.pretrained import Trained

STEP_GOAL, IMAGE_STEP_GOAL = 1.15, 1.5
JSCC_SYMBOLS = inspect.signature(fc.codec_class("jscc")).parameters["symbols"].default
POINTS = 2.0  # of accuracy that a codec may lose
EQUAL = 0.5  # points within which two accuracies on 10,000 images count as equal


def steps_table(result: dict[str, Any]) -> str:
    """Return the step costs as a Markdown table: a row a codec, a column a layer."""
    layers = list(dict.fromkeys(row["layer"] for row in result["steps"]))
    lines = ["| codec | " + " | ".join(layers) + " |", "|---|" + "---:|" * len(layers)]
    for codec in dict.fromkeys(row["codec"] for row in result["steps"]):
        ratios = {row["layer"]: row["ratio"] for row in result["steps"] if row["codec"] == codec}
        lines.append(
            f"| {codec} | " + " | ".join(f"{ratios[layer]:.2f}" if layer in ratios else "-" for layer in layers) + " |"
        )
    return "\n".join(lines) + "\n"


def trained_table(result: dict[str, Any]) -> str:
    """Return the trained codecs as a Markdown table, each beside its control."""
    headings = ["layer", "codec", "over", "top-1 %", "change", "control %", "wire bits", "payload bits", "ratio", "weights"]
    lines = ["| " + " | ".join(headings) + " |", "|---|---|---|" + "---:|" * (len(headings) - 3)]
    digital = [row for row in result["trained"] if row["symbols"] is None]
    for row in sorted(digital, key=lambda r: (r["layer"], r["control"], r["payload_bits"])):
        if row["control"]:
            gain = f"{100 * row['accuracy']:.2f} | {100 * (row['accuracy'] - row['backbone']):+.2f}"
            lines.append(f"| {row['layer']} | none, the tail trained alike | | {gain} |" + " |" * (len(headings) - 5))
            continue
        control = control_of(row, result["trained"])
        cells = [
            row["layer"],
            row["codec"],
            row["channel"] or "",
            f"{100 * row['accuracy']:.2f}",
            f"{100 * (row['accuracy'] - row['backbone']):+.2f}",
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
        accuracies = [f"{100 * row['over'][channel]:.2f}" if channel in row["over"] else "-" for channel in channels]
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
    """Draw accuracy against symbols into a PNG file, a line a codec and channel, a panel a layer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    analog = [row for row in rows if row["symbols"]]
    layers = sorted({row["layer"] for row in analog})
    figure, panels = plt.subplots(1, max(1, len(layers)), figsize=(7 * max(1, len(layers)), 4.2), squeeze=False)
    colours = dict(zip(sorted({row["id"] for row in analog}), plt.get_cmap("tab10").colors, strict=False))
    for panel, layer in zip(panels[0], layers, strict=False):
        here = [row for row in analog if row["layer"] == layer]
        channels = sorted({channel for row in here for channel in row["over"]}, key=_noise)
        for codec_id in sorted({row["id"] for row in here}):
            for channel, style in zip(channels, ("-", "--", "-.", ":"), strict=False):
                own = [r for r in here if r["id"] == codec_id and channel in r["over"]]
                points = sorted((row["symbols"], 100 * row["over"][channel]) for row in own)
                label = f"{codec_id}, {channel}"
                panel.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=colours[codec_id], label=label)
        panel.axhline(100 * max(row["backbone"] for row in here), color="grey", linewidth=1, label="without a codec")
        panel.set(title=layer, xlabel="real symbols a sample", ylabel="top-1, %", xscale="log")
        panel.grid(alpha=0.3)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curves(trained: Sequence[Trained], path: Path) -> None:
    """Draw the task's loss and the validation accuracy over the epochs, a line a codec, into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), squeeze=False)
    for i, found in enumerate(trained):
        epochs = found.record["epochs"]
        style = {"label": found.name, "color": plt.get_cmap("tab20")(i % 20), "marker": "os^D"[i // 20 % 4], "markersize": 3}
        numbers = range(1, len(epochs) + 1)
        loss = [epoch["losses"].get("task", float("nan")) for epoch in epochs]
        panels[0][0].plot(numbers, loss, linewidth=1, **style)
        accuracy = [100 * epoch["validation"]["metric"] if "validation" in epoch else float("nan") for epoch in epochs]
        panels[0][1].plot(numbers, accuracy, linewidth=1, **style)
    panels[0][0].set(xlabel="epoch", ylabel="task loss", yscale="log")
    panels[0][1].set(xlabel="epoch", ylabel="validation accuracy, %")
    for panel in panels[0]:
        panel.grid(alpha=0.3)
    if trained:
        panels[0][1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
