"""Real architectures, cut, saved, and run by other processes that have only the files: bit for bit what the model gives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.part_models import CASES, built
from featcodec.errors import LayerError
from featcodec.inputs import call
from featcodec.layouts import plain
from featcodec.outputs import leaves, same
from featcodec.parts.assemble import joined, pair_of_cut
from featcodec.parts.cut import cut_at
from featcodec.parts.exporting import Parts
from featcodec.parts.graph import Graph
from featcodec.parts.trace import arguments, trace

SWEPT = ("resnet20", "unet", "fpn", "speech", "bert", "llama", "whisper", "swin")  # cut at every module

# One process has the heads, the other the tails; neither has the models, nor what they are made of.
HEADS = """
import sys, torch, json
from pathlib import Path
import featcodec as fc
from safetensors.torch import load_file
folder = Path(sys.argv[1])
for case in sorted(folder.iterdir()):
    head = fc.load_part(case / "head.fcz")
    for given in sorted(case.glob("*.inputs")):
        message = head.encode(**load_file(given))
        given.with_suffix(".message").write_bytes(message)
assert "transformers" not in sys.modules and "tests" not in sys.modules
"""
TAILS = """
import sys
from pathlib import Path
import featcodec as fc
from featcodec.outputs import leaves
from safetensors.torch import save_file
folder = Path(sys.argv[1])
for case in sorted(folder.iterdir()):
    tail = fc.load_part(case / "tail.fcz")
    for message in sorted(case.glob("*.message")):
        got = tail.run(message.read_bytes())
        tensors = {"/".join(path): x.clone().contiguous() for path, x in leaves(got) if hasattr(x, "dtype")}
        save_file(tensors, message.with_suffix(".outputs"))
assert "transformers" not in sys.modules and "tests" not in sys.modules
"""


@pytest.fixture(scope="module", autouse=True)
def one_way_of_attention() -> Iterator[None]:
    """The fast path of nn.TransformerEncoder, which rounds differently, is not what is exported."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


class Made:
    """A case's model, its graph with every module marked, and the halves at the block's boundary."""

    def __init__(self, name: str) -> None:
        case = CASES[name]
        self.case, self.model = case, built(name)
        modules = [n for n, _ in self.model.named_modules() if n] if name in SWEPT else [case.layer]
        self.graph: Graph = trace(self.model, modules, case.example(2, *case.sizes[0]), case.fixed)
        self.parts = self.cut(case.layer)

    def cut(self, layer: str, call: int | None = None) -> Parts:
        pair = pair_of_cut(cut_at(self.graph, layer, call), layer)
        return Parts(*joined(pair, type(self.model).__name__, layer, "raw"))


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    return {}


def get(made: dict[str, Made], name: str) -> Made:
    if name not in made:
        made[name] = Made(name)
    return made[name]


def outputs(model: nn.Module, inputs: Any) -> Any:
    with torch.no_grad():
        return plain(call(model, inputs))


def runs(one: Made) -> list[Any]:
    torch.manual_seed(1)
    return [one.case.example(batch, *sizes) for sizes in one.case.sizes for batch in (2, 5, 1)]


@pytest.mark.parametrize("name", CASES)
def test_halves_give_what_the_model_gives(made, name):
    one = get(made, name)
    for inputs in runs(one):
        args, kwargs = arguments(inputs)
        wanted = outputs(one.model, inputs)
        crossing = one.parts.head(*args, **kwargs)
        assert same(wanted, one.parts.tail(crossing))
        assert same(wanted, one.parts.tail(one.parts.tail.decode(one.parts.head.pack(crossing))))


def test_files_alone_give_what_the_models_give(made, tmp_path):
    wanted: dict[Path, dict[str, Tensor]] = {}
    for name in CASES:
        one = get(made, name)
        folder = tmp_path / name
        one.parts.save(folder)
        (parameter, _), *_ = one.parts.head.about.call
        for i, inputs in enumerate(runs(one)):
            given = inputs if isinstance(inputs, dict) else {parameter: inputs}
            save_file(given, folder / f"{i}.inputs")
            found = leaves(outputs(one.model, inputs))
            wanted[folder / f"{i}.outputs"] = {"/".join(path): x for path, x in found if isinstance(x, Tensor)}
    for code in (HEADS, TAILS):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(wanted) > 60
    for path, tensors in wanted.items():
        found = load_file(path)
        assert found.keys() == tensors.keys(), path
        assert all(torch.equal(found[key], x) for key, x in tensors.items()), path


@pytest.mark.parametrize("name", SWEPT)
def test_every_module_is_a_cut_or_refused_for_a_true_reason(made, name):
    one = get(made, name)
    case = one.case
    torch.manual_seed(2)
    inputs = [case.example(2, *case.sizes[0]), case.example(3, *case.sizes[-1])]
    wanted = [outputs(one.model, x) for x in inputs]
    cuts = 0
    for layer, called in one.graph.calls.items():
        try:
            parts = one.cut(layer, 0 if called > 1 else None)
        except LayerError as e:
            assert_true(one, layer, str(e))
            continue
        cuts += 1
        for x, y in zip(inputs, wanted, strict=True):
            args, kwargs = arguments(x)
            crossing = parts.head(*args, **kwargs)
            arrived = parts.tail.decode(parts.head.pack(crossing))
            arrived.known = crossing.known  # what the head returns itself
            assert same(y, parts.tail(arrived)), layer
    assert cuts > 0.6 * len(one.graph.calls)


def assert_true(one: Made, layer: str, reason: str) -> None:
    """A cut was refused because the layer is not called, or nothing depends on it or it on nothing."""
    if "is not called" in reason:
        assert one.graph.calls[layer] == 0
    else:
        assert "does not depend on" in reason
