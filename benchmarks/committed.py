"""Measuring a commit and nothing else: a tree with changes is refused."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from featcodec.bench import measure


def changed_files(root: Path) -> list[str]:
    """Return what `git status` names in a working tree, files that git does not know included.

    Raises
    ------
    ValueError
        There is no such tree.
    """
    return _git(root, "status", "--porcelain").splitlines()


def measure_default(root: Path, results: Path, run: Callable[[Sequence[str]], int] | None = None) -> None:
    """Measure the default job on the commit that is checked out, and keep the result in the folder of results.

    Raises
    ------
    ValueError
        The tree has changes, before the measurement or after it, or the measurement failed. Then nothing is written.
    """
    _check_clean(root)
    commit = _git(root, "rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        status = (run or measure.main)(["--out", folder])
        if status != 0:
            raise ValueError(f"the benchmark ended with status {status}")
        _check_clean(root)
        if _git(root, "rev-parse", "HEAD") != commit:
            raise ValueError("another commit was checked out while the benchmark ran")
        target = results / "default"
        target.mkdir(parents=True, exist_ok=True)
        for path in Path(folder).iterdir():
            shutil.copyfile(path, target / path.name)


def _check_clean(root: Path) -> None:
    changed = changed_files(root)
    if changed:
        raise ValueError("results are measured on a commit, and this tree has changes:\n" + "\n".join(changed))


def _git(root: Path, *words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as e:
        raise ValueError(f"git {' '.join(words)} fails in {root}: results are measured on a commit") from e
