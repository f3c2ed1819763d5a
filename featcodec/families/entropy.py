"""EntropyCodec: quantiser and entropy coder in one call of the C++ core; each codec on it names a family of coding modes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec import _core
from featcodec.bitstream import Packet, PayloadKind, parse_batch
from featcodec.channel import Channel
from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import ConfigError, FeatureError
from featcodec.families.quantized import check_axis
from featcodec.features import check_feature, check_layout
from featcodec.ops.cast import DTYPE_NAMES, DTYPES
from featcodec.ops.crushed import Crushed
from featcodec.ops.host import to_host
from featcodec.ops.quantizer import minmax_reconstruct, step_reconstruct
from featcodec.ops.steps import smallest_step
from featcodec.ops.versions import version_of
from featcodec.payloads.quantizer import MAX_BITS
from featcodec.spec import check_choice, check_int
from featcodec.transmission import NOTHING_LOST, Transmission

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_COUNT = 1 << 28  # counts above are halved, so that sums stay within 32 bits
_CONTEXT_COUNTS = 8192
_CONTEXTS = 256
_ORDER0_BYTES = 640
_BYTES = PayloadKind.BYTES
_FLOAT_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}  # the core's FloatType
_MOST_WAYS = 1024
_MOST_STEP = 1e30  # a step is below it

_Ways = dict[tuple[tuple[int, ...], Any], _core.Way]


class EntropyCodec(Codec):
    """A quantiser before a family of entropy-coding modes; the encoder picks a mode by its cost, sample by sample.

    Parameters
    ----------
    bits
        n, 1..16: the min-max quantiser of `featcodec.payloads.quantizer`, symbols 0..2^n - 1.
    axis
        "sample": one range for the whole sample; "map": one for every map; "token": one for every token, a row of (T, D), in
        which 0 is a level, n at least 2.
    step
        A step Q > 0 instead of min-max: q = rint(x / Q), x^ = Q q, no range sent. A value whose q has more than 16 bits is sent
        as it is, in four bytes more. `bits` and `axis` then stay at their defaults.
    tables
        "adaptive": tables are made for each sample and sent. "static": they come from `calibrate`, live in the state and are
        not sent; symbols that calibration never met are coded all the same. Until then they are flat.
    """

    family: ClassVar[str]
    _coder: _core.PacketCoder | None = None
    _transient = (*Codec._transient, "_coder")
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bits": 8},
        {"bits": 4},
        {"bits": 3},
        {"bits": 2},
        {"bits": 4, "axis": "map"},
        {"bits": 8, "axis": "token"},
        {"bits": 4, "tables": "static"},
        {"step": 0.25},
    )

    def __init__(self, *, bits: int = 8, axis: str = "sample", step: float | None = None, tables: str = "adaptive") -> None:
        super().__init__()
        self.bits = check_int("bits", bits, 1, MAX_BITS)
        self.axis = check_axis(axis, self.bits)
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

    @property
    def needs_calibration(self) -> bool:
        """True where the tables are static."""
        return self.tables == "static"

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Make the static tables, anew each time; see `Codec.calibrate`.

        Raises
        ------
        FeatureError
            Also where the features are all constant, or each has symbols that are wider than a step's static tables.
        """
        if not self.needs_calibration:
            return self
        totals = [np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(_CONTEXT_COUNTS, np.int64)]
        batches = [features] if isinstance(features, Tensor) else list(features)
        for batch in batches:
            check_feature(batch)
        zigzag = self.step is not None and any(bool((batch < 0).any()) for batch in batches)
        coder = self._new_coder(zigzag)
        for batch in batches:
            layout = self._layout(tuple(batch.shape[1:]))
            values = _arrange(batch, layout.transposes).float().numpy().reshape(-1, *layout.grid)
            for total, counts in zip(totals, coder.count(values), strict=True):
                total += counts
        if not totals[2].any():
            raise _nothing_counted(batches, self.step, zigzag)
        self._train(coder, zigzag, *(_narrow(total) for total in totals))
        return self

    # ---- the fast way: one call of the core for a batch ----------------------------------------------------------------

    def encode_over(self, x: Tensor, channel: Channel | None) -> list[Packet]:
        """Encode a batch; see `Codec.encode`."""
        coder = self._coder
        try:
            # Small features cost microseconds: what repeats is remembered by shape and type, values are checked in the core.
            packets = None if coder is None else coder.encode(x, self._buffers)
            if packets is None:
                packets = self._encode_unknown(x)
        except FeatureError:
            check_feature(x)  # says which value, and where
            raise
        return packets

    def _take_real_way(self, x: Tensor, channel: Channel | None) -> tuple[Transmission, list[Packet]]:
        """All of it in one call of the core, where nothing happens on the way and the feature is of a known kind."""
        coder = self._coder
        try:
            crossed = None if coder is None or channel is not None else coder.cross(x, self._buffers)
        except FeatureError:
            check_feature(x)  # says which value, and where
            raise
        if crossed is None:
            return super()._take_real_way(x, channel)
        packets, value, encode_s, decode_s, counts, payload_bits, frame_bits = crossed
        crushed = Crushed._make(counts)
        self._watch.see(crushed, self.config)
        return Transmission(value, packets, encode_s, decode_s, NOTHING_LOST, crushed, payload_bits, frame_bits), packets

    def decode(
        self,
        packets: Sequence[Packet | bytes],
        *,
        device: torch.device | str | None = None,
        like: Packet | None = None,
        max_elements: int | None = None,
    ) -> Tensor:
        """Decode packets; see `Codec.decode`."""
        if max_elements is not None:
            packets = parse_batch(packets, like, max_elements)
        coder = self._coder
        x = None if coder is None else coder.decode(packets, self._buffers)
        if x is None:
            x = self._decode_unknown(packets, like)
        return x if device is None else x.to(device)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the ranges, or the step quantiser's byte and escapes, and the table that was sent with the symbols."""
        side, table = self._new_coder().parts(np.ascontiguousarray(payload), *self._layout(shape).grid)
        return {"side": side, "table": table}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Quantise and dequantise where `x` is."""
        if self.step is not None:
            return step_reconstruct(x, self.step)
        return minmax_reconstruct(x, self.bits, self.axis)

    # ---- tables --------------------------------------------------------------------------------------------------------

    def _register_tables(self) -> None:
        """Integer buffers of fixed shapes: what a static codec's state holds."""
        coder = self._new_coder()
        if coder.static_bits > 8 and self.family not in ("context", "auto"):
            raise ConfigError(f"static tables of {self.codec_id!r} take bits 1..8, got {self.bits}: use context")
        self.register_buffer("order0_table", torch.zeros(_ORDER0_BYTES, dtype=torch.uint8))
        self.register_buffer("frequencies", torch.zeros(512, dtype=torch.int32))
        self.register_buffer("table_sizes", torch.zeros(4, dtype=torch.int32))
        self._train(coder, False, np.zeros(256, np.uint32), np.zeros(256, np.uint32), np.zeros(_CONTEXT_COUNTS, np.uint32))

    order0_table: Tensor
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
            table_of, narrow, *sizes[:2] = coder.train_context(contexts)
            frequencies = narrow.astype(np.int32)
            # which table each of 256 contexts has lies above the frequencies' 12 bits
            frequencies[: table_of.size] += table_of.astype(np.int32) << 16
            self.frequencies.copy_(torch.from_numpy(frequencies))
        if self._has_order0_table(coder):
            table = coder.train_order0(coded, symbols)
            sizes[2] = table.size
            self.order0_table.zero_()
            self.order0_table[: table.size].copy_(torch.from_numpy(table))
        self.table_sizes.copy_(torch.tensor(sizes, dtype=torch.int32))

    def _new_coder(self, zigzag: bool = False) -> _core.FeatureCoder:
        return _core.FeatureCoder(
            self.family, self.bits, self.axis != "sample", self.step or 0.0, zigzag, zero_level=self.axis == "token"
        )

    def _coder_of_tables(self) -> _core.PacketCoder:
        """The core's coder of these parameters and tables; made again when the tables change."""
        coder = self._coder
        if coder is None or not coder.is_of(self._buffers):
            sizes = self._buffers.get("table_sizes")
            inner = self._new_coder(sizes is not None and bool(sizes[3]))
            if sizes is not None:
                self._give_tables(inner)
            version = 0 if sizes is None else version_of(sizes)
            coder = self.__dict__["_coder"] = _core.PacketCoder(inner, Tensor, torch.from_numpy, Packet, sizes, version)
        return coder

    def _encode_unknown(self, x: Tensor) -> list[Packet]:
        """Encode features of a shape and type not seen before, or that do not lie in memory as the core reads them."""
        check_layout(x)
        if not len(x):
            return []
        coder, shape = self._coder_of_tables(), tuple(x.shape[1:])
        way = self._way(shape, DTYPE_NAMES[x.dtype], x.shape[0])
        _remember(coder.encoding, tuple(x.shape), x.dtype, way)
        values = _arrange(x, self._layout(shape).transposes)
        return coder.encode_at(values.data_ptr(), way)

    def _decode_unknown(self, packets: Sequence[Packet | bytes], like: Packet | None) -> Tensor:
        """Decode packets that are none yet, of a shape and type not seen before, or of values that must be put in order."""
        parsed = self._check_packets(packets, like)
        coder, shape, dtype = self._coder_of_tables(), parsed[0].shape, parsed[0].dtype
        way = self._way(shape, dtype, len(parsed))
        layout = self._layout(shape)
        if not layout.transposes:
            _remember(coder.decoding, shape, dtype, way)
        return _put_in_order(coder.decode_payloads([self._receive(packet) for packet in parsed], way), layout)

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode payloads of samples of one shape to (B, ...) float32."""
        x = self._coder_of_tables().decode_payloads(list(payloads), self._way(shape, "float32", len(payloads)))
        values: FloatArray = _put_in_order(x, self._layout(shape)).numpy()
        return values

    def _way(self, shape: tuple[int, ...], dtype: str, samples: int) -> _core.Way:
        """How samples of this shape and type are coded."""
        crc = self.config_crc()
        fields = {"shape": shape, "dtype": dtype, "kind": _BYTES, "config_crc": crc, "payload": None, "checksum": None}
        layout = self._layout(shape)
        return _core.Way(fields, DTYPES[dtype], _FLOAT_TYPES[dtype], samples, *layout.grid, not layout.transposes)

    def _layout(self, shape: tuple[int, ...]) -> _Layout:
        return _sample_layout(shape, self.axis)

    def _give_tables(self, coder: _core.FeatureCoder) -> None:
        tables, tokens, order0_bytes, _ = (int(size) for size in self.table_sizes)
        if self._has_context_tables:
            frequencies = self.frequencies.cpu().numpy()
            table_of = (frequencies[:_CONTEXTS] >> 16).astype(np.uint8)
            coder.set_context_tables(table_of, frequencies.astype(np.uint16), tables, tokens)
        if self._has_order0_table(coder):
            coder.set_order0_table(self.order0_table.cpu().numpy()[:order0_bytes].copy())


class _Layout(NamedTuple):
    """How a sample lies before the core: (maps, height, width); context coding sees neighbours in a row and in a column.

    What has a range of its own is a map here. `transposes`: tokens with a range per map, which go maps first.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int, int]
    transposes: bool


