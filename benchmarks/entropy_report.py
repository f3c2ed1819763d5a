"""How the entropy benchmark's result is shown: the summary in Markdown and the plot of bits against speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.entropy_goals import mean
from benchmarks.entropy_measure import FUSED_SIZE
from benchmarks.feature_sets import RESNET_SETS
from benchmarks.limits import LIMITS
from benchmarks.memory import MB
from featcodec.bench.pictures import MOST_SERIES, OURS, PEER, Name, write_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = dict[str, Any]
Row = dict[str, Any]
CALLS = ("encode", "decode")
SHOWN = ("huffman", "rans", "context", "context static", "zstd 3", "constriction ans", "compressai ans", "nncodec deepcabac")
SHOWN += ("jpeg xl 7", "webp lossless")


def summary(result: Result) -> str:
    """Return the result in Markdown: machine, limits by set, coders by bits and speed, codecs on floats, what is left out."""
    machine, setting = result["machine"], result["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["packages"].items() if number)
    copies = ", ".join(f"{place} {gbps:.1f} GB/s" for place, gbps in machine["memory"].items())
    parts = [
        "# Entropy coding\n",
        f"{machine['cpu']}, one thread, commit {machine['commit']}, core {machine['core'].get('isa', 'of one kind')};",
        f"{setting['images']} images a layer, {setting['rounds']} rounds. memcpy: {copies}. {versions}.\n",
    ]
    if result["bits"]:
        parts += [
            "## Bits per symbol over the limits\n",
            _limits_table(result),
            "## Bits as a share of the order-0 entropy, geometric mean over layers\n",
            _bits_table(result),
        ]
    if result["speed"]:
        parts += [
            "## Speed, 10^6 symbols a second, encode / decode\n",
            *(_speed_table(result["speed"] + result["batch"], quantizer, "mbps") for quantizer in setting["speed_quantizers"]),
            "## Codecs from float32 tensors to packets and back, microseconds a packet, encode / decode\n",
            *(_speed_table(result["packets"], quantizer, "us") for quantizer in setting["speed_quantizers"]),
        ]
    parts += _calls_tables(result)
    if result["left_out"]:
        parts += ["## Left out\n", "\n".join(f"- {name}: {reason}" for name, reason in result["left_out"].items()) + "\n"]
    return "\n".join(parts)


def of_embedded_network(result: Result) -> Result:
    """Return a result without the rows of features that its user brought along: what everybody can measure."""

    def brought(name: str) -> bool:
        return any(name.startswith(layer) for layer in others)

    others = {row["layer"] for row in result["bits"]} - set(RESNET_SETS)
    kept = {
        kind: [row for row in result[kind] if row["layer"] in RESNET_SETS] for kind in ("bits", "speed", "batch", "packets")
    }
    left_out = {name: reason for name, reason in result["left_out"].items() if not brought(name)}
    return {**result, **kept, "left_out": left_out}


def storable(value: Any) -> Any:
    """Return a result as it is kept: five digits, and without the ratios, which follow from the times of one case's rows."""
    if isinstance(value, dict):
        return {key: storable(item) for key, item in value.items() if key not in ("encode_to", "decode_to")}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * left + "---:|" * (len(heads) - left)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _limits_table(result: Result) -> str:
    rows = []
    for row in result["bits"]:
        bits = {**{name: packet["payload"] for name, packet in row["packets"].items()}, **row["coders"]}
        best = min((name for name in bits if name != "memcpy"), key=lambda name: bits[name], default="")
        cells = [f"{row['limits'][limit]:.3f}" for limit in LIMITS]
        rows.append([row["layer"], row["quantizer"], *cells, f"{best} {bits[best]:.3f}" if best else "-"])
    return _table(["layer", "quantiser", *LIMITS, "best coder"], rows, left=2)


def _bits_table(result: Result) -> str:
    quantizers = list(dict.fromkeys(row["quantizer"] for row in result["bits"]))
    found: dict[str, dict[tuple[str, str], float]] = {}
    for row in result["bits"]:
        payloads = {f"{name}, codec's payload": packet["payload"] for name, packet in row["packets"].items()}
        for name, bits in {**row["coders"], **row["limits"], **payloads}.items():
            share = bits / row["limits"]["order-0 entropy"]
            found.setdefault(name, {})[row["layer"], row["quantizer"]] = share
    cells = []
    for name in sorted(found, key=lambda name: mean(found[name].values()) or 0.0):
        columns = [mean(share for (_, q), share in found[name].items() if q == quantizer) for quantizer in quantizers]
        label = f"*{name}*" if name in LIMITS else name
        cells.append([label, *(_number(value) for value in columns), _number(mean(found[name].values()))])
    return _table(["coder (*limit*)", *quantizers, "all"], cells)


