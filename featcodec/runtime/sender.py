"""Sender: what a client holds, be it a head in torch, a device's, or a codec behind a head of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from featcodec.message import Item, PlainTensor
from featcodec.outline import Outline


class Sender(Protocol):
    """What makes items of a message from an input. `featcodec.parts.Head` and `featcodec.device.Head` are such."""

    @property
    def fingerprint(self) -> str:
        """Of head and tail; empty where only codecs can be compared."""

    def outlines(self, crossing: Any) -> tuple[Outline, ...] | None:
        """Return what crosses; None where only a crossing would tell, and none is given."""

    @property
    def sizes(self) -> Sequence[str]:
        """Names of the sizes that cross as integers behind the tensors."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what crosses."""

    def items(self, crossing: Any) -> tuple[Item, ...]:
        """Encode it."""

    def known(self, crossing: Any) -> Any:
        """Return what of the model's output the head knows, None elsewhere."""

    def array(self, tensor: PlainTensor) -> Any:
        """Return a tensor of the output, as the head's caller has tensors."""


def call(sender: Sender, x: Any) -> Any:
    """Call a head with an input: a mapping is keyword arguments, a tuple positional ones, anything else the one argument."""
    if isinstance(x, Mapping):
        return sender(**x)
    return sender(*x) if isinstance(x, tuple) else sender(x)


def completed(output: Any, known: Any) -> Any:
    """Return the tail's output with what the head knows in place of None."""
    if output is None:
        return known
    if isinstance(output, dict) and isinstance(known, Mapping):
        return {key: completed(value, known.get(key)) for key, value in output.items()}
    if isinstance(output, (tuple, list)) and isinstance(known, (tuple, list)) and len(known) == len(output):
        return type(output)(completed(mine, theirs) for mine, theirs in zip(output, known, strict=True))
    return output