@functools.lru_cache(maxsize=1024)
def _sample_layout(shape: tuple[int, ...], axis: str) -> _Layout:
    """The layout of one sample, of a shape that is right already: a header's parser has seen to that."""
    transposes = len(shape) == 2 and axis == "map"
    if axis == "token" and len(shape) >= 2:
        grid = (shape[0], 1, shape[1]) if len(shape) == 2 else (1, math.prod(shape[:-1]), shape[-1])
    elif len(shape) >= 3:
        grid = shape[0], math.prod(shape[1:-1]), shape[-1]
    elif len(shape) == 2:
        grid = (shape[1], 1, shape[0]) if transposes else (1, *shape)
    else:
        grid = 1, 1, shape[0] if shape else 1
    return _Layout(shape, grid, transposes)


def _arrange(x: Tensor, transposes: bool) -> Tensor:
    """The batch as the core reads it: in order, in the CPU's memory."""
    values = x.detach().transpose(1, 2) if transposes else x.detach()
    return to_host(values.contiguous()).resolve_neg()


def _put_in_order(x: Tensor, layout: _Layout) -> Tensor:
    """Undo `_arrange`."""
    return x.view(-1, *layout.shape[::-1]).transpose(1, 2).contiguous() if layout.transposes else x


def _remember(ways: _Ways, shape: tuple[int, ...], dtype: Any, way: _core.Way) -> None:
    if len(ways) >= _MOST_WAYS:
        ways.clear()
    ways[shape, dtype] = way


