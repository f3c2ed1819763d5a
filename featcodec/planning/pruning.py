"""Pruning: how a head is to be pruned, checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from featcodec.errors import ConfigError
from featcodec.spec import check_choice, check_int, check_number
from featcodec.training import Phase

METHODS = ("incremental", "two-step")
ROUND = Phase(name="round", epochs=1, train="all", lr=1e-3, cosine=False)
FINAL = dataclasses.replace(ROUND, name="fine-tuning", epochs=5, cosine=True)


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How to prune.

    Attributes
    ----------
    method
        "incremental" (Shao et al., the three-step framework): each round masks the filters of smallest l2 norm, the same share
        of every convolution of the head, trains what is not masked, and gives the masked ones back what they were at its start;
        the last round's masks stay. "two-step" (Shi et al. 2019): each round takes for good the filters of least Taylor
        importance, of all convolutions but the last; in the final third of the rounds of that one, the layer before the cut.
    filters, macs
        The share of the filters to mask, or of the head's multiply-accumulates to save: one of them; 0..1.
    elements
        The share of the crossing feature's elements (c, h, w) that are masked, those of least magnitude on the training data.
    rounds
        The share of round i of n is that of the last one times 1 - (1 - i / n)^3 (Zhu and Gupta 2017).
    phase, final
        What is trained in every round, and after the last one; None: nothing. Their `train` should be "all".
    samples
        Training samples that elements are judged by.
    batches
        Training batches that Taylor importance is measured on, each round.

    Raises
    ------
    ConfigError
        A value is out of range.
    """

    method: str = "incremental"
    filters: float | None = None
    macs: float | None = None
    elements: float = 0.0
    rounds: int = 10
    phase: Phase = ROUND
    final: Phase | None = FINAL
    samples: int = 2048
    batches: int = 10

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        if (self.filters is None) == (self.macs is None):
            raise ConfigError(f"give filters or macs, one of them, got filters={self.filters} and macs={self.macs}")
        for name in ("filters", "macs", "elements"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0.0, 0.999)
        check_int("rounds", self.rounds, 2 if self.method == "two-step" else 1, 1 << 16)
        check_int("samples", self.samples, 1, 1 << 31)
        check_int("batches", self.batches, 1, 1 << 31)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON only."""
        phases = {
            name: None if phase is None else phase.to_dict() for name, phase in (("phase", self.phase), ("final", self.final))
        }
        return {**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, **phases}


def ramp(share: float, done: int, rounds: int) -> float:
    """Return the share of round `done` of `rounds`, from 1: it rises fast and settles at `share`."""
    return share * (1 - (1 - done / rounds) ** 3)
