"""Rows on disk, written as they come: a run that was stopped goes on, and measures no row twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """A measured row: figures for the result, and what each picture gave, for intervals."""

    figures: dict[str, Any]
    arrays: dict[str, np.ndarray]


class RowStore:
    """A folder of rows, each under a name that says all that it depends on.

    Parameters
    ----------
    folder
        Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Row | None:
        """Return a row that was kept, or None."""
        path = self._folder / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return Row(json.loads(arrays.pop("figures").tobytes()), arrays)

    def keep(self, name: str, row: Row) -> None:
        """Keep a row: whole, or not at all."""
        part = self._folder / f"{name}.{os.getpid()}.part"
        figures = np.frombuffer(json.dumps(row.figures).encode(), np.uint8)
        with part.open("wb") as file:
            np.savez_compressed(file, figures=figures, **row.arrays)
        part.rename(self._folder / f"{name}.npz")


def name_of(depends: Mapping[str, Any], *contents: bytes) -> str:
    """Return the name of what depends on some settings, JSON, and on contents."""
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode())
    for content in contents:
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:32]
