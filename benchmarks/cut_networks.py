"""The networks that are cut, and their pictures: those that choices are made on, and those that are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import efficientnet
from featcodec.bench.data import Images, cifar10, data_root
from featcodec.bench.models import resnet20

# of CIFAR-10's training pictures: what codecs are calibrated on, and what qualities are chosen on
_PARTS = {"calibration": "data_batch_1", "train": "data_batch_2", "test": "test_batch"}


@dataclass(frozen=True)
class Network:
    """A network and its pictures.

    Attributes
    ----------
    model
        Builds it.
    layers
        Where it is cut.
    pictures
        ("calibration" | "train" | "test", how many or None for all) to inputs (N, 3, height, width) and labels (N, K).
    batch
        Pictures at a time.
    """

    model: Callable[[], nn.Module]
    layers: tuple[str, ...]
    pictures: Callable[[str, int | None], tuple[Tensor, np.ndarray]]
    batch: int


def cifar10_pictures(name: str, count: int | None) -> tuple[Tensor, np.ndarray]:
    """Return pictures of CIFAR-10 as ResNet-20 takes them, and their one label each."""
    return inputs_of(cifar10((_PARTS[name],), data_root()).head(10_000 if count is None else count))


def inputs_of(images: Images) -> tuple[Tensor, np.ndarray]:
    """Normalise pictures of CIFAR-10."""
    return torch.cat([x for x, _ in images.batches(1000, "cifar10")]), images.labels[:, None]


NETWORKS = {
    "resnet20": Network(resnet20, ("layer1", "layer2", "layer3"), cifar10_pictures, 250),
    "lite0": Network(efficientnet.lite0, efficientnet.LAYERS, efficientnet.pictures, 16),
}


def network(name: str) -> Network:
    """Return a network by name."""
    return NETWORKS[name]
