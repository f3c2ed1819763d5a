"""Imports run down only; codecs never import each other. Read with ast, so that nothing hides in a function."""

from __future__ import annotations

import ast
from pathlib import Path

import featcodec

ROOT = Path(featcodec.__file__).parent

# Lower number: lower floor. A module imports floors below its own, or its own floor (codecs do not).
FLOORS = {
    "_core": 0, "_version": 0, "errors": 0, "core": 0, "ops": 0, "spec": 0,
    "bitstream": 1, "weights": 1,
    "codec": 2, "channel": 2, "split": 2, "quantized": 2, "entropy": 2, "mosaic": 2,
    "accounting": 2, "bottleneck": 2, "uncoded": 2, "codebook": 2, "analog": 2,
    "registry": 3,
    "codecs": 4, "insertion": 4,
    "runtime": 5, "planning": 5, "evaluate": 5, "training": 5,
    "__init__": 6, "cli": 6, "benchmarks": 6,
}  # fmt: skip


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
            module = node.module or ""
            # from featcodec import x: a module below, or a name of the public face itself
            names |= {_target(module, alias.name) for alias in node.names}
    return {name for name in names if name.split(".")[0] == "featcodec"}


def _target(module: str, name: str) -> str:
    if module != "featcodec":
        return module
    return f"featcodec.{name}" if name in FLOORS else "featcodec"


def modules() -> dict[str, Path]:
    # in a wheel the benchmark suite lies inside the package; it stands above every floor
    paths = [p for p in ROOT.rglob("*.py") if "benchmarks" not in p.relative_to(ROOT).parts]
    return {".".join(("featcodec", *p.relative_to(ROOT).with_suffix("").parts)): p for p in paths}


def test_every_module_has_a_floor():
    assert {room(name) for name in modules()} <= set(FLOORS)


def test_imports_run_down():
    wrong = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imports(path)
        if FLOORS[room(target)] > FLOORS[room(name)]
    ]
    assert wrong == []


def test_codecs_do_not_import_each_other_or_the_registry_table():
    for name, path in modules().items():
        if room(name) == "codecs":
            assert not [t for t in imports(path) if room(t) == "codecs"], name


def test_registry_and_face_name_no_codec():
    for name in ("featcodec.registry", "featcodec.__init__", "featcodec.insertion"):
        assert not [t for t in imports(modules()[name]) if room(t) == "codecs"], name


def test_the_guard_sees_an_upward_arrow(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from featcodec import insertion\n    import featcodec.codecs.raw\n")
    assert imports(bad) == {"featcodec.insertion", "featcodec.codecs.raw"}
    assert all(FLOORS[room(t)] > FLOORS["codec"] for t in imports(bad))
