"""docs/add_a_codec.md followed to the letter, in a folder of its own: in the tree, and as a package with an entry point."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import featcodec

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "add_a_codec.md").read_text()
USE = """
import torch, featcodec as fc
assert "negate" in fc.list_codecs()
x = torch.rand(2, 3, 4)
assert torch.equal(fc.get_codec("negate")(x), x)
print(fc.codec_class("negate").__module__)
"""


def block(before: str) -> tuple[str, str]:
    """The path that a text names last, and the code block that follows."""
    path, code = re.search(rf"{before} `([\w./]+)`[^`]*```\w+\n(.*?)```", PAGE, re.DOTALL).groups()
    return path, code


def run(*words: str, folder: Path, path: Path) -> str:
    paths = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    given = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def tree(tmp_path):
    """The package and its tests, copied."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(Path(featcodec.__file__).parent, tmp_path / "featcodec", ignore=ignored)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_one_file_and_one_row(tree):
    path, code = block(r"One file, one row\.")
    (tree / path).write_text(code)
    table, row = block("and in")
    text = (tree / table).read_text()
    raw = re.search(r'^ *"raw": Row\(.*\n', text, re.MULTILINE)
    assert re.match(r" *", row)[0] == re.match(r" *", raw[0])[0]
    (tree / table).write_text(text[: raw.start()] + row + text[raw.start() :])
    assert run("-c", USE, folder=tree, path=tree).strip() == "featcodec.codecs.negate"
    assert "negate" in run("-m", "featcodec.cli", "list", folder=tree, path=tree)
    run("-m", "tests.goldens", folder=tree, path=tree)
    assert list((tree / "tests/golden/negate").glob("*.npz"))
    laws = run("-m", "pytest", "-k", "negate", "tests/test_conformance.py", "tests/test_golden.py", folder=tree, path=tree)
    assert int(re.search(r"(\d+) passed", laws)[1]) >= 10


def test_a_package_with_an_entry_point(tmp_path):
    _, code = block(r"One file, one row\.")
    name = re.search(r"into the package, as `([\w./]+)`", PAGE)[1]
    toml = re.search(r"as `pyproject\.toml`:\n\n```toml\n(.*?)```", PAGE, re.DOTALL)[1]
    source, target = tmp_path / "source", tmp_path / "target"
    (source / name).parent.mkdir(parents=True)
    (source / name).write_text(code)
    (source / "pyproject.toml").write_text(toml)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    run("-m", "pip", "install", *options, ".", folder=source, path=target)
    assert run("-c", USE, folder=tmp_path, path=target).strip() == "your_package.negate"
