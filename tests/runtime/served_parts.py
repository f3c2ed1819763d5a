"""Heads and tails of the embedded ResNet-20 as files, one pair for each codec; traced once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

import featcodec as fc
from featcodec.parts.file import write_part

LAYER = "layer2"
# what a codec cannot do without; sizes are fitted
NEEDED = {
    "bottlenet": {"inner": "huffman:bits=4"},
    "ldpc": {"inner": "huffman:bits=4"},
    "variable-rate": {"levels": "dsc:maps=32,reduced=8,stride=2,step=0.5;dsc:maps=32,reduced=16,stride=2,step=0.1"},
}
DIGITAL = {"jscc", "vfe"}  # their packets are numbers for a radio: they cross all the same


def codec_of(codec_id: str, features: torch.Tensor) -> fc.Codec:
    """A codec in eval mode, calibrated where it needs it; its weights are random, but the same each time."""
    torch.manual_seed(1)
    spec = fc.fit_spec({"id": codec_id, **NEEDED.get(codec_id, {})}, tuple(features.shape[1:]))
    codec = fc.get_codec(spec).eval()
    return codec.calibrate(features) if codec.needs_calibration else codec


def write_all(folder: Path, model: torch.nn.Module, images: torch.Tensor, codec_ids: tuple[str, ...]) -> dict[str, fc.Parts]:
    """Write CODEC.head.fcz and CODEC.tail.fcz for each codec; return the pairs."""
    head, tail = fc.export(model, LAYER, images[:2], codec="raw")
    (features,) = head(images[:8]).tensors.values()
    pairs = {}
    for number, codec_id in enumerate(codec_ids, 1):
        ports = (replace(head.ports[0], codec=codec_of(codec_id, features)),)
        said = {"ports": ports, "fingerprint": f"{number:032x}"}
        pair = (fc.Head(replace(head.about, **said), head.program), fc.Tail(replace(tail.about, **said), tail.program))
        for part in pair:
            write_part(part, folder / f"{codec_id}.{part.kind}.fcz")
        pairs[codec_id] = pair
    return pairs
