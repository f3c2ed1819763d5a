"""Findings: what a search tried, what came of it, and the front that no other point beats."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcodec.planning.space import Point, point_name

# What a search may aim at: True where more is better.
OBJECTIVES = {"accuracy": True, "bytes": False, "device_macs": False, "latency_ms": False}
_SHOWN = {"accuracy": ("top-1 %", 100.0, ".2f"), "bytes": ("bytes", 1, ",.1f")}
_SHOWN |= {"device_macs": ("device MMACs", 1e-6, ",.2f"), "latency_ms": ("latency ms", 1, ",.2f")}
WIDTH = 100


class StoppedError(Exception):
    """A trial is given up early: whoever measures lets it pass."""


@dataclass(frozen=True)
class Trial:
    """One point that was tried.

    Attributes
    ----------
    state
        "done"; "stopped" early; "failed"; "running".
    figures
        By name, of a trial that is done.
    error
        Why it failed, or was stopped.
    repeats
        The trial of the same point, whose figures these are.
    """

    number: int
    state: str
    point: Point
    figures: Mapping[str, float]
    error: str | None = None
    seconds: float | None = None
    repeats: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON only."""
        return {**self.__dict__, "figures": dict(self.figures)}


@dataclass(frozen=True)
class Findings:
    """What a study has found so far.

    Attributes
    ----------
    objectives
        Names out of `OBJECTIVES`.
    trials
        In order.
    about
        What was searched: the space, the model, the data.
    """

    study: str
    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]
    about: Mapping[str, Any]

    def done(self) -> list[Trial]:
        """Return the trials that have figures, each point once."""
        return [trial for trial in self.trials if trial.state == "done" and trial.repeats is None]

    def front(self) -> list[Trial]:
        """Return those that no other beats: as good by every objective, and better by one; best by the last objective first."""
        done = self.done()
        scores = {trial.number: tuple(_score(trial, name) for name in self.objectives) for trial in done}

        def beaten(trial: Trial) -> bool:
            own = scores[trial.number]
            return any(
                all(a >= b for a, b in zip(other, own, strict=True)) and (other != own or number < trial.number)
                for number, other in scores.items()
                if number != trial.number
            )

        return sorted((trial for trial in done if not beaten(trial)), key=lambda t: -_score(t, self.objectives[-1]))

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON only."""
        return {
            "study": self.study,
            "objectives": list(self.objectives),
            "about": dict(self.about),
            "front": [trial.number for trial in self.front()],
            "trials": [trial.to_dict() for trial in self.trials],
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Findings:
        """Return what `to_dict` told."""
        trials = tuple(Trial(**trial) for trial in found["trials"])
        return cls(found["study"], tuple(found["objectives"]), trials, found["about"])

    def table_lines(self, width: int = WIDTH) -> list[str]:
        """Return lines of at most `width`: the front, and what became of the other trials."""
        front = self.front()
        names = [name for name in _SHOWN if all(name in trial.figures for trial in front)]
        lines = _table(front, names, width)
        counts = {state: sum(t.state == state for t in self.trials if t.repeats is None) for state in _STATES}
        counted = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        aims = " and ".join(f"{'more' if OBJECTIVES[name] else 'less'} {name}" for name in self.objectives)
        lines += ["", *textwrap.wrap(f"{self.study}: {counted or 'no trials'}. Shown is the front by {aims}.", width)]
        for trial in self.trials:
            if trial.state == "failed" and trial.repeats is None:
                lines += textwrap.wrap(f"failed: {trial.number}: {point_name(trial.point)}: {trial.error}", width)
        return lines


_STATES = ("done", "stopped", "failed", "running")


def _score(trial: Trial, name: str) -> float:
    return trial.figures[name] if OBJECTIVES[name] else -trial.figures[name]


def _table(trials: Sequence[Trial], names: Sequence[str], width: int) -> list[str]:
    rows = [["trial", *(_SHOWN[name][0] for name in names)]]
    for trial in trials:
        rows.append([str(trial.number), *(format(trial.figures[n] * _SHOWN[n][1], _SHOWN[n][2]) for n in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = width - sum(widths) - 2 * len(widths)
    lines = []
    for row, point in zip(rows, ["point", *(point_name(trial.point) for trial in trials)], strict=True):
        figures = "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True))
        first, *more = textwrap.wrap(point, room) or [""]
        lines += [f"{figures}  {first}", *(" " * (width - room) + line for line in more)]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
