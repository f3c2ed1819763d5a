"""What the entropy benchmark codes: features of real networks, quantised by min-max or a fixed step, in tensors of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.coders import Symbols
from featcodec.bench.data import Images, embedded
from featcodec.bench.models import resnet20
from featcodec.layers import find_layer
from featcodec.payloads.quantizer import minmax_quantize, minmax_ranges

BITS = (2, 4, 6, 8)
STEPS = {"step coarse": 2, "step fine": 8}  # the step is the features' standard deviation divided by this
RESNET_LAYERS = ("layer1", "layer2", "layer3", "layer2.2.bn2")  # the last one has no ReLU behind it
RESNET_SETS = tuple(f"resnet20 {layer}" for layer in RESNET_LAYERS)
_SMALLEST_SIDE = 4


@dataclass(frozen=True)
class FeatureSet:
    """Features of one layer.

    Attributes
    ----------
    relu
        True where no value is negative.
    features
        (B, maps, h, w) float32: what is measured.
    calibration
        (B', maps, h, w) float32 of other images: what static tables are made from.
    """

    name: str
    relu: bool
    features: NDArray[np.float32]
    calibration: NDArray[np.float32]


@dataclass(frozen=True)
class SymbolSet:
    """A feature set, quantised.

    Attributes
    ----------
    quantizer
        "n4" and the like, or a key of `STEPS`.
    params
        What a codec is given to quantise alike: ``{"bits": n}`` or ``{"step": Q}``.
    bits
        Width of the symbols.
    zero
        The symbol that stands for the integer 0 of a fixed step; 0 for min-max.
    symbols, calibration
        (B, maps, h, w) uint8 of the features and of those for calibration.
    """

    source: FeatureSet
    quantizer: str
    params: dict[str, Any]
    bits: int
    zero: int
    symbols: Symbols
    calibration: Symbols

    @property
    def name(self) -> str:
        """Layer and quantiser."""
        return f"{self.source.name} {self.quantizer}"

    def all_symbols(self) -> Symbols:
        """Return both, for tensors whose speed alone counts."""
        return np.concatenate([self.symbols, self.calibration])


def resnet_sets(measured: int, calibrated: int) -> list[FeatureSet]:
    """Return ResNet-20's layers on the embedded images: the first `measured` and the last `calibrated` of them."""
    images = embedded()
    count = len(images.images)
    if measured < 1 or calibrated < 1 or measured + calibrated > count:
        raise ValueError(f"{measured} images to measure and {calibrated} to calibrate on do not come from {count}")
    kept = np.r_[:measured, count - calibrated : count]
    chosen = Images(images.name, images.images[kept], images.labels[kept])
    outputs: dict[str, list[Tensor]] = {layer: [] for layer in RESNET_LAYERS}
    model = resnet20()
    for layer, values in outputs.items():
        find_layer(model, layer)[1].register_forward_hook(lambda _module, _inputs, out, values=values: values.append(out))
    with torch.no_grad():
        for batch, _ in chosen.batches(64, "cifar10"):
            model(batch)
    joined = {layer: torch.cat(values).numpy() for layer, values in outputs.items()}
    return [_feature_set(f"resnet20 {layer}", x[:measured], x[measured:]) for layer, x in joined.items()]


def file_sets(folder: Path) -> list[FeatureSet]:
    """Return a set for every .npz file of a folder: the first half of its images calibrates, the other is measured.

    Raises
    ------
    FileNotFoundError
        The folder holds no such file.
    ValueError
        A file has no `feature` (B, maps, h, w) of at least two images.
    """
    paths = sorted(folder.expanduser().glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no .npz files")
    sets = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            if "feature" not in file:
                raise ValueError(f"{path.name} lacks the array feature; it holds {', '.join(file)}")
            values = file["feature"].astype(np.float32)
        if values.ndim != 4 or len(values) < 2 or not np.isfinite(values).all():
            raise ValueError(f"feature must be finite, (B, maps, h, w) with B >= 2, got {values.shape} in {path.name}")
        half = len(values) // 2
        sets.append(_feature_set(path.stem, values[half:], values[:half]))
    return sets


def _feature_set(name: str, features: NDArray[np.float32], calibration: NDArray[np.float32]) -> FeatureSet:
    relu = float(features.min()) >= 0 and float(calibration.min()) >= 0
    return FeatureSet(name, relu, np.ascontiguousarray(features), np.ascontiguousarray(calibration))


def quantize(source: FeatureSet, quantizer: str) -> SymbolSet:
    """Quantise a set by "n2", "n4", ... (min-max of each image) or by a key of `STEPS` (signed integers, from their least up).

    The ranges, and the one offset of all images that makes signed integers bytes, are side information that all coders of
    symbols would need alike: no coder counts it here, packets of codecs do.

    Raises
    ------
    ValueError
        A fixed step leaves more than 256 levels.
    """
    if quantizer in STEPS:
        step = float(f"{source.calibration.std() / STEPS[quantizer]:.2g}")
        levels = [np.rint(x / step).astype(np.int64) for x in (source.features, source.calibration)]
        least, most = int(min(x.min() for x in levels)), int(max(x.max() for x in levels))
        if most - least > 255:
            raise ValueError(f"{most - least + 1} levels at step {step:g} do not fit a byte")
        symbols, calibration = ((x - least).astype(np.uint8) for x in levels)
        return SymbolSet(source, quantizer, {"step": step}, max(1, (most - least).bit_length()), -least, symbols, calibration)
    bits = int(quantizer.removeprefix("n"))
    symbols, calibration = (_minmax(x, bits) for x in (source.features, source.calibration))
    return SymbolSet(source, quantizer, {"bits": bits}, bits, 0, symbols, calibration)


def _minmax(x: NDArray[np.float32], bits: int) -> Symbols:
    groups = x.reshape(len(x), -1)
    return minmax_quantize(groups, minmax_ranges(groups), bits).astype(np.uint8).reshape(x.shape)


def pieces(images: NDArray[Any], size: int, count: int = 1) -> list[NDArray[Any]]:
    """Return tensors (maps, h, w) of about `size` elements, cut from images (B, maps, h, w) or joined from many.

    Small ones are the middles of several maps, spread over all; large ones are whole maps in order. Where the images run out
    they come again mirrored or transposed (eight ways), so that no map comes twice.
    """
    height, width = images.shape[2:]
    maps = images.reshape(-1, height, width)
    side = min(height, width, 1 << max(0, int(math.log2(max(1.0, size / 4)) / 2)))
    whole = height * width * 4 <= size or side < min(height, width, _SMALLEST_SIDE)
    if not whole:
        top, left = (height - side) // 2, (width - side) // 2
        maps = maps[:, top : top + side, left : left + side]
    wanted = max(1, size // (maps.shape[1] * maps.shape[2]))
    if not whole:  # spread over all maps, each tensor beginning elsewhere
        stride = max(1, len(maps) // wanted)
        return [np.ascontiguousarray(maps[(np.arange(wanted) * stride + i) % len(maps)]) for i in range(count)]
    ways = _ways(maps, wanted * count)
    joined = np.concatenate(ways) if len(ways) > 1 else ways[0]
    return [np.ascontiguousarray(joined[(np.arange(wanted) + i * wanted) % len(joined)]) for i in range(count)]


def most_elements(images: NDArray[Any]) -> int:
    """Return how large a tensor `pieces` makes of images (B, maps, h, w) without a repeat."""
    height, width = images.shape[2:]
    return images.size * (8 if height == width else 4)


def _ways(maps: NDArray[Any], wanted: int) -> list[NDArray[Any]]:
    turned = [maps, maps.transpose(0, 2, 1)] if maps.shape[1] == maps.shape[2] else [maps]
    # Upside down last: rows stay what they are, and a coder that looks back far finds them.
    ways = [way[:, ::down, ::across] for down in (1, -1) for way in turned for across in (1, -1)]
    return ways[: max(1, min(len(ways), -(-wanted // len(maps))))]
