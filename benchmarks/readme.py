"""``python -m benchmarks.readme``: puts the committed results into the README, between their markers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.channel_report import WATERFALLS, waterfall_table, where
from benchmarks.entropy_goals import goals_table
from benchmarks.training_report import steps_table, symbols_table, trained_table
from featcodec.bench.report import markdown_table


def default_section(result: dict[str, Any]) -> str:
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


def entropy_section(result: dict[str, Any]) -> str:
    """Return the README's section: where the figures come from, and every goal with what was measured."""
    machine, settings = result["machine"], result["settings"]
    where = (
        f"{machine['cpu']}, one thread, core {machine['core']['isa']}, commit {machine['commit']}; {settings['images']} images "
        f"a layer, {settings['rounds']} rounds, memcpy {machine['memory']['DRAM']:.1f} GB/s from memory to memory."
    )
    return f"{where}\n\n{goals_table(result['goals'])}"


def channel_section(result: dict[str, Any]) -> str:
    """Return the README's section: where each part's figures come from, Eb/N0 by code, and every goal."""
    titles = {"error": "Error rates", "speed": "Speed", "features": "Features"}
    parts = [f"{title}: {where(result[name])}." for name, title in titles.items() if name in result]
    noise = [curve for curve in result["error"]["curves"] if curve["channel"] == "awgn"]
    folded = [
        "<details><summary>Eb/N0 by code and decoder</summary>",
        "",
        WATERFALLS,
        "",
        waterfall_table(noise),
        "</details>",
        "",
    ]
    cliff = ["![accuracy of features over channels](benchmarks/results/channel/cliff.png)", ""] if "features" in result else []
    return "\n".join(["  \n".join(parts), "", goals_table(result["goals"]), *cliff, *folded])


def training_section(result: dict[str, Any]) -> str:
    """Return the README's section: the trained codecs, what a step costs, and the goals."""
    machine, settings = result["machine"], result["settings"]
    samples = max((row["samples"] for row in result["trained"]), default=0)
    where = (
        f"{settings['model']}, CIFAR-10 test, {samples:,} images. Steps: {machine['cpu']}, {machine['threads']} threads, "
        f"{machine['device']}, batches of {settings['batch_size']}, median of {settings['rounds']}, commit {machine['commit']}."
    )
    parts = [where, trained_table(result), "Over the air, top-1 by channel:", symbols_table(result)]
    parts += ["A training step over the step without a codec:", steps_table(result)]
    return "\n\n".join(part.rstrip("\n") for part in [*parts, goals_table(result["goals"])]) + "\n"


SECTIONS = {"default": default_section, "entropy": entropy_section, "channel": channel_section, "training": training_section}


def render(readme: str, results: Path) -> str:
    """Return the README with every suite's section between its markers, as the committed results in a folder have it."""
    for name, section in SECTIONS.items():
        begin, end = f"<!-- {name} results: begin -->", f"<!-- {name} results: end -->"
        before, _, rest = readme.partition(begin)
        _, _, after = rest.partition(end)
        text = section(json.loads((results / name / "results.json").read_text()))
        readme = f"{before}{begin}\n{text}{end}{after}"
    return readme


def main() -> None:
    """Rewrite README.md."""
    here = Path(__file__).resolve().parent
    path = here.parent / "README.md"
    path.write_text(render(path.read_text(), here / "results"))


if __name__ == "__main__":
    main()
