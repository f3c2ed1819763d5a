"""profile: where a model can be cut, what crosses there, and what each half costs on this machine or on a device."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from featcodec import macs as counting
from featcodec._version import __version__
from featcodec.codec import Codec
from featcodec.errors import PlanError
from featcodec.inputs import batch_size, head_of, map_inputs
from featcodec.layers import check_model
from featcodec.machine import cpu_name
from featcodec.ops.host import device_name
from featcodec.parts.graph import Node
from featcodec.parts.symbols import BATCH
from featcodec.parts.trace import input_names, trace
from featcodec.planning.cuts import Cut, ModelProfile, Tensor
from featcodec.planning.device_file import DeviceProfile, read_device_profile
from featcodec.planning.load import busy
from featcodec.planning.points import Point, Walk
from featcodec.planning.running import Costs, Run
from featcodec.spec import Spec
from featcodec.weights import fingerprint_of


def profile(
    model: nn.Module,
    example: Any,
    *,
    max_tensors: int = 1,
    device_profile: str | Path | Sequence[str | Path] = (),
    codec: Codec | Spec | Mapping[str, Codec | Spec] | None = None,
    busy_processes: int = 0,
    calls: int = 20,
    fixed: Sequence[str] = (),
) -> ModelProfile:
    """Find every point at which a model can be cut, and measure both halves.

    The model is traced as `featcodec.export` traces it, in eval mode, and run operation by operation on one sample. A point is
    a cut where all that the rest needs are `max_tensors` tensors at the most, so that points inside a residual branch fall out.

    Parameters
    ----------
    example
        A batch of inputs (`featcodec.inputs.call`) on the model's device, of which the first sample is measured.
    max_tensors
        How many tensors may cross: 3, say, for a U-Net with two skips.
    device_profile
        Files that `featcodec.device.profile` wrote on the device, each for a head of this model.
    codec
        The codecs in these heads, where they are learned or calibrated; else the files name them.
    busy_processes
        How many other processes compute while this one is timed; times then are means, else sums of operations' medians.
    calls
        That are timed.
    fixed
        With which these heads were exported.

    Raises
    ------
    LayerError
        The model cannot be traced, or has operations that no part has.
    PlanError
        A device's file is no such file, or of another model; `max_tensors` or `calls` is below 1.
    """
    check_model(model)
    for name, value in (("max_tensors", max_tensors), ("calls", calls)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PlanError(f"{name} must be an integer of at least 1, got {value!r}")
    paths = [device_profile] if isinstance(device_profile, (str, Path)) else device_profile
    devices = [read_device_profile(path) for path in paths]
    first = example if batch_size(example) in (None, 1) else head_of(example, 1)
    sample = map_inputs(first, lambda x: x.detach().clone())  # in memory of its own, which is counted
    # one size is profiled: open ones would take the longer to trace
    graph = trace(model, [name for name, _ in model.named_modules() if name], example, input_names(model, example))
    for found in devices:
        found.check(model, example, codec, fixed)
    walk = Walk(graph)
    run = Run(graph, walk, sample)
    costs = run.costs()
    with busy(busy_processes):
        times = run.times(calls)
    # medians by operation, for they add up; other processes take slices of time that few calls see: means
    each = times.mean(axis=0) if busy_processes else np.median(times, axis=0)
    ends = np.concatenate([[0.0], np.cumsum(each)])
    weights = _Weights(walk, dict(model.named_parameters(remove_duplicate=False)))
    points = list(walk.points(max_tensors))
    return ModelProfile(
        model=type(model).__name__,
        fingerprint=model_fingerprint(model),
        max_tensors=max_tensors,
        inputs=tuple(_tensor(node, costs) for node in run.input_nodes),
        cuts=tuple(_cut(point, costs, ends, weights, run, devices) for point in points if point.after),
        total_macs=int(costs.macs[-1]),
        total_parameters=weights.parameters[-1],
        total_ms=round(float(ends[-1]), 4),
        peak_bytes=int(costs.peak_bytes[-1]),
        weight_bytes=weights.size_bytes[-1],
        machine={
            "cpu": cpu_name(),
            "threads": torch.get_num_threads(),
            "device": device_name(run.device),
            "torch": torch.__version__,
            "featcodec": __version__,
        },
        busy_processes=busy_processes,
        calls=calls,
        devices=tuple({"layer": d.layer, "machine": d.machine} for d in devices),
    )


def macs(model: nn.Module, example: Any, *, kinds: str = "all") -> dict[str, int]:
    """Return the multiply-accumulates of one sample up to the end of each layer, by the layer's name; "" is the whole model.

    Parameters
    ----------
    kinds
        "conv" counts convolutions alone, as the papers do; errors and the rest are those of `featcodec.macs.profile`.
    """
    return {name: layer.head_macs for name, layer in counting.profile(model, example, kinds=kinds).layers.items()}


def model_fingerprint(model: nn.Module) -> str:
    """Return what stands for a model's class and every tensor of its state."""
    return fingerprint_of({"model": type(model).__name__}, model.state_dict())


