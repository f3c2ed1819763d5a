"""EntropyCodec: quantiser and entropy coder in one call of the C++ core; each codec on it names a family of coding modes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec import _core
from featcodec.bitstream import Packet, PayloadKind
from featcodec.codec import Codec, Payload, check_feature, check_layout
from featcodec.errors import ConfigError, FeatureError
from featcodec.ops.layout import num_maps
from featcodec.ops.quantizer import MAX_BITS, minmax_reconstruct, step_reconstruct
from featcodec.quantized import range_parts
from featcodec.spec import check_choice, check_int

_MAX_COUNT = 1 << 28  # counts above are halved, so that sums stay within 32 bits
_CONTEXT_COUNTS = 8192
_CONTEXTS = 256
_ORDER0_BYTES = 640
_BYTES = PayloadKind.BYTES
_FLOAT_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # the core's FloatType
_MOST_WAYS = 1024

# The header of its packets; whether it is transposed; type, samples, maps, height and width for the core.
_Way = tuple[dict[str, Any], bool, tuple[int, int, int, int, int]]
# The core's coder, the config CRC, the ways of features seen so far by shape and type.
_Ready = tuple[_core.FeatureCoder, int, dict[Any, _Way]]


class EntropyCodec(Codec):
    """A quantiser before a family of entropy-coding modes; the encoder picks a mode by its cost, sample by sample.

    Parameters
    ----------
    bits
        n, 1..16: the min-max quantiser of `featcodec.ops.quantizer`, symbols 0..2^n - 1.
    axis
        "sample": one range for the whole sample; "map": one for every map.
    step
        A step Q > 0 instead of min-max: q = rint(x / Q), x^ = Q q, signed integers clipped to 16 bits, no range sent. `bits`
        and `axis` then stay at their defaults.
    tables
        "adaptive": tables are made for each sample and sent. "static": they come from `calibrate`, live in the state and are
        not sent; symbols that calibration never met are coded all the same. Until then they are flat.
    """

    family: ClassVar[str]
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bits": 8},
        {"bits": 4},
        {"bits": 3},
        {"bits": 2},
        {"bits": 4, "axis": "map"},
        {"bits": 4, "tables": "static"},
        {"step": 0.25},
    )

    def __init__(self, *, bits: int = 8, axis: str = "sample", step: float | None = None, tables: str = "adaptive") -> None:
        super().__init__()
        self.bits = check_int("bits", bits, 1, MAX_BITS)
        self.axis = check_choice("axis", axis, ("sample", "map"))
        self.step = None if step is None else _check_step(step)
        self.tables = check_choice("tables", tables, ("adaptive", "static"))
        if step is not None and (bits, axis) != (8, "sample"):
            raise ConfigError(f"a step quantiser takes no bits and no axis, got bits={bits}, axis={axis!r} beside step={step}")
        if tables == "static":
            self._register_tables()

    def params(self) -> dict[str, Any]:
        """Return bits and axis or the step; tables where they are not adaptive."""
        quantizer = {"bits": self.bits, "axis": self.axis} if self.step is None else {"step": self.step}
        return {**quantizer, **({"tables": self.tables} if self.tables != "adaptive" else {})}

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> EntropyCodec:
        """Make the static tables from features: a batch (B, ...) or several; no labels, a few dozen samples will do.

        Calibrating again starts anew. Both ends need the same tables: send `state_dict()` along with the config.

        Raises
        ------
        ConfigError
            The codec's tables are adaptive.
        FeatureTypeError, FeatureError
            As for `encode`; the tables then stay what they were.
        """
        if self.tables != "static":
            raise ConfigError(f"{self.codec_id!r} has adaptive tables: build it with tables='static' to calibrate it")
        totals = [np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(_CONTEXT_COUNTS, np.int64)]
        batches = [features] if isinstance(features, Tensor) else list(features)
        for batch in batches:
            check_feature(batch)
        zigzag = self.step is not None and any(bool((batch < 0).any()) for batch in batches)
        coder = self._new_coder(zigzag)
        for batch in batches:
            layout = _sample_layout(tuple(batch.shape[1:]), self.axis == "map")
            values = _arrange(batch, layout.transposes).float().numpy().reshape(-1, *layout.grid)
            for total, counts in zip(totals, coder.count(values), strict=True):
                total += counts
        if not totals[2].any():
            raise FeatureError("there must be a feature that is not constant to calibrate with")
        self._train(coder, zigzag, *(_narrow(total) for total in totals))
        return self

    # ---- the fast way: one call of the core for a batch ----------------------------------------------------------------

    def encode(self, x: Tensor) -> list[Packet]:
        """Encode a batch; see `Codec.encode`."""
        coder, crc, ways = self._ready()
        # Small features cost microseconds: what repeats is remembered by shape and type, values are checked in the core.
        way = ways.get((x.shape, x.dtype)) if type(x) is Tensor else None
        if way is None:
            way = self._way(x, crc, ways)
        header, transposes, grid = way
        values = x if x.is_contiguous() and x.is_cpu and not (transposes or x.is_neg()) else _arrange(x, transposes)
        try:
            payloads = coder.encode(values.data_ptr(), *grid)
        except FeatureError:
            check_feature(x)  # says which value, and where
            raise
        return Packet.trusted(header, payloads)

    def decode(
        self,
        packets: Sequence[Packet | bytes],
        *,
        device: torch.device | str | None = None,
        like: Packet | None = None,
    ) -> Tensor:
        """Decode packets; see `Codec.decode`."""
        coder, crc, _ = self._ready()
        first = packets[0] if isinstance(packets, list) and packets else None
        payloads = _plain_payloads(packets, first, crc) if isinstance(first, Packet) else None
        if first is None or payloads is None:
            parsed = self._check_packets(packets, like)
            first, payloads = parsed[0], [self._receive(packet) for packet in parsed]
        shape, (maps, height, width), transposes = _sample_layout(first.shape, self.axis == "map")
        # What the core decodes is finite: it checks the ranges, and symbols stay within them.
        x = torch.from_numpy(coder.decode(payloads, _FLOAT_TYPES[first.dtype], maps, height, width))
        if first.dtype is not torch.float32:
            x = x.view(first.dtype)
        if transposes:
            x = x.view(-1, shape[1], shape[0]).transpose(1, 2).contiguous()
        elif len(shape) != 3:
            x = x.view(-1, *shape)
        return x if device is None else x.to(device)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the ranges, or the step quantiser's byte; a table sent with the symbols counts with them."""
        if self.step is not None:
            return {"side": 8}
        return range_parts(payload, num_maps(shape) if self.axis == "map" else 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Quantise and dequantise where `x` is."""
        if self.step is not None:
            return step_reconstruct(x, self.step)
        return minmax_reconstruct(x, self.bits, self.axis == "map")

    # ---- tables --------------------------------------------------------------------------------------------------------

    def _register_tables(self) -> None:
        """Integer buffers of fixed shapes: what a static codec's state holds."""
        coder = self._new_coder()
        if coder.static_bits > 8 and self.family not in ("context", "auto"):
            raise ConfigError(f"static tables of {self.codec_id!r} take bits 1..8, got {self.bits}: use context")
        self.register_buffer("order0_table", torch.zeros(_ORDER0_BYTES, dtype=torch.uint8))
        self.register_buffer("table_of", torch.zeros(64, dtype=torch.uint8))
        self.register_buffer("frequencies", torch.zeros(512, dtype=torch.int32))
        self.register_buffer("table_sizes", torch.zeros(4, dtype=torch.int32))
        self._train(coder, False, np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(_CONTEXT_COUNTS, np.uint32))

    order0_table: Tensor
    table_of: Tensor
    frequencies: Tensor
    table_sizes: Tensor

    @property
    def _has_context_tables(self) -> bool:
        return self.family in ("context", "auto")

    def _has_order0_table(self, coder: _core.FeatureCoder) -> bool:
        return self.family != "context" and coder.static_bits <= 8

    def _train(
        self,
        coder: _core.FeatureCoder,
        zigzag: bool,
        coded: NDArray[np.uint32],
        symbols: NDArray[np.uint32],
        contexts: NDArray[np.uint32],
    ) -> None:
        """Write the buffers from counts."""
        sizes = [0, 0, 0, int(zigzag)]
        if self._has_context_tables:
            table_of, frequencies, *sizes[:2] = coder.train_context(contexts)
            # 240 contexts fit no buffer of their own in a state whose shapes are fixed: they lie above the frequencies' 12 bits
            self.table_of.zero_()
            self.frequencies.copy_(torch.from_numpy(frequencies.astype(np.int32)))
            self.frequencies[: table_of.size] += torch.from_numpy(table_of.astype(np.int32) << 16)
        if self._has_order0_table(coder):
            table = coder.train_order0(coded, symbols)
            sizes[2] = table.size
            self.order0_table.zero_()
            self.order0_table[: table.size].copy_(torch.from_numpy(table))
        self.table_sizes.copy_(torch.tensor(sizes, dtype=torch.int32))

    def _new_coder(self, zigzag: bool = False) -> _core.FeatureCoder:
        return _core.FeatureCoder(self.family, self.bits, self.axis == "map", self.step or 0.0, zigzag)

    def _ready(self) -> _Ready:
        """What coding needs of these parameters and tables; made again when the tables change."""
        cached = self.__dict__.get("_cached_coder")
        # Calibration and loading write the sizes whatever else they write.
        sizes = self._buffers.get("table_sizes")
        if cached is None or sizes is not cached[0] or (sizes is not None and sizes._version != cached[1]):
            coder = self._new_coder(sizes is not None and bool(sizes[3]))
            if sizes is not None:
                self._give_tables(coder)
            version = 0 if sizes is None else sizes._version
            cached = self.__dict__["_cached_coder"] = (sizes, version, (coder, self.config_crc(), {}))
        ready: _Ready = cached[2]
        return ready

    def _way(self, x: Tensor, crc: int, ways: dict[Any, _Way]) -> _Way:
        """How features of this shape and type are coded, from now on in `ways`; errors where no packet carries them."""
        check_layout(x)
        shape, grid, transposes = _sample_layout(tuple(x.shape[1:]), self.axis == "map")
        header = {"shape": shape, "dtype": x.dtype, "kind": _BYTES, "config_crc": crc, "checksum": None}
        if len(ways) >= _MOST_WAYS:
            ways.clear()
        way = ways[x.shape, x.dtype] = (header, transposes, (_FLOAT_TYPES[x.dtype], x.shape[0], *grid))
        return way

    def _give_tables(self, coder: _core.FeatureCoder) -> None:
        tables, tokens, order0_bytes, _ = (int(size) for size in self.table_sizes)
        if self._has_context_tables:
            frequencies = self.frequencies.cpu().numpy()
            table_of = (frequencies[:_CONTEXTS] >> 16).astype(np.uint8)
            if tokens < 1 << 16:  # a state from before the rate stood there
                table_of[: self.table_of.numel()] = self.table_of.cpu().numpy()
            coder.set_context_tables(table_of, frequencies.astype(np.uint16), tables, tokens)
        if self._has_order0_table(coder):
            coder.set_order0_table(self.order0_table.cpu().numpy()[:order0_bytes].copy())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the core's coder out of copies: it is made again when needed."""
        return {key: value for key, value in self.__dict__.items() if key != "_cached_coder"}


class _Layout(NamedTuple):
    """How a sample lies before the core: (maps, height, width); context coding sees neighbours in a row and in a column.

    `transposes`: tokens with a range per map, which go maps first.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int, int]
    transposes: bool


@functools.lru_cache(maxsize=1024)
def _sample_layout(shape: tuple[int, ...], per_map: bool) -> _Layout:
    """The layout of one sample, of a shape that is right already: a header's parser has seen to that."""
    transposes = len(shape) == 2 and per_map
    if len(shape) >= 3:
        grid = shape[0], math.prod(shape[1:-1]), shape[-1]
    elif len(shape) == 2:
        grid = (shape[1], 1, shape[0]) if transposes else (1, *shape)
    else:
        grid = 1, 1, shape[0] if shape else 1
    return _Layout(shape, grid, transposes)


def _arrange(x: Tensor, transposes: bool) -> Tensor:
    """The batch as the core reads it: in order, in the CPU's memory."""
    values = x.detach().cpu().resolve_neg()
    return (values.transpose(1, 2) if transposes else values).contiguous()


def _plain_payloads(packets: Sequence[Packet | bytes], first: Packet, crc: int) -> list[Payload] | None:
    """The payloads of whole packets of this config, alike and undamaged; None where one must be looked at."""
    shape, dtype, payloads = first.shape, first.dtype, []
    for packet in packets:
        if not (
            isinstance(packet, Packet)
            and packet.config_crc == crc
            and packet.shape == shape
            and packet.dtype is dtype
            and packet.kind is _BYTES
            and packet.checksum is None
        ):
            return None
        payloads.append(packet.payload)
    return payloads


def _check_step(step: Any) -> float:
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not 0 < step < 1e30:
        raise ConfigError(f"step must be a number above 0 and below 1e30, got {step!r}")
    return float(step)


def _narrow(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Counts as uint32 with a sum below 2^31; none that was there vanishes."""
    while counts.max() > _MAX_COUNT // 64:
        counts = (counts + 1) // 2
    return counts.astype(np.uint32)
