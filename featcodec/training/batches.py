"""Batches: samples in memory or in a mapped file, in an order that the seed and the epoch alone decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.errors import ConfigError, FeatureError
from featcodec.spec import check_int

Augment = Callable[[Tensor, torch.Generator], Tensor]


class Batches:
    """An iterable of (inputs, targets), shuffled anew every epoch.

    Parameters
    ----------
    inputs
        (N, ...) tensor, or an array, which may be mapped from a file.
    targets
        (N, ...), or None: batches then are inputs alone.
    size
        Samples a batch; the last one may be smaller.
    shuffle
        False: as they come.
    seed
        Of order and augmentation.
    transform
        What inputs go through first: bytes to normalised floats, say.
    augment
        ``augment(inputs, generator)``, random: features of augmented inputs are never cached.
    """

    def __init__(
        self,
        inputs: Tensor | NDArray[Any],
        targets: Tensor | None = None,
        size: int = 128,
        *,
        shuffle: bool = True,
        seed: int = 0,
        transform: Callable[[Tensor], Tensor] | None = None,
        augment: Augment | None = None,
    ) -> None:
        if len(inputs) == 0:
            raise FeatureError("there must be at least one sample")
        if targets is not None and len(targets) != len(inputs):
            raise ConfigError(f"inputs and targets must be as many, got {len(inputs)} and {len(targets)}")
        self.inputs, self.targets = inputs, targets
        self.batch_size = check_int("size", size, 1, 1 << 31)
        self.shuffle, self.seed, self.transform, self.augment = shuffle, seed, transform, augment
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next pass is."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.inputs) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Yield the present epoch's batches."""
        entropy = np.random.SeedSequence((self.seed, self._epoch)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(entropy >> 1))
        count = len(self.inputs)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        return self._batches(order, generator)

    def in_order(self) -> Iterator[Any]:
        """Yield the samples as they came, unaugmented."""
        return self._batches(torch.arange(len(self.inputs)), None)

    def _batches(self, order: Tensor, generator: torch.Generator | None) -> Iterator[Any]:
        for start in range(0, len(order), self.batch_size):
            indices = order[start : start + self.batch_size]
            x = self._take(indices)
            if self.transform is not None:
                x = self.transform(x)
            if self.augment is not None and generator is not None:
                x = self.augment(x, generator)
            yield x if self.targets is None else (x, self.targets[indices])

    def _take(self, indices: Tensor) -> Tensor:
        if isinstance(self.inputs, Tensor):
            return self.inputs[indices]
        return torch.from_numpy(np.ascontiguousarray(self.inputs[indices.numpy()]))


def unpack(batch: Any, needs_targets: bool) -> tuple[Tensor, Any]:
    """Return inputs and targets of a loader's batch, targets None where it has none.

    Raises
    ------
    FeatureError
        The batch is neither a tensor nor (inputs, targets), there are no targets and they are needed, or their numbers differ.
    """
    parts = (batch,) if isinstance(batch, Tensor) else tuple(batch) if isinstance(batch, (tuple, list)) else ()
    if not parts or not isinstance(parts[0], Tensor) or parts[0].ndim == 0:
        raise FeatureError(f"a loader yields tensors (B, ...) or (inputs, targets), got {type(batch).__name__}")
    inputs, targets = parts[0], parts[1] if len(parts) > 1 else None
    if needs_targets and targets is None:
        raise FeatureError("the task's loss needs targets, and the loader yields inputs alone")
    if isinstance(targets, Tensor) and targets.ndim > 0 and len(targets) != len(inputs):
        raise FeatureError(f"the loader yields {len(inputs)} inputs with {len(targets)} targets")
    return inputs, targets
