"""EntropyCoder: quantiser and entropy coder in one call of the C++ core; each coder names a family of coding modes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featcodec import _core
from featcodec.bitstream import Packet, PayloadKind
from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.payloads.coder import Payload, PayloadCoder, State
from featcodec.payloads.layout import AXES, FloatArray
from featcodec.payloads.quantizer import MAX_BITS, MOST_EXPONENT, from_one_step, map_steps, to_one_step
from featcodec.spec import check_choice, check_int

if TYPE_CHECKING:
    from typing_extensions import Self

_CONTEXTS = 256
_MOST_STEP = 1e30  # a step is below it
_MOST_MAPS = 1 << 16
# Integer buffers of fixed shapes: what the state of static tables holds.
TABLES: Mapping[str, tuple[int, type[np.generic]]] = {
    "order0_table": (640, np.uint8),
    "frequencies": (512, np.int32),
    "table_sizes": (4, np.int32),
}


class EntropyCoder(PayloadCoder):
    """A quantiser before a family of entropy-coding modes; the encoder picks a mode by its cost, sample by sample.

    Parameters are those of `featcodec.families.entropy.EntropyCodec`; static tables lie in the state, as `TABLES` has them.
    """

    family: ClassVar[str]
    _kept: _core.PacketCoder | None = None
    _kept_exponents: NDArray[np.uint8] | None = None
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"bits": 8},
        {"bits": 4},
        {"bits": 3},
        {"bits": 2},
        {"bits": 4, "axis": "map"},
        {"bits": 8, "axis": "token"},
        {"bits": 4, "tables": "static"},
        {"step": 0.25},
        {"step": 0.25, "axis": "map", "maps": 8},
    )

    def __init__(
        self,
        *,
        bits: int = 8,
        axis: str = "sample",
        step: float | None = None,
        maps: int | None = None,
        tables: str = "adaptive",
    ) -> None:
        super().__init__()
        self.bits = check_int("bits", bits, 1, MAX_BITS)
        self.axis = check_axis(axis, self.bits)
        self.step = None if step is None else _check_step(step, finest=maps is not None)
        self.maps = None if maps is None else check_int("maps", maps, 1, _MOST_MAPS)
        self.tables = check_choice("tables", tables, ("adaptive", "static"))
        if maps is not None and (step is None or axis != "map"):
            raise ConfigError(f"maps go with axis=map and a step, got maps={maps}, axis={axis!r}, step={step}")
        if step is not None and (bits, axis) != (8, "sample" if maps is None else "map"):
            raise ConfigError(
                f"a step quantiser takes no bits and no axis (but axis=map with maps), got bits={bits}, axis={axis!r} beside "
                f"step={step}, maps={maps}"
            )
        if tables == "static" and not self.has_context_tables and self.new_coder().static_bits > 8:
            raise ConfigError(f"static tables of {self.codec_id!r} take bits 1..8, got {self.bits}: use context")

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """Return the coder with its tables in it: see `PayloadCoder.of`."""
        coder = super().of(params, state)
        if coder.step is not None and coder.maps is not None:
            coder._kept_exponents = _checked_exponents(state, coder.maps)
            map_steps(coder.step, coder._kept_exponents)
        try:
            coder._kept = coder._array_coder(_checked(state) if coder.tables == "static" else None)
        except (ValueError, TypeError) as e:  # the core's word on what is in them
            raise e if isinstance(e, ConfigError) else ConfigError(f"the static tables of {cls.codec_id!r}: {e}") from e
        return coder

    def params(self) -> dict[str, Any]:
        """Return bits and axis, or the step, or axis, step and maps; tables where they are not adaptive."""
        quantizer: dict[str, Any] = {"bits": self.bits, "axis": self.axis} if self.step is None else {"step": self.step}
        if self.maps is not None:
            quantizer = {"axis": self.axis, **quantizer, "maps": self.maps}
        return {**quantizer, **({"tables": self.tables} if self.tables != "adaptive" else {})}

    # ---- bytes ----------------------------------------------------------------------------------------------------------

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode a batch (B, ...) in one call of the core."""
        layout = layout_of(x.shape[1:], self.axis)
        values = np.ascontiguousarray(x.swapaxes(1, 2) if layout.transposes else x)
        steps = self._steps_of(layout, FeatureError)
        if self.step is not None and steps is not None:
            values = to_one_step(values.reshape(-1, *layout.grid), self.step, steps)
        packets = self._coder().encode_at(values.ctypes.data, _array_way(layout, len(x)))
        return [packet.payload for packet in packets]

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode payloads of samples of one shape to (B, ...) float32."""
        layout = layout_of(shape, self.axis)
        steps = self._steps_of(layout, BitstreamError)
        x = self._coder().decode_payloads(list(payloads), _array_way(layout, len(payloads)))
        if self.step is not None and steps is not None:
            from_one_step(x.reshape(-1, *layout.grid), self.step, steps)
        values: FloatArray = x.reshape(-1, *shape[::-1]).swapaxes(1, 2) if layout.transposes else x
        return np.ascontiguousarray(values)

    def _coder(self) -> _core.PacketCoder:
        """The core's coder of arrays, with the tables in it."""
        return self._array_coder(None) if self._kept is None else self._kept

    def _array_coder(self, tables: State | None) -> _core.PacketCoder:
        return _core.PacketCoder(self.new_coder(tables), np.ndarray, _as_it_is, Packet, None, 0)

    # ---- steps by maps --------------------------------------------------------------------------------------------------

    def _steps_of(self, layout: Layout, error: type[Exception]) -> NDArray[np.float64] | None:
        """The steps of a sample's maps; None where there is one step, or none. `error`, where the sample has other maps."""
        if self.step is None or self.maps is None:
            return None
        if layout.grid[0] != self.maps:
            raise error(f"{self.codec_id!r} has steps for {self.maps} maps, got {layout.grid[0]} in shape {layout.shape}")
        return map_steps(self.step, self._exponents())

    def _exponents(self) -> NDArray[np.uint8]:
        """What the state says of the maps' steps."""
        return np.zeros(self.maps or 0, np.uint8) if self._kept_exponents is None else self._kept_exponents

    # ---- tables ---------------------------------------------------------------------------------------------------------

    @property
    def has_context_tables(self) -> bool:
        """True where static tables are of contexts, among others."""
        return self.family in ("context", "auto")

    def has_order0_table(self, coder: _core.FeatureCoder) -> bool:
        """Return True where a static table is of symbols by themselves."""
        return self.family != "context" and coder.static_bits <= 8

    def new_coder(self, tables: State | None = None, *, zigzag: bool = False) -> _core.FeatureCoder:
        """Return the core's coder of these parameters, and of static tables where they are given, as `TABLES` has them."""
        if tables is None:
            step, per_map = self.step or 0.0, self.step is None and self.axis != "sample"
            return _core.FeatureCoder(self.family, self.bits, per_map, step, zigzag, zero_level=self.axis == "token")
        number, layout, order0_bytes, signed = (int(size) for size in tables["table_sizes"])
        coder = self.new_coder(zigzag=bool(signed))
        if self.has_context_tables:
            frequencies = tables["frequencies"]
            table_of = (frequencies[:_CONTEXTS] >> 16).astype(np.uint8)
            coder.set_context_tables(table_of, frequencies.astype(np.uint16), number, layout)
        if self.has_order0_table(coder):
            coder.set_order0_table(tables["order0_table"][:order0_bytes].copy())
        return coder


