"""Command-line options: those that may be given several times, and folders that are written to in the end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any


class Collect(argparse.Action):
    """Adds up the values of an option given several times; the first of them replaces the default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Keep the values beside those given before."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is self.default else before), *values])


def check_out(folder: Path) -> None:
    """Raise ValueError where a folder cannot be made or written to, before the work that it is for; nothing is made."""
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as e:
        raise ValueError(f"--out {folder} cannot be a folder: {e.strerror}") from e
    if not nearest.is_dir():
        raise ValueError(f"--out {folder} cannot be a folder: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"--out {folder} cannot be written to: {nearest} is closed to this user")
