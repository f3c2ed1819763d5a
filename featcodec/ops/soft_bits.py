"""Soft bits in NumPy: int8 LLRs as channels deliver them, what they say of a bit, words of uncoded bits as expected values.

An LLR is log P(bit = 0) / P(bit = 1). In int8 it is counted in steps of 1 / LLR_SCALE nat and clipped to +-SURE; 0 is an erased
bit and nothing else. So a received LLR that would round to 0 keeps its sign as +-1: that costs 0.001 of the 0.54 bits that a
BPSK symbol carries near the threshold of a rate-1/2 code, and hard decisions and erasure decoders can tell the two apart.

`ops.soft_tensors` does the same to tensors, for training.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec import _core

LLR_SCALE = 2  # int8 steps a nat
SURE = 127  # the LLR of a bit that arrived beyond doubt

MAX_WORD_BITS = 16


def quantize_llr(llr: NDArray[np.floating[Any]]) -> NDArray[np.int8]:
    """Return LLRs in nats, any shape and float dtype, as int8 steps: clip(rint(LLR_SCALE llr), -SURE, SURE), never 0 but for 0.

    Raises
    ------
    ValueError
        An LLR is NaN.
    """
    if llr.dtype == np.float32:
        with contextlib.suppress(ValueError):  # NaN: counted below
            return _core.llr_steps(np.ascontiguousarray(llr)).reshape(llr.shape)
    nan = np.isnan(llr)
    if nan.any():
        raise ValueError(f"an LLR must be a number or infinite, got NaN in {int(nan.sum())} of {llr.shape}")
    # clipped before it is scaled: the largest floats would overflow
    steps: NDArray[np.int8] = np.rint(np.clip(llr, -SURE / LLR_SCALE, SURE / LLR_SCALE) * LLR_SCALE).astype(np.int8)
    weak = steps == 0
    steps[weak] = np.sign(llr[weak])
    return steps


# P(bit = 1) by int8 LLR + 128; what is sure is 0 or 1 exactly, and -128, which no channel gives, is taken as -127
_STEPS = np.clip(np.arange(-128, 128), -SURE, SURE)
PROBABILITIES: NDArray[np.float64] = np.where(abs(_STEPS) == SURE, _STEPS < 0, 0.5 - 0.5 * np.tanh(_STEPS / (2 * LLR_SCALE)))


def bit_probabilities(llr: NDArray[Any]) -> NDArray[np.float64]:
    """Return P(bit = 1) = 1 / (1 + exp(llr)) of each LLR.

    Parameters
    ----------
    llr
        Any shape: int8 in steps of 1 / LLR_SCALE nat, where +-127 give 0 and 1 exactly; or floats in nats. 0 gives 1/2.

    Returns
    -------
    array
        The same shape, float64 in [0, 1].

    Raises
    ------
    TypeError
        LLRs of another dtype.
    """
    if llr.dtype == np.int8:
        of_steps: NDArray[np.float64] = PROBABILITIES[llr.astype(np.int64) + 128]
        return of_steps
    check_llr_dtype(np.issubdtype(llr.dtype, np.floating), llr.dtype)
    # tanh does not overflow where exp would
    probabilities: NDArray[np.float64] = 0.5 - 0.5 * np.tanh(llr.astype(np.float64) / 2)
    return probabilities


def words_to_bits(words: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Write words (...) of integers in 0..2^bits - 1 as bits (..., bits) uint8, most significant first; bits is 1..16."""
    check_word_bits(bits)
    return (np.asarray(words)[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)


def expected_words(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return the expected value of words whose bits are known by their probabilities (BottleNet++, section III-B).

    On an erasure channel a received bit counts in full and an erased one by half: 110 whose first bit is erased is
    (2 + 6) / 2 = 4.

    Parameters
    ----------
    probabilities
        (..., n): P(bit = 1), most significant bit first, n 1..16; hard bits are 0 and 1, an erased one is 1/2.

    Returns
    -------
    array
        (...): sum over k of 2^k P(b_k = 1), in 0..2^n - 1.
    """
    bits = int(probabilities.shape[-1]) if probabilities.ndim else 0
    check_word_bits(bits)
    words: NDArray[np.float64] = (probabilities * 2.0 ** np.arange(bits - 1, -1, -1)).sum(-1)
    return words


def soft_words(llr: NDArray[Any], bits: int) -> NDArray[np.float64]:
    """Return the expected values (..., N) of words of `bits` bits from the LLRs (..., N bits) of their uncoded bits.

    LLRs are as in `bit_probabilities`. Divided by 2^bits - 1 they are the values of a unit quantiser's words.

    Raises
    ------
    ValueError
        The LLRs are no whole number of words.
    """
    check_word_bits(bits)
    if llr.ndim == 0 or llr.shape[-1] % bits:
        raise ValueError(f"words of {bits} bits take a multiple of {bits} LLRs, got shape {tuple(llr.shape)}")
    return expected_words(bit_probabilities(llr).reshape(*llr.shape[:-1], -1, bits))


def check_word_bits(bits: int) -> None:
    """Raise ValueError where no word has so many bits."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MAX_WORD_BITS:
        raise ValueError(f"a word has 1..{MAX_WORD_BITS} bits, got {bits!r}")


def check_llr_dtype(is_float: bool, dtype: Any) -> None:
    """Raise TypeError where LLRs that are no int8 steps are no floats either."""
    if not is_float:
        raise TypeError(f"LLRs are int8 steps or floats in nats, got {dtype}")
