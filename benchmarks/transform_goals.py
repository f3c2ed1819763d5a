"""The transform's goals: cells of bytes at equal loss, and what is met."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.equal_loss import KL, TOP1, Curve, Loss, cell, crossing, draws
from benchmarks.row_store import Row
from featcodec.bench.intervals import paired_difference

PLAIN = "transform"
LARGEST = "transform, 2^22"
PCA = "PCA"
STANDARD = ("jpeg", "webp", "heif", "context", "context, map")
CONTEXT = ("context", "context, map")
PAPERS = ("clip", "top", "fcm")
LAYERS = ("layer1", "layer2")
ENTROPIC = "entropic (trained)"

Goal = dict[str, Any]
Cells = list[dict[str, Any]]


def curves_at(rows: Sequence[Row], network: str, layer: str) -> dict[str, Curve]:
    """Return every series of at least two rows at a cut, as a curve of the network's loss."""
    here = [row for row in rows if (row.figures["network"], row.figures["layer"]) == (network, layer)]
    loss = loss_of(network)
    series: dict[str, list[Row]] = {}
    for row in here:
        series.setdefault(row.figures["series"], []).append(row)
    weights = draws(here[0].figures["samples"]) if here else None
    return {name: Curve(name, found, loss, weights) for name, found in series.items() if len(found) > 1 and weights is not None}


def loss_of(network: str) -> Loss:
    """Return what is lost where a network is cut: points of top-1 of ResNet-20, nats of the other."""
    return TOP1 if network == "resnet20" else KL


def cells_of(rows: Sequence[Row]) -> Cells:
    """Return all comparisons at equal loss: at every cut the transforms against groups of rivals."""
    found: Cells = []
    for network, layer in dict.fromkeys((row.figures["network"], row.figures["layer"]) for row in rows):
        curves = curves_at(rows, network, layer)
        for ours in (PLAIN, LARGEST):
            for what, names in _groups(network):
                rivals = [curves[name] for name in names if name in curves]
                if ours in curves and rivals:
                    where = {"network": network, "layer": layer, "against": what}
                    found += [{**where, **cell([curves[ours]], rivals, t), "series": ours} for t in loss_of(network).targets]
    return found


