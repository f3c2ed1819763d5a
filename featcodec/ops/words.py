"""Uncoded words of n bits, most significant bit first, and what a receiver knows of their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError

Words = NDArray[np.int64]
Bytes = np.ndarray[Any, np.dtype[Any]]

_LLR_SCALE = 2  # int8 steps a nat


def pack_words(words: Words, bits: int) -> NDArray[np.uint8]:
    """Return words (N,) of 0..2^bits - 1 as bytes; the last one is filled with zero bits."""
    spread = words[:, None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(spread.astype(np.uint8).reshape(-1))


def unpack_words(payload: Bytes, count: int, bits: int) -> Words:
    """Undo `pack_words`; bits beyond the last word may be anything, as a channel leaves them.

    Raises
    ------
    BitstreamError
        The payload does not have the bytes of `count` words.
    """
    _check_size(payload.size, -(-count * bits // 8), count, bits)
    spread = np.unpackbits(np.ascontiguousarray(payload))[: count * bits].reshape(count, bits)
    return spread.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))


def word_probabilities(llr: Bytes, count: int, bits: int) -> NDArray[np.float64]:
    """Return P(bit = 1), (count, bits), from the int8 LLRs of packed words: +-127 are sure, 0 is 1/2.

    Raises
    ------
    BitstreamError
        There are not as many LLRs as the bytes of `count` words have bits.
    """
    _check_size(llr.size, -(-count * bits // 8) * 8, count, bits)
    steps = llr[: count * bits].astype(np.float64).clip(-127, 127)
    known = np.abs(steps) == 127
    return np.where(known, steps < 0, 0.5 - 0.5 * np.tanh(steps / (2 * _LLR_SCALE))).reshape(count, bits)


def expected_words(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected values (N,) of words whose bits are 1 with these probabilities (N, bits).

    An erased bit counts by half: 110 whose first bit is erased is (2 + 6) / 2 = 4 (BottleNet++, section III-B).
    """
    expected: NDArray[np.float64] = probabilities @ 2.0 ** np.arange(probabilities.shape[1] - 1, -1, -1)
    return expected


def _check_size(got: int, wanted: int, count: int, bits: int) -> None:
    if got != wanted:
        raise BitstreamError(f"{count} words of {bits} bits take a payload of {wanted}, got {got}")
