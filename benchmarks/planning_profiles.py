"""How long profiling takes, and whether every legal cut is found: those of one tensor, by taking each operation away."""

from __future__ import annotations

import importlib
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch
from torch import nn

from featcodec.planning import profile

BLOCKS = 12


class Case(NamedTuple):
    """A model in eval mode, and its input."""

    model: nn.Module
    example: torch.Tensor


def lite0() -> Case | None:
    """Return EfficientNet-lite0 at 224 x 224, random weights; None where its package is not installed."""
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    except ModuleNotFoundError:
        return None
    return Case(network.from_name("efficientnet-lite0").eval(), torch.rand(1, 3, 224, 224))


def transformer() -> Case:
    """Return a stack of 12 transformer blocks as wide as ViT-Tiny."""
    block = nn.TransformerEncoderLayer(192, 3, 768, batch_first=True)
    return Case(nn.TransformerEncoder(block, BLOCKS, enable_nested_tensor=False).eval(), torch.rand(1, 197, 192))


CASES = {"EfficientNet-lite0": lite0, f"{BLOCKS} transformer blocks": transformer}


def profiles() -> dict[str, Any]:
    """Profile every case, and check the cuts against torch.export's graph."""
    torch.backends.mha.set_fastpath_enabled(False)
    rows: dict[str, Any] = {}
    for name, build in CASES.items():
        case = build()
        if case is None:
            rows[name] = None
            continue
        start, used = perf_counter(), process_time()
        found = profile(case.model, case.example)
        seconds, cpu_seconds = perf_counter() - start, process_time() - used
        wanted = separators(case.model, case.example)
        rows[name] = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "cuts": len(found.cuts),
            "legal": len(wanted),
            "equal": [cut.elements for cut in found.cuts] == wanted,
            "layers": len({cut.layer for cut in found.cuts if cut.layer is not None}),
            "macs": found.total_macs,
            "total_ms": found.total_ms,
        }
    return rows


def separators(model: nn.Module, example: torch.Tensor) -> list[int]:
    """Return elements of the operations' results through which every way from input to output goes, in order."""
    with torch.no_grad():
        program = torch.export.export(model, (example,), strict=False)
    nodes = list(program.graph.nodes)
    start = [node for node in nodes if node.name in program.graph_signature.user_inputs]
    (output,) = (node for node in nodes if node.op == "output")
    onward, found = _reached(start, None), []
    for node in nodes:
        is_tensor = isinstance(node.meta.get("val"), torch.Tensor)
        between = node.op == "call_function" and is_tensor and node in onward and node not in output.all_input_nodes
        if between and output not in _reached(start, node):
            found.append(int(node.meta["val"].numel()))
    return found


def _reached(start: list[Any], without: Any) -> set[Any]:
    seen: set[Any] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in seen and node is not without:
            seen.add(node)
            waiting += node.users
    return seen
