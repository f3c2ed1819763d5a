"""Where each channel of a network goes: which filters make it, which layers read it, and what may be taken out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """An operation whose channels are known.

    Attributes
    ----------
    kind
        "conv", "norm", "linear", "add", "multiply", "join", "same" (zero stays zero), "shift" (it does not).
    inputs
        Steps whose outputs it takes; None for what has no known channels.
    ids
        (channels,): which channel each one is; channels that only go together have one root (`ChannelGraph.root`).
    parameters
        Names by role: weight, bias, mean, var.
    macs
        Multiply-accumulates a sample for one channel read and one channel made (of a convolution); 0 of all else.
    groups, reads
        Of a convolution: groups, and channels that each filter reads.
    in_head
        Whether it runs before the cut.
    """

    kind: str
    inputs: tuple[int | None, ...]
    ids: Ids
    parameters: dict[str, str] = field(default_factory=dict)
    macs: int = 0
    groups: int = 1
    reads: int = 0
    in_head: bool = False


class ChannelGraph:
    """The channels of a model that is cut after a layer.

    `featcodec.planning.channel_rules.channel_graph` makes it.

    Attributes
    ----------
    layer
        Dotted name.
    steps
        In order of execution.
    axes
        By (name, axis) of a parameter or buffer: the channel at each index.
    reads
        Pairs of a step and the channels at its output that a convolution or a linear layer sums over.
    head_macs
        Of one sample, unpruned (`featcodec.macs.profile`).
    feature_shape
        What crosses, of one sample.
    crossing
        Its channels; None where they are not known.
    """

    def __init__(self, layer: str, head_macs: int, feature_shape: tuple[int, ...]) -> None:
        self.layer, self.head_macs, self.feature_shape = layer, head_macs, feature_shape
        self.steps: list[Step] = []
        self.axes: dict[tuple[str, int], Ids] = {}
        self.reads: list[tuple[int, Ids]] = []
        self.crossing: Ids | None = None
        self._parents: list[int] = []
        self._fixed: set[int] = set()

    @property
    def convolutions(self) -> list[Step]:
        """The head's convolutions that can be pruned, each weight once, in order."""
        found = {s.parameters["weight"]: s for s in self.steps if s.kind == "conv" and s.in_head}
        return list(found.values())

    def root(self, channel: int) -> int:
        """Return the one that stands for a channel and all that go with it."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def removable(self, zero: list[NDArray[np.bool_]]) -> set[int]:
        """Return the roots of channels that can be dropped, where `zero` says for each step which channels are always 0.

        They meet known operations only, and whoever reads them reads nothing but zeros.
        """
        kept = {self.root(channel) for channel in self._fixed}
        for step, ids in self.reads:
            kept |= {self.root(int(c)) for c, is_zero in zip(ids, zero[step], strict=True) if not is_zero}
        return {self.root(int(c)) for ids in self.axes.values() for c in ids} - kept

    def new(self, count: int, fixed: bool = False) -> Ids:
        """Return as many new channels."""
        first = len(self._parents)
        self._parents += range(first, first + count)
        ids = np.arange(first, first + count, dtype=np.int64)
        if fixed:
            self.fix(ids)
        return ids

    def fix(self, ids: Iterable[int]) -> None:
        """Never drop these channels."""
        self._fixed |= {int(c) for c in ids}

    def unite(self, a: Ids, b: Ids) -> None:
        """Let channels go together, one by one."""
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            self._parents[self.root(x)] = self.root(y)
