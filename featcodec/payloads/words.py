"""Uncoded words of n bits, most significant bit first, and what a receiver knows of their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError
from featcodec.ops.soft_bits import bit_probabilities

Words = NDArray[np.int64]
Bytes = np.ndarray[Any, np.dtype[Any]]


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
    """Return P(bit = 1), (count, bits), from the int8 LLRs of packed words (`ops.soft_bits`).

    Raises
    ------
    BitstreamError
        There are not as many LLRs as the bytes of `count` words have bits.
    """
    _check_size(llr.size, -(-count * bits // 8) * 8, count, bits)
    return bit_probabilities(llr[: count * bits].view(np.int8)).reshape(count, bits)


def _check_size(got: int, wanted: int, count: int, bits: int) -> None:
    if got != wanted:
        raise BitstreamError(f"{count} words of {bits} bits take a payload of {wanted}, got {got}")
