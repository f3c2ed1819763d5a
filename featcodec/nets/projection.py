"""The two-step dimension reduction (Shao and Zhang, IEEE Communications Magazine 2020): a convolution, then a linear map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": nn.Identity()}


class ProjectionEncoder(nn.Module):
    """(B, C, h, w) -> 3 x 3 to C_r maps, stride S, ELU -> flat -> linear to (B, hidden), within its output function's range."""

    def __init__(
        self, maps: int, reduced: int, size: tuple[int, int], hidden: int, *, stride: int = 1, output: str = "tanh"
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(maps, reduced, 3, stride, padding=1)
        self.linear = nn.Linear(_elements(reduced, size, stride), hidden)
        self.output = OUTPUTS[output]

    def forward(self, x: Tensor) -> Tensor:
        """Reduce maps, then dimensions."""
        y = nn.functional.elu(self.convolution(x), inplace=True)
        z: Tensor = self.output(self.linear(y.flatten(1)))
        return z


class ProjectionDecoder(nn.Module):
    """(B, hidden) -> linear, ELU -> (B, C_r, ceil(h / S), ceil(w / S)) -> 3 x 3 to (B, C, h, w), ELU."""

    def __init__(self, maps: int, reduced: int, size: tuple[int, int], hidden: int, *, stride: int = 1) -> None:
        super().__init__()
        self.reduced = reduced
        self.stride = stride
        self.linear = nn.Linear(hidden, _elements(reduced, size, stride))
        self.convolution: nn.Module = _restoring(reduced, maps, stride)

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Restore dimensions, then maps."""
        y = nn.functional.elu(self.linear(z)).reshape(-1, self.reduced, *_reduced_size(size, self.stride))
        return nn.functional.elu(_restore(self.convolution, y, size), inplace=True)


class ConvolutionEncoder(nn.Module):
    """The first step alone: (B, C, h, w) -> (B, C_r, ceil(h / S), ceil(w / S)), within its output function's range."""

    def __init__(self, maps: int, reduced: int, *, stride: int = 1, output: str = "tanh") -> None:
        super().__init__()
        self.convolution = nn.Conv2d(maps, reduced, 3, stride, padding=1)
        self.output = OUTPUTS[output]

    def forward(self, x: Tensor) -> Tensor:
        """Reduce maps."""
        z: Tensor = self.output(self.convolution(x))
        return z


class ConvolutionDecoder(nn.Module):
    """(B, C_r, ceil(h / S), ceil(w / S)) -> 3 x 3 to (B, C, h, w), ELU."""

    def __init__(self, maps: int, reduced: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution: nn.Module = _restoring(reduced, maps, stride)

    def forward(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Restore maps."""
        return nn.functional.elu(_restore(self.convolution, z, size), inplace=True)


def _reduced_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def _elements(reduced: int, size: tuple[int, int], stride: int) -> int:
    height, width = _reduced_size(size, stride)
    return reduced * height * width


def _restoring(reduced: int, maps: int, stride: int) -> nn.Module:
    if stride == 1:
        return nn.Conv2d(reduced, maps, 3, padding=1)
    return nn.ConvTranspose2d(reduced, maps, 3, stride, padding=1)


def _restore(convolution: nn.Module, y: Tensor, size: tuple[int, int]) -> Tensor:
    """To this very size, whatever the stride cut off."""
    x: Tensor = convolution(y, output_size=list(size)) if isinstance(convolution, nn.ConvTranspose2d) else convolution(y)
    return x
