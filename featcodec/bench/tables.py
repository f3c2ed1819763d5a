"""The benchmark's rows as tables: each layer's Pareto front and the rest, for a terminal and in Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import featcodec as fc
from featcodec.bench.intervals import paired_difference, wilson
from featcodec.spec import format_spec

Row = Mapping[str, Any]

_LEAST_NAME, _GAP = 12, "  "
_INDENT = "  "
_DISPENSABLE = ("payload B", "bpp")

HEADINGS = ("codec", "top-1 %", "change [95 %]", "wire B", "payload B", "ratio", "bpp", "enc ms", "dec ms")


def cost(row: Row) -> tuple[bool, float]:
    """Return what a row is compared by: whether that is symbols of a radio, and how many, or bits on the wire, a sample."""
    symbols = row["stats"]["real_symbols_per_sample"]
    return bool(symbols), symbols or row["stats"]["bits_per_sample"]


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one layer that no other beats, by cost: cheaper and as accurate, or as cheap and more accurate.

    Bits and symbols do not compare: each kind has a front of its own.
    """

    def beaten(row: Row) -> bool:
        air, spent = cost(row)
        return any(
            cost(other)[0] == air
            and cost(other)[1] <= spent
            and other["metric"] >= row["metric"]
            and (cost(other)[1], other["metric"]) != (spent, row["metric"])
            for other in rows
        )

    return sorted((row for row in rows if not beaten(row)), key=cost)


def by_layer(rows: Sequence[Row]) -> dict[str, tuple[list[Row], list[Row]]]:
    """Return each layer's front, and its other rows in the order they came in."""
    found = {}
    for layer in dict.fromkeys(row["layer"] for row in rows):
        here = [row for row in rows if row["layer"] == layer]
        front = pareto_front(here)
        found[layer] = front, [row for row in here if not any(row is other for other in front)]
    return found


def short_spec(config: Mapping[str, Any]) -> str:
    """Write a codec's config as the shortest spec that builds it: without what is the default anyway."""
    codec_id = config["id"]
    defaults = {name: p.default for name, p in inspect.signature(fc.codec_class(codec_id)).parameters.items()}
    kept = {name: value for name, value in config.items() if name == "id" or defaults.get(name, ...) != value}
    return format_spec(kept)


def row_name(row: Row) -> str:
    """Return what a row is called: its spec, or the name of a trained codec."""
    return f"{row['trained']} (trained)" if "trained" in row else short_spec(row["codec"])


def row_cells(row: Row, baseline: Row) -> list[str]:
    """Return a row's cells as text, in the order of `HEADINGS`; symbols where a codec sends those instead of bits."""
    stats = row["stats"]
    low, high = (100 * end for end in paired_difference(row["gained"], row["lost"], row["samples"]))
    symbols = stats["real_symbols_per_sample"]
    return [
        row_name(row),
        f"{100 * row['metric']:.1f}",
        f"{100 * (row['metric'] - baseline['metric']):+.1f} [{low:+.1f}, {high:+.1f}]",
        f"{symbols:,.0f} sym." if symbols else f"{stats['bits_per_sample'] / 8:,.0f}",
        "-" if symbols else f"{stats['payload_bits_per_sample'] / 8:,.0f}",
        "-" if stats["compression_ratio"] is None else f"{stats['compression_ratio']:.1f}",
        "-" if stats["bpp"] is None else f"{stats['bpp']:.3f}",
        f"{stats['encode_ms']:.2f}",
        f"{stats['decode_ms']:.2f}",
    ]


