"""Caching what a frozen head gives: in memory, or in files, mapped where they are large, that later runs find again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.errors import ConfigError, FeatureError
from featcodec.inputs import to_device
from featcodec.insertion import Insertion
from featcodec.outputs import describe
from featcodec.training.batches import Batches, read
from featcodec.training.files import Folder, Row, Samples
from featcodec.training.parts import Parts, feature_at

MEMORY = "memory"


def cache_features(
    model: nn.Module,
    insertion: Insertion,
    parts: Parts,
    loader: Iterable[Any],
    where: str | Path,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda samples: None,
) -> Batches:
    """Run the head over a loader once and return its features as batches, shuffled as the loader's where that is `Batches`.

    Features and targets come from one pass, in whatever order the loader gives its samples.

    Parameters
    ----------
    where
        "memory", or a folder: features and targets then lie in .npy files there, mapped where they are large. Files whose head,
        layer and samples were these, inputs and targets, are taken as they are: in the order that they were written in, which
        must be that of the loader where it is `Batches`. Damaged ones are made anew. The loader is read once more to tell,
        if files of this head and layer are there.
    seed
        Of the order, where the loader has none of its own.

    Raises
    ------
    ConfigError
        The loader augments; the batch axis is not the first.
    FeatureError, LayerError
        The loader gives nothing; the layer gives no single tensor, or not one feature per sample, or features of several
        shapes; targets are no tensors.
    """
    if getattr(loader, "augment", None) is not None:
        raise ConfigError("features of augmented inputs are not cached: leave out augment, or the cache")
    if insertion.batch_axis:
        raise ConfigError(f"cached features have the batch first, the codec is inserted with batch_axis={insertion.batch_axis}")
    layer = insertion.module_in(model)

    kinds: dict[str, str] = {}

    def checked(name: str, batch: Tensor, samples: int) -> Tensor:
        if len(batch) != samples:
            raise FeatureError(f"there are {len(batch)} {name} of {samples} samples at layer {insertion.layer!r}")
        kind = describe(batch[0])
        if kinds.setdefault(name, kind) != kind:
            raise FeatureError(f"cached {name} are of one shape and type, got {kind} beside {kinds[name]}")
        return batch

    def rows() -> Iterator[Row]:
        for inputs, targets, samples in read(loader, in_order=True):
            feature = feature_at(model, layer, to_device(inputs, device)).cpu()
            target = _targets(targets)
            yield (
                inputs,
                checked("features", feature, samples),
                target if target is None else checked("targets", target, samples),
            )
            progress(samples)

    if where == MEMORY:
        features, targets, size = _in_memory(rows())
    else:
        features, targets, size = _in_files(Folder(Path(where), insertion.layer, parts.head), loader, rows())
    if not isinstance(loader, Batches):
        return Batches(features, targets, size, seed=seed)
    return Batches(features, targets, loader.batch_size, shuffle=loader.shuffle, seed=loader.seed)


def _targets(targets: Any) -> Tensor | None:
    if targets is not None and not (isinstance(targets, Tensor) and targets.ndim > 0):
        raise FeatureError(f"cached targets are tensors (B, ...), got {type(targets).__name__}")
    return targets


def _in_memory(rows: Iterator[Row]) -> tuple[Tensor, Tensor | None, int]:
    features: list[Tensor] = []
    targets: list[Tensor] = []
    for _, feature, target in rows:
        features.append(feature)
        targets += [] if target is None else [target]
    if not features:
        raise FeatureError("the loader gave no samples")
    return torch.cat(features), torch.cat(targets) if targets else None, len(features[0])


def _in_files(folder: Folder, loader: Iterable[Any], rows: Iterator[Row]) -> tuple[Tensor, Tensor | None, int]:
    """From files of these very samples where there are any, else from files that are written now under their samples' name."""
    # what can be read only once is not read to be looked up
    if folder.has_any() and not isinstance(loader, Iterator):
        samples = Samples()
        for inputs, targets, count in read(loader, in_order=True):
            samples.add(inputs, _targets(targets), count)
        found = folder.find(samples, in_order=isinstance(loader, Batches))
        if found is not None:
            return (*found, samples.first)
    return folder.write(rows)
