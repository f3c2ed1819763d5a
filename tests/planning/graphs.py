"""What `profile` is checked against: single tensors that every way through an exported program goes through, by trying each."""

from __future__ import annotations

import operator

import torch


def separators(model, example):
    """Names of the operations without which no input reaches the output, in order: by taking each away, and walking."""
    # a batch of one stays one for ever
    args = (example.repeat(2, *[1] * (example.ndim - 1)),)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            program = torch.export.export(model.eval(), args, strict=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    nodes = list(program.graph.nodes)
    inputs = set(program.graph_signature.user_inputs)
    (output,) = (node for node in nodes if node.op == "output")
    found = []
    for node in nodes:
        is_tensor = isinstance(node.meta.get("val"), torch.Tensor) and node.target is not operator.getitem
        if node.op == "call_function" and is_tensor and not set(output.all_input_nodes) & {node}:
            reached = _reached([n for n in nodes if n.name in inputs], node)
            if output not in reached and node in _reached([n for n in nodes if n.name in inputs], None):
                found.append(node.name)
    return found


def _reached(start, without):
    seen, waiting = set(), list(start)
    while waiting:
        node = waiting.pop()
        if node not in seen and node is not without:
            seen.add(node)
            waiting += node.users
    return seen
