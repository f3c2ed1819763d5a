"""select: the best candidate on a link (BottleNet's Algorithm 1), the map of choices, and what would change the choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featcodec.errors import PlanError
from featcodec.planning.candidates import Candidate
from featcodec.planning.cost import UNITS, Parts, check_load, check_objective, cost, parts
from featcodec.planning.limits import NO_LIMITS, Limits
from featcodec.planning.links import Link, get_link
from featcodec.spec import Spec


@dataclass(frozen=True)
class Choice:
    """What `select` found.

    Attributes
    ----------
    best, cost
        The candidate, and what it costs: milliseconds or millijoules.
    parts
        Its milliseconds by what they are for.
    ranking
        Everyone that keeps the limits with what it costs, the best first.
    left_out
        The others by name, and why.
    """

    best: Candidate
    cost: float
    parts: Parts
    ranking: tuple[tuple[Candidate, float], ...]
    left_out: dict[str, str]
    link: Link
    objective: str
    load: float

    @property
    def unit(self) -> str:
        """Of `cost`: "ms" or "mJ"."""
        return UNITS[self.objective]


def select(
    candidates: Sequence[Candidate],
    link: Link | Spec,
    *,
    objective: str = "latency",
    max_drop: float | None = None,
    min_accuracy: float | None = None,
    max_share: float | None = None,
    max_memory_bytes: float | None = None,
    load: float = 1.0,
) -> Choice:
    """Return the candidate that costs least: the last step of BottleNet's Algorithm 1.

    Parameters
    ----------
    candidates
        As `candidates_of` gives them.
    link
        Or its spec (`get_link`).
    objective
        "latency": T_j = TM_j + 8 D_j / NB + TC_j in ms; "energy": the device's E_j = TM_j PM_j + (8 D_j / NB) PU in mJ. Of
        several that cost the same it is the one with the fewest MACs on the device, then the first.
    max_drop, min_accuracy, max_share, max_memory_bytes
        As in `Limits`.
    load
        How many times as long as idle the server takes.

    Raises
    ------
    PlanError
        There are no candidates, or none that keeps the limits; a figure that is needed is not known.
    """
    limits, link = Limits(max_drop, min_accuracy, max_share, max_memory_bytes), get_link(link)
    kept, left_out = limits.feasible(candidates)
    ranking = ranked(kept, link, objective, load)
    best, least = ranking[0]
    return Choice(best, least, parts(best, link, load), tuple(ranking), left_out, link, objective, load)


def ranked(candidates: Sequence[Candidate], link: Link, objective: str, load: float) -> list[tuple[Candidate, float]]:
    """Return candidates with what they cost, the cheapest first, ties by the device's MACs."""
    costs = [(candidate, cost(candidate, link, objective, load)) for candidate in candidates]
    return sorted(costs, key=lambda pair: (pair[1], pair[0].head_macs))


@dataclass(frozen=True)
class ChoiceMap:
    """The best candidate at each load (rows) and rate (columns)."""

    link: Link
    objective: str
    rates_bps: tuple[float, ...]
    loads: tuple[float, ...]
    best: tuple[tuple[Candidate, ...], ...]

    def names(self) -> list[str]:
        """Return the names of those that are the best somewhere, by their MACs on the device."""
        found = {candidate.name: candidate for row in self.best for candidate in row}
        return sorted(found, key=lambda name: (found[name].head_macs, name))

    def to_dict(self) -> dict[str, Any]:
        """Return rates, loads and names, JSON only."""
        names = [[candidate.name for candidate in row] for row in self.best]
        return {"objective": self.objective, "rates_bps": list(self.rates_bps), "loads": list(self.loads), "best": names}