def rate_cell(metric: float, samples: int) -> str:
    """Return a rate with its 95 % interval, in percent."""
    low, high = wilson(round(metric * samples), samples)
    return f"{100 * metric:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table_lines(result: Mapping[str, Any], width: int, everything: bool = False) -> list[str]:
    """Return a result as lines of at most `width`: a table a layer, its front, under it all else where that is asked for."""
    setting, baseline = result["setting"], result["baseline"]
    bare = f"without a codec: {rate_cell(baseline['metric'], baseline['samples'])} % top-1, {baseline['total_macs']:,} MACs"
    lines = _prose([f"{setting['model']}, {setting['data']}: {setting['samples']} images", bare], width)
    hidden = 0
    for layer, (front, rest) in by_layer(result["rows"]).items():
        hidden += 0 if everything else len(rest)
        lines += ["", *_prose([f"{layer}: {layer_title(front[0], baseline)}"], width)]
        lines += _table([[row_cells(row, baseline) for row in group] for group in (front, rest if everything else [])], width)
    kept = "First in each table comes" if everything else "Shown is"
    notes = [f"{kept} the layer's Pareto front: rows that no other beats in bytes and accuracy."]
    if hidden:
        notes.append(f"--all adds the other {hidden} rows; results.json has them too.")
    notes += [f"left out: {reason}" for reason in result["left_out"].values()]
    return [*lines, "", *_prose(notes, width)]


def _prose(sentences: Sequence[str], width: int) -> list[str]:
    return [line for sentence in sentences for line in textwrap.wrap(sentence, width)]


def layer_title(row: Row, baseline: Row) -> str:
    """Return a feature's shape and the share of the work that is done before it."""
    shape = " x ".join(str(side) for side in row["feature_shape"])
    return f"{shape}, {row['head_macs'] / baseline['total_macs']:.0%} of the MACs on the device"


def _table(groups: Sequence[Sequence[Sequence[str]]], width: int) -> list[str]:
    """Lines of a table at most `width` wide, a line between groups: figures whole, names broken where they must be.

    Where names would be left too little room, the least needed figures are left out.
    """
    shown = list(range(len(HEADINGS)))
    widths = [max(map(len, column)) for column in zip(HEADINGS, *(row for group in groups for row in group), strict=True)]

    def room() -> int:
        return width - sum(widths[i] + len(_GAP) for i in shown[1:])

    for heading in _DISPENSABLE:
        if room() < min(widths[0], _LEAST_NAME):
            shown.remove(HEADINGS.index(heading))
    widths[0] = max(_LEAST_NAME, min(widths[0], room()))

    def line(cells: Sequence[str]) -> list[str]:
        first, *more = wrap_spec(cells[0], widths[0])
        return [_GAP.join([first.ljust(widths[0]), *(cells[i].rjust(widths[i]) for i in shown[1:])]), *more]

    rule = "-" * (widths[0] + sum(widths[i] + len(_GAP) for i in shown[1:]))
    lines = line(HEADINGS)
    for group in groups:
        lines += [rule, *(text for cells in group for text in line(cells))] if group else []
    return lines


def wrap_spec(spec: str, width: int) -> list[str]:
    """Break a spec into lines of at most `width`: after , ; and : and before ( where that does; further lines begin two in."""
    lines = [""]
    for piece in re.findall(r"\(?[^,;:( ]*[,;: ]?", spec):
        if len(lines[-1] + piece.rstrip()) > width and lines[-1].strip():
            lines.append(_INDENT)
        while len(lines[-1] + piece.rstrip()) > width:
            room = width - len(lines[-1])
            lines[-1], piece = lines[-1] + piece[:room], piece[room:]
            lines.append(_INDENT)
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def markdown_table(rows: Sequence[Row], baseline: Row) -> str:
    """Return rows as a Markdown table, with intervals of the rates themselves too."""
    lines = ["| " + " | ".join(HEADINGS).replace("top-1 %", "top-1 % [95 %]") + " |", "|---|" + "---:|" * (len(HEADINGS) - 1)]
    for row in rows:
        name, _, *figures = row_cells(row, baseline)
        lines.append("| " + " | ".join([name, rate_cell(row["metric"], row["samples"]), *figures]) + " |")
    return "\n".join(lines) + "\n"
