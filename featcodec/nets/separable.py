"""The depthwise-separable bottleneck (Datta et al., ICPR 2022): 3 x 3 per map, then 1 x 1 across maps, and its mirror.

Convolutions have no bias; batch norm and ReLU follow each, so that what is sent is not negative (the authors' code).
"""

from __future__ import annotations

from torch import Tensor, nn


class SeparableEncoder(nn.Module):
    """(B, C, h, w) -> (B, C_r, ceil(h / S), ceil(w / S)), not negative; 9 C + 2 C + C C_r + 2 C_r parameters."""

    def __init__(self, maps: int, reduced: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(maps, maps, 3, stride, 1, groups=maps, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(maps)
        self.pointwise = nn.Conv2d(maps, reduced, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(reduced)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce space, then maps."""
        y = self.depthwise_norm(self.depthwise(x)).relu_()
        z: Tensor = self.pointwise_norm(self.pointwise(y)).relu_()
        return z


class SeparableDecoder(nn.Module):
    """(B, C_r, h', w') -> (B, C, h, w) for any h, w with h' = ceil(h / S); C_r C + 2 C + 9 C + 2 C parameters."""

    def __init__(self, maps: int, reduced: int, stride: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(reduced, maps, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(maps)
        self.depthwise = nn.ConvTranspose2d(maps, maps, 3, stride, 1, groups=maps, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(maps)

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Restore maps, then space: the output padding is what this size needs."""
        y = self.pointwise_norm(self.pointwise(z)).relu_()
        x: Tensor = self.depthwise_norm(self.depthwise(y, output_size=list(size))).relu_()
        return x
