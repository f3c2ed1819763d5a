"""Links between device and server: how long bytes take, and what sending costs the device's battery."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from featcodec.errors import ConfigError, PlanError
from featcodec.spec import Spec, build, near_names, parse_spec

_RATE = re.compile(r"([\d.]+(?:e[+-]?\d+)?)\s*([kmg]?)(?:bit/s|bps)", re.IGNORECASE)
_TIME = re.compile(r"([\d.]+(?:e[+-]?\d+)?)\s*(us|ms|s)")
_PREFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def _check(name: str, value: Any, above: float | None = None) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (value <= above if above is not None else value < 0):
        raise PlanError(f"a link's {name} is a number {'above' if above is not None else 'from'} {above or 0:g}, got {value!r}")


@dataclass(frozen=True)
class Link:
    """A link.

    Attributes
    ----------
    rate_bps
        Bits a second that the device sends, NB in the paper; above 0.
    rtt_ms
        From a message's last bit to the answer's, without the server's work: 0 in the paper.
    loss
        The share of what is sent that is sent again, in [0, 1): the rate shrinks by it.
    alpha_mw_per_mbps, beta_mw
        The device's power while it sends: PU = alpha_u t_u + beta with t_u in Mbit/s (BottleNet, Table 3); None: not known.
    name
        For people.

    Raises
    ------
    PlanError
        A figure is out of its range, or one of alpha and beta is given alone.
    """

    rate_bps: float
    rtt_ms: float = 0.0
    loss: float = 0.0
    alpha_mw_per_mbps: float | None = None
    beta_mw: float | None = None
    name: str = "link"

    def __post_init__(self) -> None:
        _check("rate_bps", self.rate_bps, above=0)
        _check("rtt_ms", self.rtt_ms)
        _check("loss", self.loss)
        if self.loss >= 1:
            raise PlanError(f"a link's loss is below 1, got {self.loss!r}: nothing would arrive")
        if (self.alpha_mw_per_mbps is None) != (self.beta_mw is None):
            raise PlanError("a link's power is alpha_mw_per_mbps and beta_mw, one of them is given alone")
        for name in ("alpha_mw_per_mbps", "beta_mw"):
            if (value := getattr(self, name)) is not None:
                _check(name, value)

    @property
    def power_mw(self) -> float | None:
        """PU = alpha_u t_u + beta, in mW; None where the link's power is not known."""
        if self.alpha_mw_per_mbps is None or self.beta_mw is None:
            return None
        return self.alpha_mw_per_mbps * (self.rate_bps / 1e6) + self.beta_mw

    def upload_ms(self, size_bytes: float) -> float:
        """Return 8 D / NB in milliseconds, what is lost sent again, without the round trip."""
        return 8 * size_bytes / (self.rate_bps * (1 - self.loss)) * 1e3

    def at_rate(self, rate_bps: float) -> Link:
        """Return the same link at another rate: its power follows."""
        return dataclasses.replace(self, rate_bps=rate_bps)


# What BottleNet's Table 3 has: Mbit/s, mW per Mbit/s, mW (P4.T3).
NAMED = {
    "3g": Link(1.1e6, 0.0, 0.0, 868.98, 817.88, "3G"),
    "4g": Link(5.85e6, 0.0, 0.0, 438.39, 1288.04, "4G"),
    "wifi": Link(18.88e6, 0.0, 0.0, 283.17, 132.86, "Wi-Fi"),
}


