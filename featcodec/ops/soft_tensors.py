"""Soft bits on tensors, where they are: what channels do to batches in training. The rules are those of `ops.soft_bits`."""

from __future__ import annotations

import torch
from torch import Tensor

from featcodec.ops.soft_bits import LLR_SCALE, PROBABILITIES, SURE, check_llr_dtype, check_word_bits


def llr_steps(llr: Tensor) -> Tensor:
    """Return what `ops.soft_bits.quantize_llr` gives, as floats and without looking for NaN: in training nothing may wait."""
    steps = torch.round(llr.clamp(-SURE / LLR_SCALE, SURE / LLR_SCALE) * LLR_SCALE)
    return torch.where(steps == 0, torch.sign(llr), steps)


def bit_probabilities(llr: Tensor) -> Tensor:
    """Return P(bit = 1), float32 of the same shape, of int8 steps or floats in nats; TypeError for others."""
    if llr.dtype == torch.int8:
        return torch.from_numpy(PROBABILITIES).to(llr.device, torch.float32)[llr.long() + 128]
    check_llr_dtype(llr.is_floating_point(), llr.dtype)
    return torch.sigmoid(-llr.float())


def words_to_bits(words: Tensor, bits: int) -> Tensor:
    """Write words (...) of integers in 0..2^bits - 1 as bits (..., bits) uint8, most significant first; bits is 1..16."""
    check_word_bits(bits)
    shifts = torch.arange(bits - 1, -1, -1, device=words.device)
    return (words.long().unsqueeze(-1) >> shifts & 1).to(torch.uint8)


def expected_words(probabilities: Tensor) -> Tensor:
    """Return the expected words (...) of bits (..., n) that are 1 with these probabilities, most significant first; float32."""
    bits = int(probabilities.shape[-1]) if probabilities.ndim else 0
    check_word_bits(bits)
    weights = 2.0 ** torch.arange(bits - 1, -1, -1, device=probabilities.device)
    return (probabilities.to(weights.dtype) * weights).sum(-1)
