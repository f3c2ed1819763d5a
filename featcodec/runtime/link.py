"""Link: what a client has measured of the network between it and the server."""

from __future__ import annotations

import threading
from collections import deque
from statistics import median
from typing import NamedTuple

from featcodec.planning.links import Link as PlannedLink

_RECENT = 6  # requests that tell how the link is now
_SPREAD = 0.5  # sizes that differ by less than this share of the larger one, as those of one codec may, tell no rate
_ENOUGH = 2  # of each size, to overturn what two sizes told before
_JITTER_MS = 1.0  # differences below it tell nothing
_TOLERANCE = 0.2  # of a round trip: what is within it is no change
_LEAST = 0.01  # of a round trip: what is left to the bytes, at the least


class _Told(NamedTuple):
    """What the recent round trips tell: milliseconds without a byte, and those a byte adds; `known`: by sizes that differed."""

    delay_ms: float
    ms_a_byte: float
    known: bool

    def ms(self, size: float) -> float:
        """Return what a round trip of so many bytes takes."""
        return self.delay_ms + self.ms_a_byte * size

    def fits(self, size: float, ms: float, chance_ms: float = 0.0) -> bool:
        """Whether a round trip of so many bytes may take so long."""
        expected = self.ms(size)
        return abs(ms - expected) <= max(chance_ms, 3 * _JITTER_MS, _TOLERANCE * expected)


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
        The network's part of a request, the median of the last six at most that tell of the link as it is. None until one was
        answered, and behind `forget`.
    rate_mbit_s, delay_ms
        What these round trips tell: time = delay + bits sent / rate. What two sizes told is held while one size is sent and
        takes as long as that says. None until larger requests were seen to take longer by more than chance, and after smaller
        ones that got quicker: then the rate has risen, nobody knows how far.
    """

    def __init__(self) -> None:
        self.bytes_sent = self.bytes_received = self.round_trips = 0
        self.resent = self.losses = self.strays = 0
        self._lock = threading.Lock()
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)  # bytes sent, milliseconds
        self._told: _Told | None = None
        self._has_fitted = False

    def __repr__(self) -> str:
        """Show what is known."""
        return (
            f"Link(round_trips={self.round_trips}, bytes_sent={self.bytes_sent}, bytes_received={self.bytes_received}, "
            f"round_trip_ms={self.round_trip_ms}, rate_mbit_s={self.rate_mbit_s}, delay_ms={self.delay_ms})"
        )

    def answered(self, sent: int, received: int, network_ms: float) -> None:
        """Count a round trip of so many bytes there and back."""
        with self._lock:
            self.round_trips += 1
            self.bytes_sent += sent
            self.bytes_received += received
            self._recent.append((sent, network_ms))
            self._told = self._newly_told()

    def _newly_told(self) -> _Told:
        """What two sizes tell; else what was told, while the newest round trips fit it."""
        recent, before = list(self._recent), self._told
        sizes = [size for size, _ in recent]
        middle = (min(sizes) + max(sizes)) / 2
        small, large = ([pair for pair in recent if (pair[0] > middle) is above] for above in (False, True))
        if large and max(sizes) - min(sizes) >= _SPREAD * max(sizes):
            if before is not None and self._has_fitted and min(len(small), len(large)) < _ENOUGH:
                return before  # the next one of this size tells
            fitted = _fitted(_middle(small), _middle(large))
            self._has_fitted |= fitted.known
            if fitted.known or not self._has_fitted:
                return fitted
        told = _held(_middle(large if sizes[-1] > middle else small), before)
        if before is not None and told is not before:  # the link is another one: what it was like before tells nothing
            self._recent = deque((pair for pair in recent if pair is recent[-1] or told.fits(*pair)), _RECENT)
        return told

    def forget(self) -> None:
        """Take what comes next for the link as it is: after a pause, what was measured before it tells nothing of now."""
        with self._lock:
            self._recent.clear()

    def count(self, *, resent: int = 0, losses: int = 0, strays: int = 0) -> None:
        """Count what went wrong."""
        with self._lock:
            self.resent += resent
            self.losses += losses
            self.strays += strays

    def planned(self) -> PlannedLink | None:
        """Return the link as planning takes it; None until a request was answered.

        Its round trip is the delay, 0 while nothing tells it; where the rate is not known it is what is likely.
        """
        told = self._told
        return None if told is None else PlannedLink(8e3 / told.ms_a_byte, told.delay_ms, name="measured")

    @property
    def round_trip_ms(self) -> float | None:
        """The median; None until known."""
        recent = list(self._recent)
        return median(ms for _, ms in recent) if recent else None

    @property
    def rate_mbit_s(self) -> float | None:
        """None until known."""
        return 8e-3 / self._told.ms_a_byte if self._told is not None and self._told.known else None

    @property
    def delay_ms(self) -> float | None:
        """None until the rate is known."""
        return self._told.delay_ms if self._told is not None and self._told.known else None


class _Middle(NamedTuple):
    """Median size and time of round trips, and the times' median deviation: one slow one changes little."""

    size: float
    ms: float
    deviation_ms: float


def _middle(pairs: list[tuple[int, float]]) -> _Middle:
    ms = max(median(ms for _, ms in pairs), 1e-3)
    return _Middle(max(median(size for size, _ in pairs), 1.0), ms, median(abs(time - ms) for _, time in pairs))


def _fitted(small: _Middle, large: _Middle) -> _Told:
    """Delay and rate; not known where the larger ones took no longer than by chance.

    Nor are they where the small ones took less time than their bytes should: then the link has changed between.
    """
    longer_ms = large.ms - small.ms
    slope = max(longer_ms, _LEAST * large.ms) / (large.size - small.size)
    delay = min(small.ms - slope * small.size, large.ms)
    by_chance = longer_ms < 3 * max(_JITTER_MS, small.deviation_ms, large.deviation_ms)
    return _Told(max(delay, 0.0), slope, known=not by_chance and delay >= 0)


def _held(now: _Middle, before: _Told | None) -> _Told:
    """What one size tells, where it is no chance.

    A longer time is put down to the rate. So is a shorter one where the bytes take most of it; else their share cannot be told,
    and is taken for next to nothing: who then sends more finds out.
    """
    if before is None:
        return _Told(0.0, now.ms / now.size, known=False)
    chance_ms = 3 * max(_JITTER_MS, now.deviation_ms)
    if before.fits(now.size, now.ms, chance_ms):
        return before
    can_tell = now.ms - before.delay_ms > chance_ms
    delay = before.delay_ms if can_tell else (1 - _LEAST) * now.ms
    return _Told(delay, (now.ms - delay) / now.size, can_tell and before.known)