def _speed_table(rows: Sequence[Row], quantizer: str, unit: str) -> str:
    """One quantiser's speeds ("mbps" or "us"), encode / decode, averaged over layers: a line a coder, a column a case."""
    chosen = [row for row in rows if row["quantizer"] == quantizer]
    cases = sorted({(row["packets"], row["size"]) for row in chosen})
    lines = []
    for name in dict.fromkeys(row["coder"] for row in chosen):
        cells = []
        for packets, size in cases:
            timed = [row for row in chosen if (row["coder"], row["packets"], row["size"]) == (name, packets, size)]
            values = [mean(row[f"{call}_{unit}"] for row in timed if f"{call}_{unit}" in row) for call in ("encode", "decode")]
            cells.append(" / ".join(_speed(value) for value in values if value is not None) or "-")
        lines.append([name, *cells])
    heads = [f"{size:,}" if packets == 1 else f"{packets} x {size:,}" for packets, size in cases]
    return _table([quantizer, *heads], lines)


def _calls_tables(result: Result) -> list[str]:
    """What was measured at the user's calls, and of memory: a table for each kind of rows that there are."""
    parts = []
    if result.get("crossings"):
        heads = ["codec", "encode us", "decode us", "forward without us", "with us", "extra over encode + decode"]
        columns = ("encode_us", "decode_us", "bare_us", "inserted_us", "ratio")
        cells = [[row["coder"], *(f"{row[column]:.1f}" for column in columns)] for row in result["crossings"]]
        parts += ["## A crossing of 16 x 8 x 8, batch 1\n", _table(heads, cells)]
    if result.get("range_coder"):
        heads = ["call", "latents", "codec us", "range coder us", "the same in Python us"]
        columns = ("latents", "codec_us", "coder_us", "python_us")
        cells = [[row["call"], *(f"{row[column]:,.0f}" for column in columns)] for row in result["range_coder"]]
        parts += ["## entropic's range coder\n", _table(heads, cells)]
    if result.get("large"):
        parts += ["## One large sample from float32 to a packet and back, encode / decode\n", _large_table(result["large"])]
    if result.get("tokens"):
        coders = [name for name in result["tokens"][0] if name not in ("feature", "axis")]
        cells = [[row["feature"], row["axis"], *(_number(row[coder]) for coder in coders)] for row in result["tokens"]]
        parts += ["## Features of tokens at 8 bits, bits an element\n", _table(["feature", "axis", *coders], cells, left=2)]
    if result.get("decoding"):
        parts += ["## Memory of decoding, MB\n", _memory_table(result["decoding"])]
    return parts


def _large_table(rows: Sequence[Row]) -> str:
    cells = []
    alone = {(row["coder"], row["bits"], row["elements"]): row for row in rows if row["threads"] == 1}
    for row in rows:
        one = alone[row["coder"], row["bits"], row["elements"]]
        speeds = " / ".join(_speed(row[f"{call}_mbps"]) for call in CALLS)
        times = " / ".join(f"{row[f'{call}_us'] / 1e3:.1f}" for call in CALLS)
        gains = " / ".join(f"{one[f'{call}_us'] / row[f'{call}_us']:.2f}" for call in CALLS)
        cells.append([row["coder"], str(row["bits"]), f"{row['elements']:,}", str(row["threads"]), speeds, times, gains])
    return _table(["codec", "bits", "elements", "threads", "10^6 elements a second", "ms", "over one thread"], cells)


