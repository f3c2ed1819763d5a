"""Peers: what a Python user could code symbols with today, each behind the two methods of `Coder`.

A peer that is not installed, or does not give its symbols back, says why (`Coder.reason`) and is left out of the run.
"""

from __future__ import annotations

import importlib.util
import zlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coders import Coder, Encoded, Memcpy, Shape, Symbols
from benchmarks.picture_peers import Jpegls, JpegXl, Png, WebP
from featcodec import _core

_LOG_CODES_FROM = 16  # counts below this are sent as they are, above it in steps of an eighth of an octave


def all_peers() -> list[Coder]:
    """Return every peer, memcpy first, whether it works here or not."""
    return [
        Memcpy(),
        *(Zstd(level) for level in (1, 3, 19)),
        Zlib(),
        Constriction("ans"),
        Constriction("range"),
        ConstrictionHuffman(),
        CompressAI(),
        Torchac(),
        DaHuffman(),
        DeepCabac(),
        JpegXl(1),
        JpegXl(7),
        WebP(),
        Png(),
        Jpegls(),
    ]


class Zstd(Coder):
    """Zstandard on one byte a symbol."""

    package = "zstandard"

    def __init__(self, level: int) -> None:
        self.name = f"zstd {level}"
        self._level = level

    def load(self) -> None:
        """Make the two contexts that all calls share."""
        import zstandard

        self._compress = zstandard.ZstdCompressor(level=self._level).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Compress the bytes."""
        data: bytes = self._compress(symbols.data)
        return data

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Decompress the bytes."""
        return np.frombuffer(self._decompress(bytes(data)), np.uint8).reshape(shape)


class Zlib(Coder):
    """DEFLATE on one byte a symbol."""

    name = "zlib 6"

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Compress the bytes."""
        return zlib.compress(symbols.data, 6)

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Decompress the bytes."""
        return np.frombuffer(zlib.decompress(bytes(data)), np.uint8).reshape(shape)