def _groups(network: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    papers = tuple((name, (name,)) for name in PAPERS)
    standard = (("standard", STANDARD), *papers) if network == "resnet20" else (("context", CONTEXT),)
    return (*standard, (PCA, (PCA,)))


def sizes_of(rows: Sequence[Row]) -> Cells:
    """Return every series' bytes at each loss that is compared at."""
    found: Cells = []
    for network, layer in dict.fromkeys((row.figures["network"], row.figures["layer"]) for row in rows):
        targets = loss_of(network).targets
        for name, curve in curves_at(rows, network, layer).items():
            where = {"network": network, "layer": layer, "series": name}
            found.append({**where, "bytes": [curve.at(target) for target in targets]})
    return found


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return every goal with what was measured and whether it is met; None: not measured."""
    cells, rows = result["cells"], result["rows"]
    return [
        _mean(result, LARGEST, "standard", 0.2, 0.35, "tables up to 2^22, against the best of jpeg, webp, heif, context"),
        _mean(result, PLAIN, "standard", 0.3, None, "tables up to 2^18, against the same"),
        _layer3(rows),
        _entropic(rows),
        _mean(result, PLAIN, "context", 0.5, 0.75, "EfficientNet-lite0 at equal KL, against context (sample or map)"),
        _mean(result, PLAIN, PCA, 0.6, None, "against plain PCA with the same coder, ResNet-20"),
        *(_behind(cells, name) for name in PAPERS),
        *_speed(result.get("speed")),
    ]


def _goal(what: str, goal: str, measured: str, met: bool | None) -> Goal:
    return {"what": what, "goal": goal, "measured": measured, "met": met}


def _wanted(cells: Cells, ours: str, against: str) -> Cells:
    """The cells that a goal is judged by: against context those of EfficientNet-lite0, else ResNet-20's first two layers."""
    found = [c for c in cells if (c["series"], c["against"]) == (ours, against)]
    if against == "context":
        return [c for c in found if c["network"] == "lite0"]
    return [c for c in found if c["network"] == "resnet20" and c["layer"] in LAYERS]


def _mean(result: Mapping[str, Any], ours: str, against: str, most: float, worst: float | None, what: str) -> Goal:
    """A goal of several cells: not met where those that are measured miss it, met where all are measured and reach it."""
    wanted, count = _wanted(result["cells"], ours, against), 12 if against == "context" else 6
    lacking = _lacking(result["rows"]) if against == "standard" else []
    ratios = [c["ratio"] for c in wanted if c["ratio"] is not None]
    goal = f"geometric mean <= {most:g}" + (f", none above {worst:g}" if worst else "")
    if not ratios:
        return _goal(what, goal, "-", None)
    mean = geometric_mean(ratios)
    whole = len(ratios) == count and not lacking
    without = f", without {', '.join(lacking)}" if lacking else ""
    measured = f"{mean:.3f}, at most {max(ratios):.3f}, {len(ratios)} of {count} cells{without}"
    met = mean <= most and (worst is None or max(ratios) <= worst)
    return _goal(what, goal, measured, (met if whole else None) if met else False)


def _lacking(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rivals that are not measured at each of ResNet-20's first two layers."""
    there = {(r["layer"], r["series"]) for r in rows if r["network"] == "resnet20"}
    return [name for name in STANDARD if not all((layer, name) in there for layer in LAYERS)]


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def change_of(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return a row's change of top-1 in points, and its 95 % interval."""
    low, high = paired_difference(row["gained"], row["lost"], row["samples"])
    return 100 * (row["gained"] - row["lost"]) / row["samples"], 100 * low, 100 * high


def _of(rows: Iterable[Mapping[str, Any]], layer: str, names: Sequence[str]) -> list[Mapping[str, Any]]:
    return [r for r in rows if r["network"] == "resnet20" and r["layer"] == layer and r["series"] in names]


def _layer3(rows: Sequence[Mapping[str, Any]]) -> Goal:
    what, goal = "layer3 at no more than .3 points, tables up to 2^18", "<= 16 B"
    found = [r for r in _of(rows, "layer3", (PLAIN,)) if change_of(r)[0] >= -0.3]
    if not found:
        return _goal(what, goal, "-", None)
    row = min(found, key=lambda r: r["payload_bytes"])
    change, low, high = change_of(row)
    measured = f"{row['payload_bytes']:.1f} B at {change:+.2f} [{low:+.2f}, {high:+.2f}]"
    return _goal(what, goal, measured, row["payload_bytes"] <= 16)


def _entropic(rows: Sequence[Mapping[str, Any]]) -> Goal:
    """The largest tables' bytes at the change that the trained codec has in the same run, over its bytes."""
    what, goal = "layer2 at the accuracy of the trained entropic codec, tables up to 2^22", "<= .35 of its bytes"
    trained, ours = _of(rows, "layer2", (ENTROPIC,)), _of(rows, "layer2", (LARGEST,))
    if not trained or len(ours) < 2:
        return _goal(what, goal, "-", None)
    row = trained[0]
    sizes = np.array([r["payload_bytes"] for r in ours])
    size = crossing(sizes, np.array([-change_of(r)[0] for r in ours]), -change_of(row)[0])
    if size is None:
        return _goal(what, goal, "not enclosed", None)
    ratio = size / row["payload_bytes"]
    measured = f"{ratio:.3f}: {size:.0f} B against {row['payload_bytes']:.0f} B at {change_of(row)[0]:+.2f} points"
    return _goal(what, goal, measured, ratio <= 0.35)


def _behind(cells: Cells, name: str) -> Goal:
    found = [c for c in _wanted(cells, PLAIN, name) if c["target"] == 1.0 and c["ratio"] is not None]
    measured = ", ".join(f"{c['layer']} {c['rival']:.0f} B against {c['ours']:.0f} B" for c in found)
    met = all(c["ratio"] < 1 for c in found) if len(found) == len(LAYERS) else None
    return _goal(f"{name} at 1 point", "behind transform", measured or "-", met)


def _speed(speed: Mapping[str, Any] | None) -> list[Goal]:
    fast, head = "encode and decode at 1 point, layer2, values a second over the jpeg codec's", "joint 1,024 at layer2: encode"
    if speed is None:
        return [_goal(fast, ">= 3x", "-", None), _goal(head, "< .5 of the head's time", "-", None)]
    least, share = speed["ratio"], speed["head_share"]
    return [
        _goal(fast, ">= 3x", f"{least:.2f}x", least >= 3),
        _goal(head, "< .5 of the head's time", f"{share:.2f}", share < 0.5),
    ]
