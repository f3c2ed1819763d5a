"""Files of cached features and their targets: named by the samples they were made of, believed only when whole."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcodec._core import crc32c
from featcodec.errors import FeatureError
from featcodec.outputs import leaves
from featcodec.training.parts import state_crc

Row: TypeAlias = tuple[Any, Tensor, Tensor | None]  # a batch of inputs, features and targets

_FORMAT = 2
_MAPPED_BYTES = 2 << 30  # files up to this size are read into memory
_FEATURES, _TARGETS, _NOTE = ".features.npy", ".targets.npy", ".json"


class Samples:
    """What a loader's samples are, whatever their order: a sum of hashes of inputs and targets; and the order they came in.

    Attributes
    ----------
    first
        Samples of the first batch.
    """

    def __init__(self) -> None:
        self.first = 0
        self._count, self._sum = 0, 0
        self._order = hashlib.blake2b(digest_size=4)

    def add(self, inputs: Any, targets: Tensor | None, count: int) -> None:
        """Take in a batch of so many samples; what is not as long as the batch is part of every sample."""
        shared, rows = hashlib.blake2b(digest_size=8), []
        for path, leaf in leaves((inputs, targets)):
            if not isinstance(leaf, Tensor):
                shared.update(repr((path, leaf)).encode())
                continue
            is_batch = leaf.ndim > 0 and len(leaf) == count
            shared.update(repr((path, str(leaf.dtype), leaf.shape[is_batch:])).encode())
            found = leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            if is_batch:
                rows.append(found.reshape(count, -1) if found.size else np.empty((count, 0), np.uint8))
            else:
                shared.update(found.data)
        for sample in range(count):
            one = shared.copy()
            for values in rows:
                one.update(values[sample].data)
            digest = one.digest()
            self._sum = (self._sum + int.from_bytes(digest, "little")) % (1 << 64)
            self._order.update(digest)
        self.first = self.first or count
        self._count += count

    @property
    def name(self) -> str:
        """Their number and their sum."""
        return f"{self._count}-{self._sum:016x}-"

    @property
    def name_in_order(self) -> str:
        """The same, and a hash of their order."""
        return f"{self.name}{self._order.hexdigest()}"


class Folder:
    """The files of one head and layer.

    Parameters
    ----------
    head
        The modules whose kinds, settings and state decide what the features are.
    """

    def __init__(self, path: Path, layer: str, head: Iterable[nn.Module]) -> None:
        self._path, self._layer = path, layer
        modules = list(head)
        kinds = [(type(m).__module__, type(m).__qualname__, m.extra_repr()) for m in modules]
        made_of = crc32c(np.frombuffer(repr(kinds).encode(), np.uint8), state_crc(modules))
        self._prefix = f"{layer.replace('/', '_')}-{made_of:08x}-"

    def has_any(self) -> bool:
        """Return whether there are files of this head and layer, of whatever samples."""
        return bool(self._stems(""))

    def find(self, samples: Samples, *, in_order: bool) -> tuple[Tensor, Tensor | None] | None:
        """Return features and targets of these samples; None where no whole files hold them.

        They come in this order, or unless it must be in any: the first that was written, so that later runs find it, too.
        """
        for stem in self._stems(samples.name_in_order) + ([] if in_order else self._stems(samples.name)):
            try:
                note = json.loads((self._path / f"{stem}{_NOTE}").read_text())
                if isinstance(note, dict) and note == {**note, "format": _FORMAT, "layer": self._layer}:
                    crcs = {suffix: _crc(self._path / f"{stem}{suffix}") for suffix in note["crcs"]}
                    if crcs == note["crcs"] and crcs:
                        return self._open(stem, note)
            except (OSError, ValueError, LookupError, TypeError):
                continue
        return None

    def write(self, rows: Iterator[Row]) -> tuple[Tensor, Tensor | None, int]:
        """Write features and targets of (inputs, feature, target), batch by batch; return them, and the first batch's size."""
        self._path.mkdir(parents=True, exist_ok=True)
        samples, scratch = Samples(), self._path / uuid.uuid4().hex
        arrays = {suffix: _Array(scratch.with_suffix(f"{suffix}.part")) for suffix in (_FEATURES, _TARGETS)}
        note_part = scratch.with_suffix(".json.part")
        try:
            for inputs, feature, target in rows:
                samples.add(inputs, target, len(feature))
                arrays[_FEATURES].add(feature)
                if target is not None:
                    arrays[_TARGETS].add(target)
            written = {suffix: array for suffix, array in arrays.items() if array.count}
            if not written:
                raise FeatureError("the loader gave no samples")
            counts = [array.count for array in written.values()]
            if min(counts) != max(counts):
                raise FeatureError(f"the loader yields {counts[0]} inputs with {counts[1]} targets")
            for array in written.values():
                array.finish()
            stem = f"{self._prefix}{samples.name_in_order}"
            note = {
                "format": _FORMAT,
                "layer": self._layer,
                "dtypes": {suffix: array.dtype for suffix, array in written.items()},
                "crcs": {suffix: _crc(array.path) for suffix, array in written.items()},
            }
            note_part.write_text(json.dumps(note))
            for suffix, array in written.items():
                os.replace(array.path, self._path / f"{stem}{suffix}")
            os.replace(note_part, self._path / f"{stem}{_NOTE}")  # the last: what it names is there
        finally:
            for array in arrays.values():
                array.discard()
            note_part.unlink(missing_ok=True)
        return (*self._open(stem, note), samples.first)

    def _stems(self, name: str) -> list[str]:
        start = f"{self._prefix}{name}"
        notes = self._path.iterdir() if self._path.is_dir() else []
        found = [(p.stat().st_mtime_ns, p.name) for p in notes if p.name.startswith(start) and p.name.endswith(_NOTE)]
        return [name.removesuffix(_NOTE) for _, name in sorted(found)]

    def _open(self, stem: str, note: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        found = {suffix: _tensor(self._path / f"{stem}{suffix}", dtype) for suffix, dtype in note["dtypes"].items()}
        return found[_FEATURES], found.get(_TARGETS)


class _Array:
    """An .npy file that grows by batches of one shape and type; its header is written again when their number is known."""

    def __init__(self, path: Path) -> None:
        self.path, self.count, self.dtype = path, 0, ""

    def add(self, batch: Tensor) -> None:
        if not self.dtype:
            self.dtype = str(batch.dtype).removeprefix("torch.")
            self._head = _array(batch[:0])
            self._file = self.path.open("wb")
            self._write_header()
        self._file.write(_array(batch).data)
        self.count += len(batch)

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def discard(self) -> None:
        """Close and delete what is still there of a file that was not finished."""
        if self.dtype:
            self._file.close()
            self.path.unlink(missing_ok=True)

    def _write_header(self) -> None:
        """NumPy leaves room in the header for the first axis to grow: both headers are of one length."""
        shape = (self.count, *self._head.shape[1:])
        header = {"descr": self._head.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def _array(batch: Tensor) -> NDArray[Any]:
    """NumPy has no bfloat16: its bits are kept."""
    batch = batch.detach().cpu().contiguous()
    return (batch.view(torch.int16) if batch.dtype is torch.bfloat16 else batch).numpy()


def _tensor(path: Path, dtype: str) -> Tensor:
    """An array of a file; pages of a mapped one come and go, and batches are drawn from all over it."""
    mapped = path.stat().st_size > _MAPPED_BYTES
    found = torch.from_numpy(np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False))
    return found.view(torch.bfloat16) if dtype == "bfloat16" else found


def _crc(path: Path) -> int:
    return crc32c(np.memmap(path, np.uint8, "r"))
