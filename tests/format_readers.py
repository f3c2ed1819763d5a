"""Readers and writers after the words of the format's pages under docs: slow, sharing only LDPC parity with the package."""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from featcodec.fec.ldpc import LDPC
from tests import reference
from tests.curve_reference import Bits
from tests.table_reference import coded_lengths

# ---- bitstream.md, "Packet" ------------------------------------------------------------------------------------------------


def header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The fields of a full packet's header, and what comes after it."""
    at = 4

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    assert data[:2] == b"FC"
    assert data[2] >> 4 == 1
    shape = tuple(varint() for _ in range(data[2] & 15))
    (config,) = struct.unpack_from("<I", data, at)
    at += 4
    size = varint()
    assert struct.unpack_from("<I", data, at)[0] == reference.crc32c(data[:at])
    fields = {"shape": shape, "dtype": data[3] & 3, "kind": data[3] >> 2 & 3, "checked": bool(data[3] & 16)}
    return {**fields, "config": config, "size": size}, data[at + 4 :]


# ---- configs.md ----


def float_text(value: float) -> str:
    """A float as canonical JSON has it: the fewest digits that read back."""
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    exact, found = Decimal(abs(value)), []
    for d in range(17):
        unit = Decimal(1).scaleb(exact.adjusted() - d)
        near = [exact.quantize(unit, rounding, Context(prec=40)) for rounding in (ROUND_FLOOR, ROUND_CEILING)]
        found = found or [number for number in near if float(number) == abs(value)]
    # of two as near, the even one, as everywhere
    best = min(found, key=lambda number: (abs(number - exact), int(number.as_tuple().digits[-1]) % 2))
    mantissa, exponent = f"{best.normalize(Context(prec=40)):e}".split("e")
    digits, e = mantissa.replace(".", ""), int(exponent)
    if not -4 <= e < 16:
        text = digits[0] + ("." + digits[1:] if digits[1:] else "") + f"e{'-' if e < 0 else '+'}{abs(e):02d}"
    elif e < 0:
        text = "0." + "0" * (-e - 1) + digits
    else:
        digits = digits.ljust(e + 1, "0")
        text = digits[: e + 1] + "." + (digits[e + 1 :] or "0")
    return "-" + text if value < 0 else text


