"""Sessions: what a server remembers of its clients' hellos, within its limits."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from time import monotonic

from featcodec.parts import Port
from featcodec.runtime import edge_pb2
from featcodec.runtime.hello import check_hello, entry_of
from featcodec.runtime.limits import Limits
from featcodec.runtime.refusals import Cause, RefusedError
from featcodec.runtime.served import Served
from featcodec.runtime.state import State
from featcodec.runtime.wire import agreed_on, hello_name
from featcodec.session import Session as Agreement


@dataclass(eq=False)
class Entry:
    """One of a server's tails.

    Attributes
    ----------
    name, served
        What it is called, and the tail.
    follows
        By what requests have in common: whether the output's first axes follow the batch, so that it can be taken apart.
    sample_ns
        By the same: what decoding and the tail took of a sample when a request was last run by itself.
    """

    name: str
    served: Served
    follows: dict[tuple[object, ...], bool] = field(default_factory=dict)
    sample_ns: dict[tuple[object, ...], float] = field(default_factory=dict)


@dataclass(eq=False)
class Session:
    """One session.

    Attributes
    ----------
    name
        16 bytes that the client chose.
    hello
        What the hello is called.
    agreed
        How its requests are written.
    peer
        The address that opened it.
    last_s
        When something last came for it, on the monotonic clock.
    in_flight
        Requests that are not answered.
    state
        Of a stateful entry's.
    """

    name: bytes
    hello: bytes
    entry: Entry
    ports: tuple[Port, ...]
    agreed: Agreement
    peer: str
    last_s: float
    in_flight: int = 0
    state: State | None = None


class Sessions:
    """All sessions of a server; used from its loop alone."""

    def __init__(self, entries: dict[str, Entry], limits: Limits) -> None:
        self._entries, self._limits = entries, limits
        self._served: dict[str, Served] = {name: entry.served for name, entry in entries.items()}
        self._open: OrderedDict[bytes, Session] = OrderedDict()  # what was used last is last
        self._peers: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def open(self, hello: edge_pb2.Hello, peer: str) -> Session:
        """Return the session of a hello: the same hello again is the same session.

        Raises
        ------
        RefusedError
            The two sides do not match; the session is another hello's; there are too many.
        """
        name = hello_name(hello)
        known = self._open.get(hello.session)
        if known is not None:
            return self._touched(known, name)
        entry = self._entries[entry_of(hello, self._served)]
        ports = check_hello(hello, entry.served, self._limits)
        self._make_room(peer)
        agreed = agreed_on(hello, entry.served.kinds())
        session = Session(hello.session, name, entry, ports, agreed, peer, monotonic())
        session.state = State() if entry.served.stateful else None
        self._open[session.name] = session
        self._peers[peer] += 1
        return session

    def find(self, name: bytes, hello: bytes | None) -> Session | None:
        """Return an open session; None where it is not known.

        Raises
        ------
        RefusedError
            It was opened by another hello than the one that is named.
        """
        known = self._open.get(name)
        return None if known is None else self._touched(known, hello)

    def _touched(self, session: Session, hello: bytes | None) -> Session:
        if hello is not None and hello != session.hello:
            raise RefusedError(
                Cause.OTHER_HELLO,
                f"the session was opened by the hello {session.hello.hex()}, this one is {hello.hex()}: take another session",
            )
        session.last_s = monotonic()
        self._open.move_to_end(session.name)
        return session

    def close(self, name: bytes) -> None:
        """Forget a session; nothing happens where it is not known."""
        session = self._open.pop(name, None)
        if session is not None:
            self._peers[session.peer] -= 1
            self._peers += Counter()  # drops those of which there are none

    def expire(self) -> None:
        """Forget what nothing came for, and states that were not used."""
        now = monotonic()
        for session in list(self._open.values()):
            idle = now - session.last_s
            if session.in_flight == 0 and idle > self._limits.session_s:
                self.close(session.name)
            elif session.in_flight == 0 and session.state is not None and idle > self._limits.state_s:
                session.state.lose(f"it was not used for {self._limits.state_s} s")

    def check_states(self, session: Session) -> None:
        """Raise RefusedError where a state would be one too many."""
        if session.state is None or session.state.kept:
            return
        kept = sum(s.state is not None and s.state.kept for s in self._open.values())
        if kept >= self._limits.states:
            raise RefusedError(
                Cause.TOO_MANY_STATES, f"{kept} sessions keep a state, at most {self._limits.states} do", retry_after_ms=1000
            )

    def _make_room(self, peer: str) -> None:
        limits = self._limits
        if self._peers[peer] >= limits.sessions_per_peer:
            raise RefusedError(
                Cause.TOO_MANY_SESSIONS,
                f"{peer} has {self._peers[peer]} sessions open, at most {limits.sessions_per_peer} are: close some",
                retry_after_ms=1000,
            )
        if len(self._open) < limits.sessions:
            return
        idle = next((s for s in self._open.values() if s.in_flight == 0 and not (s.state and s.state.kept)), None)
        if idle is None:
            raise RefusedError(
                Cause.TOO_MANY_SESSIONS, f"{len(self._open)} sessions are open, all of them at work", retry_after_ms=1000
            )
        self.close(idle.name)
