"""Steps by maps: how finely each map is quantised, by what the model's output says about it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec.errors import FeatureError
from featcodec.features import check_feature
from featcodec.ops.quantizer import map_axes
from featcodec.payloads.layout import num_maps
from featcodec.payloads.quantizer import MOST_EXPONENT


def map_exponents(gradients: Tensor | Iterable[Tensor] | None, maps: int, strength: float) -> NDArray[np.uint8]:
    """Return each map's exponent e (C,), 0..64: its step is 2^(e / 8) times that of the map that counts most.

    What is lost of a map changes the output by its size times the root mean square of the map's gradients: steps that are
    inversely proportional to that share the change out at the fewest bits, as long as they are fine.

    Parameters
    ----------
    gradients
        (n, ...) of the output by the feature, or batches of them; None: all steps are equal.
    maps
        C.
    strength
        0..1: the share of all maps' mean square that takes part in a map's.

    Raises
    ------
    FeatureError
        Gradients are of other maps, not finite, or all 0.
    """
    if gradients is None:
        return np.zeros(maps, np.uint8)
    total, count = torch.zeros(maps, dtype=torch.float64), 0
    for batch in [gradients] if isinstance(gradients, Tensor) else gradients:
        check_feature(batch)
        found = num_maps(tuple(batch.shape[1:]))
        if found != maps:
            raise FeatureError(f"gradients are of {maps} maps, got {found} in shape {tuple(batch.shape[1:])}")
        total += batch.detach().double().square().sum(dim=(0, *map_axes(batch))).cpu()
        count += batch.numel() // maps
    if not bool(total.any()):
        raise FeatureError("the output does not depend on the feature: every gradient is 0")
    moments = (1 - strength) * total / count + strength * total.mean() / count
    eighths = 4 * torch.log2(moments.max() / moments)
    exponents: NDArray[np.uint8] = eighths.round().clamp(0, MOST_EXPONENT).numpy().astype(np.uint8)
    return exponents
