"""EntropyCodec: quantiser and entropy coder in one call of the C++ core; each codec on it names a family of coding modes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec import _core
from featcodec.bitstream import Packet, PayloadKind, parse_batch
from featcodec.channel import Channel
from featcodec.codec import Codec, Payload
from featcodec.errors import FeatureError
from featcodec.families.map_steps import map_exponents
from featcodec.features import check_feature, check_layout
from featcodec.ops.cast import DTYPE_NAMES, DTYPES
from featcodec.ops.crushed import Crushed
from featcodec.ops.host import to_host
from featcodec.ops.quantizer import map_steps_reconstruct, minmax_reconstruct, step_reconstruct
from featcodec.ops.steps import smallest_step
from featcodec.ops.versions import version_of
from featcodec.payloads.coder import State
from featcodec.payloads.entropy import TABLES, EntropyCoder, Layout, layout_of
from featcodec.payloads.layout import FloatArray, num_maps
from featcodec.payloads.quantizer import map_steps, to_one_step
from featcodec.transmission import NOTHING_LOST, Transmission

if TYPE_CHECKING:
    from typing_extensions import Self

_MAX_COUNT = 1 << 28  # counts above are halved, so that sums stay within 32 bits
_CONTEXT_COUNTS = 8192
_BYTES = PayloadKind.BYTES
_FLOAT_TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}  # the core's FloatType
_MOST_WAYS = 1024

_Ways = dict[tuple[tuple[int, ...], Any], _core.Way]


class EntropyCodec(EntropyCoder, Codec):
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
        as it is, in four bytes more. `bits` and `axis` then stay at their defaults, but for axis="map" with `maps`.
    maps
        With a step and axis="map": how many maps a feature has, each with a step of its own, Q 2^(e / 8), e = 0..64 in the
        state and not sent. Q is the step of the map that the model's output depends on most, and of all maps until
        `featcodec.calibrate` tells how much it depends on each.
    tables
        "adaptive": tables are made for each sample and sent. "static": they come from `calibrate`, live in the state and are
        not sent; symbols that calibration never met are coded all the same. Until then they are flat.
    """

    _packets: _core.PacketCoder | None = None
    _transient = (*Codec._transient, "_packets")

    def __init__(
        self,
        *,
        bits: int = 8,
        axis: str = "sample",
        step: float | None = None,
        maps: int | None = None,
        tables: str = "adaptive",
    ) -> None:
        super().__init__(bits=bits, axis=axis, step=step, maps=maps, tables=tables)
        if tables == "static":
            self._register_tables()
        if maps is not None:
            self.register_buffer("map_exponents", torch.zeros(maps, dtype=torch.uint8))

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps where each has a step."""
        return {"maps": num_maps(shape), **params} if cls.wants_gradients(params) else dict(params)

    @classmethod
    def wants_gradients(cls, params: Mapping[str, Any]) -> bool:
        """Return whether each map has a step."""
        return params.get("step") is not None and params.get("axis") == "map"

    @property
    def needs_calibration(self) -> bool:
        """True where the tables are static, or each map has a step."""
        return self.tables == "static" or self.maps is not None

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Make the static tables, anew each time, and all maps' steps equal; see `Codec.calibrate`.

        Raises
        ------
        FeatureError
            Also where the features are all constant, or each has symbols that are wider than a step's static tables.
        """
        return self.calibrate_for(features, None)

    def calibrate_for(
        self, features: Tensor | Iterable[Tensor], gradients: Tensor | Iterable[Tensor] | None, strength: float = 0.1
    ) -> Self:
        """Make each map's step by the output's gradients, then the static tables; see `Codec.calibrate_for`.

        Raises
        ------
        FeatureError
            As `calibrate`; also where gradients or features are of other maps, or the gradients are all 0.
        """
        if not self.needs_calibration:
            return self
        batches = [features] if isinstance(features, Tensor) else list(features)
        for batch in batches:
            check_feature(batch)
            self._steps_of(layout_of(tuple(batch.shape[1:]), self.axis), FeatureError)
        exponents = None if self.maps is None else map_exponents(gradients, self.maps, strength)
        if self.tables == "static":
            self._calibrate_tables(batches, exponents)
        if exponents is not None:
            self.map_exponents.copy_(torch.from_numpy(exponents))
        return self

    def _calibrate_tables(self, batches: list[Tensor], exponents: NDArray[np.uint8] | None) -> None:
        totals = [np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(_CONTEXT_COUNTS, np.int64)]
        zigzag = self.step is not None and any(bool((batch < 0).any()) for batch in batches)
        coder = self.new_coder(zigzag=zigzag)
        for batch in batches:
            for total, counts in zip(totals, coder.count(self._in_grids(batch, exponents)), strict=True):
                total += counts
        if not totals[2].any():
            raise _nothing_counted([torch.from_numpy(self._in_grids(b, exponents)) for b in batches], self.step, zigzag)
        self._train(coder, zigzag, *(_narrow(total) for total in totals))

    def _in_grids(self, batch: Tensor, exponents: NDArray[np.uint8] | None) -> FloatArray:
        """A batch as the core takes it, (B, maps, height, width)."""
        layout = layout_of(tuple(batch.shape[1:]), self.axis)
        values: FloatArray = _arrange(batch, layout.transposes).float().numpy().reshape(-1, *layout.grid)
        if self.step is None or exponents is None:
            return values
        return to_one_step(values, self.step, map_steps(self.step, exponents))

    # ---- the fast way: one call of the core for a batch ----------------------------------------------------------------

    def encode_over(self, x: Tensor, channel: Channel | None) -> list[Packet]:
        """Encode a batch; see `Codec.encode`."""
        coder = self._packets
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
        coder = self._packets
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
        coder = self._packets
        x = None if coder is None else coder.decode(packets, self._buffers)
        if x is None:
            x = self._decode_unknown(packets, like)
        return x if device is None else x.to(device)

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the ranges, or the step quantiser's byte and escapes, and the table that was sent with the symbols."""
        side, table = self.new_coder().parts(np.ascontiguousarray(payload), *layout_of(shape, self.axis).grid)
        return {"side": side, "table": table}

    def reconstruct(self, x: Tensor) -> Tensor:
        """Quantise and dequantise where `x` is."""
        steps = self._steps_of(layout_of(tuple(x.shape[1:]), self.axis), FeatureError)
        if steps is not None:
            return map_steps_reconstruct(x, torch.from_numpy(steps))
        if self.step is not None:
            return step_reconstruct(x, self.step)
        return minmax_reconstruct(x, self.bits, self.axis)

    # ---- tables --------------------------------------------------------------------------------------------------------

    def _register_tables(self) -> None:
        """Integer buffers of fixed shapes: what a static codec's state holds."""
        for name, (size, dtype) in TABLES.items():
            self.register_buffer(name, torch.from_numpy(np.zeros(size, dtype)))
        none = np.zeros(256, np.uint32)
        self._train(self.new_coder(), False, none, none, np.zeros(_CONTEXT_COUNTS, np.uint32))

    map_exponents: Tensor
    order0_table: Tensor
    frequencies: Tensor
    table_sizes: Tensor

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
        if self.has_context_tables:
            table_of, narrow, *sizes[:2] = coder.train_context(contexts)
            frequencies = narrow.astype(np.int32)
            # which table each of 256 contexts has lies above the frequencies' 12 bits
            frequencies[: table_of.size] += table_of.astype(np.int32) << 16
            self.frequencies.copy_(torch.from_numpy(frequencies))
        if self.has_order0_table(coder):
            table = coder.train_order0(coded, symbols)
            sizes[2] = table.size
            self.order0_table.zero_()
            self.order0_table[: table.size].copy_(torch.from_numpy(table))
        self.table_sizes.copy_(torch.from_numpy(np.array(sizes, np.int32)))  # torch.tensor has no data on "meta"

    def _exponents(self) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self.map_exponents.cpu().numpy()
        return found

    def _tables(self) -> State | None:
        """The static tables as arrays."""
        return {name: getattr(self, name).cpu().numpy() for name in TABLES} if self.tables == "static" else None

    def _coder(self) -> _core.PacketCoder:
        return self._array_coder(self._tables())

    def _coder_of_tables(self) -> _core.PacketCoder:
        """The core's coder of these parameters and tables; made again when the tables change."""
        coder = self._packets
        if coder is None or not coder.is_of(self._buffers):
            sizes = self._buffers.get("table_sizes")
            version = 0 if sizes is None else version_of(sizes)
            inner = self.new_coder(self._tables())
            coder = self.__dict__["_packets"] = _core.PacketCoder(inner, Tensor, torch.from_numpy, Packet, sizes, version)
        return coder

    def _encode_unknown(self, x: Tensor) -> list[Packet]:
        """Encode features of a shape and type not seen before, or that do not lie in memory as the core reads them."""
        if self.maps is not None:  # a step by map is NumPy's work, before the core's
            return super().encode_over(x, None)
        check_layout(x)
        if not len(x):
            return []
        coder, shape = self._coder_of_tables(), tuple(x.shape[1:])
        way = self._way(shape, DTYPE_NAMES[x.dtype], x.shape[0])
        _remember(coder.encoding, tuple(x.shape), x.dtype, way)
        values = _arrange(x, layout_of(shape, self.axis).transposes)
        return coder.encode_at(values.data_ptr(), way)

    def _decode_unknown(self, packets: Sequence[Packet | bytes], like: Packet | None) -> Tensor:
        """Decode packets that are none yet, of a shape and type not seen before, or of values that must be put in order."""
        if self.maps is not None:
            return super().decode(packets, like=like)
        parsed = self._check_packets(packets, like)
        coder, shape, dtype = self._coder_of_tables(), parsed[0].shape, parsed[0].dtype
        way = self._way(shape, dtype, len(parsed))
        layout = layout_of(shape, self.axis)
        if not layout.transposes:
            _remember(coder.decoding, shape, dtype, way)
        return _put_in_order(coder.decode_payloads([self._receive(packet) for packet in parsed], way), layout)

    def _way(self, shape: tuple[int, ...], dtype: str, samples: int) -> _core.Way:
        """How samples of this shape and type are coded."""
        crc = self.config_crc()
        fields = {"shape": shape, "dtype": dtype, "kind": _BYTES, "config_crc": crc, "payload": None, "checksum": None}
        layout = layout_of(shape, self.axis)
        return _core.Way(fields, DTYPES[dtype], _FLOAT_TYPES[dtype], samples, *layout.grid, not layout.transposes)


def _arrange(x: Tensor, transposes: bool) -> Tensor:
    """The batch as the core reads it: in order, in the CPU's memory."""
    values = x.detach().transpose(1, 2) if transposes else x.detach()
    return to_host(values.contiguous()).resolve_neg()


def _put_in_order(x: Tensor, layout: Layout) -> Tensor:
    """Undo `_arrange`."""
    return x.view(-1, *layout.shape[::-1]).transpose(1, 2).contiguous() if layout.transposes else x


def _remember(ways: _Ways, shape: tuple[int, ...], dtype: Any, way: _core.Way) -> None:
    if len(ways) >= _MOST_WAYS:
        ways.clear()
    ways[shape, dtype] = way


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
