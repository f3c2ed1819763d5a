"""Data sets: the embedded images, CIFAR-10 whole, a .npz file, a folder of class folders."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featcodec.bench.frames import NORMALIZATIONS, SUFFIXES, embedded_pixels

CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_MD5 = {
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
TRAIN_BATCHES = tuple(name for name in CIFAR10_MD5 if name != "test_batch")
_CIFAR10_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes
    ----------
    images
        (N, H, W, 3) uint8.
    labels
        (N,) int64.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray

    def head(self, count: int) -> Images:
        """Return the first `count` images."""
        return self.part(None, count)

    def part(self, first: int | None, last: int | None) -> Images:
        """Return the images from `first` on, up to `last`."""
        return Images(self.name, self.images[first:last], self.labels[first:last])

    def batches(self, size: int, normalization: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (B, 3, H, W) float32 normalised per colour, and labels (B,)."""
        mean, std = (torch.tensor(v)[:, None, None] for v in NORMALIZATIONS[normalization])
        for start in range(0, len(self.images), size):
            pixels = torch.from_numpy(np.ascontiguousarray(self.images[start : start + size])).permute(0, 3, 1, 2)
            yield (pixels.float() / 255 - mean) / std, torch.from_numpy(self.labels[start : start + size])


def load(source: str, image_size: int) -> Images:
    """Load a data set by name or path.

    Parameters
    ----------
    source
        "embedded", "cifar10" (its test set), a .npz file with `images` (N, H, W, 3) uint8 and `labels` (N,), a folder that
        holds CIFAR-10 in its binary layout, or a folder of class folders of pictures (classes in sorted order).
    image_size
        Side that the pictures of class folders are brought to: shorter side to 8/7 of it, then the centre.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such data, or it is not what its form promises.
    """
    if source == "embedded":
        return embedded()
    if source == "cifar10":
        return cifar10(("test_batch",), data_root())
    path = Path(source).expanduser()
    if path.suffix == ".npz" and path.is_file():
        return npz(path)
    if not path.is_dir():
        raise FileNotFoundError(f"no data at {source!r}: give embedded, cifar10, a .npz file or a folder")
    if path.name == CIFAR10_FOLDER or (path / CIFAR10_FOLDER).is_dir():
        return cifar10(("test_batch",), path)
    return image_folder(path, image_size)


def embedded() -> Images:
    """Return the first 1,000 images of CIFAR-10's test set, which ship with the benchmark."""
    return Images("CIFAR-10 test, first 1,000", *embedded_pixels())


def data_root() -> Path:
    """Return the folder for data sets: FEATCODEC_DATA.

    Raises
    ------
    FileNotFoundError
        The variable is not set.
    """
    root = os.environ.get("FEATCODEC_DATA")
    if not root:
        raise FileNotFoundError("set FEATCODEC_DATA to the folder that holds (or is to hold) cifar-10-batches-bin")
    return Path(root).expanduser()


def cifar10(batches: tuple[str, ...], root: Path, md5: dict[str, str] = CIFAR10_MD5) -> Images:
    """Read CIFAR-10 from its official binary layout, checking each file against its published MD5 sum.

    Parameters
    ----------
    batches
        Names out of `CIFAR10_MD5`.
    root
        The folder cifar-10-batches-bin or the one that holds it.
    md5
        What each file must have.

    Raises
    ------
    FileNotFoundError
        A file is missing; the message says how to get it.
    ValueError
        A file is not the published one.
    """
    folder = root if root.name == CIFAR10_FOLDER else root / CIFAR10_FOLDER
    parts = []
    for name in batches:
        path = folder / f"{name}.bin"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; python -m featcodec.bench.fetch_cifar10 {root} downloads CIFAR-10")
        data = path.read_bytes()
        found = hashlib.md5(data).hexdigest()
        if found != md5[name]:
            raise ValueError(f"{path} has MD5 {found}, the published file has {md5[name]}")
        if not data or len(data) % _CIFAR10_RECORD:
            raise ValueError(f"{path} has {len(data)} bytes, not a multiple of {_CIFAR10_RECORD}")
        parts.append(np.frombuffer(data, np.uint8).reshape(-1, _CIFAR10_RECORD))
    records = np.concatenate(parts)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Images(f"CIFAR-10 {'+'.join(batches)}", images, records[:, 0].astype(np.int64))


def write_cifar10(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write images (N, 32, 32, 3) uint8 and labels (N,) as one file of the official binary layout."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1).tobytes())


def download_cifar10(root: Path, url: str = CIFAR10_URL, md5: str = CIFAR10_ARCHIVE_MD5) -> Path:
    """Download and unpack the official archive; nothing is left at `root` unless all of it is good.

    Returns
    -------
    Path
        The folder cifar-10-batches-bin.

    Raises
    ------
    ValueError
        The archive is not the published one.
    OSError
        The network, or the disk, says no.
    """
    target = root / CIFAR10_FOLDER
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        archive = Path(scratch) / "cifar-10-binary.tar.gz"
        digest = hashlib.md5()
        with urllib.request.urlopen(url, timeout=60) as response, archive.open("wb") as file:
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != md5:
            raise ValueError(f"{url} has MD5 {digest.hexdigest()}, the published archive has {md5}")
        unpacked = Path(scratch) / CIFAR10_FOLDER
        unpacked.mkdir()
        with tarfile.open(archive) as tar:
            for member in tar:
                # only plain files of the one folder, by their own name: an archive names no path of ours
                source = tar.extractfile(member) if member.isfile() else None
                if source is not None and Path(member.name).parent.name == CIFAR10_FOLDER:
                    (unpacked / Path(member.name).name).write_bytes(source.read())
        unpacked.rename(target)
    return target


def npz(path: Path) -> Images:
    """Read `images` (N, H, W, 3) uint8 and `labels` (N,) integers from a .npz file."""
    with np.load(path, allow_pickle=False) as file:
        missing = {"images", "labels"} - set(file)
        if missing:
            raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; it holds {', '.join(file)}")
        images, labels = file["images"], file["labels"]
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be (N, H, W, 3) uint8, got {images.dtype} {images.shape} in {path}")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {len(images)} integers, got {labels.dtype} {labels.shape} in {path}")
    return Images(path.stem, images, labels.astype(np.int64))


def image_folder(path: Path, size: int) -> Images:
    """Read pictures of class folders, as torchvision's ImageFolder orders them: classes sorted, files sorted."""
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
    images, labels = [], []
    for label, folder in enumerate(classes):
        for file in sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES):
            images.append(_centre(file, size))
            labels.append(label)
    if not images:
        raise ValueError(f"{path} holds no class folders with pictures ({', '.join(sorted(SUFFIXES))})")
    return Images(path.name, np.stack(images), np.array(labels, np.int64))


def _centre(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as picture:
        rgb = picture.convert("RGB")
    scale = size * 8 / 7 / min(rgb.size)
    width, height = (max(size, round(side * scale)) for side in rgb.size)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size)))
