"""Sizes as text that stays short: what is long gets a name, and is written once."""

from __future__ import annotations

from featcodec.sizes import Size, text_of

_LONG = 8  # operators of an expression that gets a name


class Terms:
    """Writes expressions that share parts.

    Attributes
    ----------
    derived
        Names and the texts that they stand for, each in names of inputs' sizes and of those before it.
    """

    def __init__(self) -> None:
        self.derived: list[tuple[str, str]] = []
        # by identity: they share parts, and compared by value they would be walked again for every use
        self._short: dict[int, tuple[Size, Size, int]] = {}
        self._bases: dict[int, frozenset[str]] = {}

    def text(self, size: Size) -> str:
        """Return an expression, with names in place of what is long."""
        return text_of(self._shortened(size)[0])

    def names(self, size: Size) -> frozenset[str]:
        """Return the names of inputs' sizes in an expression."""
        if not isinstance(size, tuple):
            return frozenset({size} if isinstance(size, str) else ())
        if id(size) not in self._bases:
            self._bases[id(size)] = frozenset().union(*(self.names(part) for part in size[1:]))
        return self._bases[id(size)]

    def _shortened(self, size: Size) -> tuple[Size, int]:
        """An expression with names in it, and how many operators it has."""
        if not isinstance(size, tuple):
            return size, 0
        if id(size) not in self._short:
            parts = [self._shortened(part) for part in size[1:]]
            made: Size = (size[0], *(part for part, _ in parts))
            count = 1 + sum(operators for _, operators in parts)
            if count >= _LONG:
                name = f"n{len(self.derived)}"
                self.derived.append((name, text_of(made)))
                made, count = name, 0
            self._short[id(size)] = (size, made, count)
        _, made, count = self._short[id(size)]
        return made, count
