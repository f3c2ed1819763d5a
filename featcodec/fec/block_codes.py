"""Forward error correction of one message: LDPC blocks with a CRC each, scrambled, interleaved; soft bits back to bytes.

A message of m bytes becomes B blocks, the fewest that the code takes, of the same size: for B > 1 the message is preceded by
its length (4 bytes, little-endian) and followed by zeros. A block is its bytes, their CRC-32C, and the parity of the LDPC
code; it is sent with a whole number of bytes. Bit i of block b is sent as bit i B + b, so that a burst is spread over the
blocks, and scrambled with the sequence of IEEE 802.11 (x^7 + x^4 + 1, all ones first). The receiver finds B and the size of a
block from the number of bytes alone. Where erasures leave a little of a block open, its CRC fills that: `decode_blocks`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec._core import crc32c
from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.fec.ldpc import LDPC, WIFI_RATES
from featcodec.ops.soft_bits import LLR_SCALE, SURE

Bytes = NDArray[np.uint8]
SoftBits = NDArray[np.int8]

CRC_BYTES = 4
CRC_FILLS = 8  # of its 32 bits that may fill erased ones; the other 24 still tell a wrong block
LENGTH_BYTES = 4
MAX_MESSAGE_BYTES = 1 << 28
LOWEST_RATE = Fraction(1, 20)
HIGHEST_RATE = Fraction(99, 100)
_MOST_BITS = {"nr": 8448, "wifi": 1620}
HARD_LLR = 4.0  # nats: what a bit is worth that is only probably right: hard bits that contradict a check
_HARD_STEPS = round(HARD_LLR * LLR_SCALE)
_GUESS_STEPS = 4  # 2 nats: what a decision is worth in a block that failed; 3 are as good

Policy = Callable[[int, int], int]  # the sent bits of a block of k bits, one of so many; grows by at least one a bit of k


@dataclass(frozen=True)
class Blocks:
    """B blocks of `data_bytes` bytes and a CRC, sent as `sent_bits` bits each."""

    count: int
    data_bytes: int
    sent_bits: int

    @property
    def coded_bytes(self) -> int:
        """Bytes of all blocks as sent."""
        return self.count * self.sent_bits // 8


@dataclass(frozen=True)
class Recovered:
    """What arrived of a message.

    Attributes
    ----------
    data
        (m,) bytes, those of a failed block the decoder's best guess; None where the block with the message's length failed.
    good
        (m,) bool: the byte lies in a block whose CRC held.
    soft
        (8 m,) int8: what is known of the bits of `data`. +-SURE in blocks whose CRC held. In the others 0 where the bit was
        erased, else the channel's LLR, if there is one, and 2 nats for the decoder's decision; in a block without an erased bit
        hard bits count HARD_LLR.
    blocks, failed
        How many blocks there were, and how many failed.
    failed_bits
        Where the bits of the failed blocks stand among those sent.
    """

    data: Bytes | None
    good: NDArray[np.bool_]
    soft: SoftBits
    blocks: int
    failed: int
    failed_bits: NDArray[np.int64]


class BlockCode:
    """LDPC blocks of one family at one code rate, or at the rate that a policy picks.

    Parameters
    ----------
    family
        "nr" or "wifi" (`featcodec.fec.ldpc.LDPC`). A wifi block is shortened and punctured to its rate.
    rate
        The code rate k / n of a block, CRC counted as information; or a function from k and the number of blocks to n.
    max_iterations
        Of the min-sum decoder.
    """

    def __init__(self, family: str, rate: Fraction | Policy, *, max_iterations: int = 20) -> None:
        self.family = family
        self.max_iterations = max_iterations
        self._policy: Policy = _FixedRate(family, rate) if isinstance(rate, Fraction) else rate
        self.most_bytes = self._most_bytes()  # that one block carries

    # ---- sizes ---------------------------------------------------------------------------------------------------------

    def _most_bytes(self) -> int:
        most = _MOST_BITS[self.family] // 8 - CRC_BYTES
        if self.family == "nr":
            return most
        found = next((size for size in range(1, most + 1) if not self._has_codes(size)), most + 1) - 1
        if found == 0:
            raise ConfigError("a wifi code sends at most two bits for each bit of information: use code=nr for lower rates")
        return found

    def _has_codes(self, data_bytes: int) -> bool:
        """True where blocks of this size can be sent, one alone and one of many."""
        k = 8 * (data_bytes + CRC_BYTES)
        return all(wifi_mother(k, self._blocks_of(count, data_bytes).sent_bits) is not None for count in (1, 2))

    def blocks(self, message_bytes: int) -> Blocks:
        """Return the blocks of a message of so many bytes, 1..2^28."""
        if not 1 <= message_bytes <= MAX_MESSAGE_BYTES:
            raise FeatureError(f"a protected message has 1..{MAX_MESSAGE_BYTES} bytes, got {message_bytes}")
        if message_bytes <= self.most_bytes:
            return self._blocks_of(1, message_bytes)
        framed = message_bytes + LENGTH_BYTES
        count = -(-framed // self.most_bytes)
        return self._blocks_of(count, -(-framed // count))

    def coded_bytes(self, message_bytes: int) -> int:
        """Return the bytes that are sent of a message of so many bytes."""
        return self.blocks(message_bytes).coded_bytes

    def _blocks_of(self, count: int, data_bytes: int) -> Blocks:
        sent = self._policy(8 * (data_bytes + CRC_BYTES), count)
        return Blocks(count, data_bytes, 8 * (-(-sent // 8)))

    def _candidates(self, coded_bytes: int) -> list[Blocks]:
        """Every way in which a sender may have come to so many bytes; more than one is rare."""
        largest = self._blocks_of(1 << 16, self.most_bytes).sent_bits // 8  # no block of several is larger
        least = -(-coded_bytes // largest)
        found = []
        for count in sorted({1, *range(least, least + 2 + least // 8)}):  # a policy may send one block alone with more bits
            if coded_bytes % count:
                continue
            data_bytes = self._data_bytes(count, 8 * (coded_bytes // count))
            if data_bytes is None:
                continue
            blocks = self._blocks_of(count, data_bytes)
            # the least message that fills blocks of this size must take this many; what fits one block is sent as one
            least_framed = max((count - 1) * self.most_bytes, self.most_bytes + LENGTH_BYTES) + 1
            framed = max((data_bytes - 1) * count + 1, least_framed)
            if count == 1 or framed <= min(data_bytes, self.most_bytes) * count:
                found.append(blocks)
        return found

    def _data_bytes(self, count: int, sent_bits: int) -> int | None:
        """The bytes of each of `count` blocks that are sent with so many bits; None where none is."""
        low, high = 1, self.most_bytes
        while low < high:
            middle = (low + high) // 2
            if self._blocks_of(count, middle).sent_bits < sent_bits:
                low = middle + 1
            else:
                high = middle
        return low if self._blocks_of(count, low).sent_bits == sent_bits else None

    # ---- there and back ------------------------------------------------------------------------------------------------

    def protect(self, message: Bytes) -> Bytes:
        """Return the bytes to send for a message (m,) of uint8."""
        blocks = self.blocks(message.size)
        framed = message if blocks.count == 1 else np.concatenate([_little_endian(message.size), message])
        padded = np.zeros(blocks.count * blocks.data_bytes, np.uint8)
        padded[: framed.size] = framed
        coded = self._code(blocks).encode_packed(with_crcs(padded.reshape(blocks.count, blocks.data_bytes)))
        if blocks.count > 1:
            bits = np.unpackbits(coded, axis=1)
            coded = np.packbits(np.ascontiguousarray(bits.T))
        sent: Bytes = coded.reshape(-1) ^ _scrambling(blocks.coded_bytes)
        return sent

    def recover(self, llr: SoftBits, message_bytes: int | None = None) -> Recovered:
        """Recover a message from the LLRs (8 x coded bytes,) of its bits, int8 in steps; 0 is erased.

        A receiver who knows how many bytes the message has says so: the block with the length may then be lost.

        Raises
        ------
        BitstreamError
            No message is sent with so many bits, or the length in its first block is none.
        """
        if message_bytes is not None:
            known = self.blocks(message_bytes)
            candidates = [known] if 8 * known.coded_bytes == llr.size else []
        else:
            candidates = self._candidates(llr.size // 8) if llr.size % 8 == 0 and llr.size > 0 else []
        if not candidates:
            raise BitstreamError(f"no protected message is sent with {llr.size} bits")
        flipped = np.unpackbits(_scrambling(llr.size // 8)).view(np.bool_)
        plain = np.where(flipped, -np.maximum(llr, -SURE), llr).astype(np.int8)
        tried = [(blocks, *self._decode(blocks, plain)) for blocks in candidates]
        return _unframed(*max(tried, key=lambda found: float(found[2].mean())), message_bytes)

    def _decode(self, blocks: Blocks, plain: SoftBits) -> tuple[Bytes, NDArray[np.bool_], SoftBits]:
        """The bytes of each block without its CRC, (B, data_bytes), whether the CRC held, (B,), and the bytes' bits as LLRs."""
        code = self._code(blocks)
        llr = np.ascontiguousarray(plain.reshape(blocks.sent_bits, blocks.count).T[:, : code.n])
        data, good = decode_blocks(code, llr, self.max_iterations)
        return data, good, _known_bits(code, llr, data, good)

    def _code(self, blocks: Blocks) -> LDPC:
        return ldpc_of(self.family, 8 * (blocks.data_bytes + CRC_BYTES), blocks.sent_bits)


