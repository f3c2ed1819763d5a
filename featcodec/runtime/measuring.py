"""measure_candidates: what each way to answer takes, measured by answering."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import fmean, median
from typing import Any

from featcodec.errors import ConfigError
from featcodec.planning.candidates import LOCAL, Candidate
from featcodec.runtime.client import Client
from featcodec.runtime.following import Sessions, Settings
from featcodec.runtime.result import Result
from featcodec.runtime.waiting import computed

ON_DEVICE = "all on the device"


def measure_candidates(
    client: Client, sessions: Sessions, inputs: Iterable[Any], *, settings: Settings | None = None, rest_s: float = 0.0
) -> list[Candidate]:
    """Return what the ways to answer take, as a Selector weighs them: every input goes every way, one after the other.

    Where the client has a fallback, it is a candidate, too, called "all on the device".

    Parameters
    ----------
    client, sessions, settings
        As for `Follower`.
    inputs
        At least two; the first one is not counted.
    rest_s
        Seconds of rest before each way. Requests that come now and then take longer than those that follow one another, whose
        code and weights are still in the caches.

    Returns
    -------
    list of Candidate
        Mean bytes of a message, and median milliseconds here and on the server: ``encode_ms`` is all that the client does
        beside the head, ``tail_ms`` has the wait for the tail. Accuracies are not known.

    Raises
    ------
    ConfigError
        There are fewer than two inputs, or a session is another client's.
    EdgeError, FeatcodecError
        As for `EdgeSession.ask`.
    """
    own = {name: client.own(session) for name, session in sessions.items()}
    results: dict[str, list[Result]] = {name: [] for name in own}
    local_ms: list[float] = []
    for x in inputs:
        for name, session in own.items():
            time.sleep(rest_s)
            if settings is not None and name in settings:
                settings[name]()
            results[name].append(session.ask(x))
        if client.fallback is not None:
            time.sleep(rest_s)
            start = time.perf_counter_ns()
            computed(client.fallback(x))
            local_ms.append((time.perf_counter_ns() - start) / 1e6)
    if any(len(found) < 2 for found in results.values()):
        raise ConfigError("at least two inputs are wanted: the first one is not counted")
    found = [_candidate(name, of[1:]) for name, of in results.items()]
    return [*found, Candidate(ON_DEVICE, 0, median(local_ms[1:]), 0.0, kind=LOCAL)] if local_ms else found


def _candidate(name: str, results: list[Result]) -> Candidate:
    timings = [result.timing for result in results]
    return Candidate(
        name,
        fmean(result.size_bytes for result in results),
        head_ms=median(of.head or 0.0 for of in timings),
        tail_ms=median((of.queue or 0.0) + (of.tail or 0.0) for of in timings),
        encode_ms=median((of.encode or 0.0) + of.uncovered for of in timings),
        decode_ms=median(of.decode or 0.0 for of in timings),
    )
