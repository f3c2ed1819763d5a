"""Ours: the modes of the compiled core and the codecs around them, as the entropy benchmark runs them.

To add a mode, add a line to `CORE_MODES` (symbols to bytes, in the compiled core) or to `CODEC_MODES` (features to packets, by
`featcodec.get_codec`). A line whose instruction set this machine lacks is left out of the run, and says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import featcodec as fc
from benchmarks.coders import Coder, Encoded, Shape, Symbols
from featcodec import _core

ISAS = ("scalar", "neon") if _core.best_isa() == "neon" else ("scalar", "avx2", "avx512", "avx512vbmi")


@dataclass(frozen=True)
class Mode:
    """A family of coding modes with its tables, on an instruction set if one is named."""

    mode: str
    tables: str = "adaptive"
    isa: str | None = None

    @property
    def name(self) -> str:
        """What tables and goals call it, such as "context static" or "rans@avx2"."""
        return self.mode + ("" if self.tables == "adaptive" else f" {self.tables}") + (f"@{self.isa}" if self.isa else "")


_PLAIN = tuple(Mode(mode) for mode in ("huffman", "rans", "context", "auto"))
_STATIC = tuple(Mode(mode, "static") for mode in ("huffman", "rans", "context"))
_PINNED = tuple(Mode(mode, isa=isa) for mode in ("huffman", "rans", "context") for isa in ISAS)

CORE_MODES: tuple[Mode, ...] = (Mode("packed"), *_PLAIN, *_STATIC, *_PINNED)
CODEC_MODES: tuple[Mode, ...] = (*_PLAIN, *_STATIC, *_PINNED)


class CoreCoder(Coder):
    """A family of the compiled core on symbols, without the quantiser."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.name = mode.name
        self._static: dict[int, _core.FeatureCoder] = {}

    def load(self) -> None:
        """See that the instruction set can be pinned."""
        with pinned(self.mode.isa):
            pass

    def calibrate(self, batch: Symbols, bits: int) -> None:
        """Train the static tables."""
        if self.mode.tables != "static":
            return
        coder = _core.FeatureCoder(self.mode.mode, bits)
        counted = [coder.count_symbols(image) for image in batch]
        coded, symbols, contexts = (np.sum(counts, axis=0, dtype=np.uint32) for counts in zip(*counted, strict=True))
        if self.mode.mode == "context":
            coder.set_context_tables(*coder.train_context(contexts))
        else:
            coder.set_order0_table(coder.train_order0(coded, symbols))
        self._static[bits] = coder

    def _coder(self, bits: int) -> _core.FeatureCoder:
        return self._static[bits] if self.mode.tables == "static" else _core.FeatureCoder(self.mode.mode, bits)

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Call the core."""
        return self._coder(bits).encode_symbols(symbols)

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Call the core."""
        return self._coder(bits).decode_symbols(np.frombuffer(data, np.uint8), *shape)


class FeatureCodec:
    """A codec on float features: what a user calls, headers and ranges included.

    Parameters
    ----------
    params
        ``{"bits": n}`` or ``{"step": Q}``.
    calibration
        (B, maps, h, w) float32 features of other images, for static tables.

    Raises
    ------
    featcodec.FeatcodecError, ValueError
        The codec does not take these parameters, or this machine not its instruction set.
    """

    def __init__(self, mode: Mode, params: dict[str, Any], calibration: Tensor) -> None:
        self.name = mode.name
        self.isa = mode.isa
        wanted = dict(params)
        if mode.tables != "adaptive":
            wanted["tables"] = mode.tables
        self.codec = fc.get_codec(mode.mode, **wanted)
        if mode.tables == "static":
            self.codec.calibrate(calibration)
        with pinned(mode.isa):
            pass

    def encode(self, x: Tensor) -> list[fc.Packet]:
        """Code a batch (B, maps, h, w)."""
        return self.codec.encode(x)

    def decode(self, packets: Sequence[fc.Packet]) -> Tensor:
        """Decode a batch."""
        return self.codec.decode(packets)

    def check(self, x: Tensor) -> None:
        """Raise ValueError where decoding does not give what the codec promises: its own reconstruction, bit for bit."""
        decoded, promised = self.decode(self.encode(x)), self.codec.reconstruct(x)
        if decoded.shape != x.shape or (promised is not None and not torch.equal(decoded, promised)):
            raise ValueError(f"{self.name} does not decode to its reconstruction")


def core_coders() -> list[CoreCoder]:
    """Return a coder for every line of `CORE_MODES`, whether it works here or not."""
    return [CoreCoder(mode) for mode in CORE_MODES]


def feature_codecs(params: dict[str, Any], calibration: Tensor, every_isa: bool) -> tuple[list[FeatureCodec], dict[str, str]]:
    """Return the codecs of `CODEC_MODES` that this build has, and for the others the reason by name.

    Without `every_isa` the lines that pin an instruction set are passed over.
    """
    codecs, left_out = [], {}
    for mode in (mode for mode in CODEC_MODES if every_isa or mode.isa is None):
        try:
            codecs.append(FeatureCodec(mode, params, calibration))
        except (fc.FeatcodecError, ValueError) as e:
            left_out[mode.name] = f"{type(e).__name__}: {str(e).splitlines()[0][:200]}"
    return codecs, left_out


@contextmanager
def pinned(isa: str | None) -> Iterator[None]:
    """Run the block with the core held to one instruction set; None leaves it free.

    Raises
    ------
    ValueError
        This processor lacks it.
    """
    if isa is None:
        yield
        return
    before = _core.isa()
    _core.set_isa(isa)
    try:
        yield
    finally:
        _core.set_isa(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the block on this many threads, torch's operators and the core's alike."""
    torch_threads, core_threads = torch.get_num_threads(), int(fc.core_info()["threads"])
    torch.set_num_threads(count)
    fc.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        fc.set_num_threads(core_threads)
