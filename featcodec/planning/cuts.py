"""What `profile` found of a model: its cuts, what crosses at each, and what its halves cost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcodec.errors import PlanError
from featcodec.spec import near_names

FORMAT = 1


@dataclass(frozen=True)
class Tensor:
    """A tensor that crosses, or an input: of one sample, without the batch axis where that is the first."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    size_bytes: int


@dataclass(frozen=True)
class Cut:
    """A point at which a model can be cut.

    Attributes
    ----------
    name
        For people: the layer's, or the operation's where no layer ends there.
    layer
        The dotted name that `featcodec.insert` and `featcodec.export` take; None where the model's own code computes what
        crosses.
    call
        Which call of the layer, where one forward calls it several times (`featcodec.export(call=)`), else None.
    others
        Further layers that end there.
    crossing
        The tensors that the rest needs.
    elements, amplification
        Of all of them, and that over the inputs' elements.
    head_macs, head_parameters, weight_bytes
        Of the head: multiply-accumulates of one sample, parameters, bytes of all its stored tensors.
    peak_bytes
        The most that the head's inputs and results take at a time; an operation's own scratch memory is not known.
    head_ms, tail_ms
        Milliseconds of one sample on this machine: sums of operations' medians, or means where other
        processes computed beside it.
    device_ms, device_encode_ms
        The head's, and its codecs' and message's, on the device; None where no file says so.
    """

    name: str
    layer: str | None
    call: int | None
    others: tuple[str, ...]
    crossing: tuple[Tensor, ...]
    elements: int
    amplification: float
    head_macs: int
    head_parameters: int
    weight_bytes: int
    peak_bytes: int
    head_ms: float
    tail_ms: float
    device_ms: float | None
    device_encode_ms: float | None

    @property
    def memory_bytes(self) -> int:
        """What a device must hold: the head's stored tensors, and its inputs and results at their peak."""
        return self.weight_bytes + self.peak_bytes


@dataclass(frozen=True)
class ModelProfile:
    """A model's cuts, from its inputs to its outputs.

    Attributes
    ----------
    model, fingerprint
        Its class's name, and what stands for class and weights.
    inputs
        One sample's.
    total_macs, total_parameters, total_ms, peak_bytes, weight_bytes
        Of the whole model, as for a cut's head.
    machine, busy_processes, calls
        Where it was measured, how many processes computed beside it, and how often it ran.
    devices
        Layer and machine of each device's file.
    """

    model: str
    fingerprint: str
    max_tensors: int
    inputs: tuple[Tensor, ...]
    cuts: tuple[Cut, ...]
    total_macs: int
    total_parameters: int
    total_ms: float
    peak_bytes: int
    weight_bytes: int
    machine: dict[str, Any]
    busy_processes: int
    calls: int
    devices: tuple[dict[str, Any], ...]

    def at(self, layer: str) -> Cut:
        """Return the cut at which a layer ends.

        Raises
        ------
        PlanError
            There is none: more tensors than `max_tensors` cross behind it, or it is no layer; near names are given.
        """
        for cut in self.cuts:
            if layer == cut.layer or layer in cut.others:
                return cut
        known = [cut.layer for cut in self.cuts if cut.layer is not None]
        raise PlanError(
            f"{self.model} has no cut behind {layer!r} at which {self.max_tensors} tensor(s) cross; {near_names(layer, known)}"
        )

    def main_cuts(self) -> list[Cut]:
        """Return the cuts without those that cost and send the same as one behind them: of conv, norm, relu the relu.

        Of several alike the last that is a layer's stays.
        """
        kept: list[Cut] = []
        for cut in self.cuts:
            same = bool(kept) and (kept[-1].head_macs, kept[-1].elements) == (cut.head_macs, cut.elements)
            if same and (cut.layer is not None or kept[-1].layer is None):
                kept[-1] = cut
            elif not same:
                kept.append(cut)
        return kept

    def slowdown(self) -> float | None:
        """Return how many times as long the device takes as this machine, the median over its files; None without any."""
        found = sorted(cut.device_ms / cut.head_ms for cut in self.cuts if cut.device_ms is not None and cut.head_ms > 0)
        return found[len(found) // 2] if found else None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON only, under a format number."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    def write(self, path: str | Path) -> None:
        """Write it as JSON; `read_profile` reads it."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> ModelProfile:
        """Return what `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is something else.
        """
        fields = dict(found)
        if fields.pop("format") != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, this is {FORMAT}")
        cuts = [Cut(**{**cut, "others": tuple(cut["others"]), "crossing": _tensors(cut["crossing"])}) for cut in fields["cuts"]]
        return cls(**{**fields, "inputs": _tensors(fields["inputs"]), "cuts": tuple(cuts), "devices": tuple(fields["devices"])})


def _tensors(found: Any) -> tuple[Tensor, ...]:
    return tuple(Tensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in found)
