"""Heads as ONNX files, for the tests of a device; ``python -m tests.heads`` writes the golden one where it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec.device import Head
from featcodec.onnx_head import Output, write_onnx_head
from tests.device.golden import FOLDER, inputs

FINGERPRINT = "0123456789abcdef" * 2


def write_head(
    path: Path, module: nn.Module, example: Tensor, codecs: Sequence[fc.Codec | None], axes: dict[int, str] | None = None
) -> None:
    """Write a module that takes one tensor x and returns one, or a tuple, with a codec for each; `axes` of any size."""
    outputs = [Output(f"crossing{i}", codec) for i, codec in enumerate(codecs)]
    free = ({0: "batch", **(axes or {})},)
    write_onnx_head(
        path, module, (example,), outputs, layer="layer", fingerprint=FINGERPRINT, inputs=["x"], dynamic_shapes=free
    )


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
