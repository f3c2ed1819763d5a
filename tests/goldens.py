"""Goldens: packets that must decode for ever. ``python -m tests.goldens`` writes the missing ones; none is ever rewritten.

One folder a codec under tests/golden, one .npz a config: `config` (JSON), the packets and `values` (float32) of a few
features, and the codec's state where it has one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import featcodec as fc
from featcodec.families.entropy import EntropyCodec
from featcodec.registry import builtin_codecs
from tests.features import taken

FOLDER = Path(__file__).parent / "golden"
SORTS = ("signed", "relu", "sparse", "two-valued", "constant", "huge")


def path_of(config: dict[str, Any], packets: list[bytes]) -> Path:
    """The file of a config and its packets: an encoder that writes other bytes, or a changed example, is another golden."""
    text = json.dumps(config, sort_keys=True).encode()
    names = (hashlib.sha256(data).hexdigest()[:8] for data in (text, b"".join(packets)))
    return FOLDER / config["id"] / f"{'-'.join(names)}.npz"


def configs() -> list[dict[str, Any]]:
    """Every built-in codec's examples."""
    return [
        fc.get_codec(codec_id, **example).config()
        for codec_id in builtin_codecs()
        for example in fc.codec_class(codec_id).examples
    ]


def inputs(codec: fc.Codec) -> torch.Tensor:
    """What goldens are made of."""
    sorts = taken(codec)
    return torch.cat([sorts[name] for name in SORTS if name in sorts])


def prepared(config: dict[str, Any]) -> fc.Codec:
    """The codec of a config, its static tables made from the goldens' own features."""
    torch.manual_seed(0)  # learned codecs begin with random weights
    codec = fc.get_codec(config).eval()
    if isinstance(codec, EntropyCodec) and codec.needs_calibration:
        x = inputs(codec)
        codec.calibrate_for(x, None if codec.maps is None else torch.ones_like(x) * weights_of_maps(x))
    return codec


def weights_of_maps(x: torch.Tensor) -> torch.Tensor:
    """For gradients: each map of (B, C, h, w) counts half as much as the one before."""
    return 0.5 ** torch.arange(x.shape[1])[:, None, None]


def packets_of(config: dict[str, Any]) -> list[bytes]:
    """What the codec of a config sends today."""
    codec = prepared(config)
    return [packet.to_bytes() for packet in codec.encode(inputs(codec))]


def is_there(config: dict[str, Any]) -> bool:
    """Whether a golden holds today's bytes; for bytes of another library's making, whether there is one of this config."""
    path = path_of(config, packets_of(config))
    if fc.codec_class(config["id"]).stable_bytes:
        return path.exists()
    return any(path.parent.glob(f"{path.stem.partition('-')[0]}-*.npz"))


def write(config: dict[str, Any]) -> Path:
    """Write the golden of a config."""
    codec = prepared(config)
    packets = [packet.to_bytes() for packet in codec.encode(inputs(codec))]
    blobs = {f"packet{i}": np.frombuffer(p, np.uint8) for i, p in enumerate(packets)}
    path = path_of(config, packets)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {f"state.{key}": value.numpy() for key, value in codec.state_dict().items()}
    np.savez_compressed(path, config=json.dumps(config), values=codec.decode(packets).numpy(), **blobs, **state)
    return path


if __name__ == "__main__":
    for wanted in configs():
        if not is_there(wanted):
            print(write(wanted))
