"""Small networks of many kinds, to be pruned."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(read: int, made: int, kernel: int = 3, **more) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(read, made, kernel, padding=kernel // 2, bias=False, **more), nn.BatchNorm2d(made), nn.ReLU()
    )


class Residual(nn.Module):
    """A block with an identity shortcut, one that widens, a head of 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.a, self.b = conv(8, 12), nn.Sequential(nn.Conv2d(12, 8, 3, 1, 1), nn.BatchNorm2d(8))
        self.cut = nn.ReLU()
        self.c, self.fc = conv(8, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.cut(x + self.b(self.a(x)))
        return self.fc(self.c(x).mean((2, 3)))


class Plain(nn.Module):
    """No shortcuts, biases instead of norms, flattened: everything can go."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 10, 3, stride=2, padding=1)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(10 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.one(x))
        x = self.pool(torch.relu(self.two(x)))
        return self.fc(torch.flatten(x, 1))


class Mobile(nn.Module):
    """Inverted residual with squeeze and excitation: depthwise filters, a gate by sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = conv(3, 12, 1), conv(12, 12, groups=12)
        self.down, self.up = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.narrow, self.fc = conv(12, 6, 1), nn.Linear(6, 4)
        self.relu6 = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu6(self.deep(nn.functional.pad(self.wide(x), (0, 1, 0, 1)))).clamp(max=4)
        gate = torch.sigmoid(self.up(torch.relu(self.down(nn.functional.adaptive_avg_pool2d(x, 1)))))
        x = self.narrow(x * gate)
        return self.fc(x.mean((2, 3)))


class Dense(nn.Module):
    """Concatenation, norms before convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(12), nn.Conv2d(12, 8, 3, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(torch.relu(self.norm1(x)))], 1)
        return self.fc(torch.relu(self.conv2(torch.relu(self.norm2(x)))).mean((2, 3)))


class Grouped(nn.Module):
    """A grouped convolution, a shuffle and a gate of rules unknown: what they touch stays."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = conv(3, 8), conv(8, 8, groups=2), conv(8, 8)
        self.four, self.fc = conv(8, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x))
        x = x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.fc(self.four(self.three(x)).mean((2, 3)))


class Counting(nn.Module):
    """Writes a size into its code."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.fc = conv(3, 8), nn.Linear(8 * 64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.one(x).view(-1, 512))


# network, the last layer on the device, whether filters can be dropped at all
NETWORKS = (
    (Residual, "cut", True),
    (Plain, "pool", True),
    (Mobile, "narrow", True),
    (Dense, "conv2", True),
    (Grouped, "four", True),
    (Counting, "one", False),
)


def ready(network: type[nn.Module]) -> nn.Module:
    """A network whose norms shift and scale: nothing is zero by chance."""
    torch.manual_seed(2)
    net = network()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(value, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()
