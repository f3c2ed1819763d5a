"""examples/two_files.py: from a model to two files to a prediction, in three processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_two_files_predict_what_is_true():
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/two_files.py")], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    predicted, true = (re.search(rf"{word} +([\d ]+)", done.stdout).group(1).split() for word in ("predicted", "true"))
    assert len(true) == 8
    assert sum(a == b for a, b in zip(predicted, true, strict=True)) >= 6
    sent = int(re.search(r"message of (\d+) bytes", done.stdout).group(1))
    assert sent < 8 * 3 * 32 * 32
