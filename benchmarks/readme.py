"""``python -m benchmarks.readme``: puts the committed default results into the README, between its markers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .report import markdown_table

RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- default results: begin -->", "<!-- default results: end -->"


def section(result: dict[str, Any]) -> str:
    """Return the README's section: where the figures come from, one layer's table open, the others folded."""
    machine, setting, baseline = result["machine"], result["setting"], result["baseline"]
    where = (
        f"{setting['model']}, {setting['data']}, {setting['samples']} images; without a codec "
        f"{100 * baseline['metric']:.1f} % top-1. {machine['cpu']}, {machine['threads']} threads, "
        f"torch {machine['versions']['torch']}, commit {machine['commit']}."
    )
    layers = list(dict.fromkeys(row["layer"] for row in result["rows"]))
    parts = [where, ""]
    for layer in layers:
        rows = [row for row in result["rows"] if row["layer"] == layer]
        table = markdown_table({**result, "rows": rows})
        share = rows[0]["head_macs"] / baseline["total_macs"]
        title = f"{layer}: {rows[0]['feature_shape']}, {share:.0%} of the MACs on the device"
        parts += [
            f"<details{' open' if layer == layers[len(layers) // 2] else ''}><summary>{title}</summary>",
            "",
            table,
            "</details>",
            "",
        ]
    return "\n".join(parts)


def insert(readme: str, text: str) -> str:
    """Return the README with `text` between its markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}{END}{after}"


def main() -> None:
    """Rewrite README.md."""
    path = Path(__file__).resolve().parent.parent / "README.md"
    result = json.loads((RESULTS / "default" / "results.json").read_text())
    path.write_text(insert(path.read_text(), section(result)))


if __name__ == "__main__":
    main()
