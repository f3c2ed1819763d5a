"""Telling whether a tensor was written to."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from featcodec._core import crc32c


def version_of(x: Tensor) -> int:
    """Return a number that changes when a small tensor is written to: its version, or of an inference tensor its checksum."""
    return crc32c(np.ascontiguousarray(x.cpu().numpy()).tobytes()) if x.is_inference() else x._version
