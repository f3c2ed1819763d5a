"""Modes 5 and 9 of a symbol stream as docs/order0.md has them, bit by bit in Python: the oracle of the core's decoder."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHTS = (256, 267, 279, 292, 304, 318, 332, 347, 362, 378, 395, 412, 431, 450, 470, 490)
RARE = 10


class Bits:
    """A bit string, read from the front."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    @classmethod
    def of(cls, data: bytes) -> Bits:
        return cls("".join(format(byte, "08b") for byte in data))

    def get(self, count: int) -> int:
        part = self.text[self.at : self.at + count].ljust(count, "0")
        self.at += count
        return int(part, 2) if count else 0

    def zeros(self) -> int:
        """The number of zeros before the next one, which is read too."""
        count = 0
        while not self.get(1):
            count += 1
        return count

    def golomb(self, order: int) -> int:
        """EG(order)."""
        width = self.zeros()
        head = 1 << width | self.get(width)
        return head - 1 << order | self.get(order)

    def whole_bytes(self) -> int:
        """Bytes read, the last one padded with zeros."""
        assert "1" not in self.text[self.at : -(-self.at // 8) * 8]
        return -(-self.at // 8)


def unzigzag(z: int) -> int:
    return -(z + 1) // 2 if z % 2 else z // 2


@dataclass(frozen=True)
class Table:
    """Frequencies of symbols, rare ones by their marker, the first of them; and the bytes that say so."""

    frequencies: dict[int, int]
    rare: list[int]
    size: int


def read_table(body: bytes, bits: int) -> Table:
    source = Bits.of(body)
    last, s, u, rare_level = source.get(bits), source.get(3), source.get(3), source.get(8)
    spacing, r = 1 << s, source.get(3)
    knots: list[int] = []
    count = -(-last // spacing) + 1
    while len(knots) < count:
        before = knots[-1] if knots else 96 >> u
        knots.append(before + unzigzag(source.golomb(r)))
        if knots[-1] == 0 and len(knots) < count:
            knots += [0] * source.golomb(0)
    exceptions = {source.get(bits): source.get(8) for _ in range(source.golomb(0))}
    levels = []
    for i in range(last + 1):
        j, t = divmod(i, spacing)
        line = knots[j] * (spacing - t) + (knots[j + 1] * t if t else 0)
        levels.append(exceptions.get(i, (line << u) // spacing))
    rare = [i for i, level in enumerate(levels) if level < RARE] if rare_level else []
    drawn = {i: level for i, level in enumerate(levels) if level >= RARE}
    if rare:
        drawn[rare[0]] = rare_level
    weights = {i: WEIGHTS[level % 16] << level // 16 for i, level in sorted(drawn.items())}
    scale = (4096 << 32) // sum(weights.values())
    frequencies = {i: max(1, (weight * scale + (1 << 31)) >> 32) for i, weight in weights.items()}
    largest = max(weights, key=lambda i: (weights[i], -i))
    frequencies[largest] = 4096 - sum(f for i, f in frequencies.items() if i != largest)
    return Table(frequencies, rare, source.whole_bytes())


def lanes_of(count: int) -> int:
    limits = {256: 1, 1024: 2, 8192: 4, 32768: 8, 131072: 16, 262144: 32, 1048576: 64}
    return next((lanes for limit, lanes in limits.items() if count < limit), 128)


def decode(body: bytes, bits: int, count: int) -> list[int]:
    """The symbols of a body of mode 9 that an encoder wrote."""
    table = read_table(body, bits)
    return decode_by(table, body[table.size :], count)


def decode_by(table: Table, body: bytes, count: int) -> list[int]:
    """The symbols of what follows the curve: a body of mode 5, whose table is elsewhere."""
    lanes = lanes_of(count)
    backwards = Bits.of(body[::-1][: lanes * 5])
    states = []
    for _ in range(lanes):
        width = backwards.get(4) + 15
        states.append(1 << width | backwards.get(width))
    at = len(body) - backwards.whole_bytes()

    slots: list[tuple[int, int, int]] = []
    for symbol, frequency in sorted(table.frequencies.items()):
        slots += [(symbol, frequency, offset) for offset in range(frequency)]
    symbols = []
    for j in range(count):
        x = states[j % lanes]
        symbol, frequency, offset = slots[x % 4096]
        x = frequency * (x // 4096) + offset
        if x < 1 << 15:
            at -= 2
            x = x << 16 | int.from_bytes(body[at : at + 2], "little")
        states[j % lanes] = x
        symbols.append(symbol)

    indices = Bits("".join(format(x - (1 << 15), "015b") for x in states) + Bits.of(body[:at]).text)
    if table.rare:
        width = len(table.rare).bit_length() - 1
        short = (2 << width) - len(table.rare)
        for j, symbol in enumerate(symbols):
            if symbol == table.rare[0]:
                index = indices.get(width)
                symbols[j] = table.rare[index if index < short else (index << 1 | indices.get(1)) - short]
    assert "1" not in indices.text[indices.at :]
    return symbols
