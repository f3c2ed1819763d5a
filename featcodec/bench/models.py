"""The benchmark's own network, with torchvision's layer names: its models and these behave alike."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from featcodec.bench.shipped import asset


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, in_maps: int, maps: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_maps, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_maps != maps:
            self.downsample = nn.Sequential(nn.Conv2d(in_maps, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_maps, h, w) to (B, maps, h / stride, w / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        y: Tensor = self.relu(self.bn2(self.conv2(out)) + identity)
        return y


class CifarResNet(nn.Module):
    """The CIFAR ResNet: a 3x3 stem without pooling, three stages of 16, 32 and 64 maps.

    Parameters
    ----------
    blocks
        Basic blocks a stage: 3 makes ResNet-20.
    """

    def __init__(self, blocks: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(in_maps: int, maps: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(in_maps, maps, stride)
        return nn.Sequential(first, *(BasicBlock(maps, maps, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (B, 3, 32, 32) to logits (B, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def resnet20() -> nn.Module:
    """Return ResNet-20 with the weights that ship with the benchmark, in eval mode."""
    model = CifarResNet(3)
    model.load_state_dict(load_file(asset("resnet20_cifar10.safetensors")))
    return model.eval()
