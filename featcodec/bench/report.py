"""How results are shown: the machine they come from, the table, the plot."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import featcodec
from featcodec.spec import format_spec


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return what a figure depends on besides the code: processor, threads, device, versions, commit."""
    packages = ("torch", "numpy", "pillow", "pillow-heif", "constriction")
    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else str(device),
        "python": platform.python_version(),
        "featcodec": featcodec.__version__,
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
    }


def row_cells(row: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """Return a row's cells as text, in the order of `HEADINGS`; symbols where a codec sends those instead of bits."""
    stats = row["stats"]
    bpp = "-" if stats["bpp"] is None else f"{stats['bpp']:.3f}"
    ratio = "-" if stats["compression_ratio"] is None else f"{stats['compression_ratio']:.1f}"
    payload, symbols = f"{stats['payload_bits_per_sample'] / 8:,.0f}", stats["real_symbols_per_sample"]
    return [
        row["layer"],
        f"{row['trained']} (trained)" if "trained" in row else format_spec(row["codec"]),
        f"{100 * row['metric']:.1f}",
        f"{100 * (row['metric'] - baseline['metric']):+.1f}",
        f"{stats['bits_per_sample'] / 8:,.0f}",
        f"{symbols:,.0f} sym." if symbols else payload,
        ratio,
        bpp,
        f"{stats['encode_ms']:.2f}",
        f"{stats['decode_ms']:.2f}",
    ]


HEADINGS = ["layer", "codec", "top-1 %", "change", "wire B", "payload B", "ratio", "bpp", "enc ms", "dec ms"]


def print_table(result: dict[str, Any], console: Console) -> None:
    """Print a result as a table."""
    setting, baseline = result["setting"], result["baseline"]
    table = Table(title=f"{setting['model']}, {setting['data']}: {setting['samples']} images")
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
    for i, row in enumerate(result["rows"]):
        cells = row_cells(row, baseline)
        new_layer = i + 1 < len(result["rows"]) and result["rows"][i + 1]["layer"] != row["layer"]
        table.add_row(*cells, end_section=new_layer)
    console.print(table)
    console.print(f"without a codec: {100 * baseline['metric']:.1f} % top-1, {baseline['total_macs']:,} MACs")
    for reason in result["left_out"].values():
        console.print(f"left out: {reason}", markup=False)


def markdown_table(result: dict[str, Any]) -> str:
    """Return a result as a Markdown table."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "---:|" * (len(HEADINGS) - 2)]
    for row in result["rows"]:
        lines.append("| " + " | ".join(row_cells(row, result["baseline"])) + " |")
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw accuracy against wire bytes, a panel a layer and a line a codec of bits, into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    layers = list(dict.fromkeys(row["layer"] for row in result["rows"]))
    figure, panels = plt.subplots(1, len(layers), figsize=(5.2 * len(layers), 4.2), sharey=True, squeeze=False)
    rows = [row for row in result["rows"] if not row["stats"]["real_symbols_per_sample"]]
    ids = sorted({row["codec"]["id"] for row in rows})
    markers = "osD^v<>pPX*hd"
    for panel, layer in zip(panels[0], layers, strict=True):
        for i, codec_id in enumerate(ids):
            points = sorted(
                (row["stats"]["bits_per_sample"] / 8, 100 * row["metric"])
                for row in rows
                if row["layer"] == layer and row["codec"]["id"] == codec_id
            )
            style = {"marker": markers[i % len(markers)], "color": plt.get_cmap("tab20")(i % 20), "label": codec_id}
            panel.plot([x for x, _ in points], [y for _, y in points], linewidth=1, markersize=5, **style)
        panel.axhline(100 * result["baseline"]["metric"], color="grey", linewidth=0.8, linestyle="--")
        panel.set(xscale="log", xlabel="bytes per sample on the wire", title=layer)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("top-1 accuracy, %")
    panels[0][-1].legend(fontsize=8)
    figure.suptitle(f"{result['setting']['model']}, {result['setting']['data']}, {result['setting']['samples']} images")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
