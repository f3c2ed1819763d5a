"""Features that every codec meets: typical ones, and those that break codecs."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

import featcodec as fc


def features(shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return one sample (1, *shape) float32 of each sort, the same on every run."""
    g = torch.Generator().manual_seed(7)
    normal = torch.randn(1, *shape, generator=g)
    spike = torch.zeros(1, *shape)
    spike.view(-1)[1] = 5.0
    two = (normal > 0).float() * 2 - 1
    return {
        "signed": normal,
        "relu": torch.relu(normal),
        "sparse": torch.relu(normal - 1.8),
        "spike": spike,
        "two-valued": two,
        "constant": torch.full((1, *shape), -3.25),
        "zero": torch.zeros(1, *shape),
        "huge": normal / normal.abs().max() * 3.3e38,
        "tiny": normal * 1e-41,
        "offset": normal * 1e-3 + 1e4,
        "integers": (normal * 4).round(),
    }


def batch(shape: tuple[int, ...]) -> Tensor:
    """Return all of them as one batch: nothing may leak from one into another."""
    return torch.cat(list(features(shape).values()))


_REFUSAL = re.compile(r"a step of \S+ codes values from .* (the smallest step that would do is|it would take a step of) ")


def taken(codec: fc.Codec) -> dict[str, Tensor]:
    """Return those of the codec's example shape that it takes: all, but where a step has no integer for the largest values."""
    found = {}
    for name, x in features(codec.example_shape).items():
        refusal = _refusal(codec, x)
        if refusal is None:
            found[name] = x
            continue
        assert _REFUSAL.search(refusal), (name, refusal)
        assert name in ("huge", "offset"), (name, refusal)
        assert any(getattr(module, "step", None) is not None for module in codec.modules()), (name, refusal)
    return found


def _refusal(codec: fc.Codec, x: Tensor) -> str | None:
    try:
        codec.encode(x)
    except fc.FeatureError as e:
        return str(e)
    return None


def taken_batch(codec: fc.Codec) -> Tensor:
    """Return all that the codec takes as one batch."""
    return torch.cat(list(taken(codec).values()))


def smooth(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Post-ReLU features with structure: smooth in space, many zeros, maps of different scale."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(1, *shape, generator=g)
    if len(shape) >= 3:
        flat = x.reshape(1, shape[0], -1, shape[-1])
        flat = torch.nn.functional.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)
        x = (flat * torch.rand(shape[0], generator=g)[:, None, None]).reshape(1, *shape)
    return torch.relu(x - 0.1)


def packet_of(codec: fc.Codec, shape: tuple[int, ...], payload: bytes) -> fc.Packet:
    """A packet of this codec that nobody encoded."""
    return fc.Packet(shape, "float32", fc.PayloadKind.BYTES, codec.config_crc(), np.frombuffer(payload, np.uint8))
