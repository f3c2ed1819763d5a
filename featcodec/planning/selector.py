"""Selector: the choice made anew while link and server change, without flapping."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from featcodec.errors import PlanError
from featcodec.planning.candidates import LOCAL, Candidate
from featcodec.planning.choices import ranked
from featcodec.planning.cost import check_objective, cost, latency_ms
from featcodec.planning.limits import Limits
from featcodec.planning.links import Link, get_link
from featcodec.spec import Spec


class Selector:
    """Decides which candidate the next request is for.

    Another candidate is taken where it has been cheaper than the present one by `margin` in `patience` decisions running: so
    a link that swings around a point where two are alike does not make it swing, too. May be asked from many threads.

    Parameters
    ----------
    candidates
        Those that both ends have.
    objective
        As for `select`.
    margin
        By what share of the present one's cost another must be cheaper, in [0, 1).
    patience
        In how many decisions running; 1 switches at once.
    within_ms
        Of the candidates whose latency keeps to this the most accurate is taken, the cheapest of equals; where none does, the
        cheapest of all. One that does not keep to it any more is left after `patience` decisions; a more accurate one must keep
        to it by the margin. None: the cheapest.
    max_drop, min_accuracy, max_share, max_memory_bytes
        As in `Limits`.

    Attributes
    ----------
    candidates
        Those that keep the limits.

    Raises
    ------
    PlanError
        As for `select`; margin, patience or `within_ms` is out of its range; an accuracy is not known, which `within_ms` needs.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        objective: str = "latency",
        margin: float = 0.1,
        patience: int = 3,
        within_ms: float | None = None,
        max_drop: float | None = None,
        min_accuracy: float | None = None,
        max_share: float | None = None,
        max_memory_bytes: float | None = None,
    ) -> None:
        check_objective(objective)
        if not 0 <= margin < 1 or isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise PlanError(f"margin lies in [0, 1) and patience is an integer from 1, got {margin!r} and {patience!r}")
        kept, _ = Limits(max_drop, min_accuracy, max_share, max_memory_bytes).feasible(candidates)
        self.candidates = tuple(kept)
        self._accuracies = {} if within_ms is None else self._known_accuracies(within_ms)
        self._objective, self._margin, self._patience, self._within_ms = objective, margin, patience, within_ms
        self._lock = threading.Lock()
        self._current: Candidate | None = None
        self._better = 0

    @property
    def current(self) -> Candidate | None:
        """What was decided last; None before the first decision."""
        return self._current

    def decide(self, link: Link | Spec | None, load: float = 1.0) -> Candidate:
        """Return the candidate for the next request.

        Parameters
        ----------
        link
            As it is now (`featcodec.planning.measured`), or a spec; None where there is none: then all runs on the device.
        load
            The server's: how many times as long as idle it takes.

        Raises
        ------
        PlanError
            There is no link, and no candidate that needs none; a power is not known.
        """
        with self._lock:
            if link is None:
                self._current, self._better = self._without_link(), 0
            else:
                self._current = self._decided(get_link(link), load)
            return self._current

    def start_over(self) -> None:
        """Take the best one at the next decision, whatever the present one is."""
        with self._lock:
            self._current, self._better = None, 0

    def _decided(self, link: Link, load: float) -> Candidate:
        best = self._best(link, load)
        if self._current is None or best is self._current:
            self._better = 0
            return best
        self._better = self._better + 1 if self._is_better(best, self._current, link, load) else 0
        if self._better < self._patience:
            return self._current
        self._better = 0
        return best

    def _best(self, link: Link, load: float) -> Candidate:
        ranking = [candidate for candidate, _ in ranked(self.candidates, link, self._objective, load)]
        fitting = [candidate for candidate in ranking if self._keeps_to_it(candidate, link, load)]
        return max(fitting, key=lambda candidate: self._accuracies[candidate.name]) if fitting else ranking[0]

    def _keeps_to_it(self, candidate: Candidate, link: Link, load: float) -> bool:
        """Whether a candidate's latency is in time; by the margin where it is more accurate than the present one."""
        if self._within_ms is None:
            return False
        share = 1 - self._margin if self._gain(candidate) > 0 else 1.0
        return latency_ms(candidate, link, load) <= share * self._within_ms

    def _gain(self, candidate: Candidate) -> float:
        """By how much a candidate is more accurate than the present one, where that counts."""
        if self._current is None or not self._accuracies:
            return 0.0
        return self._accuracies[candidate.name] - self._accuracies[self._current.name]

    def _is_better(self, best: Candidate, present: Candidate, link: Link, load: float) -> bool:
        """Whether by so much that it counts."""
        if self._keeps_to_it(best, link, load) and (self._gain(best) > 0 or not self._keeps_to_it(present, link, load)):
            return True
        least, most = (cost(candidate, link, self._objective, load) for candidate in (best, present))
        return least < (1 - self._margin) * most

    def _known_accuracies(self, within_ms: float) -> dict[str, float]:
        if not 0 < within_ms < math.inf:
            raise PlanError(f"within_ms is a number of milliseconds above 0, got {within_ms!r}")
        known = {candidate.name: candidate.accuracy for candidate in self.candidates if candidate.accuracy is not None}
        unknown = [candidate.name for candidate in self.candidates if candidate.name not in known]
        if unknown:
            raise PlanError(f"within_ms chooses by accuracy, which is not known of {unknown[0]!r}")
        return known

    def _without_link(self) -> Candidate:
        local = [candidate for candidate in self.candidates if candidate.kind == LOCAL]
        if not local:
            raise PlanError("there is no link, and of the candidates that keep the limits none runs on the device alone")
        return min(local, key=lambda candidate: candidate.device_ms)


def load_of(server_ms: float, idle_ms: float) -> float:
    """Return a server's load from how long it took and takes when idle, at least 1.

    Raises
    ------
    PlanError
        A time is not above 0.
    """
    if not (0 < server_ms < math.inf and 0 < idle_ms < math.inf):
        raise PlanError(f"a load is told from times above 0, got {server_ms!r} and {idle_ms!r} ms")
    return max(1.0, server_ms / idle_ms)
