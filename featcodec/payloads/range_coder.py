"""An arithmetic coder of integers (Martin 1979) for small streams: 48-bit window, carries, a byte at most over the entropy.

Plain Python: about a microsecond a symbol. All arithmetic is on integers, so the bytes are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from featcodec.errors import BitstreamError

PRECISION = 16  # frequencies of one table sum to 2^16

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
