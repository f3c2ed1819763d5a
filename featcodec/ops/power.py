"""The power of analog channel symbols."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit_power(symbols: Tensor) -> Tensor:
    """Scale each row of (B, N) to a mean square of 1; a row of zeros stays one. Differentiable."""
    wide = symbols.float()
    # the greatest goes to 1 first, so that no square over- or underflows
    greatest = wide.detach().abs().amax(dim=1, keepdim=True)
    scaled = wide / torch.where(greatest > 0, greatest, 1.0)
    power = scaled.square().mean(dim=1, keepdim=True)
    return scaled / torch.where(power > 0, power, 1.0).sqrt()
