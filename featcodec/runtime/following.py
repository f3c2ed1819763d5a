"""Follower: a client whose requests go the way that a Selector decides for, by what is measured while it goes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

from featcodec.errors import ConfigError, EdgeError
from featcodec.planning.candidates import LOCAL, Candidate
from featcodec.planning.links import Link
from featcodec.planning.selector import Selector, load_of
from featcodec.runtime.client import Client
from featcodec.runtime.edge_session import EdgeSession
from featcodec.runtime.result import Result, Timing
from featcodec.runtime.waiting import computed

PROBE_S = 5.0
_RECENT = 6  # requests that tell the server's load

Sessions = Mapping[str, Client | EdgeSession]
Settings = Mapping[str, Callable[[], object]]


class Follower:
    """Picks a candidate for each request and runs it; what the client measures then is what the next one is picked by.

    The link is the client's (`Link.planned`); the server's load is what a request took there beside the candidate's idle
    times. Until the link is known every sending candidate is asked once, those of the fewest bytes first. Requests go one after
    another: each would disturb what the others measure.

    A request that no answer came to in time, or that found no server, is the fallback's, and the link counts as lost: then, as
    while all runs on the device by choice, nothing is sent but a *probe* now and then. That is an input which was answered on
    the device already, sent by the candidate of the fewest bytes in a thread beside (its head and codec run there), with the
    deadline of any request; its answer is dropped, and tells of link and load. No request waits for a probe: the
    device answers them meanwhile.

    Parameters
    ----------
    client
        Its fallback is the model on the device; a Selector with a local candidate needs one. It closes the sessions.
    selector
        Decides.
    sessions
        Of that client, by the candidates' names: the client itself is its first session. Candidates may share one.
    settings
        By the candidates' names: called before each request of the candidate. Candidates whose codec differs only in what is
        set at run time share a session: ``partial(codec.set_quality, 30)``, ``partial(setattr, codec, "level", 1)``.
    probe_s
        Seconds from one probe to the next, at the least.
    power
        A link that costs the battery what this one does: the objective energy needs it.

    Raises
    ------
    ConfigError
        A candidate has no session, a session is another client's, a setting is of no candidate that has one, or there is a
        local candidate and no fallback.
    """

    def __init__(
        self,
        client: Client,
        selector: Selector,
        sessions: Sessions,
        *,
        settings: Settings | None = None,
        probe_s: float = PROBE_S,
        power: Link | None = None,
    ) -> None:
        self._client, self._selector = client, selector
        self._sessions = {name: client.own(session) for name, session in sessions.items()}
        self._settings = dict(settings or {})
        self._probe_s, self._power = probe_s, power
        self._local = next((c for c in selector.candidates if c.kind == LOCAL), None)
        self._sending = sorted((c for c in selector.candidates if c.kind != LOCAL), key=lambda c: c.size_bytes)
        self._check()
        self._untried = deque(self._sending)
        self._loads: deque[float] = deque(maxlen=_RECENT)
        self._lost = False
        self._probe: threading.Thread | None = None
        self._next_probe_s = 0.0
        self._lock = threading.Lock()

    def _check(self) -> None:
        missing = [candidate.name for candidate in self._sending if candidate.name not in self._sessions]
        if missing:
            raise ConfigError(f"no session for {missing}: sessions are given for {sorted(self._sessions)}")
        strange = sorted(self._settings.keys() - self._sessions.keys())
        if strange:
            raise ConfigError(f"settings for {strange}, which have no session: sessions are given for {sorted(self._sessions)}")
        if self._local is not None and self._client.fallback is None:
            raise ConfigError(f"{self._local.name!r} runs on the device: give the client the model as its fallback")
        if not self._probe_s >= 0:
            raise ConfigError(f"probe_s is a number of seconds from 0, got {self._probe_s}")

    @property
    def load(self) -> float:
        """How many times as long as idle the server takes, the median of the last six requests; 1 until one was answered."""
        loads = list(self._loads)
        return median(loads) if loads else 1.0

    def infer(self, x: Any, *, deadline_s: float | None = None) -> Result:
        """Return the model's output for one input, with the name of the candidate that made it (`Result.candidate`).

        Raises
        ------
        EdgeError, FeatcodecError
            As for `EdgeSession.infer`.
        PlanError
            As for `Selector.decide`.
        """
        with self._lock:
            candidate = self._decided()
            if candidate.kind == LOCAL:
                result = self._on_device(x)
                self._probe_when_due(x)
            else:
                result = self._sent(candidate, x, deadline_s)
            is_its_own = result.source == "edge" or candidate.kind == LOCAL
            served = candidate if is_its_own else self._local
            return replace(result, candidate="" if served is None else served.name)

    def _decided(self) -> Candidate:
        if self._local is not None and self._is_probing():  # what the link is now is not known yet
            return self._local
        if not self._sending or (self._lost and self._local is not None):
            return self._selector.decide(None)
        if self._lost:
            return self._sending[0]
        if self._client.link.rate_mbit_s is None and self._untried:
            return self._untried.popleft()
        link = self._client.link.planned()
        if link is None:  # what was tried came to nothing that tells of the link
            return self._sending[0]
        if self._power is not None:
            link = replace(link, alpha_mw_per_mbps=self._power.alpha_mw_per_mbps, beta_mw=self._power.beta_mw)
        return self._selector.decide(link, self.load)

    def _on_device(self, x: Any) -> Result:
        start = time.perf_counter_ns()
        value = computed(self._client.fallback(x)) if self._client.fallback is not None else None
        return Result(0, "fallback", Timing(wall=(time.perf_counter_ns() - start) / 1e6), value=value)

    def _sent(self, candidate: Candidate, x: Any, deadline_s: float | None) -> Result:
        self._set(candidate)
        try:
            result = self._sessions[candidate.name].infer(x, deadline_s=deadline_s)
        except EdgeError as e:
            if e.cause in ("lost", "deadline"):
                self._lose()
            raise
        if result.source == "fallback":
            self._lose()
        else:
            self._lost = False
            self._learn(candidate, result)
        return result

    def _lose(self) -> None:
        """Without a candidate on the device the next request is for the fewest bytes, and what follows is decided anew."""
        self._lost = True
        self._client.link.forget()
        if self._local is None:
            self._selector.start_over()

    def _set(self, candidate: Candidate) -> None:
        if candidate.name in self._settings:
            self._settings[candidate.name]()

    def _learn(self, candidate: Candidate, result: Result) -> None:
        """What the server took; the link has seen bytes and times."""
        timing = result.timing
        took = (timing.queue or 0.0) + (timing.decode or 0.0) + (timing.tail or 0.0)
        if took > 0 and candidate.server_ms > 0:
            self._loads.append(load_of(took, candidate.server_ms))

    # ---- while nothing is sent --------------------------------------------------------------------------------------------

    def _probe_when_due(self, x: Any) -> None:
        now = time.monotonic()
        if not self._sending or self._is_probing() or now < self._next_probe_s:
            return
        self._next_probe_s = now + self._probe_s
        self._probe = threading.Thread(target=self._probed, args=(x,), name="featcodec-probe", daemon=True)
        self._probe.start()

    def _is_probing(self) -> bool:
        return self._probe is not None and self._probe.is_alive()

    def _probed(self, x: Any) -> None:
        candidate = self._sending[0]
        self._client.link.forget()
        try:
            self._set(candidate)
            result = self._sessions[candidate.name].ask(x)
        except EdgeError:
            self._lost = True
            return
        except Exception:  # of the codec or its setting: shown as an unhandled one of this thread
            self._lost = True
            raise
        self._loads.clear()
        self._learn(candidate, result)
        self._lost = False
