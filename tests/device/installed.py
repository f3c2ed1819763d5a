"""``python -m tests.device.installed``: what of featcodec a device has on its disk, where it is installed from a wheel."""

from __future__ import annotations

import sys
from pathlib import Path

import featcodec

MOST_MB = 5.0


def main() -> int:
    """Print the sizes; fail where featcodec's own share is too large or has the benchmark's files in it."""
    package = Path(featcodec.__file__).parent
    for name in ("featcodec", "numpy", "numpy.libs", "onnxruntime"):
        print(f"{name}: {megabytes(package.parent / name):.1f} MB")
    if "site-packages" not in package.parts or (package / "bench" / "assets").exists() or megabytes(package) > MOST_MB:
        print(f"featcodec in {package} must come from a wheel, without assets and of at most {MOST_MB} MB", file=sys.stderr)
        return 1
    return 0


def megabytes(folder: Path) -> float:
    """All files below a folder, but the byte code that Python writes beside them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return sum(path.stat().st_size for path in files) / 1e6


if __name__ == "__main__":
    sys.exit(main())