def _extension(package: str, path: str) -> ModuleType:
    """Load one compiled module out of a package without the package, which imports far more than a coder needs."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}")
    folder, name = Path(spec.submodule_search_locations[0]) / Path(path).parent, Path(path).name
    for suffix in EXTENSION_SUFFIXES:
        found = importlib.util.spec_from_file_location(name, folder / f"{name}{suffix}")
        if (folder / f"{name}{suffix}").is_file() and found is not None and found.loader is not None:
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
            return module
    raise ImportError(f"{package} has no compiled {path} for this Python")


class HistogramCoder(Coder):
    """A coder of independent symbols that wants their distribution: this class counts them and sends the table.

    Table: one byte, the largest symbol; then for every symbol up to it a code of its count in Exp-Golomb bits. It is made
    fast (compiled) and short, so that what is measured is the peer.
    """

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Write the table, then what the peer makes of the symbols."""
        flat = symbols.reshape(-1)
        codes = _count_codes(_histogram(flat))
        table = bytes([codes.size - 1]) + _core.golomb_encode(codes).tobytes()
        return table + self.encode_flat(flat, _weights(codes))

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Read the table, then the symbols."""
        buffer = np.frombuffer(data, np.uint8)
        codes, used = _core.golomb_decode(buffer[1:], int(buffer[0]) + 1)
        count = shape[0] * shape[1] * shape[2]
        return self.decode_flat(buffer[1 + used :].tobytes(), count, _weights(codes)).astype(np.uint8).reshape(shape)

    def encode_flat(self, flat: Symbols, weights: NDArray[np.float64]) -> bytes:
        """Code symbols (N,) whose distribution is proportional to `weights`, at least two of them."""
        raise NotImplementedError

    def decode_flat(self, data: bytes, count: int, weights: NDArray[np.float64]) -> NDArray[Any]:
        """Undo `encode_flat`: an array of `count` integers."""
        raise NotImplementedError


def _histogram(flat: Symbols) -> NDArray[np.int64]:
    """Counts up to the largest symbol; of many symbols by pairs, which NumPy counts twice as fast."""
    if flat.size < 1 << 18 or flat.size % 2:
        return np.bincount(flat)
    pairs = np.bincount(flat.view(np.uint16), minlength=1 << 16).reshape(256, 256)
    return np.trim_zeros(pairs.sum(axis=0) + pairs.sum(axis=1), "b")


def _count_codes(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    logarithmic = _LOG_CODES_FROM + np.rint(8 * np.log2(np.maximum(counts, 1) / _LOG_CODES_FROM))
    return np.where(counts < _LOG_CODES_FROM, counts, logarithmic).astype(np.uint32)


def _weights(codes: NDArray[np.uint32]) -> NDArray[np.float64]:
    exact = codes.astype(np.float64)
    weights = np.where(codes < _LOG_CODES_FROM, exact, _LOG_CODES_FROM * np.exp2((exact - _LOG_CODES_FROM) / 8))
    return weights if weights.size > 1 else np.append(weights, 0.0)


def _cdf16(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """A cumulative distribution (L + 1,) from 0 to 2^16 in which every symbol has a share."""
    shares = np.maximum(1, np.floor(weights * ((65536 - weights.size) / weights.sum()))).astype(np.int64)
    shares[shares.argmax()] += 65536 - shares.sum()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(shares)])


class Constriction(HistogramCoder):
    """constriction's stream coders: "ans" or "range"."""

    package = "constriction"

    def __init__(self, kind: str) -> None:
        self.name = f"constriction {kind}"
        self._ans = kind == "ans"

    def load(self) -> None:
        """Import the extension."""
        import constriction

        self._stream = constriction.stream

    def _model(self, weights: NDArray[np.float64]) -> Any:
        return self._stream.model.Categorical(weights / weights.sum(), perfect=False)

    def encode_flat(self, flat: Symbols, weights: NDArray[np.float64]) -> bytes:
        """One call over all symbols."""
        wide = flat.astype(np.int32)
        if self._ans:
            coder = self._stream.stack.AnsCoder()
            coder.encode_reverse(wide, self._model(weights))
        else:
            coder = self._stream.queue.RangeEncoder()
            coder.encode(wide, self._model(weights))
        data: bytes = coder.get_compressed().astype("<u4").tobytes()
        return data

    def decode_flat(self, data: bytes, count: int, weights: NDArray[np.float64]) -> NDArray[Any]:
        """One call over all symbols."""
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        coder = self._stream.stack.AnsCoder(words) if self._ans else self._stream.queue.RangeDecoder(words)
        symbols: NDArray[Any] = coder.decode(self._model(weights), count)
        return symbols


class ConstrictionHuffman(HistogramCoder):
    """constriction's Huffman code, one call a symbol: it offers no other."""

    name = "constriction huffman"
    package = "constriction"

    def load(self) -> None:
        """Import the extension."""
        import constriction

        self._symbol = constriction.symbol

    def encode_flat(self, flat: Symbols, weights: NDArray[np.float64]) -> bytes:
        """Loop over the symbols."""
        tree = self._symbol.huffman.EncoderHuffmanTree(weights)
        queue = self._symbol.QueueEncoder()
        push = queue.encode_symbol
        for symbol in flat.tolist():
            push(symbol, tree)
        words: NDArray[np.uint32] = queue.get_compressed()[0]
        return words.astype("<u4").tobytes()

    def decode_flat(self, data: bytes, count: int, weights: NDArray[np.float64]) -> NDArray[Any]:
        """Loop over the symbols."""
        tree = self._symbol.huffman.DecoderHuffmanTree(weights)
        pull = self._symbol.QueueDecoder(np.frombuffer(data, "<u4").astype(np.uint32)).decode_symbol
        return np.array([pull(tree) for _ in range(count)], np.uint8)


class CompressAI(HistogramCoder):
    """CompressAI's rANS, the way its entropy models call it: lists of symbols, of indexes and of integer tables."""

    name = "compressai ans"
    package = "compressai"

    def load(self) -> None:
        """Load the compiled coder alone."""
        self._ans = _extension("compressai", "ans")

    def encode_flat(self, flat: Symbols, weights: NDArray[np.float64]) -> bytes:
        """One call; the last entry of its table is the escape that its format asks for."""
        cdf = _cdf16(np.append(weights, 0.0)).tolist()
        data: bytes = self._ans.RansEncoder().encode_with_indexes(flat.tolist(), [0] * flat.size, [cdf], [len(cdf)], [0])
        return data

    def decode_flat(self, data: bytes, count: int, weights: NDArray[np.float64]) -> NDArray[Any]:
        """One call."""
        cdf = _cdf16(np.append(weights, 0.0)).tolist()
        return np.array(self._ans.RansDecoder().decode_with_indexes(data, [0] * count, [cdf], [len(cdf)], [0]))


