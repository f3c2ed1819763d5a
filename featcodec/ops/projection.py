"""The two-step dimension reduction (Shao and Zhang, IEEE Communications Magazine 2020): a convolution, then a linear map."""

from __future__ import annotations

from torch import Tensor, nn


class ProjectionEncoder(nn.Module):
    """(B, C, h, w) -> 3 x 3 to C_r maps, ELU -> flat -> linear to (B, hidden) in (-1, 1) by tanh."""

    def __init__(self, maps: int, reduced: int, size: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(maps, reduced, 3, padding=1)
        self.linear = nn.Linear(reduced * size[0] * size[1], hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce maps, then dimensions."""
        y = nn.functional.elu(self.convolution(x))
        z: Tensor = self.linear(y.flatten(1)).tanh()
        return z


class ProjectionDecoder(nn.Module):
    """(B, hidden) -> linear, ELU -> (B, C_r, h, w) -> 3 x 3 to (B, C, h, w), ELU."""

    def __init__(self, maps: int, reduced: int, size: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.reduced = reduced
        self.linear = nn.Linear(hidden, reduced * size[0] * size[1])
        self.convolution = nn.Conv2d(reduced, maps, 3, padding=1)

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Restore dimensions, then maps."""
        y = nn.functional.elu(self.linear(z)).reshape(-1, self.reduced, *size)
        return nn.functional.elu(self.convolution(y))