def get_link(spec: Spec | Link) -> Link:
    """Return a link by its spec.

    Parameters
    ----------
    spec
        "3g", "4g" or "wifi", BottleNet's with its rates and powers; "rate:bps=2e6", any rate; "10Mbit/s", the same;
        "shannon:snr_db=14.5,bandwidth_hz=1e6". Each takes ``rtt=5ms`` and ``loss=0.01``, the named ones ``bps`` as well.

    Raises
    ------
    ConfigError
        It is no spec, of no such link, or has other parameters.
    PlanError
        A figure is out of its range.
    """
    if isinstance(spec, Link):
        return spec
    if isinstance(spec, str) and (found := _RATE.match(spec)) and (not spec[found.end() :] or spec[found.end()] == ":"):
        spec = f"rate:bps={float(found[1]) * _PREFIX[found[2].lower()]!r}" + spec[found.end() :].replace(":", ",", 1)
    name, params = parse_spec(spec)
    made: dict[str, Callable[..., Link]] = {"rate": _of_rate, "shannon": shannon}
    if name in made:
        allowed = {"bps", "rtt", "loss"} if name == "rate" else {"snr_db", "bandwidth_hz", "rtt", "loss"}
        return _built(name, made[name], params, allowed)
    if name.lower() not in NAMED:
        raise ConfigError(f"no link {name!r}; {near_names(name.lower(), [*NAMED, *made])}, or a rate such as 10Mbit/s")
    return _built(name, lambda **given: _of_rate(base=NAMED[name.lower()], **given), params, {"bps", "rtt", "loss"})


def shannon(snr_db: float, bandwidth_hz: float, rtt: float | str = 0.0, loss: float = 0.0) -> Link:
    """Return a link that carries bandwidth log2(1 + SNR) bits a second: no code reaches more.

    Raises
    ------
    PlanError
        The bandwidth is not above 0, or a figure is no number.
    """
    _check("bandwidth_hz", bandwidth_hz, above=0)
    _check("snr_db", snr_db, above=-math.inf)
    rate = bandwidth_hz * math.log2(1 + 10 ** (snr_db / 10))
    return Link(rate, milliseconds(rtt), loss, name=f"Shannon at {snr_db:g} dB, {bandwidth_hz / 1e6:g} MHz")


def measured(transfers: Iterable[tuple[float, float]], name: str = "measured") -> Link:
    """Return the link that (bytes, seconds) of requests tell of: seconds = rtt + 8 bytes / rate, by least squares.

    Parameters
    ----------
    transfers
        Bytes sent, and seconds from the first of them to the answer without the server's own work. Where all are of one
        size the round trip is not told apart from the rate, and is taken as 0; so it is where the fit gives less.

    Raises
    ------
    PlanError
        There are none; seconds are not above 0; more bytes took no longer, so that no rate can be told.
    """
    found = [(float(size), float(seconds)) for size, seconds in transfers]
    if not found or any(not (size >= 0 and 0 < seconds < math.inf) for size, seconds in found):
        raise PlanError(f"a link is measured by pairs (bytes, seconds above 0), got {found[:4]}")
    mean = [sum(pair[i] for pair in found) / len(found) for i in (0, 1)]
    spread = sum((size - mean[0]) ** 2 for size, _ in found)
    together = sum((size - mean[0]) * (seconds - mean[1]) for size, seconds in found)
    per_byte = together / spread if spread > 0 else mean[1] / mean[0] if mean[0] > 0 else 0.0
    rtt_s = mean[1] - per_byte * mean[0] if spread > 0 else 0.0
    if rtt_s < 0:
        per_byte, rtt_s = mean[1] / mean[0], 0.0
    if per_byte <= 0:
        raise PlanError(f"no rate can be told from {len(found)} requests of which the larger took no longer: send more bytes")
    return Link(8 / per_byte, 1e3 * rtt_s, name=name)


def milliseconds(value: float | str) -> float:
    """Return a duration in milliseconds: a number of them, or "5ms", "0.1s", "20us".

    Raises
    ------
    PlanError
        It is no duration.
    """
    if isinstance(value, str):
        found = _TIME.fullmatch(value)
        if found is None:
            raise PlanError(f"a duration is written 5ms, 0.1s or 20us, got {value!r}")
        return float(found[1]) * _MILLISECONDS[found[2]]
    return value


def _of_rate(bps: float | None = None, rtt: float | str = 0.0, loss: float = 0.0, base: Link | None = None) -> Link:
    if bps is None and base is None:
        raise PlanError("a link needs its rate: rate:bps=2e6")
    if base is None:
        return Link(bps or 0.0, milliseconds(rtt), loss)
    return dataclasses.replace(base, rate_bps=base.rate_bps if bps is None else bps, rtt_ms=milliseconds(rtt), loss=loss)


def _built(name: str, make: Callable[..., Link], params: dict[str, Any], allowed: set[str]) -> Link:
    made: Link = build("link", name, make, params, allowed)
    return made
