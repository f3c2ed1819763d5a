"""Models that are cut where more than the layer's output crosses, or where code reads shapes: small, taken from real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SamePadding(nn.Conv2d):
    """EfficientNet's: padding by the input's shape, as TensorFlow has it."""

    def forward(self, x: Tensor) -> Tensor:
        pad = [max((math.ceil(size / 2) - 1) * 2 + 3 - size, 0) for size in x.shape[-2:]]
        return F.conv2d(F.pad(x, [pad[1] // 2, pad[1] - pad[1] // 2, pad[0] // 2, pad[0] - pad[0] // 2]), self.weight, None, 2)


class Efficient(nn.Module):
    """Strided blocks in a list, the drop rate by the block's number, and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SamePadding(3, 8, 3)
        self.blocks = nn.ModuleList(nn.Sequential(SamePadding(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU6()) for _ in range(3))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x) * (1 - i / len(self.blocks) / 10)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class PaddedBySize(nn.Module):
    """The same padding, in code around the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        y = F.pad(self.a(x), [0, (math.ceil(w / 2) - 1) * 2 + 3 - w, 0, (math.ceil(h / 2) - 1) * 2 + 3 - h])
        return self.b(y)


class Segmentation(nn.Module):
    """Interpolates to the input's size, in a dictionary, as torchvision's do."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1))
        self.classifier = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        size = x.shape[-2:]
        y = self.classifier(self.backbone(x))
        return {"out": F.interpolate(y, size=size, mode="bilinear", align_corners=False)}


class UNet(nn.Module):
    """Skip connections at two levels; what comes up is padded to what comes across."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.up2, self.up1 = nn.Conv2d(16, 4, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.down1(x))
        two = F.relu(self.down2(F.max_pool2d(one, 2)))
        y = self.mid(F.max_pool2d(two, 2))
        for skip, up in ((two, self.up2), (one, self.up1)):
            y = F.interpolate(y, scale_factor=2.0)
            y = F.pad(y, [0, skip.size(3) - y.size(3), 0, skip.size(2) - y.size(2)])
            y = up(torch.cat([skip, y], 1))
        return y


class Pyramid(nn.Module):
    """Lateral connections; levels by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, 2, 1) for i in range(3))
        self.lateral = nn.ModuleDict({f"p{i}": nn.Conv2d(4, 5, 1) for i in range(3)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        out, above = {}, None
        for i in reversed(range(len(levels))):
            y = self.lateral[f"p{i}"](levels[i])
            if above is not None:
                y = y + F.interpolate(above, size=y.shape[-2:])
            out[f"p{i}"] = above = y
        return out


@dataclass
class Encoded:
    """Fields, as the hub's models return them."""

    last: Tensor
    pooled: Tensor | None = None
    length: int = 0


class Patches(nn.Module):
    """Gives tokens and how many there are each way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        y = self.conv(x)
        return y.flatten(2).transpose(1, 2), (y.shape[2], y.shape[3])


class Windows(nn.Module):
    """As Swin: sizes go from module to module, as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.fc = Patches(), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Encoded:
        y, (h, w) = self.embed(x)
        y = self.norm(y).view(len(x), h, w, -1).roll((1, 1), (1, 2))
        return Encoded(self.fc(y), pooled=y.mean((1, 2)), length=h * w)


class Tokens(nn.Module):
    """Positions and a causal mask by the number of tokens; the padding mask only where there is padding, as the hub has it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 8), nn.Embedding(30, 8)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 11)

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **options: Any) -> dict[str, Any]:
        if input_ids is None:
            raise ValueError("no tokens")
        batch, length = input_ids.shape
        if length > self.place.num_embeddings:
            raise ValueError("too long")
        places = torch.arange(length, device=input_ids.device)[None].expand(batch, -1)
        y = self.embed(input_ids) + self.place(places)
        mask = torch.ones(length, length, dtype=torch.bool, device=y.device).triu(1)
        padding = None
        if attention_mask is not None and (torch.compiler.is_exporting() or not attention_mask.all()):
            padding = attention_mask == 0
        for layer in self.layers:
            y = layer(y, src_mask=mask, src_key_padding_mask=padding)
        out = self.fc(self.norm(y).reshape(batch * length, -1)).view(batch, length, -1)
        return {"logits": out, **({"hidden": y} if options.get("with_hidden") else {})}


IDS = torch.arange(24).reshape(3, 8) % 11
PADDED = {"input_ids": IDS, "attention_mask": (torch.arange(8) < torch.tensor([[8], [5], [3]])).long()}
LONGER = {"input_ids": torch.arange(50).reshape(5, 10) % 11, "attention_mask": torch.ones(5, 10, dtype=torch.long)}


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# model, layer, example, what crosses (shapes, numbers), other inputs
CASES: dict[str, tuple[Callable[[], nn.Module], str, Any, list[Any], list[Any]]] = {
    "efficientnet": (Efficient, "blocks.1", images(2, 3, 32, 32), [(2, 8, 4, 4)], [images(1, 3, 45, 70)]),
    "padded by size": (PaddedBySize, "a", images(2, 3, 9, 8), [(2, 4, 9, 8), 9, 8], [images(1, 3, 12, 7), images(3, 3, 7, 7)]),
    "segmentation": (Segmentation, "backbone", images(2, 3, 20, 24), [(2, 6, 5, 6), 20, 24], [images(1, 3, 17, 30)]),
    "u-net": (UNet, "mid", images(2, 3, 21, 18), [(2, 8, 5, 4), (2, 4, 21, 18), (2, 8, 10, 9)], [images(1, 3, 8, 13)]),
    "u-net, first": (UNet, "down1", images(2, 3, 21, 18), [(2, 4, 21, 18)], [images(1, 3, 8, 13)]),
    "pyramid": (Pyramid, "stages.1", images(2, 3, 18, 16), [(2, 4, 5, 4), (2, 4, 9, 8)], [images(3, 3, 50, 33)]),
    "windows": (Windows, "embed", images(2, 3, 16, 24), [(2, 24, 8), 4, 6], [images(3, 3, 8, 4)]),
    "windows, later": (Windows, "norm", images(2, 3, 16, 24), [(2, 24, 8), 4, 6], [images(3, 3, 8, 4)]),
    "tokens": (Tokens, "layers.0", IDS, [(3, 8, 8)], [LONGER["input_ids"], IDS[:1, :3]]),
    "tokens, padded": (Tokens, "layers.0", PADDED, [(3, 8, 8), (3, 8)], [LONGER]),
}
