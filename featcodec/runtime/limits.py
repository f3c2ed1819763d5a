"""Limits: what a server takes before it says no."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """What a server takes; every one is at least 1 (counts, bytes) or above 0 (seconds).

    Attributes
    ----------
    message_bytes
        Of one request, and of one answer.
    elements
        Of all tensors of one request, and of the requests that are run together.
    in_flight, in_flight_bytes
        Requests that are accepted and not answered: how many, and the bytes of their bodies.
    in_flight_per_client
        Of one connection. A stream is not read on while it has as many unanswered, or answered and not taken.
    sessions, sessions_per_peer
        Open at a time: in all, and from one address. One that nothing is in flight of, and that keeps no state, makes room for
        another once all are taken.
    streams
        Streams open at a time.
    calls, calls_per_connection
        Calls open at a time, streams among them: in all, and on one connection.
    session_s
        A session that nothing came for is forgotten.
    receive_s
        A call's message is to be there after it.
    send_s
        An answer on a stream is to be taken after it.
    answers, answer_bytes, answer_s
        Answers that are kept for requests that come again: how many and how many bytes in all, and for how long.
    states, state_bytes, state_s
        Sessions that keep a state at the tail: how many, bytes of each, and how long it is kept after its last step.
    """

    message_bytes: int = 32 << 20
    elements: int = 1 << 24
    in_flight: int = 256
    in_flight_bytes: int = 256 << 20
    in_flight_per_client: int = 64
    sessions: int = 4096
    sessions_per_peer: int = 256
    streams: int = 256
    calls: int = 1024
    calls_per_connection: int = 128
    session_s: float = 600.0
    receive_s: float = 30.0
    send_s: float = 30.0
    answers: int = 1024
    answer_bytes: int = 4 << 20
    answer_s: float = 60.0
    states: int = 64
    state_bytes: int = 256 << 20
    state_s: float = 300.0

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through."""
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
                raise ValueError(f"{field.name} must be {'an integer of at least 1' if whole else 'above 0'}, got {value!r}")
