"""Batches: samples in memory or in a mapped file, in an order that the seed and the epoch alone decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.errors import ConfigError, FeatureError
from featcodec.inputs import batch_size, tensors
from featcodec.inputs import unpack as split_batch
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
        order = torch.randperm(count, generator=generator, device="cpu") if self.shuffle else torch.arange(count, device="cpu")
        return self._batches(order, generator)

    def in_order(self) -> Iterator[Any]:
        """Yield the samples as they came, unaugmented."""
        return self._batches(torch.arange(len(self.inputs), device="cpu"), None)

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


def unpack(batch: Any, needs_targets: bool, batch_axis: int = 0) -> tuple[Any, Any, int]:
    """Return inputs (as for `featcodec.inputs.call`), targets and number of samples of a loader's batch.

    Parameters
    ----------
    needs_targets
        Whether None will not do, which targets are where the batch has none.
    batch_axis
        Of inputs too, where targets are as many as that axis is long.

    Raises
    ------
    FeatureError
        It is no batch (`featcodec.inputs.unpack`), there are no targets and they are needed, or their numbers differ.
    """
    inputs, targets = split_batch(batch)
    samples = batch_size(inputs)
    if samples is None:
        got = f"{type(inputs).__name__} of no tensor with an axis"
        raise FeatureError(f"a loader yields tensors (B, ...), tuples or mappings of them, or (inputs, targets), got {got}")
    if needs_targets and targets is None:
        raise FeatureError("the task's loss needs targets, and the loader yields inputs alone")
    if isinstance(targets, Tensor) and targets.ndim > 0 and len(targets) != samples:
        if batch_axis == 0 or all(x.ndim <= batch_axis or x.shape[batch_axis] != len(targets) for x in tensors(inputs)):
            raise FeatureError(f"the loader yields {samples} inputs with {len(targets)} targets")
        samples = len(targets)
    return inputs, targets, samples


def read(
    loader: Iterable[Any], *, needs_targets: bool = False, batch_axis: int = 0, in_order: bool = False
) -> Iterator[tuple[Any, Any, int]]:
    """Yield inputs, targets and number of samples (`unpack`) of the batches that hold samples.

    Parameters
    ----------
    in_order
        `Batches` come in their samples' order, unaugmented.
    """
    for batch in loader.in_order() if in_order and isinstance(loader, Batches) else loader:
        found = unpack(batch, needs_targets, batch_axis)
        if found[2]:
            yield found