def canonical(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f'"{key}":{canonical(value[key])}' for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return float_text(value)
    return f'"{value}"' if isinstance(value, str) else str(value)


def config_crc(config: dict[str, Any], state: dict[str, np.ndarray], names: list[str]) -> int:
    """The packet's name for a config and the named buffers of a state."""
    data = canonical(config).encode("ascii")
    for name in names:
        array = state[name]
        data += name.encode("ascii") + array.astype(array.dtype.newbyteorder("<")).tobytes()
    return reference.crc32c(data)


def spec_text(config: dict[str, Any]) -> str:
    """A config as a spec within a string."""
    items = []
    for key, value in config.items():
        if isinstance(value, dict):
            text = f"({spec_text(value)})"
        elif isinstance(value, str):
            text = f"({value})" if "," in value or ":" in value else value
        else:
            text = canonical(value)
        items.append(f"{key}={text}")
    name = items.pop(0).removeprefix("id=")
    return f"{name}:{','.join(items)}" if items else name


# ---- bitstream.md, "Mosaic payloads" -----------------------------------------------------------------------------------------


def mosaic_size(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Tiles, their width and height, and the tiles in a row of the mosaic."""
    if len(shape) >= 3:
        maps, width, height = shape[0], shape[-1], math.prod(shape[1:-1])
    else:
        tokens, maps = (shape or (1,))[0], shape[1] if len(shape) == 2 else 1
        width = math.isqrt(tokens)
        height = math.ceil(tokens / width)
    return maps, width, height, 2 ** math.ceil(math.log2(maps) / 2)


def from_mosaic(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The symbols of a sample from its mosaic."""
    maps, width, height, columns = mosaic_size(shape)
    assert picture.shape == (math.ceil(maps / columns) * height, columns * width)
    tiles = []
    for c in range(maps):
        row, column = divmod(c, columns)
        tiles.append(picture[row * height : (row + 1) * height, column * width : (column + 1) * width].reshape(-1))
    if len(shape) >= 3:
        return np.stack(tiles).reshape(shape)
    tokens = (shape or (1,))[0]
    order = list(range(tokens))
    if len(shape) == 2 and tokens > 2 and math.isqrt(tokens - 1) ** 2 == tokens - 1:
        order = [*order[1:], 0]
    out = np.zeros((tokens, maps), picture.dtype)
    for c, tile in enumerate(tiles):
        for place, token in enumerate(order):
            out[token, c] = tile[place]
    return out.reshape(shape)


# ---- bitstream.md: `ans` ----


def golomb_list(data: bytes, count: int) -> tuple[list[int], bytes]:
    """The values of an EG list, and what comes after it."""
    order, source = data[0], Bits.of(data[1:])
    values = [source.golomb(order) for _ in range(count)]
    return values, data[1 + source.whole_bytes() :]


def ans_symbols(data: bytes, count: int) -> list[int]:
    (less_one,), data = golomb_list(data, 1)
    distances, data = golomb_list(data, less_one + 1)
    symbols = np.cumsum(np.array(distances) + 1) - 1
    if less_one == 0:
        assert not data
        return [int(symbols[0])] * count
    mantissas, data = golomb_list(data, less_one + 1)
    exponents, data = golomb_list(data, less_one + 1)
    weights = [float(m << e) for m, e in zip(mantissas, exponents, strict=True)]
    p = [weight / sum(weights) for weight in weights]
    total = 0.0
    for value in p:
        total += value
    t, before, starts = ((1 << 24) - len(p)) / total, 0.0, []
    for i, value in enumerate(p):
        starts.append(int(before * t) + i)
        before += value
    starts.append(1 << 24)
    left = list(struct.unpack(f"<{len(data) // 4}I", data))
    x = 0
    for _ in range(min(2, len(left))):
        x = x << 32 | left.pop()
    out = []
    for _ in range(count):
        slot = x % (1 << 24)
        s = bisect_right(starts, slot) - 1
        x = (x >> 24) * (starts[s + 1] - starts[s]) + slot - starts[s]
        if x < 1 << 32 and left:
            x = x << 32 | left.pop()
        out.append(int(symbols[s]))
    assert (x, left) == (0, [])
    return out


# ---- bitstream.md: steps ----


def escapes(payload: bytes) -> tuple[dict[int, float], int]:
    """The escapes of a step's payload by their places, and where its symbol stream begins."""
    if not payload[0] & 0x40:
        return {}, 1
    (more,), rest = golomb_list(payload[1:], 1)
    gaps, rest = golomb_list(rest, more + 1)
    places = np.cumsum(np.array(gaps) + 1) - 1
    values = struct.unpack_from(f"<{len(gaps)}f", rest)
    return dict(zip(places.tolist(), values, strict=True)), len(payload) - len(rest) + 4 * len(gaps)


# ---- order0.md: the static modes ----


def canonical_codes(lengths: dict[int, int]) -> dict[str, int]:
    codes, code, length = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: (lengths[s], s)):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        codes[format(code, f"0{length}b")] = symbol
        code += 1
    return codes


def huffman_segment(data: bytes, lengths: dict[int, int], count: int, bits: int) -> list[int]:
    """The symbols of one segment's coded bytes: modes 2 and 4 below 512 coded bytes."""
    joined = {1: 8, 2: 4, 3: 2, 4: 2}.get(bits, 1)
    codes, source, out = canonical_codes(lengths), Bits.of(data), []
    for _ in range(math.ceil(count / joined)):
        code = ""
        while code not in codes:
            code += str(source.get(1))
        text = format(codes[code], f"0{joined * bits}b")
        out += [int(text[i : i + bits], 2) for i in range(0, len(text), bits)]
    assert source.whole_bytes() == len(data)
    return out[:count]


def read_packet(data: bytes, bits: int, lengths: dict[int, int] | None = None) -> np.ndarray:
    """The sample of a full packet of `huffman` with one range, below 512 coded bytes; `lengths`: the static table."""
    fields, payload = header(data)
    low, high = struct.unpack_from("<2f", payload)
    mode, body = payload[8], payload[9:]
    assert mode == (2 if lengths is None else 4)
    used = 0
    if lengths is None:
        lengths, used = coded_lengths(body, bits)
    symbols = huffman_segment(body[used:], lengths, math.prod(fields["shape"]), bits)
    return reference.minmax_dequantize(np.array(symbols), low, high, bits).reshape(fields["shape"])


# ---- learned.md ----


def range_decode(payload: bytes, frequencies: list[list[int]], first: list[int], count: int) -> list[list[int]]:
    """The integers of `entropic`, `count` of each map."""
    at, span = 6, 1 << 48
    code = int.from_bytes(payload[:6].ljust(6, b"\0"), "big")

    def symbol(table: list[int]) -> int:
        nonlocal at, code, span
        r = span >> 16
        v = code // r
        assert v < 1 << 16
        start, index = 0, 0
        while v >= start + table[index]:
            start, index = start + table[index], index + 1
        code, span = code - r * start, r * table[index]
        while span < 1 << 40:
            code = code << 8 | (payload[at] if at < len(payload) else 0)
            at, span = at + 1, span << 8
        return index

    def escape(f: int) -> int:
        def bit() -> int:
            return symbol([1 << 15, 1 << 15])

        above, zeros = bit(), 0
        while not bit():
            zeros += 1
        distance = 1
        for _ in range(zeros):
            distance = 2 * distance + bit()
        return f + 63 + distance if above else f - distance

    rows = []
    for table, f in zip(frequencies, first, strict=True):
        row: list[int] = []
        for _ in range(count):
            entry = symbol(table)
            row.append(f + entry if entry < 64 else escape(f))
        rows.append(row)
    assert len(payload) <= at
    assert payload[-1:] != b"\0"
    return rows


def words(payload: bytes, count: int, bits: int) -> list[int]:
    source = Bits.of(payload)
    return [source.get(bits) for _ in range(count)]


# ---- fec.md ----

Policy = Callable[[int, int], int]
WIFI = [(length, rate) for length in (648, 1296, 1944) for rate in ("1/2", "2/3", "3/4", "5/6")]


def rate_policy(family: str, rate: Fraction) -> Policy:
    def bits(k: int, blocks: int) -> int:
        n = math.ceil(k / rate)
        if family == "wifi":
            r = max(Fraction(r) for _, r in WIFI if Fraction(r) <= rate)
            length = next((length for length in (648, 1296, 1944) if k <= r * length), 1944)
            n = max(n, k + math.ceil(Fraction(2, 3) * (1 - r) * length))
        return n

    return bits


def points_policy(points: list[list[list[int]]]) -> Policy:
    def bits(k: int, blocks: int) -> int:
        table = points[0 if blocks == 1 else 1]
        after = [pair for pair in table if pair[0] > k]
        if len(after) == len(table):
            return k + after[0][1] - after[0][0]
        k0, n0 = table[len(table) - len(after) - 1]
        if not after:
            return k + math.ceil(Fraction((n0 - k0) * k, k0))
        k1, n1 = after[0]
        return k + math.ceil(n0 - k0 + Fraction(k - k0, k1 - k0) * ((n1 - k1) - (n0 - k0)))

    return bits


def wifi_code(k: int, n: int) -> tuple[int, str, int] | None:
    """Length, rate and u of the code of k bits sent as n."""
    fitting = []
    for length, rate in WIFI:
        u = k + (1 - Fraction(rate)) * length - n
        if k <= Fraction(rate) * length and u > -8:
            fitting.append((max(int(u), 0), length, Fraction(rate), rate, int(u)))
    if not fitting:
        return None
    _, length, _, rate, u = min(fitting)
    return length, rate, u


def most_bytes(family: str, policy: Policy) -> int:
    if family == "nr":
        return 1052
    for m in range(1, 199):
        k = 8 * (m + 4)
        if any(wifi_code(k, 8 * math.ceil(policy(k, blocks) / 8)) is None for blocks in (1, 2)):
            return m - 1
    return 198


def lifting(k: int, n: int) -> int:
    """Z of the `nr` code."""
    two = k <= 292 or (k <= 3824 and Fraction(k, n) <= Fraction(67, 100)) or (k <= 3840 and Fraction(k, n) <= Fraction(1, 4))
    columns = (10 if k > 640 else 9 if k > 560 else 8 if k > 192 else 6) if two else 22
    sizes = {a << j for a in (2, 3, 5, 7, 9, 11, 13, 15) for j in range(8) if a << j <= 384}
    return min(z for z in sizes if columns * z >= k)


def scrambling(count: int) -> np.ndarray:
    state, out = 127, []
    for _ in range(count):
        bit = (state >> 6 ^ state >> 3) & 1
        state = (state << 1 | bit) & 127
        out.append(bit)
    return np.array(out, np.uint8)


def protect(message: bytes, family: str, policy: Policy) -> bytes:
    """A message as it is sent; the parity itself is the library's."""
    most = most_bytes(family, policy)
    count, size = 1, len(message)
    if size > most:
        count = math.ceil((size + 4) / most)
        message = struct.pack("<I", size) + message
        size = math.ceil(len(message) / count)
    message = message.ljust(count * size, b"\0")
    k = 8 * (size + 4)
    n = 8 * math.ceil(policy(k, count) / 8)
    rows = []
    for b in range(count):
        data = message[b * size : (b + 1) * size]
        info = np.unpackbits(np.frombuffer(data + struct.pack("<I", reference.crc32c(data)), np.uint8))[None]
        if family == "nr":
            code = LDPC("nr", k=k, n=n)
            assert code.z == lifting(k, n)
            coded = code.encode(info)[0]
        else:
            length, rate, u = wifi_code(k, n)
            coded = LDPC("wifi", n=length, rate=rate, k=k, punctured=max(u, 0)).encode(info)[0]
            assert coded.size == n + min(u, 0)
            coded = np.concatenate([coded, np.zeros(n - coded.size, np.uint8)])
        rows.append(coded)
    sent = np.zeros(n * count, np.uint8)
    for b, row in enumerate(rows):
        sent[b::count] = row
    return np.packbits(sent ^ scrambling(sent.size)).tobytes()
