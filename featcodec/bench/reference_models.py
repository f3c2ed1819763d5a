"""The papers' networks as their code has them, torchvision's layer names, random weights: for counting, not for answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featcodec.bench.models import BasicBlock

_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pooling


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2016); the 3x3 one has the stride."""

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_maps, maps, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.conv3 = nn.Conv2d(maps, 4 * maps, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * maps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_maps != 4 * maps:
            self.downsample = nn.Sequential(nn.Conv2d(in_maps, 4 * maps, 1, stride, bias=False), nn.BatchNorm2d(4 * maps))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_maps, h, w) to (B, 4 * maps, h / stride, w / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        y: Tensor = self.relu(out + identity)
        return y


class SmallImageResNet(nn.Module):
    """A ResNet of four stages for pictures of 32 x 32: a 3x3 stem of stride 1 without pooling, as the papers' code has it.

    Parameters
    ----------
    block
        `BasicBlock` or `Bottleneck`.
    blocks
        Of each stage.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], blocks: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        widening = 4 if block is Bottleneck else 1
        before = 64
        for number, (count, maps, stride) in enumerate(zip(blocks, (64, 128, 256, 512), (1, 2, 2, 2), strict=True), 1):
            rest = (block(widening * maps, maps, 1) for _ in range(count - 1))
            self.add_module(f"layer{number}", nn.Sequential(block(before, maps, stride), *rest))
            before = widening * maps
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 3, 32, 32) to logits (B, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


class VGG(nn.Module):
    """VGG-16 with batch norm for pictures of 32 x 32: five poolings, and three linear layers from 512 features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for maps in _VGG16:
            if maps:
                layers += [nn.Conv2d(before, maps, 3, padding=1), nn.BatchNorm2d(maps), nn.ReLU(inplace=True)]
                before = maps
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        hidden = [nn.Linear(512, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 4096)]
        self.classifier = nn.Sequential(*hidden, nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 3, 32, 32) to logits (B, classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


def resnet18(classes: int = 10) -> nn.Module:
    """Return the three-step framework's ResNet-18."""
    return SmallImageResNet(BasicBlock, (2, 2, 2, 2), classes).eval()


def resnet50(classes: int = 100) -> nn.Module:
    """Return BottleNet++'s ResNet-50."""
    return SmallImageResNet(Bottleneck, (3, 4, 6, 3), classes).eval()


def vgg16(classes: int = 100) -> nn.Module:
    """Return BottleNet++'s VGG-16 with batch norm."""
    return VGG(classes).eval()