def _check_step(step: Any) -> float:
    # a step is used as float32, where one may be 0 that was not
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not (0 < step < _MOST_STEP and np.float32(step) > 0):
        raise ConfigError(f"step must be a number above 0 and below {_MOST_STEP:g}, got {step!r}")
    return float(step)


def _nothing_counted(batches: list[Tensor], step: float | None, zigzag: bool) -> FeatureError:
    """What to say where no feature told anything about the tables."""
    if step is None or not batches:
        return FeatureError("there must be a feature that is not constant to calibrate with")
    integers = (-128, 127) if zigzag else (0, 255)
    low, high = min(float(batch.min()) for batch in batches), max(float(batch.max()) for batch in batches)
    wholes = [torch.round(batch.detach().double().reshape(len(batch), -1) / float(np.float32(step))) for batch in batches]
    symbols = [torch.where(q < 0, -2 * q - 1, 2 * q) if zigzag else q for q in wholes]
    narrowest = min(int(widest) for batch in symbols for widest in batch.amax(dim=1))
    return FeatureError(
        f"static tables are of symbols 0..255 (8 bits), but at step {step:g} even the narrowest of {sum(map(len, batches))} "
        f"samples has symbol {narrowest}: a step of {smallest_step(low, high, integers):g} or more fits them all"
    )


def _narrow(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Counts as uint32 with a sum below 2^31; none that was there vanishes."""
    while counts.max() > _MAX_COUNT // 64:
        counts = (counts + 1) // 2
    return counts.astype(np.uint32)
