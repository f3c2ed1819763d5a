"""A head as an ONNX file, for devices without torch; what crosses, and by which codecs, stands in its metadata."""

from __future__ import annotations

import base64
import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from featcodec.errors import MissingDependencyError, PartError
from featcodec.parts.about import About
from featcodec.parts.module import Builder
from featcodec.parts.port import Port
from featcodec.parts.program import DTYPES, Program
from featcodec.parts.sizes import compute

METADATA = "featcodec"  # the key under which an ONNX model holds what `described` says
FORMAT = 1


def write_onnx(about: About, program: Program, path: str | Path) -> None:
    """Write a head to an ONNX file.

    Raises
    ------
    MissingDependencyError
        onnx or onnxscript is not installed.
    PartError
        torch finds no ONNX for it.
    """
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as e:
            line = "pip install 'featcodec[export]'"
            raise MissingDependencyError(f"writing ONNX needs {e.name}, which is not installed: {line}") from e
    builder = Builder(program)
    module: fx.GraphModule | nn.Module = builder.module(tuple(builder.results))
    names = [port.name for port in about.ports]
    names += [f"known.{i}" for i in range(len(builder.results) - len(names))]
    dim = torch.export.Dim
    free = [[dim.STATIC if isinstance(size, int) else dim.AUTO for size in shape] for shape in program.shapes]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its own
            made = torch.onnx.export(
                module.to("cpu"),
                tuple(example_inputs(about, program)),
                dynamo=True,
                input_names=[given["name"] for given in program.inputs],
                output_names=names,
                dynamic_shapes=[dict(enumerate(axes)) for axes in free],
                verbose=False,
            )
    except Exception as e:  # whatever torch and its packages raise
        raise PartError(f"the head behind {about.layer!r} has no ONNX: {str(e).splitlines()[0][:400]}") from e
    assert made is not None
    text = json.dumps(described(about, program), sort_keys=True, separators=(",", ":"), allow_nan=False)
    made.model.metadata_props[METADATA] = text
    made.save(str(path))


def example_inputs(about: About, program: Program) -> list[Tensor]:
    """Return inputs of the example's sizes; zeros, which index every table."""
    found = []
    for given, shape in zip(program.inputs, program.shapes, strict=True):
        sizes = program.all_sizes(about.example)
        found.append(torch.zeros([compute(size, sizes) for size in shape], dtype=DTYPES[given["dtype"]]))
    return found


def described(about: About, program: Program) -> dict[str, Any]:
    """Return what a device needs to know: docs/parts.md."""
    return {
        "format": FORMAT,
        "model": about.model,
        "layer": about.layer,
        "head_fingerprint": about.fingerprint,
        "crossing": [_crossing(port) for port in about.ports],
        "sizes": [_shown_size(program, name) for name in about.sizes],
    }


def _crossing(port: Port) -> dict[str, Any]:
    state = {} if port.codec is None else port.codec.state_dict()
    return {
        "name": port.name,
        "dtype": port.dtype,
        "shape": list(port.shape),
        "axis": port.axis,
        "codec": None if port.codec is None else port.codec.config(),
        "state": {name: _written(x) for name, x in state.items()},
    }


def _written(x: Tensor) -> dict[str, Any]:
    data = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {"dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape), "data": base64.b64encode(data).decode()}


def _shown_size(program: Program, name: str) -> dict[str, Any]:
    number, axis = program.bound[name]
    return {"name": name, "input": program.inputs[number]["name"], "axis": axis}
