"""Imports run down only, rooms of a floor know nothing of each other, nothing runs in a circle. Read with ast."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import featcodec

ROOT = Path(featcodec.__file__).parent

# From the ground up. A room imports rooms of the floors below its own, and of its own floor only where ORDER says so.
FLOORS = (
    ("_core", "_version", "errors", "spec", "lazy", "core", "machine", "sizes", "conditions", "layouts"),
    ("table",),
    ("ops",),
    ("payloads", "bitstream", "message", "outline", "session"),
    ("channel", "fec", "nets", "macs", "layers", "weights", "features", "inputs", "outputs", "operators", "traced_sizes"),
    ("transmission", "tracing", "device", "calibrated"),
    ("codec",),
    ("accounting", "onnx_head"),
    ("registry",),
    ("families",),
    ("stats",),
    ("hosting", "sensitivity"),
    ("codecs", "insertion", "splitting", "parts"),
    ("held_out", "batch_norm"),
    ("evaluation", "calibration"),
    ("training",),
    ("planning",),
    ("runtime",),
    ("__init__",),
    ("bench", "adapters"),
    ("cli",),
)
# Arrows that are allowed within a floor: room -> what it may know.
ORDER = {
    "message": {"bitstream"},
    "outline": {"bitstream"},
    "session": {"bitstream", "message"},
    "payloads": {"bitstream"},
    "spec": {"errors"},
    "lazy": {"errors"},
    "sizes": {"errors"},
    "conditions": {"errors", "sizes"},
    "layouts": {"errors"},
    "core": {"_core"},
    "channel": {"fec"},
    "macs": {"inputs", "layers", "operators"},
}
# Arrows that are allowed between the files of a room; other rooms hold no circle, and that is all.
WITHIN = {
    "codecs": {},
    "families": {
        "codebook": {"uncoded", "bottleneck"},
        "uncoded": {"bottleneck"},
        "analog": {"bottleneck"},
        "nested": {"bottleneck"},
        "entropy": {"quantized", "map_steps"},
        "mosaic": {"quantized"},
    },
}
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def room(module: str) -> str:
    """featcodec.ops.tiling -> ops; featcodec -> __init__."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            # from package import x: a module below it, or a name of the package itself
            names |= {_target(node.module or "", alias.name) for alias in node.names}
    return {name for name in names if name.split(".")[0] == "featcodec"}


def _target(module: str, name: str) -> str:
    whole = f"{module}.{name}"
    return whole if whole in MODULES or (module == "featcodec" and name == "_core") else module


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("featcodec", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES: dict[str, Path] = modules()
ARROWS = [(name, target) for name, path in MODULES.items() for target in imports(path)]


def is_wrong(name: str, target: str) -> bool:
    """Whether a module must not import another."""
    here, there = room(name), room(target)
    if here == there:
        own, other = name.split(".")[-1], target.split(".")[-1]
        return here in WITHIN and target != f"featcodec.{here}" and other not in WITHIN[here].get(own, set())
    return FLOOR[there] > FLOOR[here] or (FLOOR[there] == FLOOR[here] and there not in ORDER.get(here, set()))


def test_every_module_has_a_floor():
    assert {room(name) for name in MODULES} <= set(FLOOR)


def test_imports_run_down():
    assert [f"{name} imports {target}" for name, target in ARROWS if is_wrong(name, target)] == []


def test_no_imports_run_in_a_circle():
    graph: dict[str, set[str]] = {}
    for name, target in ARROWS:
        # a package that lists what lies in it is no part of a circle with it
        if not target.startswith(f"{name}."):
            graph.setdefault(name, set()).add(target)
    TopologicalSorter(graph).prepare()


def test_registries_and_face_name_no_codec_and_no_channel():
    for name, kind in (("featcodec.registry", "codecs"), ("featcodec", "codecs"), ("featcodec.insertion", "codecs")):
        assert not [target for source, target in ARROWS if source == name and room(target) == kind], name


def test_what_a_device_without_torch_runs_imports_none():
    names = ["featcodec.bitstream", "featcodec.message", "featcodec.outline", "featcodec.session", "featcodec.table"]
    names += [name for name in MODULES if room(name) in ("payloads", "fec", "device")]
    names += ["featcodec.runtime.client", "featcodec.bench.infer"]
    code = f"import sys; sys.modules['torch'] = None; import importlib; [importlib.import_module(n) for n in {names!r}]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_file_is_longer_than_a_reader_s_patience():
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 450}
    assert long == {}


def test_the_guard_sees_upward_and_sideward_arrows_and_circles(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from featcodec import insertion\n    import featcodec.codecs.raw\n")
    assert imports(bad) == {"featcodec.insertion", "featcodec.codecs.raw"}
    assert all(is_wrong("featcodec.codec", target) for target in imports(bad))
    assert is_wrong("featcodec.codecs.raw", "featcodec.codecs.half")
    assert is_wrong("featcodec.fec.ldpc", "featcodec.channel.base")
    assert not is_wrong("featcodec.channel.base", "featcodec.fec.ldpc")
    assert is_wrong("featcodec.families.bottleneck", "featcodec.families.analog")
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
