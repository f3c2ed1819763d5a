"""Frames: inputs for a client, one at a time: pictures as a network wants them, or arrays as they are. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcodec.bench.shipped import asset

NORMALIZATIONS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})


@dataclass(frozen=True, eq=False)
class Frame:
    """One input.

    Attributes
    ----------
    name
        Of its file, or its number in one.
    x
        (1, ...) as the head takes it.
    label
        The true class; None where it is not known.
    """

    name: str
    x: NDArray[Any]
    label: int | None = None


def frames(sources: Sequence[str], size: tuple[int, int] | None, normalization: str) -> Iterator[Frame]:
    """Yield the inputs of sources, one after another.

    Parameters
    ----------
    sources
        Each "embedded"; a picture; a folder, whose pictures are taken in the order of their paths; or a .npy file (N, ...) of
        inputs as they are.
    size
        Height and width that pictures are brought to; None: as they are.
    normalization
        One of `NORMALIZATIONS`, of a picture's colours in 0..1.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such source, or nothing in it.
    """
    for source in sources:
        path = Path(source).expanduser()
        if source == "embedded":
            for i, (pixels, label) in enumerate(zip(*embedded_pixels(), strict=True)):
                yield Frame(f"embedded/{i}", normalized(pixels, normalization), int(label))
        elif path.suffix == ".npy" and path.is_file():
            for i, x in enumerate(np.load(path, allow_pickle=False)):
                yield Frame(f"{path.name}/{i}", x[None])
        else:
            for file in _pictures(path):
                yield Frame(file.name, normalized(read_picture(file, size), normalization))


def _pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"no data at {str(path)!r}: give embedded, pictures, .npy files or folders of pictures")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def read_picture(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return a picture's pixels (H, W, 3), brought to a size by the shorter side, what is left over cut off on both sides.

    Raises
    ------
    ValueError
        The file is no picture.
    """
    try:
        with Image.open(path) as picture:
            rgb = picture.convert("RGB")
    except OSError as e:
        raise ValueError(f"{path} is no picture: {e}") from e
    if size is None:
        return np.asarray(rgb)
    height, width = size
    scale = max(width / rgb.width, height / rgb.height)
    wide, high = max(width, round(rgb.width * scale)), max(height, round(rgb.height * scale))
    left, top = (wide - width) // 2, (high - height) // 2
    whole = rgb.resize((wide, high), Image.Resampling.BILINEAR)
    return np.asarray(whole.crop((left, top, left + width, top + height)))


def normalized(pixels: NDArray[np.uint8], normalization: str) -> NDArray[np.float32]:
    """Return pixels (H, W, 3) uint8 as (1, 3, H, W) float32, normalised per colour."""
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in NORMALIZATIONS[normalization])
    planes: NDArray[np.float32] = (pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(planes[None])


def embedded_pixels() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the embedded images (1000, 32, 32, 3) and their labels: the first of CIFAR-10's test set."""
    with Image.open(asset("cifar10_test_1000.webp")) as picture:
        mosaic = np.asarray(picture.convert("RGB"))
    labels = np.frombuffer(asset("cifar10_test_1000.labels").read_bytes(), np.uint8).astype(np.int64)
    return mosaic.reshape(20, 32, 50, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3), labels
