"""Selector: the choice made anew while link and server change, without flapping."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from featcodec.errors import PlanError
from featcodec.planning.candidates import LOCAL, Candidate
from featcodec.planning.choices import ranked
from featcodec.planning.cost import check_objective, cost
from featcodec.planning.limits import Limits
from featcodec.planning.links import Link


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
    max_drop, min_accuracy, max_share, max_memory_bytes
        As in `Limits`.

    Raises
    ------
    PlanError
        As for `select`; margin or patience is out of its range.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        objective: str = "latency",
        margin: float = 0.1,
        patience: int = 3,
        max_drop: float | None = None,
        min_accuracy: float | None = None,
        max_share: float | None = None,
        max_memory_bytes: float | None = None,
    ) -> None:
        check_objective(objective)
        if not 0 <= margin < 1 or isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise PlanError(f"margin lies in [0, 1) and patience is an integer from 1, got {margin!r} and {patience!r}")
        self._candidates, _ = Limits(max_drop, min_accuracy, max_share, max_memory_bytes).feasible(candidates)
        self._objective, self._margin, self._patience = objective, margin, patience
        self._lock = threading.Lock()
        self._current: Candidate | None = None
        self._better = 0

    @property
    def current(self) -> Candidate | None:
        """What was decided last; None before the first decision."""
        return self._current

    def decide(self, link: Link | None, load: float = 1.0) -> Candidate:
        """Return the candidate for the next request.

        Parameters
        ----------
        link
            As it is now (`featcodec.planning.measured`); None where there is none: then all runs on the device.
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
                self._current = self._decided(link, load)
            return self._current

    def _decided(self, link: Link, load: float) -> Candidate:
        best, least = ranked(self._candidates, link, self._objective, load)[0]
        if self._current is None or best is self._current:
            self._better = 0
            return best
        present = cost(self._current, link, self._objective, load)
        self._better = self._better + 1 if least < (1 - self._margin) * present else 0
        if self._better < self._patience:
            return self._current
        self._better = 0
        return best

    def _without_link(self) -> Candidate:
        local = [candidate for candidate in self._candidates if candidate.kind == LOCAL]
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
