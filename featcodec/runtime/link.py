"""Link: what a client has measured of the network between it and the server."""

from __future__ import annotations

import threading

_WEIGHT = 1 / 16  # of the newest round trip in a mean
_SPREAD = 0.2  # sizes that differ by less than this share of their mean tell no rate


class Link:
    """What all sessions of a client have measured; planning reads it.

    Attributes
    ----------
    bytes_sent, bytes_received
        Of messages and outputs that were answered, without gRPC's frames.
    round_trips
        Requests that were answered.
    resent
        Requests that were sent once more.
    losses
        How often the server was lost: requests that found no server, or whose connection broke.
    strays
        Answers to nothing that was asked, or too late: counted, never handed on.
    round_trip_ms
        Smoothed: the network's part of a request. None until one was answered.
    rate_mbit_s, delay_ms
        What fits the round trips of differently large requests best: time = delay + bits / rate, recent ones weighing more.
        None until sizes differed enough to tell, and where larger requests took no longer.
    """

    def __init__(self) -> None:
        self.bytes_sent = self.bytes_received = self.round_trips = 0
        self.resent = self.losses = self.strays = 0
        self._lock = threading.Lock()
        self._means: tuple[float, ...] = (0.0,) * 4  # of bytes, milliseconds, bytes^2, bytes * milliseconds

    def __repr__(self) -> str:
        """Show what is known."""
        return (
            f"Link(round_trips={self.round_trips}, bytes_sent={self.bytes_sent}, bytes_received={self.bytes_received}, "
            f"round_trip_ms={self.round_trip_ms}, rate_mbit_s={self.rate_mbit_s}, delay_ms={self.delay_ms})"
        )

    def answered(self, sent: int, received: int, network_ms: float) -> None:
        """Count a round trip of so many bytes there and back."""
        size = float(sent + received)
        with self._lock:
            self.round_trips += 1
            self.bytes_sent += sent
            self.bytes_received += received
            # plain means at first, then of about the last 16
            weight = max(_WEIGHT, 1 / self.round_trips)
            new = (size, network_ms, size * size, size * network_ms)
            self._means = tuple(m + weight * (x - m) for m, x in zip(self._means, new, strict=True))

    def count(self, *, resent: int = 0, losses: int = 0, strays: int = 0) -> None:
        """Count what went wrong."""
        with self._lock:
            self.resent += resent
            self.losses += losses
            self.strays += strays

    @property
    def round_trip_ms(self) -> float | None:
        """Smoothed; None until known."""
        return self._means[1] if self.round_trips else None

    @property
    def rate_mbit_s(self) -> float | None:
        """Fitted; None until known."""
        slope = self._ms_per_byte()
        return None if slope is None else 8e-3 / slope

    @property
    def delay_ms(self) -> float | None:
        """Fitted; None until the rate is known."""
        slope = self._ms_per_byte()
        size, network = self._means[:2]
        return None if slope is None else max(network - slope * size, 0.0)

    def _ms_per_byte(self) -> float | None:
        size, network, square, product = self._means
        variance = square - size * size
        if variance <= (_SPREAD * size) ** 2:
            return None
        slope = (product - size * network) / variance
        return slope if slope > 0 else None
