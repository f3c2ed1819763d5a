"""The picture of a search: every trial by two objectives, and the front."""

from __future__ import annotations

import os
from pathlib import Path

from featcodec.bench.pictures import OURS, PEER
from featcodec.planning.findings import OBJECTIVES, Findings, Trial

_LABELS = {"accuracy": "top-1 %", "bytes": "bytes a sample", "device_macs": "device MMACs", "latency_ms": "latency ms"}
_SCALES = {"accuracy": 100.0, "device_macs": 1e-6}


def plot(found: Findings, path: Path) -> None:
    """Draw a study's trials, the front as a line: the first objective over the second, or over the trials' numbers."""
    from matplotlib import pyplot as plt

    across = found.objectives[1] if len(found.objectives) > 1 else None
    figure, axes = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    done, front = found.done(), found.front()
    for trials, color, name in ((done, PEER, "trials"), (front, OURS[0], "front")):
        places = sorted((_at(trial, across), _at(trial, found.objectives[0])) for trial in trials)
        line = "-" if name == "front" and across else "none"
        axes.plot([x for x, _ in places], [y for _, y in places], color=color, label=name, marker="o", linestyle=line)
    if across is not None and not OBJECTIVES[across] and done:
        axes.set_xscale("log")
    axes.set_xlabel("trial" if across is None else _LABELS[across])
    axes.set_ylabel(_LABELS[found.objectives[0]])
    axes.set_title(f"{found.study}: {len(done)} trials")
    axes.grid(alpha=0.3)
    axes.legend()
    scratch = path.with_name(f"{path.stem}.{os.getpid()}.part.png")
    figure.savefig(scratch, dpi=110)
    plt.close(figure)
    os.replace(scratch, path)


def _at(trial: Trial, objective: str | None) -> float:
    return float(trial.number) if objective is None else trial.figures[objective] * _SCALES.get(objective, 1.0)
