"""A head as an ONNX file for `featcodec.device`: the network, behind it those of its codecs, and how latents become bytes."""

from __future__ import annotations

import base64
import copy
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featcodec.codec import Codec
from featcodec.device.head import FORMAT, KEY
from featcodec.errors import ConfigError, MissingDependencyError
from featcodec.ops.cast import DTYPE_NAMES
from featcodec.payloads.coders import coder_of


class Output(NamedTuple):
    """A tensor that the network gives, and what becomes of it.

    Attributes
    ----------
    name
        Of the file's output.
    codec
        None where it is sent as it is.
    axis
        The one along which a codec's packets are samples.
    """

    name: str
    codec: Codec | None = None
    axis: int = 0


def write_onnx_head(
    path: str | Path,
    network: nn.Module,
    example: Sequence[Tensor],
    outputs: Sequence[Output],
    *,
    layer: str,
    fingerprint: str,
    inputs: Sequence[str],
    sizes: Sequence[str] = (),
    conditions: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> None:
    """Write a head.

    Parameters
    ----------
    network
        Takes the example's tensors and returns a tensor, or a tuple of them, as `outputs` says, and behind them the integers of
        `sizes`.
    example
        What it is exported with.
    layer, fingerprint
        Where the model was cut, and the fingerprint that head and tail share.
    inputs
        Names of the inputs.
    sizes
        Names of the sizes that the tail cannot see in a tensor.
    conditions
        What `featcodec.conditions.Conditions` is made of, by argument: that for other sizes the network computes something
        else, nothing in an ONNX file says.
    dynamic_shapes
        Axes of any size, as `torch.onnx.export` takes them.

    Raises
    ------
    ConfigError
        A codec runs with torch alone.
    MissingDependencyError
        onnx or onnxscript is not installed.
    """
    onnx = _onnx()
    for output in outputs:
        if output.codec is not None:
            coder_of(output.codec.config(), output.codec.device_state())  # refused now, and not on the device
    # a tensor that crosses as it came has its input's name
    outputs = [output._replace(name=f"{output.name}.crossing") if output.name in inputs else output for output in outputs]
    whole = _Whole(network, outputs).eval()
    with torch.no_grad():
        features, _ = whole.features(*example)
    program = torch.onnx.export(
        whole,
        tuple(example),
        dynamo=True,
        verbose=False,
        input_names=list(inputs),
        output_names=[*(output.name for output in outputs), *sizes],
        dynamic_shapes=None if dynamic_shapes is None else (tuple(dynamic_shapes),),
    )
    if program is None:
        raise ConfigError("torch.onnx.export made no program of the head")
    model = program.model_proto
    opened = [[bool(dim.dim_param) for dim in o.type.tensor_type.shape.dim] for o in model.graph.output[: len(outputs)]]
    rows = [_row(output, x, axes) for output, x, axes in zip(outputs, features, opened, strict=True)]
    about = {"format": FORMAT, "layer": layer, "crossing": rows, "sizes": list(sizes), "head_fingerprint": fingerprint}
    if conditions is not None:
        about["conditions"] = conditions
    onnx.helper.set_model_props(model, {KEY: json.dumps(about)})
    for node in model.graph.node:
        del node.metadata_props[:]  # where in the exporting machine's sources a node came from
    onnx.save(model, str(path))


class _Whole(nn.Module):
    """A head, and behind it what its codecs' networks make of its outputs, samples first and in types that NumPy has."""

    def __init__(self, network: nn.Module, outputs: Sequence[Output]) -> None:
        super().__init__()
        self.network = network
        self.axes = [output.axis if output.codec is not None else 0 for output in outputs]
        # of copies: eval() would reach the caller's own
        behind = [None if output.codec is None else copy.deepcopy(output.codec).device_network() for output in outputs]
        self.behind = nn.ModuleList([nn.Identity() if module is None else module for module in behind])

    def features(self, *given: Tensor) -> tuple[list[Tensor], tuple[int, ...]]:
        found = self.network(*given)
        results = found if isinstance(found, tuple) else (found,)
        count = len(self.axes)
        return [x.movedim(axis, 0) for axis, x in zip(self.axes, results[:count], strict=True)], results[count:]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        features, sizes = self.features(*given)
        latents = [network(x) for network, x in zip(self.behind, features, strict=True)]
        tensors = [z.float() if z.dtype is torch.bfloat16 else z for z in latents]
        return (*tensors, *(torch.scalar_tensor(size, dtype=torch.int64) for size in sizes))


def _row(output: Output, x: Tensor, opened: Sequence[bool]) -> dict[str, Any]:
    """What the file says of one tensor that crosses.

    `opened` has the axes of what the codec's network makes of it; where that is another shape, one open axis opens all.
    """
    latent = output.codec is not None and output.codec.device_network() is not None
    open_axes = [any(opened[1:])] * x.ndim if latent else list(opened)
    if output.codec is not None:
        open_axes[0] = True
    dtype = DTYPE_NAMES.get(x.dtype, str(x.dtype).removeprefix("torch."))
    row: dict[str, Any] = {
        "name": output.name,
        "dtype": dtype,
        "shape": [None if is_open else size for is_open, size in zip(open_axes, x.shape, strict=True)],
    }
    if output.codec is None:
        return {**row, "codec": None}
    state = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}
        for name, array in output.codec.device_state().items()
    }
    return {**row, "codec": output.codec.config(), "state": state, "fingerprint": output.codec.fingerprint()}


def _onnx() -> Any:
    try:
        importlib.import_module("onnxscript")
        return importlib.import_module("onnx")
    except ModuleNotFoundError as e:
        line = "pip install 'featcodec[export]'"
        raise MissingDependencyError(f"writing an ONNX file needs {e.name}, which is not installed: {line}") from e
