"""LDPC: quasi-cyclic codes of IEEE 802.11n and 5G NR, encoded and decoded in the core, for whoever needs a channel code.

    code = LDPC("wifi", n=1944, rate="1/2")
    sent = code.encode(bits)                          # (B, 972) -> (B, 1944), uint8 of 0 and 1
    result = code.decode(llr)                         # (B, 1944) float32 in nats, or int8 in steps of 1 / LLR_SCALE nat
    result.bits, result.ok, result.iterations

An LLR is log P(bit = 0) / P(bit = 1): positive means 0, and 0 is an erased bit. A block's result depends on that block alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec import _core
from featcodec.errors import ConfigError, FeatureError, FeatureTypeError
from featcodec.ops.soft_bits import LLR_SCALE
from featcodec.spec import check_bool, check_choice, check_int

WIFI_RATES = ("1/2", "2/3", "3/4", "5/6")
ALGORITHMS = ("oms", "sum-product", "erasure")
MAX_ITERATIONS = 1000
MAX_BLOCKS = 1 << 20

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class LDPCResult:
    """What a decoder found.

    Attributes
    ----------
    bits
        (B, k) uint8 of 0 and 1; from `decode_packed` and `decode_erased` (B, ceil(k / 8)) bytes, most significant bit first,
        padded with zeros.
    ok
        (B,) bool: every check holds and no information bit is undecided. Where it is False the bits are the best guess.
    iterations
        (B,) int: how many were run; for "erasure", rounds of peeling.
    """

    bits: Bits
    ok: NDArray[np.bool_]
    iterations: NDArray[np.uint16]


class LDPC:
    """A code: k information bits, n sent bits.

    Parameters
    ----------
    family
        "wifi": IEEE 802.11n: `n` of 648, 1296 or 1944 and `rate` of 1/2, 2/3, 3/4 or 5/6. A smaller `k` shortens the block,
        `punctured` leaves out that many of its last parity bits; `LDPC.n` tells what is then sent.
        "nr": 3GPP TS 38.212, 5.3.2 and 5.4.2: any `k` of 1..8448 and any `n` of k..2^20, redundancy version 0.
    n
        The bits of the whole code (wifi), or the bits sent (nr).
    rate
        wifi: the code rate k / n of the whole code.
    k
        Information bits; wifi: all that the code takes unless given.
    punctured
        wifi: parity bits that are not sent.

    Attributes
    ----------
    k, n
        Information bits and sent bits of one block.
    z
        The lifting size.

    Raises
    ------
    ConfigError
        No such code; the message says what came and what there is.
    """

    def __init__(self, family: str, *, n: int, rate: str | None = None, k: int | None = None, punctured: int = 0) -> None:
        self.family = check_choice("family", family, ("wifi", "nr"))
        try:
            if self.family == "wifi":
                if rate is None:
                    raise ConfigError("a wifi code needs its rate: 1/2, 2/3, 3/4 or 5/6")
                chosen = check_choice("rate", rate, WIFI_RATES)
                length = check_int("n", n, 1, 1944)
                full = int(Fraction(chosen) * length)
                most = full if k is None else check_int("k", k, 1, max(1, full))
                left_out = check_int("punctured", punctured, 0, 1944)
                self._core = _core.LdpcCode.wifi(length, WIFI_RATES.index(chosen), most, left_out)
            else:
                if rate is not None or punctured:
                    raise ConfigError("an nr code takes k and n: its rate is k / n, and it is punctured by its n")
                if k is None:
                    raise ConfigError("an nr code needs k")
                self._core = _core.LdpcCode.nr(check_int("k", k, 1, 8448), check_int("n", n, 1, 1 << 20))
        except ValueError as e:
            raise e if isinstance(e, ConfigError) else ConfigError(str(e)) from e
        self.k: int = self._core.k
        self.n: int = self._core.n
        self.z: int = self._core.z

    @property
    def code_rate(self) -> float:
        """k / n of what is sent."""
        return self.k / self.n

    @property
    def mother_bits(self) -> int:
        """Bits of the mother codeword, which the parity checks are over: unsent bits and known zeros included."""
        return self._core.mother_bits

    @property
    def first_sent(self) -> int:
        """The first information bit that is sent; the others follow it in order, then parity. nr leaves out 2 z, wifi none."""
        return 2 * self.z if self.family == "nr" else 0

    # ---- encoding ------------------------------------------------------------------------------------------------------

    def encode(self, bits: Bits) -> Bits:
        """Encode bits (B, k) uint8 of 0 and 1 to (B, n)."""
        return _unpack(self.encode_packed(_pack(self._check_bits(bits, self.k))), self.n)

    def encode_packed(self, data: Bits) -> Bits:
        """Encode (B, ceil(k / 8)) bytes to (B, ceil(n / 8)); most significant bit first, padding bits zero in what is sent."""
        return self._core.encode(self._check_packed(data, self.k))

    def mother_codeword(self, bits: Bits) -> Bits:
        """Return the mother codewords (B, mother_bits) of bits (B, k): what `parity_checks` is over."""
        return _unpack(self._core.encode_mother(_pack(self._check_bits(bits, self.k))), self.mother_bits)

    # ---- decoding ------------------------------------------------------------------------------------------------------

    def decode(
        self,
        llr: NDArray[np.int8] | NDArray[np.float32],
        *,
        algorithm: str = "oms",
        max_iterations: int = 20,
        early_stop: bool = True,
    ) -> LDPCResult:
        """Decode blocks.

        Parameters
        ----------
        llr
            (B, n): float32 in nats (infinities are sure bits), or int8 in steps of 1 / LLR_SCALE nat.
        algorithm
            "oms": layered offset min-sum in fixed point. "sum-product": layered, in float: slow, the oracle. "erasure": LLRs
            are sure bits or 0: peeling, then elimination, which is maximum likelihood.
        max_iterations
            1..1000.
        early_stop
            Stop a block once every check holds on its decisions.

        Raises
        ------
        FeatureTypeError, FeatureError
            `llr` is no such array; a NaN is in it.
        ConfigError
            No such algorithm or number of iterations.
        """
        packed = self.decode_packed(llr, algorithm=algorithm, max_iterations=max_iterations, early_stop=early_stop)
        return LDPCResult(_unpack(packed.bits, self.k), packed.ok, packed.iterations)

    def decode_packed(
        self,
        llr: NDArray[np.int8] | NDArray[np.float32],
        *,
        algorithm: str = "oms",
        max_iterations: int = 20,
        early_stop: bool = True,
    ) -> LDPCResult:
        """Decode as `decode` does, to bits packed most significant first: (B, ceil(k / 8)) bytes."""
        check_choice("algorithm", algorithm, ALGORITHMS)
        check_int("max_iterations", max_iterations, 1, MAX_ITERATIONS)
        check_bool("early_stop", early_stop)
        array = self._check_llr(llr)
        if algorithm == "sum-product":
            nats = array if array.dtype == np.float32 else array.astype(np.float32) / np.float32(LLR_SCALE)
            _refuse_nan(nats)
            bits, ok, iterations = self._core.decode_sum_product(nats, max_iterations, early_stop)
        else:
            try:
                if algorithm == "oms":
                    bits, ok, iterations = self._core.decode_min_sum(array, max_iterations, early_stop)
                else:
                    bits, ok, iterations = self._core.decode_erasure(array)
            except ValueError:  # the core saw a NaN; where, is only asked now
                _refuse_nan(array)
                raise
        return LDPCResult(bits, ok, iterations)

    def decode_erased(self, sent: Bits, erased: Bits) -> LDPCResult:
        """Decode what came over an erasure channel, packed: what `decode_packed` gives with algorithm "erasure".

        Parameters
        ----------
        sent
            (B, ceil(n / 8)) bytes, most significant bit first: the bits that arrived; padding bits are ignored.
        erased
            (B, ceil(n / 8)) bytes: 1 where a bit did not arrive; the bit in `sent` may then be anything.

        Returns
        -------
        LDPCResult
            `bits` packed, (B, ceil(k / 8)) bytes. Where an information bit stays undetermined or the bits contradict a check,
            `ok` is False.

        Raises
        ------
        FeatureTypeError, FeatureError
            `sent` or `erased` is no such array, or they differ in their number of blocks.
        """
        bits_sent, mask = self._check_packed(sent, self.n), self._check_packed(erased, self.n)
        if bits_sent.shape != mask.shape:
            raise FeatureError(f"sent and erased are of one shape, got {bits_sent.shape} and {mask.shape}")
        bits, ok, iterations = self._core.decode_erasure_packed(bits_sent, mask)
        return LDPCResult(bits, ok, iterations)

    def completions(self, llr: NDArray[np.int8], *, most: int = 8) -> tuple[Bits, Bits] | None:
        """Return all that one block of sure bits and erased ones may be, for a caller who knows more of it than the code does.

        Parameters
        ----------
        llr
            (n,) int8, as for `decode` with algorithm "erasure".
        most
            Dimensions that may be open, 0..32.

        Returns
        -------
        tuple or None
            `info`, ceil(k / 8) packed bytes, and `freedom`, (d, ceil(k / 8)): the block is `info` XOR any of the words of
            `freedom`, of which some may be 0 or follow from others. None where more than `most` dimensions are open or the bits
            contradict a check.

        Raises
        ------
        FeatureTypeError, FeatureError, ConfigError
            As for `decode`.
        """
        check_int("most", most, 0, 32)
        array = self._check_llr(np.asarray(llr)[None])
        if array.dtype != np.int8:
            raise FeatureTypeError(f"the LLRs of a block to complete are int8, got {array.dtype}")
        return self._core.complete_erasure(array, most)

    # ---- the checks ----------------------------------------------------------------------------------------------------

    def parity_checks(self) -> tuple[NDArray[np.int64], NDArray[np.int32], tuple[int, int]]:
        """Return the parity-check matrix in CSR form: row pointers, column indices, (checks, mother bits); every value is 1.

        Block (i, j) of shift s has the one of its row r in column (r + s) mod z.
        """
        shifts = self._core.shifts
        rows, cols = shifts.shape
        block_rows, block_cols = np.nonzero(shifts >= 0)
        shift = shifts[block_rows, block_cols].astype(np.int64)
        r = np.arange(self.z)
        row = (block_rows[:, None] * self.z + r).reshape(-1)
        col = (block_cols[:, None] * self.z + (r + shift[:, None]) % self.z).reshape(-1)
        order = np.lexsort((col, row))
        pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows * self.z))])
        return pointers.astype(np.int64), col[order].astype(np.int32), (rows * self.z, cols * self.z)

    def syndrome(self, codewords: Bits) -> NDArray[np.uint32]:
        """Count the checks that fail: mother codewords (B, mother_bits) of 0 and 1 -> (B,)."""
        return self._core.syndrome_weight(_pack(self._check_bits(codewords, self.mother_bits)))

    def __repr__(self) -> str:
        """Show family, k and n."""
        return f"LDPC({self.family!r}, k={self.k}, n={self.n})"

    def _check_llr(self, llr: Any) -> NDArray[Any]:
        if not isinstance(llr, np.ndarray) or llr.dtype not in (np.int8, np.float32):
            got = llr.dtype if isinstance(llr, np.ndarray) else type(llr).__name__
            raise FeatureTypeError(f"LLRs are a NumPy array of int8 or float32, got {got}")
        _check_blocks("LLRs", llr.shape, self.n)
        return np.ascontiguousarray(llr)

    def _check_bits(self, bits: Any, width: int) -> Bits:
        if not isinstance(bits, np.ndarray) or bits.dtype != np.uint8:
            got = bits.dtype if isinstance(bits, np.ndarray) else type(bits).__name__
            raise FeatureTypeError(f"bits are a NumPy array of uint8, got {got}")
        _check_blocks("bits", bits.shape, width)
        if bits.size and int(bits.max()) > 1:
            raise FeatureError(f"bits are 0 or 1, got {int(bits.max())}")
        return bits

    def _check_packed(self, data: Any, width: int) -> Bits:
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
            got = data.dtype if isinstance(data, np.ndarray) else type(data).__name__
            raise FeatureTypeError(f"packed bits are a NumPy array of uint8, got {got}")
        _check_blocks("packed bits", data.shape, (width + 7) // 8)
        return np.ascontiguousarray(data)


def _check_blocks(what: str, shape: tuple[int, ...], width: int) -> None:
    if len(shape) != 2 or shape[1] != width:
        raise FeatureError(f"{what} must have shape (blocks, {width}), got {shape}")
    if shape[0] > MAX_BLOCKS:
        raise FeatureError(f"one call takes at most {MAX_BLOCKS} blocks, got {shape[0]}")


def _refuse_nan(llr: NDArray[Any]) -> None:
    nan = np.isnan(llr)
    if bool(nan.any()):
        index = tuple(int(i) for i in np.argwhere(nan)[0])
        raise FeatureError(f"an LLR must be a number or infinite, got NaN at {index}")


def _pack(bits: Bits) -> Bits:
    return np.packbits(bits, axis=1)


def _unpack(data: Bits, width: int) -> Bits:
    return np.unpackbits(data, axis=1, count=width)
