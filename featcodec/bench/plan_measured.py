"""What ``featcodec infer --json`` measured, for ``featcodec plan``: the link, and latencies beside predicted ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcodec.errors import PlanError
from featcodec.planning import Candidate, Link, latency_ms, measured
from featcodec.planning.text import columns, duration
from featcodec.spec import format_spec


@dataclass(frozen=True)
class Run:
    """A run of the client: medians.

    Attributes
    ----------
    layer, codec
        Where its head ends, and the config of the codec there.
    size_bytes, network_ms, wall_ms
        Of a message; the network's part of a request; from an input to its result.
    """

    layer: str
    codec: dict[str, Any]
    size_bytes: float
    network_ms: float
    wall_ms: float

    def __str__(self) -> str:
        """Name the cut and the codec."""
        return f"{self.layer} {format_spec(self.codec)}"


def read_run(path: Path) -> Run:
    """Read what ``featcodec infer --json`` printed.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PlanError
        It is something else; nothing was answered; several tensors cross, which no candidate has.
    """
    lines = path.read_text().splitlines()
    try:
        said = json.loads(lines[-1])
        (codec,) = map(dict, said["codecs"])
        network_ms, wall_ms = (float(said["ms"][name]["median"]) for name in ("network", "wall"))
        return Run(str(said["layer"]), codec, float(said["bytes"]), network_ms, wall_ms)
    except (IndexError, ValueError, KeyError, TypeError) as e:
        raise PlanError(f"{path} is no answered run of featcodec infer --json with one codec: {type(e).__name__}: {e}") from e


def link_of_runs(runs: Sequence[Run]) -> Link:
    """Return the link that runs of different sizes tell of; errors are those of `measured`."""
    return measured([(run.size_bytes, run.network_ms / 1e3) for run in runs])


def compared(runs: Sequence[Run], candidates: Sequence[Candidate], link: Link, load: float) -> list[dict[str, Any]]:
    """Return for each run the candidate that it was of, and its latency as predicted and as measured.

    Raises
    ------
    PlanError
        A run is of none of the candidates.
    """
    rows = []
    for run in runs:
        own = [c for c in candidates if c.layer == run.layer and c.codec is not None and dict(c.codec) == run.codec]
        if not own:
            raise PlanError(f"a run is of {run}, which is no candidate: name it by --layer and --codec")
        # of several qualities of one codec, the one that sent as much
        candidate = min(own, key=lambda c: abs(c.size_bytes - run.size_bytes))
        predicted = latency_ms(candidate, link, load)
        rows.append({"name": candidate.name, "predicted_ms": predicted, "measured_ms": run.wall_ms, "bytes": run.size_bytes})
    return rows


def lines(rows: Sequence[dict[str, Any]], width: int) -> list[str]:
    """Return these as a table."""
    cells = [
        [
            row["name"],
            duration(row["predicted_ms"]),
            duration(row["measured_ms"]),
            f"{row['predicted_ms'] / row['measured_ms'] - 1:+.0%}",
            f"{row['bytes']:,.0f}",
        ]
        for row in rows
    ]
    return ["", *columns(["ms from input to output", "predicted", "measured", "off", "bytes sent"], cells, width)]
