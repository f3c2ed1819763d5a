"""What a candidate costs on a link: BottleNet's formulas, in milliseconds or millijoules."""

from __future__ import annotations

import math
from dataclasses import dataclass

from featcodec.errors import PlanError
from featcodec.planning.candidates import Candidate
from featcodec.planning.links import Link

OBJECTIVES = ("latency", "energy")
UNITS = {"latency": "ms", "energy": "mJ"}


@dataclass(frozen=True)
class Parts:
    """Milliseconds of a request by what they are for; their sum is its latency."""

    head_ms: float
    encode_ms: float
    upload_ms: float
    rtt_ms: float
    decode_ms: float
    tail_ms: float

    @property
    def total_ms(self) -> float:
        """T_j."""
        return (self.head_ms + self.encode_ms) + (self.upload_ms + self.rtt_ms) + (self.decode_ms + self.tail_ms)


def parts(candidate: Candidate, link: Link, load: float = 1.0) -> Parts:
    """Return a request's milliseconds, the server's `load` times an idle one's; what sends nothing waits for no link."""
    crosses = candidate.kind != "local"
    return Parts(
        candidate.head_ms,
        candidate.encode_ms,
        link.upload_ms(candidate.size_bytes) if crosses else 0.0,
        link.rtt_ms if crosses else 0.0,
        load * candidate.decode_ms,
        load * candidate.tail_ms,
    )


def latency_ms(candidate: Candidate, link: Link, load: float = 1.0) -> float:
    """Return T_j = TM_j + 8 D_j / NB + TC_j (BottleNet, Algorithm 1), and the link's round trip where something is sent."""
    return parts(candidate, link, load).total_ms


def energy_mj(candidate: Candidate, link: Link) -> float:
    """Return the device's E_j = TM_j PM_j + (8 D_j / NB) PU (BottleNet, Algorithm 1), in mJ.

    Raises
    ------
    PlanError
        The device's power while it computes, or the link's while it sends, is not known.
    """
    if candidate.device_mw is None and candidate.device_ms > 0:
        raise PlanError(f"energy needs the device's power while it computes: {candidate.name!r} has no device_mw")
    power = link.power_mw
    if power is None and candidate.size_bytes > 0:
        raise PlanError(f"energy needs the power of sending: {link.name} has no alpha_mw_per_mbps and beta_mw")
    sending = link.upload_ms(candidate.size_bytes) * power if power is not None and candidate.kind != "local" else 0.0
    return (candidate.device_ms * (candidate.device_mw or 0.0) + sending) / 1e3


def cost(candidate: Candidate, link: Link, objective: str = "latency", load: float = 1.0) -> float:
    """Return `latency_ms` or `energy_mj`.

    Raises
    ------
    PlanError
        There is no such objective; the load is not from 0; energy is asked for and a power is not known.
    """
    check_objective(objective)
    check_load(load)
    return latency_ms(candidate, link, load) if objective == "latency" else energy_mj(candidate, link)


def check_objective(objective: str) -> None:
    """Raise PlanError where there is no such objective."""
    if objective not in OBJECTIVES:
        raise PlanError(f"an objective is {' or '.join(OBJECTIVES)}, got {objective!r}")


def check_load(load: float) -> None:
    """Raise PlanError where a load is no number from 0."""
    if isinstance(load, bool) or not isinstance(load, (int, float)) or not 0 <= load < math.inf:
        raise PlanError(f"a server's load is a number from 0 (1: idle, 2: it takes twice as long), got {load!r}")
