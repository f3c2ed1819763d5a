"""Candidates: what was measured of a cut and a codec there, as `select` weighs it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featcodec.errors import PlanError
from featcodec.spec import format_spec

if TYPE_CHECKING:
    from featcodec.evaluation import Report
    from featcodec.planning.cuts import Cut, ModelProfile

Row = Mapping[str, Any]

LOCAL, PICTURE = "local", "picture"


@dataclass(frozen=True)
class Candidate:
    """One way to answer a request. Times are one sample's.

    Attributes
    ----------
    name
        For people, and for `select`'s answer; alike for no two candidates.
    size_bytes
        D_j: what is sent; 0 where nothing is.
    head_ms, encode_ms
        TM_j, the device's work.
    decode_ms, tail_ms
        TC_j, the server's.
    layer, codec
        Where the model is cut, and the codec's config; None where all runs on the device, or all on the server.
    kind
        "split", "local" or "picture".
    accuracy
        The metric; None where not known.
    head_macs, total_macs
        Multiply-accumulates before the cut, and of the whole model; 0 where not known.
    memory_bytes
        That the device needs; None where not known.
    device_mw
        PM_j, the device's power while it computes; None where not known.

    Raises
    ------
    PlanError
        A figure is negative or no number, or the kind is none of the three.
    """

    name: str
    size_bytes: float
    head_ms: float
    tail_ms: float
    encode_ms: float = 0.0
    decode_ms: float = 0.0
    layer: str | None = None
    codec: Mapping[str, Any] | None = None
    kind: str = "split"
    accuracy: float | None = None
    head_macs: int = 0
    total_macs: int = 0
    memory_bytes: int | None = None
    device_mw: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("split", LOCAL, PICTURE):
            raise PlanError(f"a candidate is of the kind split, {LOCAL} or {PICTURE}, got {self.kind!r}")
        for name in ("size_bytes", "head_ms", "encode_ms", "decode_ms", "tail_ms", "head_macs", "device_mw"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise PlanError(f"candidate {self.name!r}: {name} is a number from 0, got {value!r}")

    @property
    def device_ms(self) -> float:
        """TM_j."""
        return self.head_ms + self.encode_ms

    @property
    def server_ms(self) -> float:
        """TC_j, of an idle server."""
        return self.decode_ms + self.tail_ms

    @property
    def share(self) -> float | None:
        """The head's share of the multiply-accumulates; None where the model's are not known."""
        return self.head_macs / self.total_macs if self.total_macs else None


def candidates_of(
    rows: Iterable[Report | Row],
    baseline: Report | Row,
    *,
    picture_bytes: float,
    picture_encode_ms: float = 0.0,
    picture_decode_ms: float = 0.0,
    profile: ModelProfile | None = None,
    slowdown: float | None = None,
    device_mw: float | None = None,
) -> list[Candidate]:
    """Return what was evaluated as candidates, all on the device and all on the server among them, in this order.

    Parameters
    ----------
    rows
        Of `featcodec.evaluate` with a codec, or the rows of a benchmark's results.json; "name" in a row is the codec's for
        people. Rows whose codec sends symbols of a radio are left out: they cost channel uses, and no bytes.
    baseline
        The same without a codec.
    picture_bytes, picture_encode_ms, picture_decode_ms
        Of a sample as the server would get it without a head.
    profile
        The model's: memory, the halves' times in place of the rows' (all cuts' are of the same runs), and the times of devices
        whose files it has.
    slowdown
        How many times as long as here the device takes for its head and encoder, where the profile has no time of its head;
        unless given what the profile's devices tell (`ModelProfile.slowdown`), else 1.
    device_mw
        The device's power while it computes.

    Raises
    ------
    PlanError
        There are no rows; a row has no figures; a metric is no single number; `slowdown` is not above 0; more than the layer's
        output must cross behind a row's layer, by the profile.
    """
    if slowdown is None:
        slowdown = (None if profile is None else profile.slowdown()) or 1.0
    check_slowdown(slowdown)
    found = [row for row in map(_row, rows) if not (row.get("stats") or {}).get("real_symbols_per_sample")]
    if not found:
        raise PlanError("there are no rows: evaluate a codec that sends bytes at a layer at least")
    whole = _row(baseline)
    total_ms, total_macs, accuracy = whole["head_ms"], whole["total_macs"], _accuracy(whole)
    if profile is not None:
        total_ms = profile.total_ms
    memory = None if profile is None else profile.weight_bytes + profile.peak_bytes
    shared: dict[str, Any] = {"accuracy": accuracy, "total_macs": total_macs, "device_mw": device_mw}
    local = Candidate(
        "all on the device", 0.0, slowdown * total_ms, 0.0, kind=LOCAL, head_macs=total_macs, memory_bytes=memory, **shared
    )
    picture = Candidate(
        "the picture to the server",
        picture_bytes,
        0.0,
        total_ms,
        slowdown * picture_encode_ms,
        picture_decode_ms,
        kind=PICTURE,
        memory_bytes=0,
        **shared,
    )
    return _unlike([local, picture, *(_candidate(row, profile, slowdown, device_mw) for row in found)])


def check_slowdown(slowdown: float) -> None:
    """Raise PlanError where a slowdown is no number above 0."""
    if not 0 < slowdown < math.inf:
        raise PlanError(f"slowdown is a number above 0, got {slowdown!r}")


def _candidate(row: Row, profile: ModelProfile | None, slowdown: float, device_mw: float | None) -> Candidate:
    try:
        stats, layer, codec = row["stats"], row["layer"], row["codec"]
        cut = None if profile is None else _only_tensor(profile, layer)
        return Candidate(
            name=f"{layer} {row.get('name') or format_spec(codec)}",
            size_bytes=stats["bits_per_sample"] / 8,
            head_ms=_head_ms(row, cut, slowdown),
            tail_ms=row["tail_ms"] if cut is None else cut.tail_ms,
            encode_ms=slowdown * stats["encode_ms"],
            decode_ms=stats["decode_ms"],
            layer=layer,
            codec=codec,
            accuracy=_accuracy(row),
            head_macs=row["head_macs"],
            total_macs=row["total_macs"],
            memory_bytes=None if cut is None else cut.memory_bytes,
            device_mw=device_mw,
        )
    except (KeyError, TypeError) as e:
        raise PlanError(f"a row is no evaluation of a codec at a layer: {type(e).__name__}: {e}") from e


def _only_tensor(profile: ModelProfile, layer: str) -> Cut:
    """The cut behind a layer whose output is all that crosses: else a row's bytes are not all that must be sent."""
    cut = profile.at(layer)
    if len(cut.crossing) > 1:
        raise PlanError(f"behind {layer!r} {len(cut.crossing)} tensors cross, a row has the bytes of the layer's output alone")
    return cut


def _head_ms(row: Row, cut: Cut | None, slowdown: float) -> float:
    """Measured on the device, else what this machine takes, times the slowdown."""
    if cut is not None and cut.device_ms is not None:
        return cut.device_ms
    here: float = row["head_ms"] if cut is None else cut.head_ms
    return slowdown * here


def _row(row: Report | Row) -> Row:
    if isinstance(row, Mapping):
        return row
    if not hasattr(row, "to_dict"):
        raise PlanError(f"a row is a Report or a mapping, got {type(row).__name__}")
    return row.to_dict()


def _accuracy(row: Row) -> float:
    if not isinstance(row.get("metric"), (int, float)):
        raise PlanError(
            f"candidates are compared by one number, this row's metric is {row.get('metric')!r}: choose one of them"
        )
    return float(row["metric"])


def _unlike(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates with a number behind a name that was there before."""
    seen: dict[str, int] = {}
    named = []
    for candidate in candidates:
        seen[candidate.name] = seen.get(candidate.name, 0) + 1
        number = seen[candidate.name]
        named.append(candidate if number == 1 else dataclasses.replace(candidate, name=f"{candidate.name} ({number})"))
    return named
