"""csrc/prior in plain Python: an arithmetic coder of integers (Martin 1979) with a 48-bit window, within a byte of the entropy.

And integers by tables of frequencies on it, one table for each map; what a table does not hold is escaped.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError

PRECISION = 16  # frequencies of one table sum to 2^16
WINDOW = 64  # integers of a map that have a frequency of their own; the last entry of a table is the escape
LIMIT = (1 << 15) - 1  # integers lie within +-LIMIT
_BIT = 1 << (PRECISION - 1)

Integers = NDArray[np.int64]

_WINDOW = 48
_TOP = 1 << _WINDOW
_BOTTOM = 1 << (_WINDOW - 8)
_MASK = _TOP - 1


class RangeEncoder:
    """Collects symbols as intervals; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._low = 0
        self._range = _TOP

    def encode(self, intervals: Iterable[tuple[int, int]]) -> None:
        """Code intervals (start, size) of [0, 2^16), sizes of at least 1."""
        low, span, out = self._low, self._range, self._out
        for start, size in intervals:
            unit = span >> PRECISION
            low += unit * start
            span = unit * size
            if low >= _TOP:
                low &= _MASK
                _carry(out)
            while span < _BOTTOM:
                out.append(low >> (_WINDOW - 8))
                low = low << 8 & _MASK
                span <<= 8
        self._low, self._range = low, span

    def finish(self) -> bytes:
        """Return the fewest bytes that name the interval; zeros at the end are left out."""
        low, span = self._low, self._range
        for kept in range(0, _WINDOW + 1, 8):
            rest = (1 << (_WINDOW - kept)) - 1
            value = (low + rest) & ~rest
            if value < low + span:
                break
        if value >= _TOP:
            value &= _MASK
            _carry(self._out)
        self._out += value.to_bytes(_WINDOW // 8, "big")
        return bytes(self._out).rstrip(b"\0")


class RangeDecoder:
    """Reads what `RangeEncoder` wrote; beyond the last byte there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = _WINDOW // 8
        self._code = int.from_bytes(data[: self._position].ljust(self._position, b"\0"), "big")
        self._range = _TOP

    def peek(self) -> int:
        """Return a number in [0, 2^16): the next symbol's interval is the one that holds it.

        Raises
        ------
        BitstreamError
            No encoder writes these bytes.
        """
        value = self._code // (self._range >> PRECISION)
        if value >> PRECISION:
            raise BitstreamError("the range coder's bytes are not ones that an encoder writes")
        return value

    def take(self, start: int, size: int) -> None:
        """Step over the interval (start, size) that holds what `peek` returned."""
        unit = self._range >> PRECISION
        self._code -= unit * start
        self._range = unit * size
        while self._range < _BOTTOM:
            byte = self._data[self._position] if self._position < len(self._data) else 0
            self._code = self._code << 8 | byte
            self._position += 1
            self._range <<= 8

    def finish(self) -> None:
        """Raise BitstreamError where bytes are left that no symbol has used, or the last one is a zero."""
        if len(self._data) > self._position or self._data[-1:] == b"\0":
            raise BitstreamError(f"{len(self._data)} bytes came, of which {self._position} at most were written")


def _carry(out: bytearray) -> None:
    i = len(out) - 1
    while out[i] == 0xFF:
        out[i] = 0
        i -= 1
    out[i] += 1


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
    """An outlier: a bit for the side, then how far it is beyond the nearest outside, in EG(0); half a table for each bit."""
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