class Torchac(HistogramCoder):
    """torchac's arithmetic coder, which wants a distribution for every symbol."""

    name = "torchac"
    package = "torchac"
    slow_start = True  # compiles its extension when it is first imported

    def load(self) -> None:
        """Import, which may compile."""
        import torch
        import torchac

        self._torch, self._torchac = torch, torchac

    def most_symbols(self, bits: int) -> int:
        """Keep the table of distributions, two bytes an entry, below 256 MiB."""
        return (1 << 27) // ((1 << bits) + 1)

    def _cdfs(self, weights: NDArray[np.float64], count: int) -> Any:
        row = self._torch.from_numpy(_cdf16(weights).astype(np.uint16).view(np.int16))  # 2^16 is written as 0
        return row.expand(count, -1).contiguous()

    def encode_flat(self, flat: Symbols, weights: NDArray[np.float64]) -> bytes:
        """One call."""
        symbols = self._torch.from_numpy(flat.astype(np.int16))
        data: bytes = self._torchac.encode_int16_normalized_cdf(self._cdfs(weights, flat.size), symbols)
        return data

    def decode_flat(self, data: bytes, count: int, weights: NDArray[np.float64]) -> NDArray[Any]:
        """One call."""
        symbols: NDArray[Any] = self._torchac.decode_int16_normalized_cdf(self._cdfs(weights, count), data).numpy()
        return symbols


class DaHuffman(HistogramCoder):
    """dahuffman: a Huffman code in Python."""

    name = "dahuffman"
    package = "dahuffman"

    def load(self) -> None:
        """Import."""
        import dahuffman

        self._from_frequencies = dahuffman.HuffmanCodec.from_frequencies

    def _code(self, weights: NDArray[np.float64]) -> Any:
        return self._from_frequencies({int(symbol): float(weights[symbol]) for symbol in np.flatnonzero(weights)})

    def encode_flat(self, flat: Symbols, weights: NDArray[np.float64]) -> bytes:
        """One call, a Python loop inside."""
        data: bytes = self._code(weights).encode(flat.tolist())
        return data

    def decode_flat(self, data: bytes, count: int, weights: NDArray[np.float64]) -> NDArray[Any]:
        """One call, a Python loop inside."""
        return np.array(self._code(weights).decode(data), np.uint8)


class DeepCabac(Coder):
    """nncodec's DeepCABAC: context-adaptive binary arithmetic coding, a row a map."""

    name = "nncodec deepcabac"
    package = "nncodec"

    def load(self) -> None:
        """Load the compiled coder alone."""
        self._cabac = _extension("nncodec", "extensions/deepCABAC")
        # its tool that codes against a former tensor is off
        self._no_history = (self._cabac.HdspMode.AlwaysOff, np.zeros(2, np.int8))

    def encode(self, symbols: Symbols, bits: int) -> Encoded:
        """Code with uniform quantisation's settings, as nncodec's defaults are."""
        rows = symbols.reshape(symbols.shape[0], -1).astype(np.int32)
        encoder = self._cabac.Encoder()
        encoder.initCtxModels(11, 1)
        encoder.encodeLayer(rows, 0, 0, 0, 0, 0, np.zeros(rows.shape[0], np.int32), *self._no_history, 0, 0)
        data: NDArray[np.uint8] = encoder.finish()
        return data

    def decode(self, data: Encoded, shape: Shape, bits: int) -> Symbols:
        """Decode into integers, then narrow them."""
        rows = np.zeros((shape[0], shape[1] * shape[2]), np.int32)
        decoder = self._cabac.Decoder()
        decoder.setStream(np.frombuffer(data, np.uint8))
        decoder.initCtxModels(11)
        decoder.decodeLayer(rows, 0, 0, 0, 0, *self._no_history, 0, 0)
        decoder.finish()
        return rows.astype(np.uint8).reshape(shape)
