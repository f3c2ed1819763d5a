"""Caching what a frozen head gives: in memory, or in a file, mapped where it is large, that later runs find again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from featcodec._core import crc32c
from featcodec.errors import ConfigError, FeatureError
from featcodec.insertion import Insertion
from featcodec.training.batches import Batches, unpack
from featcodec.training.parts import Parts, check_inserted, feature_at, state_crc

MEMORY = "memory"
_FORMAT = 1
_MAPPED_BYTES = 2 << 30  # files up to this size are read into memory


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

    Parameters
    ----------
    where
        "memory", or a folder: the features then lie in a .npy file there, mapped where it is large. A file whose head, layer
        and inputs were these is taken as it is.
    seed
        Of the order, where the loader has none of its own.

    Raises
    ------
    ConfigError
        The loader augments.
    FeatureError, LayerError
        The loader gives nothing; the layer gives no single tensor, or features of several shapes.
    """
    if getattr(loader, "augment", None) is not None:
        raise ConfigError("features of augmented inputs are not cached: leave out augment, or the cache")
    layer = check_inserted(model, insertion)

    def run(x: Tensor) -> Tensor:
        return feature_at(model, layer, x.to(device)).cpu()

    batches = loader.in_order() if isinstance(loader, Batches) else iter(loader)
    if where == MEMORY:
        features, targets, size = _in_memory(batches, run, progress)
    else:
        features, targets, size = _on_disk(Path(where), loader, insertion, parts, run, progress)
    if not isinstance(loader, Batches):
        return Batches(features, targets, size, seed=seed)
    return Batches(features, targets, loader.batch_size, shuffle=loader.shuffle, seed=loader.seed)


def _in_memory(
    batches: Iterator[Any], run: Callable[[Tensor], Tensor], progress: Callable[[int], None]
) -> tuple[Tensor, Tensor | None, int]:
    features, targets = [], []
    for batch in batches:
        x, y = unpack(batch, needs_targets=False)
        features.append(run(x))
        targets.append(y)
        progress(len(x))
    if not features:
        raise FeatureError("the loader gave no samples")
    return torch.cat(features), _joined(targets), len(features[0])


def _joined(targets: list[Any]) -> Tensor | None:
    if all(isinstance(target, Tensor) for target in targets):
        return torch.cat(targets)
    if any(target is not None for target in targets):
        raise FeatureError(f"cached targets are tensors, got {type(targets[0]).__name__}")
    return None


def _on_disk(
    folder: Path,
    loader: Iterable[Any],
    insertion: Insertion,
    parts: Parts,
    run: Callable[[Tensor], Tensor],
    progress: Callable[[int], None],
) -> tuple[Any, Tensor | None, int]:
    """Features as a mapped array; the name of the file is what they were made of."""

    def batches() -> Iterator[Any]:
        return loader.in_order() if isinstance(loader, Batches) else iter(loader)

    # the inputs pass twice: once for their sum, which costs next to nothing beside a head
    made_of, targets, size = state_crc(parts.head), [], 0
    for batch in batches():
        x, y = unpack(batch, needs_targets=False)
        made_of = crc32c(np.ascontiguousarray(x.cpu().numpy()).view(np.uint8).reshape(-1), made_of)
        targets.append(y)
        size = size or len(x)
    if not size:
        raise FeatureError("the loader gave no samples")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{insertion.layer}-{made_of:08x}.npy"
    about = {"format": _FORMAT, "layer": insertion.layer, "made_of": made_of}
    note = path.with_suffix(".json")
    if not (path.is_file() and note.is_file() and json.loads(note.read_text()) == about):
        _write(path, (run(unpack(batch, needs_targets=False)[0]) for batch in batches()), progress)
        note.write_text(json.dumps(about))
    # pages of a mapped file come and go, and batches are drawn from all over it
    if path.stat().st_size > _MAPPED_BYTES:
        return np.load(path, mmap_mode="r", allow_pickle=False), _joined(targets), size
    return np.load(path, allow_pickle=False), _joined(targets), size


def _write(path: Path, features: Iterator[Tensor], progress: Callable[[int], None]) -> None:
    """Write an .npy file batch by batch; the header is written again when the number of samples is known."""
    scratch = path.with_suffix(f".{os.getpid()}.part")
    count = 0
    kind: tuple[np.dtype[Any], tuple[int, ...]] | None = None
    try:
        with scratch.open("wb") as file:
            for feature in features:
                array = np.ascontiguousarray(feature.numpy())
                found = array.dtype, array.shape[1:]
                kind = kind or found
                if found != kind:
                    raise FeatureError(f"cached features are of one shape, got {found} beside {kind}")
                if not count:
                    _write_header(file, 0, *found)
                file.write(array.data)
                count += len(array)
                progress(len(array))
            assert kind is not None
            file.seek(0)
            _write_header(file, count, *kind)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _write_header(file: BinaryIO, count: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """NumPy leaves room in the header for the first axis to grow: both headers are of one length."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": (count, *shape)})
