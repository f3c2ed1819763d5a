"""Integers by tables of frequencies, one for each map, through the range coder; what a table does not hold is escaped."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError
from featcodec.payloads.range_coder import PRECISION, RangeDecoder, RangeEncoder

WINDOW = 64  # integers of a map that have a frequency of their own; the last entry of a table is the escape
LIMIT = (1 << 15) - 1  # integers lie within +-LIMIT
_BIT = 1 << (PRECISION - 1)

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
    """
    tables = _cumulative(frequencies)
    encoder = RangeEncoder()
    encoder.encode(_intervals(integers, tables, first.tolist()))
    return encoder.finish()


def decode(data: bytes, count: int, frequencies: Integers, first: Integers) -> Integers:
    """Decode integers (maps, count).

    Raises
    ------
    BitstreamError
        No encoder writes these bytes, or the tables are none.
    """
    tables = _cumulative(frequencies)
    decoder = RangeDecoder(data)
    out = np.empty((len(tables), count), np.int64)
    for row, table, low in zip(out, tables, first.tolist(), strict=True):
        for i in range(count):
            k = bisect_right(table, decoder.peek()) - 1
            decoder.take(table[k], table[k + 1] - table[k])
            row[i] = low + k if k < WINDOW else _decode_escape(decoder, low)
    decoder.finish()
    return out


def _cumulative(frequencies: Integers) -> list[list[int]]:
    """The cumulative tables, checked: a state that was loaded may hold anything."""
    if (frequencies < 1).any() or (frequencies.sum(1) != 1 << PRECISION).any():
        raise BitstreamError("the state's tables are no frequencies: load a state that a codec of this config saved")
    tables: list[list[int]] = np.pad(frequencies.cumsum(1), ((0, 0), (1, 0))).tolist()
    return tables


def _intervals(integers: Integers, tables: list[list[int]], first: list[int]) -> Iterator[tuple[int, int]]:
    for row, table, low in zip(integers.tolist(), tables, first, strict=True):
        for value in row:
            k = value - low
            inside = 0 <= k < WINDOW
            k = k if inside else WINDOW
            yield table[k], table[k + 1] - table[k]
            if not inside:
                yield from _escape(value, low)


def _escape(value: int, low: int) -> Iterator[tuple[int, int]]:
    """An outlier: a bit for the side, then its distance from the window, from 1, in Elias-gamma; half a table for each bit."""
    above = value >= low + WINDOW
    distance = value - (low + WINDOW) + 1 if above else low - value
    text = format(distance, "b")
    for bit in [int(above), *[0] * (len(text) - 1), *map(int, text)]:
        yield bit * _BIT, _BIT


def _decode_escape(decoder: RangeDecoder, low: int) -> int:
    def bit() -> int:
        value = decoder.peek() >> (PRECISION - 1)
        decoder.take(value * _BIT, _BIT)
        return value

    above, zeros = bit(), 0
    while not bit():
        zeros += 1
        if zeros > math.ceil(math.log2(4 * LIMIT)):
            raise BitstreamError("an outlier's length is not one that an encoder writes")
    distance = 1
    for _ in range(zeros):
        distance = distance << 1 | bit()
    value = low + WINDOW - 1 + distance if above else low - distance
    if abs(value) > LIMIT:
        raise BitstreamError(f"an outlier of {value} lies beyond {LIMIT}")
    return value
