"""A head as an ONNX file, for `featcodec.device`."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from featcodec.errors import FeatcodecError, PartError
from featcodec.onnx_head import Output, write_onnx_head
from featcodec.parts.about import About
from featcodec.parts.program import DTYPES, Program
from featcodec.sizes import compute


def write_onnx(about: About, program: Program, network: nn.Module, path: str | Path) -> None:
    """Write a head; `network` is its module. Errors are those of `Head.to_onnx`."""
    dim = torch.export.Dim
    free = [[dim.STATIC if isinstance(size, int) else dim.AUTO for size in shape] for shape in program.shapes]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its own
            write_onnx_head(
                path,
                network.to("cpu"),
                example_inputs(about, program),
                [Output(port.name, port.codec, port.axis or 0) for port in about.ports],
                layer=about.layer,
                fingerprint=about.fingerprint,
                inputs=[given["name"] for given in program.inputs],
                sizes=about.sizes,
                conditions={
                    "inputs": [[given["name"], given["shape"]] for given in program.inputs],
                    "derived": program.spec["derived"],
                    "guards": program.spec["guards"],
                },
                dynamic_shapes=[dict(enumerate(axes)) for axes in free],
            )
    except FeatcodecError:
        raise
    except Exception as e:  # whatever torch and its packages raise
        cause = str(e.__cause__ or e).strip().splitlines()[0][:400]
        raise PartError(f"the head behind {about.layer!r} has no ONNX: {cause}") from e


def example_inputs(about: About, program: Program) -> list[Tensor]:
    """Return inputs of the example's sizes; zeros, which index every table."""
    found = []
    sizes = program.all_sizes(about.example)
    for given, shape in zip(program.inputs, program.shapes, strict=True):
        found.append(torch.zeros([compute(size, sizes) for size in shape], dtype=DTYPES[given["dtype"]]))
    return found