def _memory_table(rows: Sequence[Row]) -> str:
    cells = []
    for row in rows:
        name = row["codec"] + (" (exempt: a third party's)" if row["exempt"] else "")
        sizes = [f"{row['output'] / MB:.0f}", f"{row['peak'] / MB:.0f}", f"{row['peak'] / row['output']:.2f}"]
        cells.append([name, row["feature"], f"{row['packet']:,}", *sizes, f"{row['kept'] / MB:.1f}"])
    return _table(["codec", "feature", "packet bytes", "output", "peak", "peak over output", "kept"], cells, left=2)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(result: Result, path: Path) -> None:
    """Draw bits against speed into a PNG file: a column a quantiser, each coder at the largest size it was given."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    quantizers = result["settings"]["speed_quantizers"]
    rows = _plotted(result)
    chosen = _chosen(rows)
    figure, panels = plt.subplots(2, len(quantizers), figsize=(4.6 * len(quantizers), 8), sharey="row", squeeze=False)
    named = []
    for column, quantizer in enumerate(quantizers):
        here = [row for row in rows if row["quantizer"] == quantizer]
        for panel, call in zip(panels[:, column], ("encode", "decode"), strict=True):
            names = []
            for name, color in chosen.items():
                mine = _largest([row for row in here if row["coder"] == name])
                bits, speed = mean(row["bits"] for row in mine), mean(row[f"{call}_mbps"] for row in mine)
                if bits is not None and speed is not None:
                    panel.plot([bits], [speed], marker="o", color=color, markersize=6 if color != PEER else 4)
                    names.append(Name(name, bits, speed, color))
            limits = _draw_limits(panel, result, quantizer)
            panel.set(yscale="log", xlabel="bits a symbol", title=f"{quantizer}, {call}")
            panel.margins(0.12)
            panel.grid(alpha=0.25, linewidth=0.5)
            named.append((panel, names, limits))
    for panel in panels[:, 0]:
        panel.set_ylabel("10^6 symbols a second")
    dashes = "dashed: order-0 entropy; dotted: entropy given the left and the upper neighbour, learned on the way"
    figure.suptitle(f"Entropy coders, one thread, largest tensors; {dashes}", fontsize=10)
    figure.tight_layout()
    for panel, names, limits in named:
        upright = [np.array([(bits, speed) for speed in panel.get_ylim()]) for bits in limits]
        write_names(panel, names, [*(np.array([[name.x, name.y]]) for name in names), *upright])
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_limits(panel: Axes, result: Result, quantizer: str) -> list[float]:
    """Draw what order-0 coders and coders by context can reach at best; return where."""
    drawn = []
    for limit, dashes in (("order-0 entropy", "--"), ("adaptive left+up", ":")):
        bits = mean(row["limits"][limit] for row in result["bits"] if row["quantizer"] == quantizer)
        if bits is not None:
            panel.axvline(bits, color="black", linewidth=0.8, linestyle=dashes)
            drawn.append(bits)
    return drawn


def _plotted(result: Result) -> list[Row]:
    """Rows of single tensors: coders of symbols, then our codecs from floats; no pinned instruction sets, no memcpy.

    Their bits are those of whole images where these were counted: joined tensors have mirrored maps in them.
    """
    counted = {(row["layer"], row["quantizer"], name): bits for row in result["bits"] for name, bits in _all_bits(row).items()}
    fused = [
        {**row, "coder": f"{row['coder']}, from floats", "ours": True} for row in result["packets"] if row["size"] != FUSED_SIZE
    ]
    rows = [row for row in [*result["speed"], *fused] if row["packets"] == 1 and "bits" in row]
    rows = [row for row in rows if "@" not in row["coder"] and row["coder"] != "memcpy"]
    return [{**row, "bits": counted.get((row["layer"], row["quantizer"], row["coder"]), row["bits"])} for row in rows]


def _all_bits(row: Row) -> dict[str, float]:
    """Bits of one set by what the plot calls the coder."""
    return {**row["coders"], **{f"{name}, from floats": packet["payload"] for name, packet in row["packets"].items()}}


def _chosen(rows: Sequence[Row]) -> dict[str, str]:
    """Colour by coder of those that are drawn: ours in colour, peers grey; the rest of a smaller run fills up to the most."""
    found = {row["coder"]: row["ours"] for row in rows}
    drawn = [name for name in SHOWN if name in found]
    drawn += [name for name in found if name not in SHOWN][: MOST_SERIES - len(drawn)] if len(found) <= MOST_SERIES else []
    ours = [name for name in drawn if found[name]]
    return {name: OURS[ours.index(name) % len(OURS)] if name in ours else PEER for name in drawn}


def _largest(rows: Sequence[Row]) -> list[Row]:
    """The largest case of each layer."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["size"]):
        found[row["layer"]] = row
    return list(found.values())
