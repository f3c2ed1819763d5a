"""Photographs to calibrate EfficientNet-lite0 with, and labelled stamps to measure it on: fetched by package name.

Photographs come in crops from Debian's wallpaper packages and from scikit-image's wheel. The test pictures are those of
Debian's tuxpaint-stamps-default that `stamps_labels.json` gives ImageNet classes to, which says where it comes from.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 224
STAMPS = "tuxpaint-stamps-default"
LABELS = Path(__file__).with_name("stamps_labels.json")
# package: the files in it that are photographs
WALLPAPERS = {
    "plasma-workspace-wallpapers": "usr/share/wallpapers/*/contents/images/2560x1600.jpg",
    "mate-backgrounds": "usr/share/backgrounds/mate/nature/*.jpg",
    "lomiri-wallpapers-16.04": "usr/share/backgrounds/*.jpg",
    "lomiri-wallpapers-20.04": "usr/share/backgrounds/*.jpg",
}
WHEEL = "scikit-image"
IN_WHEEL = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "motorcycle_left", "rocket")
_HELD_EVERY = 5  # of the photographs, those that settings are chosen on
_CROPS = ((1.0, 1), (0.6, 3), (0.35, 4))  # share of the shorter side, and how many of that size
_MARGIN = 1.1  # of the white square around a stamp, over its longer side


def fetch(folder: Path, stamps: Path | None = None) -> Path:
    """Write a .npz file of calibration, held and test pictures, unless it is there; return its path.

    Parameters
    ----------
    folder
        Where packages and the file are kept.
    stamps
        A folder that holds the stamps, as the package's usr/share/tuxpaint/stamps does; fetched where it is None.

    Raises
    ------
    FileNotFoundError
        A package does not come, or lacks its pictures.
    """
    path = folder / "pictures.npz"
    if path.is_file():
        return path
    # where there is no apt-get, the stamps are given, and the wheel's photographs are all there are
    photographs = [*(wallpapers(folder) if shutil.which("apt-get") else []), *wheel_pictures(folder)]
    held = [picture for i, picture in enumerate(photographs) if i % _HELD_EVERY == 0]
    rest = [picture for i, picture in enumerate(photographs) if i % _HELD_EVERY]
    test, labels = stamps_of(stamps or unpacked(STAMPS, folder) / "usr/share/tuxpaint/stamps")
    arrays = {"calibration": crops(rest), "held": crops(held), "test": test}
    none = {f"{name}_labels": np.full((len(arrays[name]), 1), -1) for name in ("calibration", "held")}
    np.savez(path, **arrays, **none, test_labels=labels)
    return path


def unpacked(package: str, folder: Path) -> Path:
    """Download and unpack a Debian package; return the folder of its files."""
    target = folder / package
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    _run(["apt-get", "download", package], folder)
    (archive,) = folder.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "-x", archive.name, f"{package}.part"], folder)
    archive.unlink()
    (folder / f"{package}.part").rename(target)
    return target


def _run(words: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as e:
        reason = getattr(e, "stderr", None) or str(e)
        raise FileNotFoundError(
            f"{' '.join(words)} fails: {reason.strip()[-300:]}; give the stamps as --stamps FOLDER, or leave the network out "
            "with --networks resnet20"
        ) from e


def wallpapers(folder: Path) -> list[Image.Image]:
    """Return the photographs of the wallpaper packages, in the order of their names."""
    found = []
    for package, pattern in WALLPAPERS.items():
        paths = sorted(unpacked(package, folder).glob(pattern))
        if not paths:
            raise FileNotFoundError(f"{package} holds no {pattern}")
        found += [_opened(path) for path in paths]
    return found


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.draft("RGB", (1024, 1024))  # JPEG: decoded at a fraction of its size
        return picture.convert("RGB")


def wheel_pictures(folder: Path) -> list[Image.Image]:
    """Return the photographs of scikit-image that come inside its wheel."""
    if not list(folder.glob("scikit_image-*.whl")):
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", WHEEL], folder)
    (wheel,) = folder.glob("scikit_image-*.whl")
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            path = Path(name)
            if path.parent.name == "data" and path.stem in IN_WHEEL:
                with archive.open(name) as file, Image.open(file) as picture:
                    found.append(picture.convert("RGB"))
    if len(found) != len(IN_WHEEL):
        raise FileNotFoundError(f"{wheel.name} holds {len(found)} of {len(IN_WHEEL)} pictures")
    return found


def crops(photographs: Sequence[Image.Image]) -> np.ndarray:
    """Return squares of photographs at several sizes and places, the same in every run, (N, 224, 224, 3) uint8."""
    rng = np.random.default_rng(0)
    found = []
    for picture in photographs:
        for share, count in _CROPS:
            side = max(1, round(share * min(picture.size)))
            for _ in range(count):
                left, top = (int(rng.integers(0, length - side + 1)) for length in picture.size)
                square = picture.crop((left, top, left + side, top + side))
                found.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return np.stack(found)


def stamps_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled stamps on white, (N, 224, 224, 3) uint8, and the classes that count as right, (N, K), -1 for none."""
    classes = json.loads(LABELS.read_text())["pictures"]
    missing = [name for name in classes if not (folder / f"{name}.png").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {len(missing)} of {len(classes)} stamps, {missing[0]}.png among them")
    labels = np.full((len(classes), max(map(len, classes.values()))), -1)
    for row, found in zip(labels, classes.values(), strict=True):
        row[: len(found)] = found
    return np.stack([_on_white(folder / f"{name}.png") for name in classes]), labels


def _on_white(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        stamp = picture.convert("RGBA")
    side = round(_MARGIN * max(stamp.size))
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(stamp, ((side - stamp.width) // 2, (side - stamp.height) // 2))
    return np.asarray(square.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
