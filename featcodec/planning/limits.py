"""What a candidate must keep: accuracy, the device's share of the network, the device's memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featcodec.errors import PlanError
from featcodec.planning.candidates import LOCAL, Candidate


@dataclass(frozen=True)
class Limits:
    """Limits; None limits nothing.

    Attributes
    ----------
    max_drop
        Points that the accuracy may fall below the whole model's: 1 is 0.01 of a metric.
    min_accuracy
        That the metric must reach.
    max_share
        Of the multiply-accumulates that may be the device's, in [0, 1].
    max_memory_bytes
        That the device has.

    Raises
    ------
    PlanError
        One is no number, or out of its range.
    """

    max_drop: float | None = None
    min_accuracy: float | None = None
    max_share: float | None = None
    max_memory_bytes: float | None = None

    def __post_init__(self) -> None:
        _check("max_drop", "a number of points from 0", self.max_drop, 0.0)
        _check("min_accuracy", "a number", self.min_accuracy, -math.inf)
        _check("max_share", "a share of the network, 0..1", self.max_share, 0.0, 1.0)
        _check("max_memory_bytes", "a number of bytes from 0", self.max_memory_bytes, 0.0)

    def feasible(self, candidates: Sequence[Candidate]) -> tuple[list[Candidate], dict[str, str]]:
        """Return the candidates that keep the limits, and by the others' names why not.

        Raises
        ------
        PlanError
            There are no candidates, or two of one name; nobody keeps the limits, and the nearest is named; a figure that a
            limit is on is not known; the whole model's accuracy is not among the candidates'.
        """
        if not candidates:
            raise PlanError("there are no candidates to choose among")
        names = [candidate.name for candidate in candidates]
        if len(set(names)) < len(names):
            raise PlanError(f"two candidates are called {next(name for name in names if names.count(name) > 1)!r}")
        floor = self.floor(candidates)
        wrong = {candidate.name: self._wrong(candidate, floor) for candidate in candidates}
        kept = [candidate for candidate in candidates if not wrong[candidate.name]]
        if not kept:
            raise PlanError(self._nobody(candidates, floor))
        return kept, {name: reason for name, reason in wrong.items() if reason}

    def floor(self, candidates: Sequence[Candidate]) -> float | None:
        """Return the least accuracy that is allowed; None where none is asked for."""
        floors = [] if self.min_accuracy is None else [self.min_accuracy]
        if self.max_drop is not None:
            whole = [c.accuracy for c in candidates if c.kind == LOCAL and c.accuracy is not None]
            if not whole:
                raise PlanError("max_drop is counted from the accuracy of the model all on the device: no candidate says that")
            floors.append(max(whole) - self.max_drop / 100)
        return max(floors) if floors else None

    def _wrong(self, candidate: Candidate, floor: float | None) -> str:
        reasons = []
        if floor is not None and _known(candidate.accuracy, candidate, "accuracy") < floor:
            reasons.append(f"accuracy {candidate.accuracy:.4g}, at least {floor:.4g} is wanted")
        if (
            self.max_share is not None
            and (share := _known(candidate.share, candidate, "share of the network")) > self.max_share
        ):
            reasons.append(f"{share:.0%} of the MACs on the device, at most {self.max_share:.0%} are allowed")
        most = self.max_memory_bytes
        if most is not None and (memory := _known(candidate.memory_bytes, candidate, "memory")) > most:
            reasons.append(f"{memory / 1e6:.3g} MB on the device, it has {most / 1e6:.3g}")
        return "; ".join(reasons)

    def _nobody(self, candidates: Sequence[Candidate], floor: float | None) -> str:
        """What to say where no candidate is left: the nearest in accuracy among those that keep the rest, or else of all."""
        rest = Limits(max_share=self.max_share, max_memory_bytes=self.max_memory_bytes)
        others = [candidate for candidate in candidates if not rest._wrong(candidate, None)]
        if floor is None or not others:
            shares = sorted((c for c in candidates if c.share is not None), key=lambda c: (c.share or 0.0, c.memory_bytes or 0))
            nearest = (shares or list(candidates))[0]
            return f"no candidate keeps the device's limits: the nearest is {nearest.name!r}, {rest._wrong(nearest, None)}"
        nearest = max(others, key=lambda c: c.accuracy or 0.0)
        among = "" if len(others) == len(candidates) else " of those that keep the device's limits"
        return (
            f"no candidate has an accuracy of {floor:.4g}: the nearest{among} is {nearest.name!r} with {nearest.accuracy:.4g}"
        )


def _check(name: str, wanted: str, value: float | None, least: float, most: float = math.inf) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and least <= value <= most):
        raise PlanError(f"{name} is {wanted}, got {value!r}")


def _known(value: float | None, candidate: Candidate, what: str) -> float:
    if value is None:
        raise PlanError(f"a limit is on the {what}, which is not known of {candidate.name!r}")
    return value


NO_LIMITS = Limits()
