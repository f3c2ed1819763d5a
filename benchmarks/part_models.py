"""Models that are cut in tests and benchmarks: small, with random weights, from what people really run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featcodec.bench.models import resnet20


@dataclass(frozen=True)
class Case:
    """A model, and where it is cut.

    Attributes
    ----------
    build
        The model, random weights.
    layer
        A block's boundary.
    example
        A batch of inputs; further arguments are other lengths or sizes.
    sizes
        Arguments of `example` beside the batch at which the halves are compared; the first is what is exported.
    own, fixed
        For `export`.
    """

    build: Callable[[], nn.Module]
    layer: str
    example: Callable[..., Any]
    sizes: tuple[tuple[int, ...], ...] = ((),)
    own: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


def image(height: int, width: int, channels: int = 3) -> Callable[..., Tensor]:
    def example(batch: int, h: int = height, w: int = width) -> Tensor:
        return torch.randn(batch, channels, h, w)

    return example


def ids(length: int, vocabulary: int = 60) -> Callable[..., dict[str, Tensor]]:
    def example(batch: int, t: int = length) -> dict[str, Tensor]:
        return {"input_ids": torch.randint(1, vocabulary, (batch, t))}

    return example


# ---- models of our own
def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for before, behind in ((3, 8), (8, 16), (16, 16)):
        block = [nn.Conv2d(before, behind, 3, padding=1), nn.BatchNorm2d(behind), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        layers.append(nn.Sequential(*block))
    return nn.Sequential(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))


class Inverted(nn.Module):
    """An inverted residual block with TensorFlow's "same" padding, which depends on the picture's size."""

    def __init__(self, before: int, behind: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(before, 4 * before, 1, bias=False), nn.BatchNorm2d(4 * before), nn.ReLU6(True))
        self.depthwise = nn.Conv2d(4 * before, 4 * before, 3, stride, groups=4 * before, bias=False)
        self.norm, self.relu = nn.BatchNorm2d(4 * before), nn.ReLU6(True)
        self.project = nn.Sequential(nn.Conv2d(4 * before, behind, 1, bias=False), nn.BatchNorm2d(behind))
        self.stride, self.adds = stride, before == behind and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)
        pad = []
        for size in (y.shape[3], y.shape[2]):
            whole = max((-(-size // self.stride) - 1) * self.stride + 3 - size, 0)
            pad += [whole // 2, whole - whole // 2]
        y = self.project(self.relu(self.norm(self.depthwise(F.pad(y, pad)))))
        return x + y if self.adds else y


class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(True))
        self.blocks = nn.Sequential(Inverted(8, 8, 1), Inverted(8, 12, 2), Inverted(12, 12, 1))
        self.dropout, self.fc = nn.Dropout(0.2), nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.blocks(self.stem(x)).mean((2, 3))))


class UNet(nn.Module):
    """Skips around the cut, and a tail that asks for sizes of what it upsamples to."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.up2, self.up1 = nn.Conv2d(16, 6, 3, padding=1), nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.down1(x))
        b = torch.relu(self.down2(F.max_pool2d(a, 2)))
        y = self.mid(F.max_pool2d(b, 2))
        y = self.up2(torch.cat([F.interpolate(y, size=b.shape[2:]), b], 1))
        return self.up1(torch.cat([F.interpolate(y, size=a.shape[2:], mode="bilinear"), a], 1))


class FPN(nn.Module):
    """A pyramid in a dictionary, a head that is called on each of its levels, and sizes among what is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.c3 = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.sides = nn.ModuleList([nn.Conv2d(c, 5, 1) for c in (4, 6, 8)])
        self.fpn = Pyramid()
        self.head = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, images: Tensor) -> dict[str, Any]:
        a = torch.relu(self.c1(images))
        b = torch.relu(self.c2(a))
        levels = self.fpn([side(level) for side, level in zip(self.sides, (a, b, torch.relu(self.c3(b))), strict=True)])
        found = {name: self.head(level) for name, level in levels.items()}
        return {"levels": found, "size": tuple(images.shape[2:]), "best": max(found), "none": None}


class Pyramid(nn.Module):
    def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
        top = levels[-1]
        out = {"p2": top}
        for i in (1, 0):
            top = levels[i] + F.interpolate(top, size=levels[i].shape[2:])
            out[f"p{i}"] = top
        return out


class Speech(nn.Module):
    """Recurrent layers: time first and batch first, their outputs not in row order."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True)
        self.gru, self.fc = nn.GRU(12, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        z, state = self.gru(y.transpose(0, 1))
        return self.fc(z[-1]) + state.sum()


def transformer_encoder() -> nn.Module:
    block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(block, 2, enable_nested_tensor=False), nn.Linear(16, 4))


# ---- models of transformers
def hub(name: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    """A model of transformers, made from a config without a look at the network."""

    def build() -> nn.Module:
        import transformers

        made = getattr(transformers, config)(**options)
        return getattr(transformers, name)(made).eval()

    return build


TEXT = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
VISION = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
LLAMA = {**TEXT, "num_key_value_heads": 2, "use_cache": False, "pad_token_id": 0}


def padded(batch: int, t: int = 11) -> dict[str, Tensor]:
    mask = torch.ones(batch, t, dtype=torch.int64)
    mask[0, -2:] = 0
    return {"input_ids": torch.randint(1, 60, (batch, t)), "attention_mask": mask}


def translated(batch: int, t: int = 11) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(1, 60, (batch, t)), "decoder_input_ids": torch.randint(1, 60, (batch, 4))}


