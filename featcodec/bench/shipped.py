"""What ships with the benchmark: pictures, a network's weights, trained codecs. The repository has them, and no wheel."""

from __future__ import annotations

import os
from pathlib import Path

ASSETS = Path(os.environ.get("FEATCODEC_ASSETS") or Path(__file__).parent / "assets")


def asset(name: str) -> Path:
    """Return a file of the folder FEATCODEC_ASSETS, or of the one in this source tree.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    path = ASSETS / name
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}: what the benchmark measures with comes with the repository, not with a wheel. Install from a "
            "clone with pip install -e '.[bench]', or set FEATCODEC_ASSETS to its folder featcodec/bench/assets"
        )
    return path
