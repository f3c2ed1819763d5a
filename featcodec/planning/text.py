"""Tables and figures as text: columns that fit a width, numbers people can read."""

from __future__ import annotations

import re
from collections.abc import Sequence

WIDTH = 100
_GAP = "  "
_LEAST = 12  # columns that the first cell has at least


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int = WIDTH) -> list[str]:
    """Return a table of at most `width` columns: the first cell to the left, over several lines where it must; others right.

    Raises
    ------
    ValueError
        The other cells leave the first one fewer than 12 columns.
    """
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    room = width - sum(widths[1:]) - len(_GAP) * (len(widths) - 1)
    if room < min(_LEAST, widths[0]):
        raise ValueError(f"a table of {len(widths)} columns does not fit {width}: {room} are left for {headings[0]!r}")
    widths[0] = min(widths[0], room)
    lines: list[str] = []
    for cells in (headings, *rows):
        first, *more = broken(cells[0], widths[0])
        padded = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True))]
        lines += [_GAP.join(padded).rstrip(), *more]
    lines.insert(1, "-" * (sum(widths) + len(_GAP) * (len(widths) - 1)))
    return lines


def broken(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width`, broken behind . , : ; ( or a space if that does; later ones begin two in."""
    lines = [""]
    for piece in re.findall(r"[^.,:;( ]*[.,:;( ]|[^.,:;( ]+", text):
        while len(lines[-1]) + len(piece.rstrip()) > width:
            room = 0 if lines[-1].strip() and len(piece) + 2 <= width else width - len(lines[-1])
            lines[-1], piece = lines[-1] + piece[:room], piece[room:]
            lines.append("  ")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def count(value: float) -> str:
    """Return a count with a suffix: 1.77 M."""
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}" if value < 999.5 * size else f"{value / size:,.0f}{suffix}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Return a number of bytes: 12.3 kB."""
    return f"{count(value)}B" if value >= 1e3 else f"{value:.0f} B"


def duration(ms: float) -> str:
    """Return milliseconds with three digits that say something."""
    if ms == 0:
        return "0"
    return f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}" if ms >= 100 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def rate(bits_per_second: float) -> str:
    """Return a bit rate: 18.9 Mbit/s."""
    return f"{count(bits_per_second)}bit/s" if bits_per_second >= 1e3 else f"{bits_per_second:.3g} bit/s"