class BitpackCoder(EntropyCoder):
    """Symbols of `bits` bits, most significant bit first, zero-padded to a byte."""

    codec_id = "bitpack"
    family = "packed"
    examples = tuple(
        {"bits": bits, "axis": axis}
        for bits, axis in ((8, "sample"), (4, "sample"), (3, "sample"), (2, "sample"), (4, "map"), (8, "token"))
    )

    def __init__(self, *, bits: int = 8, axis: str = "sample") -> None:
        super().__init__(bits=bits, axis=axis)


class HuffmanCoder(EntropyCoder):
    """Canonical, length-limited Huffman; packed bits where they are smaller."""

    codec_id = family = "huffman"


class RansCoder(EntropyCoder):
    """Order-0 rANS; packed bits where they are smaller."""

    codec_id = family = "rans"


class ContextCoder(EntropyCoder):
    """Tokens by rANS given their neighbours, and raw bits; packed bits where they are smaller."""

    codec_id = family = "context"


class AutoCoder(EntropyCoder):
    """The cheapest of the four for each sample."""

    codec_id = family = "auto"


class Layout(NamedTuple):
    """How a sample lies before the core: (maps, height, width); context coding sees neighbours in a row and in a column.

    What has a range of its own is a map here. `transposes`: tokens with a range per map, which go maps first.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int, int]
    transposes: bool


@functools.lru_cache(maxsize=1024)
def layout_of(shape: tuple[int, ...], axis: str) -> Layout:
    """Return the layout of one sample, of a shape that is right already: a header's parser has seen to that."""
    transposes = len(shape) == 2 and axis == "map"
    if axis == "token" and len(shape) >= 2:
        grid = (shape[0], 1, shape[1]) if len(shape) == 2 else (1, math.prod(shape[:-1]), shape[-1])
    elif len(shape) >= 3:
        grid = shape[0], math.prod(shape[1:-1]), shape[-1]
    elif len(shape) == 2:
        grid = (shape[1], 1, shape[0]) if transposes else (1, *shape)
    else:
        grid = 1, 1, shape[0] if shape else 1
    return Layout(shape, grid, transposes)


