"""docs/stability.md lists the public names: those of the code, no more and no fewer."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "stability.md"
LISTED = {
    module: re.findall(r"`([\w.]+)`", names)
    for module, names in re.findall(r"^\| `([\w.]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
}


def test_the_packages_with_public_names_are_listed():
    assert set(LISTED) >= {"featcodec", "featcodec.channel", "featcodec.training", "featcodec.fec", "featcodec.bench"}


@pytest.mark.parametrize("module", LISTED)
def test_listed_names_are_those_of_the_code(module):
    found = importlib.import_module(module)
    names = LISTED[module]
    assert len(set(names)) == len(names)
    if hasattr(found, "__all__"):
        assert sorted(names) == sorted(found.__all__)
    for name in names:
        inner, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(f"{module}.{inner}" if inner else module), attribute), name


LAZY = [module for module in LISTED if "__getattr__" in vars(importlib.import_module(module))]


@pytest.mark.parametrize("module", LAZY)
def test_names_that_are_not_imported_yet_are_shown(module):
    code = f"import {module} as m; print(*(name for name in m.__all__ if name not in dir(m)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.parametrize("module", LAZY)
def test_no_name_turns_into_a_module_of_the_same_name(module):
    """Importing a module sets it in its package: a name that is imported when it is first asked for would give way to it."""
    inner = {found.name for found in pkgutil.iter_modules(importlib.import_module(module).__path__)}
    assert {name for name in inner & set(LISTED[module]) if f"{module}.{name}" not in LISTED} == set()
