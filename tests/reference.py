"""Slow, obvious oracles in plain NumPy and Python."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np


def crc32c(data: bytes) -> int:
    """Bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def minmax_quantize(x: np.ndarray, bits: int) -> np.ndarray:
    """The seed equation, value by value, in double precision."""
    low, high = float(x.min()), float(x.max())
    if low == high:
        return np.zeros(x.shape, np.int64)
    # Python's round is half to even
    flat = [round((float(v) - low) / (high - low) * (2**bits - 1)) for v in x.reshape(-1)]
    return np.array(flat).reshape(x.shape)


def minmax_dequantize(q: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    step = (high - low) / (2**bits - 1)
    return np.array([np.float32(low + float(v) * step) for v in q.reshape(-1)], np.float32).reshape(q.shape)


def zero_level_range(low: float, high: float, bits: int) -> tuple[float, float]:
    """docs/conventions.md, "Zero is a level": the step exactly, as fractions; only its level in double, as is written there."""
    m, top = min(0.0, low), 2**bits - 1
    above = max(0.0, high)
    z = 0 if m == 0 else top if above == 0 else min(max(round(-m / (above - m) * top), 1), top - 1)
    step = max(Fraction(-m) / z if z > 0 else 0, Fraction(above) / (top - z) if z < top else 0)
    unit = Fraction(2) ** (math.frexp(float(step))[1] - (24 - bits))
    step = math.ceil(step / unit) * unit
    if step < Fraction(2) ** -126 or max(z, top - z) * step > Fraction(float(np.finfo(np.float32).max)):
        return low + 0.0, high + 0.0
    return float(-z * step), float((top - z) * step)


def llr_steps(llr: np.ndarray) -> np.ndarray:
    """int8 steps of half a nat: rounded in double precision, ties to even, clipped to +-127; what is not 0 stays +-1."""
    exact = llr.astype(np.float64)
    steps = np.rint(np.clip(2 * exact, -127, 127))
    return np.where(steps == 0, np.sign(exact), steps).astype(np.int8)


def pack_bits(symbols: list[int], bits: int) -> bytes:
    text = "".join(format(s, f"0{bits}b") for s in symbols)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def huffman_cost(counts: list[int]) -> int:
    """Bits of an optimal prefix code without a limit: the sum of all merged weights."""
    heap = [c for c in counts if c > 0]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        cost += merged
        heapq.heappush(heap, merged)
    return cost


def _gamma(value: int) -> str:
    return "0" * (value.bit_length() - 1) + format(value, "b")


def huffman_stream(symbols: list[int], lengths: dict[int, int]) -> bytes:
    """Mode byte 1, table and body as docs/bitstream.md has them, for given code lengths."""
    present = sorted(lengths)
    text = _gamma(len(present))
    before = -1
    for symbol in present:
        text += _gamma(symbol - before)
        before = symbol
    if len(present) > 1:
        text += format(lengths[present[0]], "05b")
        for a, b in pairwise(present):
            d = lengths[b] - lengths[a]
            text += _gamma(1 + (2 * d if d >= 0 else -2 * d - 1))
    codes: dict[int, str] = {}
    code, length = 0, 0
    for symbol in sorted(present, key=lambda s: (lengths[s], s)):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        codes[symbol] = format(code, f"0{length}b") if length else ""
        code += 1
    text += "".join(codes[s] for s in symbols)
    text += "0" * (-len(text) % 8)
    return b"\x01" + bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def mosaic(x: np.ndarray) -> np.ndarray:
    """Tile (C, h, w) map by map, the grid by the paper's formula with rows = ceil(C / columns)."""
    maps, h, w = x.shape
    columns = 2 ** math.ceil(math.log2(maps) / 2) if maps > 1 else 1
    rows = math.ceil(maps / columns)
    picture = np.zeros((rows * h, columns * w), x.dtype)
    for k in range(maps):
        r, c = divmod(k, columns)
        picture[r * h : (r + 1) * h, c * w : (c + 1) * w] = x[k]
    return picture


def max_log_llrs(received: np.ndarray, symbols: dict, variance: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """For each received value and each bit: the nearest symbol with a one less the nearest with a zero, over 2 sigma^2."""
    llrs = []
    for y, v, g in zip(received, variance, gain, strict=True):
        distances = {bits: abs(y - g * s) ** 2 for bits, s in symbols.items()}
        for i in range(len(next(iter(symbols)))):
            one, zero = (min(d for bits, d in distances.items() if bits[i] == b) for b in (1, 0))
            llrs.append((one - zero) / (2 * v))
    return np.array(llrs)
