"""Command-line options that may be given several times."""

from __future__ import annotations

import argparse
from typing import Any


class Collect(argparse.Action):
    """Adds up the values of an option given several times; the first of them replaces the default."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Keep the values beside those given before."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is self.default else before), *values])