def with_crcs(data: Bytes) -> Bytes:
    """Return blocks of bytes (B, m) with the CRC-32C of each behind it, (B, m + 4)."""
    out = np.zeros((len(data), data.shape[1] + CRC_BYTES), np.uint8)
    out[:, :-CRC_BYTES] = data
    for row in out:
        row[-CRC_BYTES:] = _little_endian(crc32c(row[:-CRC_BYTES].tobytes()))
    return out


def decode_blocks(code: LDPC, llr: SoftBits, max_iterations: int = 20) -> tuple[Bytes, NDArray[np.bool_]]:
    """Decode blocks that end in a CRC-32C: LLRs (B, n) -> the bytes before it (B, k / 8 - 4) and whether it holds (B,).

    Sure bits and erased ones are decoded with maximum likelihood, and where the parity leaves up to `CRC_FILLS` dimensions open
    the CRC fills them. What then fails, or is soft, goes to min-sum.
    """
    data = np.zeros((len(llr), code.k // 8), np.uint8)
    good = np.zeros(len(llr), np.bool_)
    hard = _is_hard(llr)
    if hard:  # at a gigabit a second
        data = code.decode_packed(llr, algorithm="erasure").bits
        good = _crc_holds(data)
        for i in np.flatnonzero(~good):
            completed = _complete(code, llr[i])
            if completed is not None:
                data[i], good[i] = completed, True
    if not good.all():
        left = np.flatnonzero(~good)
        soft = np.clip(llr[left], -_HARD_STEPS, _HARD_STEPS) if hard else llr[left]
        data[left] = code.decode_packed(soft, max_iterations=max_iterations).bits
        good[left] = _crc_holds(data[left])
    return data[:, :-CRC_BYTES], good


def parse_rate(family: str, value: Any) -> Fraction:
    """Return a code rate from "1/2" or a number.

    Raises
    ------
    ConfigError
        It is no rate, or none that the family has: wifi 1/2 to 99/100, nr 1/20 to 99/100.
    """
    try:
        rate = Fraction(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    lowest = Fraction(1, 2) if family == "wifi" else LOWEST_RATE
    if not lowest <= rate <= HIGHEST_RATE:
        raise ConfigError(f"rate of a {family} code must be {lowest}..{HIGHEST_RATE}, as in rate=3/4, got {value!r}")
    return rate


@dataclass(frozen=True)
class _FixedRate:
    """n = k / R; a wifi block is shortened, and punctured towards R by at most a third of its parity."""

    family: str
    rate: Fraction

    def __call__(self, k: int, _: int) -> int:
        sent = -(-k * self.rate.denominator // self.rate.numerator)
        if self.family == "nr":
            return sent
        mother = Fraction([text for text in WIFI_RATES if Fraction(text) <= self.rate][-1])
        length = next((size for size in (648, 1296, 1944) if k <= mother * size), 1944)
        parity = length - int(mother * length)
        return max(sent, k + -(-2 * parity // 3))


@functools.lru_cache(maxsize=256)
def ldpc_of(family: str, k: int, n: int) -> LDPC:
    """The code of k bits sent as n."""
    if family == "nr":
        return LDPC("nr", k=k, n=n)
    mother = wifi_mother(k, n)
    if mother is None:
        raise ConfigError(f"no wifi code sends {k} bits as {n}")
    length, rate, punctured = mother
    return LDPC("wifi", n=length, rate=rate, k=k, punctured=punctured)


def wifi_mother(k: int, n: int) -> tuple[int, str, int] | None:
    """(n, rate, punctured) of the wifi code that sends k bits as n with the fewest punctured; None where none has the parity.

    Up to seven bits more than a code has are padding.
    """
    found = []
    for length in (648, 1296, 1944):
        for rate in WIFI_RATES:
            most = int(Fraction(rate) * length)
            punctured = k + length - most - n
            if k <= most and punctured > -8:
                found.append((max(0, punctured), length, rate))
    if not found:
        return None
    punctured, length, rate = min(found)
    return length, rate, punctured


def _complete(code: LDPC, llr: SoftBits) -> Bytes | None:
    """The one block that its CRC allows of those that the parity leaves open; None where there is not exactly one.

    A CRC is 32 more checks on the data. Up to `CRC_FILLS` of them fill erased bits, the others still tell a wrong block.
    """
    found = code.completions(llr, most=CRC_FILLS)
    if found is None:
        return None
    info, freedom = found
    zero = _crc_differs(np.zeros_like(info))  # the CRC of zeros is not 0: what is left of it is linear
    left, word = _crc_differs(info), info.copy()
    pivots: list[tuple[int, Bytes]] = []
    for row in freedom:
        value, change = _crc_differs(row) ^ zero, row
        for pivot, by in pivots:
            if value ^ pivot < value:
                value, change = value ^ pivot, change ^ by
        if value == 0 and change.any():
            return None  # two blocks have the same CRC
        if value:
            pivots.append((value, change))
    for pivot, by in pivots:
        if left ^ pivot < left:
            left, word = left ^ pivot, word ^ by
    return word if left == 0 else None


def _crc_differs(block: Bytes) -> int:
    return crc32c(block[:-CRC_BYTES].tobytes()) ^ int(block[-CRC_BYTES:].view("<u4")[0])


def _crc_holds(data: Bytes) -> NDArray[np.bool_]:
    crcs = np.ascontiguousarray(data[:, -CRC_BYTES:]).view("<u4").reshape(-1)
    return np.array([crc32c(row[:-CRC_BYTES].tobytes()) == int(crc) for row, crc in zip(data, crcs, strict=True)], np.bool_)


def _unframed(blocks: Blocks, data: Bytes, ok: NDArray[np.bool_], soft: SoftBits, message_bytes: int | None) -> Recovered:
    failed = np.flatnonzero(~ok)
    bits = (np.arange(blocks.sent_bits)[:, None] * blocks.count + failed).reshape(-1)
    good, flat, soft = np.repeat(ok, blocks.data_bytes), data.reshape(-1), soft.reshape(-1)
    if blocks.count == 1:
        return Recovered(flat, good, soft, 1, failed.size, bits)
    if good[:LENGTH_BYTES].all():
        size = int(flat[:LENGTH_BYTES].view("<u4")[0])
    elif message_bytes is not None:
        size = message_bytes
    else:
        return Recovered(None, good[:0], soft[:0], blocks.count, failed.size, bits)
    if not 0 < size <= flat.size - LENGTH_BYTES:
        raise BitstreamError(f"the protected message says it has {size} bytes, its blocks hold {flat.size - LENGTH_BYTES}")
    good, soft = good[LENGTH_BYTES:][:size], soft[8 * LENGTH_BYTES :][: 8 * size]
    return Recovered(flat[LENGTH_BYTES:][:size], good, soft, blocks.count, failed.size, bits)


def _known_bits(code: LDPC, llr: SoftBits, data: Bytes, good: NDArray[np.bool_]) -> SoftBits:
    """What is known of the data's bits, (B, 8 data_bytes): see `Recovered.soft`."""
    signs = 1 - 2 * np.unpackbits(data, axis=1).astype(np.int16)
    soft = (SURE * signs).astype(np.int8)
    if good.all():
        return soft
    received = llr[~good].astype(np.int16)
    if _is_hard(received) and received.all():
        received = np.clip(received, -_HARD_STEPS, _HARD_STEPS)
    guessed, sent = _GUESS_STEPS * signs[~good], slice(code.first_sent, None)
    came = received[:, : guessed[:, sent].shape[1]]
    guessed[:, sent] = np.where(came == 0, 0, guessed[:, sent] + came)
    soft[~good] = np.clip(guessed, -SURE, SURE)
    return soft


def _is_hard(llr: NDArray[np.signedinteger[Any]]) -> bool:
    return bool(((llr == 0) | (np.abs(llr) == SURE)).all())


def _little_endian(value: int) -> Bytes:
    return np.array([value], "<u4").view(np.uint8)


@functools.cache
def _scrambling_period() -> Bytes:
    """127 bytes: 8 periods of the scrambler's 127 bits."""
    state, bits = 0x7F, np.zeros(127, np.uint8)
    for i in range(127):
        bit = (state >> 6 ^ state >> 3) & 1
        state = (state << 1 | bit) & 0x7F
        bits[i] = bit
    return np.packbits(np.tile(bits, 8))


def _scrambling(size_bytes: int) -> Bytes:
    return np.resize(_scrambling_period(), size_bytes)
