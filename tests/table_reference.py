"""The tables of symbol streams as docs/bitstream.md, order0.md and context.md have them: the oracle of their sizes."""

from __future__ import annotations

from tests import curve_reference
from tests.curve_reference import Bits, unzigzag


def table_bits(stream: bytes, bits: int) -> int:
    """Bits of the table that a stream sends, its padding with it where symbols start at a byte; 0 where it sends none."""
    mode, body = stream[0], stream[1:]
    if mode == 1:
        return huffman_lengths(body)[1]
    if mode == 2:
        return 8 * coded_lengths(body, bits)[1]
    if mode == 9:
        return 8 * curve_reference.read_table(body, bits).size
    if mode >= 96 and not mode & 16:
        return 8 * _context_table_bytes(body, bits, gradient=bool(mode & 8))
    assert mode in (0, 4, 5, 6) or mode >= 96, mode
    return 0


def huffman_lengths(body: bytes) -> tuple[dict[int, int], int]:
    """Mode 1: the code length of each symbol, and the bits that say so."""
    source = Bits.of(body)
    symbols = [-1]
    for _ in range(source.golomb(0) + 1):
        symbols.append(symbols[-1] + source.golomb(0) + 1)
    lengths = [source.get(5)] if len(symbols) > 2 else [0]
    while len(lengths) < len(symbols) - 1:
        lengths.append(lengths[-1] + unzigzag(source.golomb(0)))
    return dict(zip(symbols[1:], lengths, strict=True)), source.at


def coded_lengths(body: bytes, bits: int) -> tuple[dict[int, int], int]:
    """Mode 2: the code length of each coded byte, and the bytes that say so."""
    source, absent = Bits.of(body), 12
    per_byte = {1: 8, 2: 4, 3: 2, 4: 2}.get(bits, 1)
    size, row = 1 << bits * per_byte, 1 << bits if per_byte > 1 else 0
    order, levels = source.get(2), []
    while len(levels) < size:
        z = source.zeros() << order | source.get(order)
        levels.append(_predicted(levels, row) + unzigzag(z))
        if levels[-1] == absent and len(levels) < size:
            levels += [absent] * source.golomb(0)
    return {i: level for i, level in enumerate(levels) if level < absent}, source.whole_bytes()


def _predicted(levels: list[int], row: int) -> int:
    i = len(levels)
    if i == 0:
        return 6
    if not row or i < row:
        return levels[-1]
    if i % row == 0:
        return levels[i - row]
    left, up, corner = levels[-1], levels[i - row], levels[i - row - 1]
    if corner >= max(left, up):
        return min(left, up)
    return max(left, up) if corner <= min(left, up) else left + up - corner


def _context_table_bytes(body: bytes, bits: int, *, gradient: bool) -> int:
    source = Bits.of(body)
    tables, tokens, _, order = source.get(5) + 1, source.get(4) + 1, source.get(2), source.get(2)
    if gradient:
        named = 0
        while named < 240:
            named += source.golomb(1) + 1
            source.get((tables - 1).bit_length())
        assert named == 240
    else:
        taken = sum(source.golomb(1) + 1 for _ in range(tables - 1))
        assert taken < (62 if bits >= 3 else 64)
    for k in range(tables):
        if k == 0 or not source.get(1):
            assert source.get(4) < tokens
        for _ in range(tokens - 1):
            source.golomb(order)
    return -(-source.at // 8)
