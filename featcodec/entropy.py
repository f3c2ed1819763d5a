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
from featcodec.codec import Codec, FloatArray, Payload, check_batch_shape, check_feature, check_layout
from featcodec.errors import ConfigError, FeatureError
from featcodec.ops.layout import from_maps
from featcodec.ops.quantizer import MAX_BITS, minmax_reconstruct, step_reconstruct
from featcodec.spec import check_choice, check_int

_MAX_COUNT = 1 << 28  # counts above are halved, so that sums stay within 32 bits
_CONTEXT_COUNTS = 1024
_ORDER0_BYTES = 640


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
            for total, counts in zip(
                totals, coder.count(self._arrange(batch, _layout(batch.shape, self.axis == "map"))), strict=True
            ):
                total += counts
        if not totals[2].any():
            raise FeatureError("there must be a feature that is not constant to calibrate with")
        self._train(coder, zigzag, *(_narrow(total) for total in totals))
        return self

    # ---- the fast way: one call of the core for a batch ----------------------------------------------------------------

    def encode(self, x: Tensor) -> list[Packet]:
        """Encode a batch; see `Codec.encode`."""
        coder, crc = self._ready()
        # Small features cost microseconds: what repeats is remembered by shape, what is checked is checked in the core.
        known = type(x) is Tensor and x.dtype is torch.float32 and x.is_cpu and not x.requires_grad and x.is_contiguous()
        if not known:
            check_layout(x)
        layout = _layout(x.shape, self.axis == "map")
        try:
            if known and layout.is_grid:
                payloads = coder.encode(x.numpy())
            elif x.dtype is torch.float32:
                payloads = coder.encode(self._arrange(x, layout))
            else:
                bits = self._arrange(x, layout, torch.int16)
                payloads = coder.encode_half(bits.view(np.uint16), x.dtype is torch.bfloat16)
        except FeatureError:
            check_feature(x)  # says which value, and where
            raise
        shape, dtype = layout.shape, x.dtype
        return [Packet.trusted(shape, dtype, PayloadKind.BYTES, crc, payload) for payload in payloads]

    def decode(
        self,
        packets: Sequence[Packet | bytes],
        *,
        device: torch.device | str | None = None,
        like: Packet | None = None,
    ) -> Tensor:
        """Decode packets; see `Codec.decode`."""
        coder, crc = self._ready()
        first = packets[0] if isinstance(packets, list) and packets else None
        if not isinstance(first, Packet) or first.dtype is not torch.float32 or device is not None:
            return super().decode(packets, device=device, like=like)
        shape, payloads = first.shape, []
        for packet in packets:
            if not (
                isinstance(packet, Packet)
                and packet.config_crc == crc
                and packet.shape == shape
                and packet.dtype is torch.float32
                and packet.kind is PayloadKind.BYTES
                and packet.checksum is None
            ):
                return super().decode(packets, like=like)
            payloads.append(packet.payload)
        # What the core decodes is finite: it checks the ranges, and symbols stay within them.
        return torch.from_numpy(self._decode_arrays(coder, payloads, shape))

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode a batch in one call of the core."""
        return self._decode_arrays(self._ready()[0], list(payloads), shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Quantise and dequantise where `x` is."""
        if self.step is not None:
            return step_reconstruct(x, self.step)
        return minmax_reconstruct(x, self.bits, self.axis == "map")

    # ---- layout: (samples, maps, height, width) for the core -----------------------------------------------------------

    def _arrange(self, x: Tensor, layout: _Layout, bits: torch.dtype | None = None) -> NDArray[Any]:
        """The batch as the core wants it, as float32 or, half types, as the integers of their bits."""
        values = x.detach().cpu()
        if layout.transposes:
            values = values.transpose(1, 2)
        values = values.contiguous()
        array: NDArray[Any] = (values.float() if bits is None else values.view(bits)).numpy()
        return array.reshape(-1, *layout.grid)

    def _decode_arrays(self, coder: _core.FeatureCoder, payloads: list[Payload], shape: tuple[int, ...]) -> FloatArray:
        layout = _sample_layout(shape, self.axis == "map")
        values = coder.decode(payloads, *layout.grid)
        if layout.transposes:
            return np.stack([from_maps(sample.reshape(shape[1], shape[0]), shape) for sample in values])
        return values if layout.is_grid else values.reshape(-1, *shape)

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
            self.table_of.copy_(torch.from_numpy(table_of))
            self.frequencies.copy_(torch.from_numpy(frequencies.astype(np.int32)))
        if self._has_order0_table(coder):
            table = coder.train_order0(coded, symbols)
            sizes[2] = table.size
            self.order0_table.zero_()
            self.order0_table[: table.size].copy_(torch.from_numpy(table))
        self.table_sizes.copy_(torch.tensor(sizes, dtype=torch.int32))

    def _new_coder(self, zigzag: bool = False) -> _core.FeatureCoder:
        return _core.FeatureCoder(self.family, self.bits, self.axis == "map", self.step or 0.0, zigzag)

    def _ready(self) -> tuple[_core.FeatureCoder, int]:
        """The core's coder of these parameters and tables, and the config CRC; made again when the tables change."""
        if self.tables == "static":
            one, other = self._buffers["table_sizes"], self._buffers["frequencies"]
            # calibration and loading write the sizes whatever else they write
            version = (id(one), id(other), one._version + other._version)  # type: ignore[union-attr]
        else:
            version = None
        cached = self.__dict__.get("_cached_coder")
        if cached is None or cached[0] != version:
            static = self.tables == "static"
            coder = self._new_coder(static and bool(self.table_sizes[3]))
            if static:
                self._give_tables(coder)
            cached = self.__dict__["_cached_coder"] = (version, (coder, self.config_crc()))
        ready: tuple[_core.FeatureCoder, int] = cached[1]
        return ready

    def _give_tables(self, coder: _core.FeatureCoder) -> None:
        tables, tokens, order0_bytes, _ = (int(size) for size in self.table_sizes)
        if self._has_context_tables:
            frequencies = self.frequencies.cpu().numpy().astype(np.uint16)
            coder.set_context_tables(self.table_of.cpu().numpy(), frequencies, tables, tokens)
        if self._has_order0_table(coder):
            coder.set_order0_table(self.order0_table.cpu().numpy()[:order0_bytes].copy())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the core's coder out of copies: it is made again when needed."""
        return {key: value for key, value in self.__dict__.items() if key != "_cached_coder"}


class _Layout(NamedTuple):
    """How a sample lies before the core: (maps, height, width); context coding sees neighbours in a row and in a column.

    `transposes`: tokens with a range per map, which go maps first. `is_grid`: the sample's shape is the grid already.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int, int]
    transposes: bool
    is_grid: bool


@functools.lru_cache(maxsize=1024)
def _layout(batch_shape: tuple[int, ...], per_map: bool) -> _Layout:
    """The layout of a batch's samples; FeatureError where no packet carries them."""
    check_batch_shape(tuple(batch_shape))
    return _sample_layout(tuple(batch_shape[1:]), per_map)


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
    return _Layout(shape, grid, transposes, shape == grid)


def _check_step(step: Any) -> float:
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not 0 < step < 1e30:
        raise ConfigError(f"step must be a number above 0 and below 1e30, got {step!r}")
    return float(step)


def _narrow(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Counts as uint32 with a sum below 2^31; none that was there vanishes."""
    while counts.max() > _MAX_COUNT // 64:
        counts = (counts + 1) // 2
    return counts.astype(np.uint32)