def read_profile(path: str | Path, model: nn.Module | None = None) -> ModelProfile:
    """Read a profile that `ModelProfile.write` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PlanError
        It is no profile, or of another model than the one given.
    """
    text = Path(path).read_text()
    try:
        found = ModelProfile.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError) as e:
        raise PlanError(f"{path} is no profile: {type(e).__name__}: {e}") from e
    if model is not None and found.fingerprint != (own := model_fingerprint(model)):
        raise PlanError(
            f"{path} is of another model: {found.model} with fingerprint {found.fingerprint}; "
            f"this {type(model).__name__}'s is {own}"
        )
    return found


class _Weights:
    """Parameters, and bytes of all stored tensors, that the first operations read: lists of one more than there are."""

    def __init__(self, walk: Walk, named: Mapping[str, Any]) -> None:
        self.parameters, self.size_bytes = [0], [0]
        seen: set[Node] = set()
        for node in walk.computed:
            new = {read for read in walk.reads(node) if read.tensor is not None} - seen
            seen |= new
            stored = [(read.name in named, read.tensor) for read in new if read.tensor is not None]
            self.parameters.append(self.parameters[-1] + sum(x.numel() for is_parameter, x in stored if is_parameter))
            self.size_bytes.append(self.size_bytes[-1] + sum(x.numel() * x.element_size() for _, x in stored))


def _cut(
    point: Point, costs: Costs, ends: NDArray[np.float64], weights: _Weights, run: Run, devices: Sequence[DeviceProfile]
) -> Cut:
    tensors = tuple(_tensor(node, costs) for node in point.crossing)
    elements = sum(tensor.elements for tensor in tensors)
    newest = point.crossing[-1]
    # a codec is inserted, and a model cut, at a layer that is called once
    name = next((n for n in point.names if n.call is None), point.names[0] if point.names else None)
    on_device = next((d for d in devices if d.layer in {n.layer for n in point.names}), None)
    return Cut(
        name=f"{newest.name} in {newest.module or 'the model'}" if name is None else name.layer,
        layer=None if name is None else name.layer,
        call=None if name is None else name.call,
        others=tuple(n.layer for n in point.names if n != name),
        crossing=tensors,
        elements=elements,
        amplification=elements / max(1, sum(math.prod(costs.shapes[node]) for node in run.input_nodes)),
        head_macs=int(costs.macs[point.after]),
        head_parameters=weights.parameters[point.after],
        weight_bytes=weights.size_bytes[point.after],
        peak_bytes=int(costs.peak_bytes[point.after]),
        head_ms=round(float(ends[point.after]), 4),
        tail_ms=round(float(ends[-1] - ends[point.after]), 4),
        device_ms=None if on_device is None else on_device.head_ms,
        device_encode_ms=None if on_device is None else on_device.encode_ms,
    )


def _tensor(node: Node, costs: Costs) -> Tensor:
    shape = costs.shapes[node]
    is_batch = bool(node.shape) and node.shape is not None and node.shape[0] == BATCH
    return Tensor(node.name, node.dtype or "", shape[1:] if is_batch else shape, math.prod(shape), costs.size_bytes[node])
