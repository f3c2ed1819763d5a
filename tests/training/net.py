"""A small network and data that trainings are tried on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec import training
from featcodec.training import Batches, Phase


class Net(nn.Module):
    """Head, cut at `b`, tail; batch norm on both sides, dropout behind."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.c = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(self.b(self.a(x))).mean((2, 3)))


def toy(count: int = 64) -> tuple[Tensor, Tensor]:
    """Four classes by which corner is bright."""
    g = torch.Generator().manual_seed(1)
    y = torch.randint(4, (count,), generator=g)
    x = 0.3 * torch.randn(count, 3, 8, 8, generator=g)
    for image, label in zip(x, y.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[label % 3, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.5
    return x, y


def batches(**options) -> Batches:
    return Batches(*toy(), 16, **options)


def put(net: Net, spec: str = "dsc:reduced=2,step=0.5", channel: str | None = None) -> fc.Insertion:
    torch.manual_seed(3)
    return fc.insert(net, "b", spec, channel, example=toy(1)[0])


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def bottleneck(epochs: int = 4, **fields) -> Phase:
    return replace(training.bottleneck_only(epochs, lr=0.02, weights={"rate": 0.01})[0], **fields)