def check_axis(axis: str, bits: int) -> str:
    """Return the axis, or raise ConfigError: zero as a level, and another one, take 2 bits."""
    check_choice("axis", axis, AXES)
    if axis == "token" and bits < 2:
        raise ConfigError(f"axis=token takes bits 2..{MAX_BITS}, for zero is one of its levels, got bits={bits}")
    return axis


def _array_way(layout: Layout, samples: int) -> _core.Way:
    """How float32 arrays are coded; of the packets only the payloads count."""
    shape = layout.shape[::-1] if layout.transposes else layout.shape
    fields = {"shape": shape, "dtype": "float32", "kind": PayloadKind.BYTES, "config_crc": 0, "payload": None, "checksum": None}
    return _core.Way(fields, np.float32, 0, samples, *layout.grid, True)


def _as_it_is(array: NDArray[Any]) -> NDArray[Any]:
    return array


def _checked(state: State) -> State:
    """Static tables, each of its type and size; what is in them the core checks."""
    for name, (size, dtype) in TABLES.items():
        found = state.get(name)
        if found is None or found.shape != (size,) or found.dtype != dtype:
            got = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise ConfigError(f"static tables need {name}, {np.dtype(dtype)} ({size},), in the state, got {got}")
    return state


def _checked_exponents(state: State, maps: int) -> NDArray[np.uint8]:
    found = state.get("map_exponents")
    if found is None or found.shape != (maps,) or found.dtype != np.uint8:
        got = "nothing" if found is None else f"{found.dtype} {found.shape}"
        raise ConfigError(f"steps by maps need map_exponents, uint8 ({maps},), in the state, got {got}")
    return found


def _check_step(step: Any, *, finest: bool) -> float:
    most = _MOST_STEP / 2 ** (MOST_EXPONENT // 8) if finest else _MOST_STEP
    # a step is used as float32, where one may be 0 that was not
    if isinstance(step, bool) or not isinstance(step, (int, float)) or not (0 < step < most and np.float32(step) > 0):
        raise ConfigError(f"step must be a number above 0 and below {most:g}, got {step!r}")
    return float(step)