def heard(batch: int) -> dict[str, Tensor]:
    return {"input_features": torch.randn(batch, 8, 40), "decoder_input_ids": torch.randint(1, 60, (batch, 4))}


def captioned(batch: int, t: int = 6) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(1, 60, (batch, t)), "pixel_values": torch.randn(batch, 3, 32, 32)}


def pixels(height: int, width: int) -> Callable[..., dict[str, Tensor]]:
    def example(batch: int, h: int = height, w: int = width) -> dict[str, Tensor]:
        return {"pixel_values": torch.randn(batch, 3, h, w)}

    return example


def detr() -> nn.Module:
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    config = transformers.DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_queries=5,
        num_labels=4,
    )
    return transformers.DetrForObjectDetection(config).eval()


def mixtral() -> nn.Module:
    model = hub("MixtralForCausalLM", "MixtralConfig", **LLAMA, num_local_experts=4)()
    model.set_experts_implementation("batched_mm")  # the default is an operation of transformers' own
    return model


OURS = {
    "resnet20": Case(resnet20, "layer2", image(32, 32), ((), (40, 36))),
    "vgg": Case(vgg, "0.1", image(32, 32), ((), (40, 36))),
    "efficientnet": Case(EfficientNet, "blocks.1", image(33, 40), ((), (47, 36))),
    "unet": Case(UNet, "mid", image(24, 20), ((), (30, 18))),
    "fpn": Case(FPN, "fpn", image(32, 40), ((), (48, 36))),
    "speech": Case(Speech, "rnn", lambda b, t=9: torch.randn(b, t, 5), ((), (17,))),
    "encoder": Case(transformer_encoder, "0.layers.0", lambda b, t=9: torch.randn(b, t, 16), ((), (17,))),
}
HUB = {
    "vit": Case(hub("ViTForImageClassification", "ViTConfig", **VISION), "vit.layers.1", pixels(32, 32)),
    "swin": Case(
        hub(
            "SwinForImageClassification",
            "SwinConfig",
            image_size=32,
            patch_size=2,
            embed_dim=16,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
        ),
        "swin.encoder.layers.0",
        pixels(32, 32),
        fixed=("pixel_values",),  # windows make hundreds of conditions on them
    ),
    "bert": Case(hub("BertForSequenceClassification", "BertConfig", **TEXT), "bert.encoder.layer.1", padded, ((), (23,))),
    "gpt2": Case(
        hub("GPT2LMHeadModel", "GPT2Config", vocab_size=60, n_embd=32, n_layer=3, n_head=4, n_positions=64, use_cache=False),
        "transformer.h.1",
        ids(11),
        ((), (23,)),
    ),
    "llama": Case(hub("LlamaForCausalLM", "LlamaConfig", **LLAMA), "model.layers.1", ids(11), ((), (23,))),
    "t5": Case(
        hub(
            "T5ForConditionalGeneration",
            "T5Config",
            vocab_size=60,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
            use_cache=False,
        ),
        "encoder.block.0",
        translated,
        ((), (23,)),
    ),
    "whisper": Case(
        hub(
            "WhisperForConditionalGeneration",
            "WhisperConfig",
            vocab_size=60,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            num_mel_bins=8,
            max_source_positions=20,
            max_target_positions=20,
            use_cache=False,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            begin_suppress_tokens=None,
            suppress_tokens=None,
        ),
        "model.encoder.layers.0",
        heard,
    ),
    "segformer": Case(
        hub(
            "SegformerForSemanticSegmentation",
            "SegformerConfig",
            num_encoder_blocks=2,
            depths=[1, 1],
            sr_ratios=[4, 2],
            hidden_sizes=[8, 16],
            patch_sizes=[7, 3],
            strides=[4, 2],
            num_attention_heads=[1, 2],
            mlp_ratios=[2, 2],
            decoder_hidden_size=16,
            num_labels=3,
        ),
        "segformer.stages.0",
        pixels(64, 64),
        ((), (96, 64)),
    ),
    "detr": Case(detr, "model.backbone", pixels(64, 64), ((), (96, 64))),
    "clip": Case(
        lambda: hub(
            "CLIPModel",
            "CLIPConfig",
            projection_dim=16,
            text_config={**TEXT, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
            vision_config=VISION,
        )(),
        "vision_model.encoder.layers.0",
        captioned,
        ((), (9,)),
    ),
    "mamba": Case(
        hub(
            "MambaForCausalLM", "MambaConfig", vocab_size=60, hidden_size=32, num_hidden_layers=2, state_size=4, use_cache=False
        ),
        "backbone.layers.0",
        ids(5),
    ),
    "mixtral": Case(mixtral, "model.layers.0", ids(11), ((), (23,))),
}
CASES = {**OURS, **HUB}


def built(name: str) -> nn.Module:
    """A case's model in eval mode, the same one whenever it is built."""
    torch.manual_seed(0)
    return CASES[name].build().eval()