def choice_map(
    candidates: Sequence[Candidate],
    link: Link | Spec,
    *,
    objective: str = "latency",
    rates_bps: Sequence[float] = (),
    loads: Sequence[float] = (1, 2, 4, 8, 16, 32),
    limits: Limits = NO_LIMITS,
) -> ChoiceMap:
    """Return the whole map over bandwidth and server load; the rest of the link stays.

    Parameters
    ----------
    link
        Or its spec (`get_link`).
    rates_bps
        Unless given 13 rates from a hundredth of the link's to a hundred times it.
    loads
        How many times as long as idle the server takes, from 0; at least one.
    limits
        That the candidates must keep.

    Raises
    ------
    PlanError
        There are no loads, a rate or a load is out of its range; else as for `select`.
    """
    link = get_link(link)
    if not loads:
        raise PlanError("a map has a row for each load of the server: there are none")
    rates = tuple(rates_bps) or tuple(link.rate_bps * 10 ** (i / 3 - 2) for i in range(13))
    kept, _ = limits.feasible(candidates)
    best = tuple(tuple(ranked(kept, link.at_rate(rate), objective, load)[0][0] for rate in rates) for load in loads)
    return ChoiceMap(link, objective, rates, tuple(loads), best)


@dataclass(frozen=True)
class Change:
    """The next value of a figure at which another candidate is as good.

    Attributes
    ----------
    what
        "rate" in bits a second, or "load".
    direction
        "below" or "above" the present value.
    """

    what: str
    direction: str
    value: float
    candidate: Candidate


def changes(choice: Choice) -> list[Change]:
    """Return what would change a choice: the nearest rate of the link and load of the server on either side, if any.

    Both costs are linear in 1 / NB, and the latency in the load: the points are exact.
    """
    check_objective(choice.objective)
    check_load(choice.load)
    found: list[Change] = []
    inverse = 1 / choice.link.rate_bps
    for candidate, value in _crossings(choice, "rate"):
        found.append(Change("rate", "above" if value < inverse else "below", 1 / value, candidate))
    for candidate, value in _crossings(choice, "load"):
        found.append(Change("load", "above" if value > choice.load else "below", value, candidate))
    return found


def _crossings(choice: Choice, what: str) -> list[tuple[Candidate, float]]:
    """The nearest values above 0, of 1 / NB or of the load, below and above the present one at which another is as good."""
    here = 1 / choice.link.rate_bps if what == "rate" else choice.load
    slope, level = _slope(choice.best, choice, what), choice.cost
    below: tuple[float, Candidate] | None = None
    above: tuple[float, Candidate] | None = None
    for candidate, its_level in choice.ranking[1:]:
        difference = slope - _slope(candidate, choice, what)
        if difference == 0:
            continue
        value = here + (its_level - level) / difference
        if difference > 0 and (above is None or value < above[0]):
            above = (value, candidate)
        if difference < 0 and value > 0 and (below is None or value > below[0]):
            below = (value, candidate)
    return [(candidate, value) for value, candidate in (pair for pair in (below, above) if pair is not None)]


def _slope(candidate: Candidate, choice: Choice, what: str) -> float:
    """How fast a cost grows, with 1 / NB or with the load."""
    if what == "load":
        return candidate.server_ms if choice.objective == "latency" else 0.0
    if candidate.kind == "local":
        return 0.0
    slope = 8e3 * candidate.size_bytes / (1 - choice.link.loss)
    # 8 D / NB (alpha NB + beta): what alpha stands for does not depend on NB
    return slope if choice.objective == "latency" else slope * (choice.link.beta_mw or 0.0) / 1e3


def relaxed(candidates: Sequence[Candidate], choice: Choice, step: float, limits: Limits) -> Choice | None:
    """Return the choice with `step` points of accuracy more to lose, where that is a cheaper one; None where it is not.

    Parameters
    ----------
    limits
        Those of the choice.

    Raises
    ------
    PlanError
        They have no `max_drop` to relax.
    """
    if limits.max_drop is None:
        raise PlanError("accuracy is relaxed from max_drop, which is not given")
    wider = dataclasses.asdict(dataclasses.replace(limits, max_drop=limits.max_drop + step))
    found = select(candidates, choice.link, objective=choice.objective, load=choice.load, **wider)
    return found if found.cost < choice.cost else None
