"""Heads as ONNX files, for the tests of a device; ``python -m tests.heads`` writes the golden one where it is missing."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec.device import Head
from tests.device.golden import FOLDER, inputs

FINGERPRINT = "0123456789abcdef" * 2


def write_head(
    path: Path, module: nn.Module, example: Tensor, codecs: Sequence[fc.Codec | None], *, batch: str | None = "batch"
) -> None:
    """Write a module that returns one tensor, or a tuple, with a codec for each."""
    module = _WithNetworks(module, codecs).eval()
    with torch.no_grad():
        features = module.features(example)
    names = [f"crossing{i}" for i in range(len(features))]
    dynamic = ({0: batch},) if batch else None
    program = torch.onnx.export(
        module, (example,), dynamo=True, verbose=False, input_names=["x"], output_names=names, dynamic_shapes=dynamic
    )
    model = program.model_proto
    rows = [_row(name, x, codec) for name, x, codec in zip(names, features, codecs, strict=True)]
    write_metadata(model, {"format": 1, "layer": "layer", "crossing": rows, "head_fingerprint": FINGERPRINT})
    # what the exporter notes of where a node came from names folders of this machine
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, path)


def write_metadata(model: Any, about: Mapping[str, Any]) -> None:
    """Put what a head's file says of itself into its model."""
    onnx.helper.set_model_props(model, {"featcodec": json.dumps(about)})


def _row(name: str, x: Tensor, codec: fc.Codec | None) -> dict[str, Any]:
    row = {"name": name, "dtype": str(x.dtype).removeprefix("torch."), "shape": [None, *x.shape[1:]], "codec": None}
    if codec is None:
        return row
    state = {
        key: {"dtype": a.dtype.name, "shape": list(a.shape), "data": base64.b64encode(a.tobytes()).decode()}
        for key, a in codec.device_state().items()
    }
    return {**row, "codec": codec.config(), "state": state}


class _WithNetworks(nn.Module):
    """A head, and behind it the networks of its codecs."""

    def __init__(self, head: nn.Module, codecs: Sequence[fc.Codec | None]) -> None:
        super().__init__()
        self.head = head
        self.networks = nn.ModuleList([(codec and codec.device_network()) or nn.Identity() for codec in codecs])

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.head(x)
        return features if isinstance(features, tuple) else (features,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(network(feature) for network, feature in zip(self.networks, self.features(x), strict=True))


class Exact(nn.Module):
    """A head whose every sum is exact in float32: what it gives is the same on all machines."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, 2, 1)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.convolution.parameters():
            parameter.data = torch.randint(-8, 9, parameter.shape, generator=generator) / 8

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = torch.relu(self.convolution(x))
        tokens = maps.flatten(2).transpose(1, 2)
        return maps, tokens, tokens.argmax(2)


def golden_codecs() -> list[fc.Codec | None]:
    """The codecs of the golden head: one with tables, one for tokens; the third tensor is sent as it is."""
    example = torch.from_numpy(inputs(8))
    with torch.no_grad():
        maps = Exact()(example)[0]
    tables = fc.get_codec("context:bits=4,tables=static").calibrate(maps)
    return [tables, fc.get_codec("ldpc:inner=(huffman:bits=5,axis=token),rate=3/4"), None]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    if not (FOLDER / "head.onnx").exists():
        write_head(FOLDER / "head.onnx", Exact(), torch.from_numpy(inputs(2)), golden_codecs())
        message = Head(FOLDER / "head.onnx").encode(inputs(3))
        (FOLDER / "message.hex").write_text(message.hex() + "\n")
        print(FOLDER, np.frombuffer(message, np.uint8).size)
