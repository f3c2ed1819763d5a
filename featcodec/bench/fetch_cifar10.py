"""``python -m featcodec.bench.fetch_cifar10 FOLDER [--mosaics IN]``: CIFAR-10 in its binary layout, downloaded or converted.

--mosaics converts a copy kept as lossless pictures instead: NAME.webp, a 4000 x 2560 mosaic of 10,000 images, 125 a row, and
NAME.labels, a byte a class.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from featcodec.bench.data import CIFAR10_FOLDER, CIFAR10_MD5, download_cifar10, write_cifar10

_COLUMNS = 125


def convert(mosaics: Path, root: Path) -> Path:
    """Write every mosaic of a folder as a file of the binary layout, checking its MD5 sum; return their folder."""
    folder = root / CIFAR10_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, md5 in CIFAR10_MD5.items():
        labels = np.frombuffer((mosaics / f"{name}.labels").read_bytes(), np.uint8)
        path = folder / f"{name}.bin"
        write_cifar10(path, read_mosaic(mosaics / f"{name}.webp"), labels)
        found = hashlib.md5(path.read_bytes()).hexdigest()
        if found != md5:
            path.unlink()
            raise ValueError(f"{name} converts to MD5 {found}, the published file has {md5}")
    return folder


def read_mosaic(path: Path) -> np.ndarray:
    """Return the images (N, 32, 32, 3) uint8 of a mosaic with 125 a row."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as picture:
            mosaic = np.asarray(picture.convert("RGB"))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    rows = mosaic.shape[0] // 32
    images: np.ndarray = mosaic.reshape(rows, 32, _COLUMNS, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    return images


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Get CIFAR-10 in its official binary layout.")
    parser.add_argument("folder", type=Path, help="where cifar-10-batches-bin is put: what FEATCODEC_DATA names")
    parser.add_argument("--mosaics", type=Path, help="convert these mosaics instead of downloading")
    args = parser.parse_args()
    print(convert(args.mosaics, args.folder) if args.mosaics else download_cifar10(args.folder))


if __name__ == "__main__":
    main()
