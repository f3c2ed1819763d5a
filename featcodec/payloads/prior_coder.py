"""Integers by tables of frequencies, one for each map, through the range coder; what a table does not hold is escaped.

The core's: csrc/prior/prior.hpp is the contract, tests/prior_reference.py the same in plain Python.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcodec import _core

PRECISION = _core.PRIOR_PRECISION  # frequencies of one table sum to 2^16
WINDOW = _core.PRIOR_WINDOW  # integers of a map that have a frequency of their own; the last entry of a table is the escape
LIMIT = _core.PRIOR_LIMIT  # integers lie within +-LIMIT

Integers = NDArray[np.int64]


def encode(integers: Integers, frequencies: Integers, first: Integers) -> bytes:
    """Code integers (maps, N), within +-LIMIT; any can be coded, likely ones cheaply.

    Parameters
    ----------
    frequencies
        (maps, WINDOW + 1), at least 1, each row's sum 2^16.
    first
        (maps,): the integer of a row's first entry.

    Raises
    ------
    BitstreamError
        The tables are none.
    ValueError
        An integer that the tables do not hold is not within +-LIMIT, or the arrays do not have as many maps.
    """
    return _core.prior_encode(np.ascontiguousarray(integers), frequencies, first).tobytes()


def decode(data: bytes, count: int, frequencies: Integers, first: Integers) -> Integers:
    """Decode integers (maps, count).

    Raises
    ------
    BitstreamError
        No encoder writes these bytes, or the tables are none.
    """
    return _core.prior_decode(np.frombuffer(data, np.uint8), count, frequencies, first)
