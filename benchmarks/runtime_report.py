"""How the runtime benchmark's result is shown: tables in Markdown, the links as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.channel_report import number, table
from benchmarks.runtime_device import WAYS
from featcodec.bench.pictures import OURS

Result = dict[str, Any]

PICTURE = "links.png"
_SPREAD = "Figures with brackets are medians, between the 10 % and 90 % quantiles. Rows of requests/s are the median run's."


def summary(result: Result) -> str:
    """Return the result in Markdown, the parts that were run."""
    shown: Mapping[str, Callable[[Result], str]] = {
        "overhead": _overhead,
        "load": _load,
        "pickle": _pickle,
        "ray": _ray,
        "chaos": _chaos,
        "memory": _memory,
        "links": _links,
    }
    parts = [
        f"## {TITLES[name]}\n\n{where(result[name])}\n\n{show(result[name])}" for name, show in shown.items() if name in result
    ]
    return "\n".join(["# Two machines\n", _SPREAD + "\n", *parts])


TITLES = {
    "overhead": "A request over loopback",
    "load": "Under load",
    "pickle": "Beside torch.save",
    "ray": "On Ray Serve",
    "chaos": "A server that is killed",
    "memory": "The server's memory",
    "links": "Slow links",
}


def where(part: Result) -> str:
    """Return what one part was measured on, as text."""
    machine = part["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["packages"].items() if number)
    return f"{machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}, {versions}."


def spread_cell(found: Mapping[str, float], form: str = ".2f", scale: float = 1.0) -> str:
    """Return a median with its quantiles."""
    median, low, high = (f"{scale * found[key]:{form}}" for key in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"


def _overhead(part: Result) -> str:
    rows = [
        ["head, encode, decode and tail in one process", spread_cell(part["one_process_ms"])],
        ["the same over the service", spread_cell(part["service_ms"])],
        ["overhead", spread_cell(part["overhead_ms"])],
        *([f"of it: {stage}" if stage == "network" else stage, spread_cell(ms)] for stage, ms in part["stages_ms"].items()),
        ["no stage covers, % of wall time", spread_cell(part["uncovered"], ".1f", 100)],
    ]
    return table(["ResNet-20 at layer2, context:bits=4, in flight 1", "ms"], rows)


_HEADS = ["", "in flight", "requests/s", "median ms", "p99 ms", "batch", "request B", "answer B", "refused"]


def load_row(name: str, found: Result) -> list[str]:
    """Return a replay's figures as a row."""
    return [
        name,
        f"{found['in_flight']}",
        number(found["per_second"], ",.0f"),
        number(found["median_ms"]),
        number(found["p99_ms"]),
        number(found["batch_mean"], ".1f"),
        number(found["request_bytes"], ",.0f"),
        number(found["answer_bytes"], ",.0f"),
        f"{sum(found['refused'].values())}",
    ]


def _rows(part: Result) -> str:
    return table(_HEADS, [load_row(row["name"], row) for row in part["rows"]])


def _load(part: Result) -> str:
    gain, slowest = spread_cell(part["gain"]), spread_cell(part["p99_to_median"])
    text = f"Batches over one by one, run by run: {gain} times the requests/s. p99 over median in batches: {slowest}.\n\n"
    return text + _rows(part)


def _pickle(part: Result) -> str:
    text = f"{part['fewer_bytes']:.1f} times fewer bytes, {spread_cell(part['faster'])} times the requests/s.\n\n"
    return text + _rows(part)


def _ray(part: Result) -> str:
    return _rows(part) if part["left_out"] is None else f"Left out: {part['left_out']}\n"


def _chaos(part: Result) -> str:
    errors = ", ".join(f"{count} {cause}" for cause, count in part["errors"].items()) or "none"
    rows = [
        ["requests", f"{part['requests']:,}"],
        ["kills", f"{part['kills']}"],
        ["ended in their own result", f"{part['results'] - part['strangers']:,}"],
        ["ended in another's result", f"{part['strangers']}"],
        [f"ended in an error ({errors})", f"{sum(part['errors'].values())}"],
        ["ended twice, or never", f"{part['twice']}, {part['missing']}"],
        ["sent again", f"{part['resent']:,}"],
        ["seconds", f"{part['seconds']:.0f}"],
    ]
    return table(["one client, 32 in flight", "count"], rows)


def _memory(part: Result) -> str:
    rows = [[f"{row['requests']:,}", f"{row['mb']:.1f}"] for row in part["rows"]]
    return table(["requests", "resident MB"], rows, left=0)


def _links(part: Result) -> str:
    if part["rows"] is None:
        return f"Left out: {part['left_out']}\n"
    cells: list[list[str]] = []
    for rate, delay in sorted({(row["rate_mbit"], row["delay_ms"]) for row in part["rows"]}):
        found = {row["way"]: row for row in part["rows"] if (row["rate_mbit"], row["delay_ms"]) == (rate, delay)}
        cells.append([f"{rate}", f"{delay:g}", *(spread_cell(found[way]["ms"], ".1f") for way in WAYS)])
    last = {row["way"]: row for row in part["rows"]}
    sizes = "; ".join(
        f"{way}: {last[way]['bytes']:,.0f} B, {100 * last[way]['agrees']:.0f} % of its classes" for way in WAYS[:2]
    )
    heads = ["Mbit/s", "ms each way", *WAYS]
    return f"Milliseconds from picture to class. Beside the whole model: {sizes}.\n\n" + table(heads, cells, left=0)


def plot(result: Result, folder: Path) -> list[str]:
    """Draw the links: a panel a delay, bars by rate; return the names of the files that were written."""
    rows = result.get("links", {}).get("rows")
    if not rows:
        return []
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    delays = sorted({row["delay_ms"] for row in rows})
    figure, panels = plt.subplots(1, len(delays), figsize=(5 * len(delays), 3.6), sharey=True, squeeze=False)
    for panel, delay in zip(panels[0], delays, strict=True):
        _bars(panel, [row for row in rows if row["delay_ms"] == delay])
        panel.set_title(f"{delay:g} ms each way", fontsize=10)
    panels[0][0].set_ylabel("ms from picture to class")
    panels[0][-1].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(folder / PICTURE, dpi=90)
    plt.close(figure)
    return [PICTURE]


def _bars(panel: Any, rows: Sequence[Result]) -> None:
    rates = sorted({row["rate_mbit"] for row in rows})
    width = 0.8 / len(WAYS)
    for place, (way, color) in enumerate(zip(WAYS, OURS, strict=False)):
        found = [next(row["ms"] for row in rows if (row["rate_mbit"], row["way"]) == (rate, way)) for rate in rates]
        at = [i + (place - (len(WAYS) - 1) / 2) * width for i in range(len(rates))]
        medians = [ms["median"] for ms in found]
        beside = [[ms["median"] - ms["low"] for ms in found], [ms["high"] - ms["median"] for ms in found]]
        panel.bar(at, medians, width, yerr=beside, color=color, label=way, error_kw={"linewidth": 0.8})
    panel.set_xticks(range(len(rates)), [f"{rate} Mbit/s" for rate in rates])
    panel.grid(axis="y", alpha=0.25, linewidth=0.5)
