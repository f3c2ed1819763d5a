"""The golden head: an ONNX file with codecs, and the message that it makes of three samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDER = GOLDEN / "device"


def inputs(samples: int) -> NDArray[np.float32]:
    """Small integers, (samples, 3, 12, 10): what the golden head makes of them is exact."""
    numbers = np.arange(samples * 3 * 12 * 10, dtype=np.int64)
    return (numbers * numbers * 7 % 31 - 15).astype(np.float32).reshape(samples, 3, 12, 10)
