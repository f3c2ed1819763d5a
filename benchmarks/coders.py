"""Coder: the one interface of everything that the entropy benchmark measures, peers and ours alike; and memcpy."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.uint8]
Encoded = bytes | NDArray[np.uint8]
Shape = tuple[int, int, int]


class Coder:
    """Codes the symbols of one tensor into one packet that needs nothing else but shape, bits and static tables.

    Attributes
    ----------
    name
        What tables and plots call it.
    package
        The distribution whose version is stored with the result; None for the standard library and for featcodec.
    slow_start
        True where loading takes many seconds: left out of quick runs.
    """

    name: str = ""
    package: str | None = None
    slow_start: bool = False

    def load(self) -> None:
        """Import what it needs; raise what goes wrong."""

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Code symbols (maps, h, w) below 2^bits, bits 1..8."""
        raise NotImplementedError

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Undo `encode`."""
        raise NotImplementedError

    def encode_batch(self, batch: Sequence[Symbols], bits: int) -> list[Encoded]:
        """Code many tensors, a packet each."""
        return [self.encode(symbols, bits) for symbols in batch]

    def decode_batch(self, packets: Sequence[Encoded], shape: Shape, bits: int) -> list[Symbols]:
        """Undo `encode_batch`; all tensors have one shape."""
        return [self.decode(data, shape, bits) for data in packets]

    def calibrate(self, batch: Symbols, bits: int) -> None:
        """See symbols (B, maps, h, w) of other images beforehand; for static tables."""

    def most_symbols(self, bits: int) -> int:
        """Return how many symbols it can code at once, in memory that a benchmark may take."""
        return 1 << 40

    def reason(self) -> str | None:
        """Return why it cannot run here, or None where it loads and gives back small tensors of every width."""
        try:
            self.load()
            for bits in (1, 2, 4, 8):
                self._check(_probe(bits), bits)
            self._check(np.full((2, 3, 5), 3, np.uint8), 4)
        except Exception as e:  # a peer may fail in any way; whichever it is belongs in the result
            text = (str(e).strip() or repr(e)).splitlines()[-1]
            return f"{type(e).__name__}: {text[:200]}"
        return None

    def _check(self, probe: Symbols, bits: int) -> None:
        self.calibrate(probe[None], bits)
        if not np.array_equal(self.decode(self.encode(probe, bits), probe.shape, bits), probe):
            raise ValueError(f"a tensor {probe.shape} of {bits}-bit symbols does not come back")


def _probe(bits: int) -> Symbols:
    """A small tensor of odd shape, zero-heavy like features after a ReLU."""
    rng = np.random.default_rng(bits)
    probe: Symbols = np.minimum(rng.geometric(0.3, (6, 7, 5)) - 1, 2**bits - 1).astype(np.uint8)
    return probe


def package_versions(coders: Sequence[Coder]) -> dict[str, str | None]:
    """Return the version of every package that the coders name, None where it is not installed."""
    versions: dict[str, str | None] = {}
    for package in sorted({coder.package for coder in coders if coder.package}):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


class Memcpy(Coder):
    """A copy into memory that was touched before: the unit that speeds are compared in."""

    name = "memcpy"

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, int], Symbols] = {}

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Copy."""
        return self._copy("encode", symbols.reshape(-1))

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Copy."""
        return self._copy("decode", np.frombuffer(data, np.uint8)).reshape(shape)

    def encode_batch(self, batch: Sequence[Symbols], bits: int) -> list[Encoded]:
        """Copy each to a place of its own."""
        return [self._copy(f"encode {i}", symbols.reshape(-1)) for i, symbols in enumerate(batch)]

    def decode_batch(self, packets: Sequence[Encoded], shape: Shape, bits: int) -> list[Symbols]:
        """Copy each to a place of its own."""
        return [self._copy(f"decode {i}", np.frombuffer(p, np.uint8)).reshape(shape) for i, p in enumerate(packets)]

    def _copy(self, use: str, source: Symbols) -> Symbols:
        if (use, source.size) not in self._buffers:
            self._buffers[use, source.size] = np.zeros(source.size, np.uint8)
        target = self._buffers[use, source.size]
        np.copyto(target, source)
        return target
