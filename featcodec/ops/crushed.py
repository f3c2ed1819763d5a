"""Crushed tokens: those of which less arrived than was lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec import _core
from featcodec.ops.blocks import samples_of_a_block
from featcodec.spec import format_spec


class Crushed(NamedTuple):
    """How many tokens of a batch were crushed.

    Attributes
    ----------
    tokens
        Tokens of one sample: the rows of a feature (T, D); any other sample is one.
    total
        Crushed ones of all samples.
    most
        Crushed ones of the sample that has the most.
    """

    tokens: int
    total: int
    most: int

    def __str__(self) -> str:
        """Say it of the worst sample, and what to do."""
        return (
            f"crushes {self.most} of a sample's {self.tokens} tokens: more of them is lost than arrives. Where one range "
            "serves small values and large ones, give each token its own (axis=token of bitpack, huffman, rans, context, "
            "auto); else take more bits or a finer step"
        )


class Watch:
    """What keeps an eye on one codec: looks seldom, warns once. Threads may look a few times more."""

    def __init__(self) -> None:
        self._looks = 0
        self._has_warned = False

    def is_due(self) -> bool:
        """Return True the first time, then the 2nd, the 4th, the 8th; never after a warning."""
        self._looks += 1
        return not self._has_warned and self._looks & (self._looks - 1) == 0

    def see(self, crushed: Crushed, config: Callable[[], Mapping[str, Any]]) -> None:
        """Warn where more than half of a sample's tokens were crushed by the codec of this config.

        Not of samples that are one token: of maps a few bits lose more than half by design, and may leave the task whole.
        """
        if crushed.tokens > 1 and 2 * crushed.most > crushed.tokens and not self._has_warned:
            self._has_warned = True
            warnings.warn(f"codec {format_spec(config())!r} {crushed}", RuntimeWarning, stacklevel=4)


def crushed_in(x: Tensor, y: Tensor) -> Crushed:
    """Count the tokens with |x - y|^2 > |x - mean x|^2 / 2, the mean that of the token.

    Parameters
    ----------
    x, y
        (B, ...) float, what was given and what arrived, on one device.
    """
    samples, tokens = x.shape[0], x.shape[1] if x.ndim == 3 else 1
    if x.is_cpu:
        ours, theirs = _rows(x, samples, tokens), _rows(y, samples, tokens)
        counts = [_core.crushed_tokens(ours[i], theirs[i]) for i in range(samples)]
        return Crushed(tokens, sum(counts), max(counts))
    size = samples_of_a_block(x)
    parts = [slice(start, start + size) for start in range(0, samples, size)]
    crushed: list[int] = torch.cat([_crushed_of_samples(x.detach()[p], y.detach()[p], tokens) for p in parts]).tolist()
    return Crushed(tokens, sum(crushed), max(crushed))


def _crushed_of_samples(x: Tensor, y: Tensor, tokens: int) -> Tensor:
    a, b = (v.double().reshape(len(v), tokens, -1) for v in (x, y))
    lost, given = (a - b).square().sum(2), (a - a.mean(2, keepdim=True)).square().sum(2)
    return (lost > 0.5 * given).sum(1)


def _rows(x: Tensor, samples: int, tokens: int) -> NDArray[np.float32]:
    if x.dtype is not torch.float32 or x.requires_grad or x.is_neg() or not x.is_contiguous():
        x = x.detach().resolve_neg().float().contiguous()
    rows: NDArray[np.float32] = x.numpy().reshape(samples, tokens, -1)
    return rows
