"""History: what a training did, epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class History:
    """A training's record.

    Attributes
    ----------
    run
        What it was: codec, layer, schedule, seed, ...: JSON.
    epochs
        For each: phase, epoch (of the phase, from 1), lr at its end, seconds, losses (means over the samples, unweighted, and
        their weighted "total"), and where there is a validation loader, validation: metric and bits (or symbols) a sample. Of a
        metric that gives numbers by name: "metric.<name>" for each; lists are left out, and what is not finite is None.
    """

    run: dict[str, Any]
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def losses(self, name: str = "total") -> list[float]:
        """Return one loss over the epochs that had it."""
        return [epoch["losses"][name] for epoch in self.epochs if name in epoch["losses"]]

    def to_dict(self) -> dict[str, Any]:
        """Return run and epochs, JSON only."""
        return {"run": self.run, "epochs": self.epochs}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> History:
        """Build a history from what `to_dict` returned."""
        return cls(dict(record["run"]), list(record["epochs"]))

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
