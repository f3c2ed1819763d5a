"""docs/transform.md in plain NumPy, in 64 bits: every sum of it in the order it is written in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import BitstreamError
from tests.prior_reference import RangeDecoder, RangeEncoder

Integers = NDArray[np.int64]
_BIT = 1 << 15
_MANTISSAS = (65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194)


def step_of(level: int) -> int:
    """STEP[l]."""
    return (_MANTISSAS[level % 8] << level // 8) + (1 << 15) >> 16


def rounded(a: Integers, p: int | Integers) -> Integers:
    """a / 2^p, halves up."""
    shift = np.asarray(p, np.int64)
    return (a + ((np.int64(1) << shift) >> 1)) >> shift


def saturated(a: Integers) -> Integers:
    """Limited to int16."""
    return np.clip(a, -32768, 32767)


def cosines(n: int) -> Integers:
    """D_n."""
    d = np.zeros((n, n), np.int64)
    for k in range(n):
        for i in range((n + 1) // 2):
            d[k, i] = round(8192 * math.sqrt((1 if k == 0 else 2) / n) * math.cos(math.pi * (2 * i + 1) * k / (2 * n)))
        for i in range(n // 2):
            d[k, n - 1 - i] = (-1) ** k * d[k, i]
    return d


def shift_of(bound: int, n: int) -> tuple[int, int]:
    """The shift after a pass over what lies within +-bound, and the bound of what leaves it."""
    most = bound * int(np.abs(cosines(n)).sum(1).max())
    for r in range(32):
        out = int(rounded(np.int64(most), r))
        if out <= 32767:
            return r, out
    raise AssertionError("31 shifts are enough for 62 bits")


@dataclass(frozen=True)
class Reference:
    """The coder of one config and state, as docs/transform.md has them."""

    maps: int
    block_height: int
    block_width: int
    group: int
    state: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> Integers:
        """A tensor of the state in 64 bits."""
        return self.state[name].astype(np.int64)

    # ---- encoding ------------------------------------------------------------------------------------------------------

    def encode(self, x: NDArray[np.float32], quality: int) -> bytes:
        """One grid (C, h, w) to a payload."""
        v, outside = self.differences(x)
        q = np.zeros((1, 1), np.int64) if v.size == 0 else self.quantise(self.transform(self.blocks(v)), quality)
        encoder = RangeEncoder()
        encoder.encode(self._intervals(q, quality))
        return self._escapes(x, outside, quality) + encoder.finish()

    def differences(self, x: NDArray[np.float32]) -> tuple[Integers, NDArray[np.bool_]]:
        """v, and which values are escapes."""
        with np.errstate(over="ignore"):
            r = np.rint(np.ldexp(x.astype(np.float32), int(self["scale"][0]))).astype(np.float64)
        mean = self.means(*x.shape[1:])
        outside = (np.abs(r) > 32767) | (np.abs(r - mean) > 8191)
        return np.where(outside, 0, r - mean).astype(np.int64), outside

    def means(self, height: int, width: int) -> Integers:
        """The mean at each position of a grid."""
        mean = self["mean"]
        return mean[:, np.arange(height)[:, None] % self.block_height, np.arange(width) % self.block_width]

    def blocks(self, v: Integers) -> Integers:
        """(C, h, w) -> (blocks, C, bh, bw), edges continued."""
        c, h, w = v.shape
        v = np.pad(v, ((0, 0), (0, -h % self.block_height), (0, -w % self.block_width)), "edge")
        v = v.reshape(c, -(-h // self.block_height), self.block_height, -(-w // self.block_width), self.block_width)
        return v.transpose(1, 3, 0, 2, 4).reshape(-1, c, self.block_height, self.block_width)

    def transform(self, v: Integers) -> Integers:
        """Blocks (blocks, C, bh, bw) -> T (blocks, N)."""
        r1, bound = shift_of(8191, self.block_width)
        r2, _ = shift_of(bound, self.block_height)
        t = rounded(np.einsum("bx,ncyx->ncyb", cosines(self.block_width), v), r1)
        y = rounded(np.einsum("ay,ncyb->ncab", cosines(self.block_height), t), r2)
        y = y.transpose(0, 2, 3, 1).reshape(len(v), -1, self.maps)
        t = rounded(self._by_groups(self["analysis"], y), self["analysis_shift"][self["zone"]]).reshape(len(v), -1)
        chosen = self["chosen"]
        if len(chosen):
            z = saturated(rounded(t[:, chosen], 7))
            t[:, chosen] = rounded(z @ self["joint_analysis"].T, self["joint_analysis_shift"])
        return t

    def _by_groups(self, matrices: Integers, y: Integers) -> Integers:
        """Rows (F', C, G) of each frequency's zone times (blocks, F, C), group by group."""
        _, c, g = matrices.shape
        rows = matrices[self["zone"]].reshape(-1, c // g, g, g)
        return np.einsum("fgkj,nfgj->nfgk", rows, y.reshape(len(y), -1, c // g, g)).reshape(y.shape)

    def levels(self, quality: int) -> Integers:
        """l of each place."""
        return np.minimum(156 - quality + self["offset"], 208)

    def classes(self, quality: int) -> Integers:
        """r of each place."""
        return self["scale_class"] - self.levels(quality)

    def steps(self, quality: int) -> Integers:
        """The step of each place."""
        return np.array([step_of(level) for level in self.levels(quality).tolist()], np.int64)

    def quantise(self, t: Integers, quality: int) -> Integers:
        """T -> q."""
        step = self.steps(quality)
        q = np.sign(t) * ((2 * np.abs(t) + step) // (2 * step))
        return np.where(self.classes(quality) < -16, 0, q)

    def _intervals(self, q: Integers, quality: int) -> Iterator[tuple[int, int]]:
        scale = Scale(self["tables"], self["drift"])
        classes = self.classes(quality).tolist()
        for block in q.tolist():
            for value, r in zip(block, classes, strict=True):
                if r >= -16:
                    yield from _coded(value, r, scale)

    def _escapes(self, x: NDArray[np.float32], outside: NDArray[np.bool_], quality: int) -> bytes:
        positions = np.flatnonzero(outside).tolist()
        if not positions:
            return bytes([quality])
        out = bytes([quality + 128]) + varint(len(positions))
        for last, position in zip([-1, *positions], positions, strict=False):
            out += varint(position - last - 1) + x.reshape(-1)[position].astype("<f4").tobytes()
        return out

    # ---- decoding ------------------------------------------------------------------------------------------------------

    def decode(self, payload: bytes, height: int, width: int) -> NDArray[np.float32]:
        """A payload to its grid (C, h, w)."""
        reader = _Reader(payload)
        first = reader.byte()
        quality = first & 127
        if quality > 100:
            raise BitstreamError(f"quality is 0..100, got {quality}")
        positions, values = reader.escapes(self.maps * height * width) if first & 128 else ([], [])
        blocks = -(-height // self.block_height) * -(-width // self.block_width)
        x = self.reconstruct(self._integers(payload[reader.at :], blocks, quality), quality, height, width)
        x.reshape(-1)[positions] = values
        return x

    def _integers(self, data: bytes, blocks: int, quality: int) -> Integers:
        scale = Scale(self["tables"], self["drift"])
        classes, steps = self.classes(quality).tolist(), self.steps(quality).tolist()
        decoder = RangeDecoder(data)
        q = np.zeros((blocks, len(classes)), np.int64)
        for block in q:
            for i, (r, step) in enumerate(zip(classes, steps, strict=True)):
                if r >= -16:
                    block[i] = _decoded(decoder, r, scale)
                    if abs(int(block[i])) * step >= 1 << 31:
                        raise BitstreamError("an integer is larger than any that is encoded")
        decoder.finish()
        return q

    def reconstruct(self, q: Integers, quality: int, height: int, width: int) -> NDArray[np.float32]:
        """Integers (blocks, N) to the grid (C, h, w)."""
        w = saturated(rounded(q * self.steps(quality), 7))
        chosen = self["chosen"]
        if len(chosen):
            w[:, chosen] = saturated(rounded(w[:, chosen] @ self["joint_synthesis"].T, self["joint_synthesis_shift"]))
        w = w.reshape(len(q), -1, self.maps)
        y = saturated(rounded(self._by_groups(self["synthesis"], w), self["synthesis_shift"][self["zone"]]))
        y = y.reshape(len(q), self.block_height, self.block_width, self.maps).transpose(0, 3, 1, 2)
        r1, bound = shift_of(8191, self.block_width)
        r2, _ = shift_of(bound, self.block_height)
        t = saturated(rounded(np.einsum("ay,ncab->ncyb", cosines(self.block_height), y), 26 - r2))
        v = saturated(rounded(np.einsum("bx,ncyb->ncyx", cosines(self.block_width), t), 26 - r1))
        rows, columns = -(-height // self.block_height), -(-width // self.block_width)
        v = v.reshape(rows, columns, self.maps, self.block_height, self.block_width).transpose(2, 0, 3, 1, 4)
        v = v.reshape(self.maps, rows * self.block_height, columns * self.block_width)[:, :height, :width]
        x = np.ldexp((v + self.means(height, width)).astype(np.float32), -int(self["scale"][0]))
        return np.ascontiguousarray(x)


class Scale:
    """What the integers so far say of the scale of those to come."""

    def __init__(self, tables: Integers, drift: Integers) -> None:
        self.tables = np.pad(tables.cumsum(1), ((0, 0), (1, 0))).tolist()
        self.drift, self.s = drift.tolist(), 0

    def at(self, r: int) -> tuple[int, int]:
        """The number of the table, and b."""
        r = min(max(r + ((self.s + 128) >> 8), -16), 255)
        b = max(0, -((16 - r) // 8))
        return r - 8 * b + 16, b

    def move(self, number: int, symbol: int) -> None:
        """After an integer."""
        self.s = min(max(self.s + self.drift[number][symbol] - (self.s >> 7), -16384), 16384)


def _coded(value: int, r: int, scale: Scale) -> Iterator[tuple[int, int]]:
    """The intervals of one integer."""
    number, b = scale.at(r)
    table = scale.tables[number]
    m = abs(value) >> b
    symbol = min(m, 15)
    scale.move(number, symbol)
    yield table[symbol], table[symbol + 1] - table[symbol]
    bits = [abs(value) >> i & 1 for i in reversed(range(b))]
    if m >= 15:
        digits = [int(digit) for digit in format(m - 14, "b")]
        bits = [0] * (len(digits) - 1) + digits + bits
    if value:
        bits.append(int(value < 0))
    for bit in bits:
        yield bit * _BIT, _BIT


def _decoded(decoder: RangeDecoder, r: int, scale: Scale) -> int:
    number, b = scale.at(r)
    table = scale.tables[number]
    peeked = decoder.peek()
    m = next(k for k in range(16) if table[k + 1] > peeked)
    scale.move(number, m)
    decoder.take(table[m], table[m + 1] - table[m])
    if m == 15:
        zeros = 0
        while not _bit(decoder):
            zeros += 1
            if zeros > 24:
                raise BitstreamError("an integer is longer than any that is encoded")
        e = 1
        for _ in range(zeros):
            e = e << 1 | _bit(decoder)
        m = e + 14
    for _ in range(b):
        m = m << 1 | _bit(decoder)
    return -m if m and _bit(decoder) else m


def _bit(decoder: RangeDecoder) -> int:
    bit = decoder.peek() >> 15
    decoder.take(bit * _BIT, _BIT)
    return bit


def varint(value: int) -> bytes:
    """7 bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """Reads what stands before the code."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise BitstreamError(f"the payload ends after {len(self.data)} bytes")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    raise BitstreamError("a varint has a zero at its end")
                return value
        raise BitstreamError("a varint has more than 4 bytes")

    def escapes(self, size: int) -> tuple[list[int], list[np.float32]]:
        """Positions and values."""
        count, position = self.varint(), -1
        positions, values = [], []
        if not 1 <= count <= size:
            raise BitstreamError(f"{count} escapes of {size} values")
        for _ in range(count):
            position += 1 + self.varint()
            value = np.frombuffer(bytes(self.byte() for _ in range(4)), "<f4")[0]
            if position >= size or not np.isfinite(value):
                raise BitstreamError("an escape lies outside the feature, or is not finite")
            positions.append(position)
            values.append(value)
        return positions, values


def zones_of(height: int, width: int, zones: int) -> NDArray[np.int16]:
    """The zone of each frequency."""
    order = sorted(range(height * width), key=lambda f: (f // width * width) ** 2 + (f % width * height) ** 2)
    found = [0] * len(order)
    for z in range(zones):
        size = max(1, len(order) // (2 ** (zones - z) - 1))
        for f in order[:size]:
            found[f] = z
        order = order[size:]
    return np.array(found, np.int16)


def fresh(
    maps: int, block_height: int, block_width: int, group: int, *, zones: int | None, joint: int
) -> dict[str, NDArray[Any]]:
    """The state before calibration; a zone for each frequency where `zones` is None."""
    count = zones or block_height * block_width
    places = maps * block_height * block_width
    rows = np.broadcast_to(np.arange(maps)[:, None] % group == np.arange(group), (count, maps, group))
    return {
        "scale": np.array([9], np.int32),
        "mean": np.zeros((maps, block_height, block_width), np.int16),
        "zone": zones_of(block_height, block_width, count),
        "analysis": (rows * (1 << 14)).astype(np.int16),
        "analysis_shift": np.full((count, maps), 9, np.uint8),
        "synthesis": (rows * (1 << 12)).astype(np.int16),
        "synthesis_shift": np.full((count, maps), 10, np.uint8),
        "chosen": np.arange(joint, dtype=np.int32),
        "joint_analysis": (np.eye(joint) * (1 << 13)).astype(np.int16),
        "joint_analysis_shift": np.full(joint, 6, np.uint8),
        "joint_synthesis": (np.eye(joint) * (1 << 13)).astype(np.int16),
        "joint_synthesis_shift": np.full(joint, 13, np.uint8),
        "offset": np.zeros(places, np.uint8),
        "scale_class": np.full(places, 128, np.uint8),
        "tables": np.full((33, 16), 4096, np.int32),
        "drift": np.zeros((33, 16), np.int16),
    }
