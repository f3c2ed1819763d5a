"""What the halves of a model say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from featcodec.layouts import Layout
from featcodec.parts.port import Port


@dataclass(frozen=True, eq=False)
class About:
    """What both halves say of themselves.

    Attributes
    ----------
    model, layer
        The model's class and the layer behind which it was cut: for messages to people.
    fingerprint
        32 hexadecimal digits that head and tail share: of both programs, their tensors, and the codecs with their states.
    ports, sizes
        What crosses, in order.
    call
        What the half is called with beside the crossing: parameters, and layouts of leaves.
    leaves
        For each leaf the number of the program's input, {"constant": value}, or None where the half does not need it.
    layout, outputs
        How the model's output lies, and its leaves: {"result": i}, {"known": i}, {"size": text}, {"constant": value}; None
        where the half does not know.
    example
        Open sizes at the example.
    """

    model: str
    layer: str
    fingerprint: str
    ports: tuple[Port, ...]
    sizes: tuple[str, ...]
    call: tuple[tuple[str, Layout], ...]
    leaves: tuple[Any, ...]
    layout: Layout
    outputs: tuple[Any, ...]
    example: dict[str, int]
