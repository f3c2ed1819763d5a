"""Features to integers in the tail's own coordinates, and those to bytes: docs/transform.md is normative, the core does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featcodec import _core
from featcodec.errors import BitstreamError, ConfigError, FeatureError
from featcodec.payloads.coder import Payload, PayloadCoder, State
from featcodec.payloads.layout import FloatArray
from featcodec.spec import check_int

if TYPE_CHECKING:
    from typing_extensions import Self

LARGEST_BLOCK = 32
NUM_TABLES, NUM_SYMBOLS = 33, 16
FINEST = 100  # of qualities 0..100
_MOST_MAPS = 1 << 16
_MOST_PLACES = 1 << 20
_MOST_NUMBERS = 1 << 26
_MOST_VALUES = 1 << 26


class Layout(NamedTuple):
    """What of a `transform` codec's config gives its state's shapes.

    Attributes
    ----------
    maps
        C.
    block_height, block_width
        Of a block, 1..32.
    zones
        F', of a block's frequencies: a matrix for each; at most the block's positions.
    group
        Maps that are transformed together; a divisor of `maps`.
    joint
        How many of a block's coefficients the joint stage takes.
    """

    maps: int
    block_height: int
    block_width: int
    zones: int
    group: int
    joint: int

    @property
    def frequencies(self) -> int:
        """F, a block's."""
        return self.block_height * self.block_width

    @property
    def places(self) -> int:
        """N, a block's components."""
        return self.maps * self.frequencies

    @property
    def numbers(self) -> int:
        """What the matrices of one side hold."""
        return self.zones * self.maps * self.group + self.joint * self.joint

    def checked(self) -> Layout:
        """Return self; ConfigError where a number is out of range."""
        check_int("maps", self.maps, 1, _MOST_MAPS)
        check_int("block_height", self.block_height, 1, LARGEST_BLOCK)
        check_int("block_width", self.block_width, 1, LARGEST_BLOCK)
        check_int("zones", self.zones, 1, self.frequencies)
        check_int("group", self.group, 1, self.maps)
        check_int("joint", self.joint, 0, self.places)
        if self.maps % self.group:
            raise ConfigError(f"group must divide maps, got {self.group} and {self.maps}")
        if self.places > _MOST_PLACES or self.numbers > _MOST_NUMBERS:
            raise ConfigError(
                f"a block has at most {_MOST_PLACES} values and a side's matrices {_MOST_NUMBERS} numbers, got {self.places} "
                f"and {self.numbers}: {self}"
            )
        return self

    def fresh_state(self) -> dict[str, NDArray[Any]]:
        """Return the state before calibration: every component a coefficient of the cosine transform, tables flat."""
        rows = np.arange(self.maps)[:, None] % self.group == np.arange(self.group)
        rows = np.broadcast_to(rows, (self.zones, *rows.shape))
        eye = np.eye(self.joint, dtype=np.int16)
        return {
            "scale": np.array([9], np.int32),
            "mean": np.zeros((self.maps, self.block_height, self.block_width), np.int16),
            "zone": zones_of(self.block_height, self.block_width, self.zones),
            "analysis": rows * np.int16(1 << 14),
            "analysis_shift": np.full(rows.shape[:2], 9, np.uint8),
            "synthesis": rows * np.int16(1 << 12),
            "synthesis_shift": np.full(rows.shape[:2], 10, np.uint8),
            "chosen": np.arange(self.joint, dtype=np.int32),
            "joint_analysis": eye * np.int16(1 << 13),
            "joint_analysis_shift": np.full(self.joint, 6, np.uint8),
            "joint_synthesis": eye * np.int16(1 << 13),
            "joint_synthesis_shift": np.full(self.joint, 13, np.uint8),
            "offset": np.zeros(self.places, np.uint8),
            "scale_class": np.full(self.places, 128, np.uint8),
            "tables": np.full((NUM_TABLES, NUM_SYMBOLS), 1 << 12, np.int32),
            "drift": np.zeros((NUM_TABLES, NUM_SYMBOLS), np.int16),
        }


def zones_of(height: int, width: int, zones: int) -> NDArray[np.int16]:
    """Return the zone of each frequency (F,) of a block: the lowest alone, and the last ones as large as all before."""
    a, b = np.divmod(np.arange(height * width), width)
    ranks = np.argsort((a * width) ** 2 + (b * height) ** 2, kind="stable")
    found = np.zeros(height * width, np.int16)
    first = 0
    for zone in range(zones):
        left = height * width - first
        count = max(1, left // ((1 << (zones - zone)) - 1))
        found[ranks[first : first + count]] = zone
        first += count
    return found


def grid_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (C, h, w) of a sample: tokens (T, D) are D maps of T rows, of more axes than three all but the last are rows."""
    if len(shape) < 2:
        return (shape[0] if shape else 1), 1, 1
    if len(shape) == 2:
        return shape[1], shape[0], 1
    rows = 1
    for dim in shape[1:-1]:
        rows *= dim
    return shape[0], rows, shape[-1]


def to_grids(x: NDArray[Any]) -> NDArray[Any]:
    """Return a batch (B, ...) as (B, C, h, w), C-contiguous."""
    arranged = x.swapaxes(1, 2) if x.ndim == 3 else x
    return np.ascontiguousarray(arranged).reshape(len(x), *grid_of(x.shape[1:]))


def from_grids(grids: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Undo `to_grids` for samples of this shape."""
    if len(shape) == 2:
        tokens: FloatArray = np.ascontiguousarray(grids.reshape(len(grids), shape[1], shape[0]).swapaxes(1, 2))
        return tokens
    samples: FloatArray = grids.reshape(len(grids), *shape)
    return samples


class TransformCoder(PayloadCoder):
    """A block's cosine transform, the transform across maps, the joint stage, plain rounding, a range coder.

    Attributes
    ----------
    quality
        0..100, bigger is finer: an eighth of an octave of the step a notch. No part of the config: it may be set at any time,
        and the payload tells it.
    """

    codec_id = "transform"
    qualities = range(FINEST + 1)
    _quality = 50

    def __init__(
        self,
        *,
        maps: int,
        block_height: int = 8,
        block_width: int = 8,
        zones: int | None = None,
        group: int | None = None,
        joint: int = 0,
    ) -> None:
        super().__init__()
        self.maps, self.block_height, self.block_width = maps, block_height, block_width
        self.zones, self.group = block_height * block_width if zones is None else zones, maps if group is None else group
        self.joint = joint
        self.layout.checked()

    @property
    def layout(self) -> Layout:
        """What of the config gives the state's shapes."""
        return Layout(**self.params())

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """See `PayloadCoder.of`."""
        coder = super().of(params, state)
        coder.__dict__["_core_coder"] = core_coder(coder.layout, state)
        return coder

    def params(self) -> dict[str, Any]:
        """Return what gives the state's shapes."""
        return {name: getattr(self, name) for name in Layout._fields}

    @property
    def quality(self) -> int:
        """See the class."""
        return self._quality

    @quality.setter
    def quality(self, quality: int) -> None:
        self._quality = check_int("quality", quality, 0, FINEST)

    def set_quality(self, quality: int) -> None:
        """Set `quality`."""
        self.quality = quality

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode a batch (B, ...) at the quality that is set."""
        self._check_grid(x.shape[1:], FeatureError)
        payloads: list[Payload] = self._coder().encode(to_grids(x), self._quality)
        return payloads

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode a batch; each payload tells its quality."""
        _, height, width = self._check_grid(shape, BitstreamError)
        whole = [np.ascontiguousarray(payload) for payload in payloads]
        return from_grids(self._coder().decode(whole, height, width), shape)

    def encode_payload(self, x: FloatArray) -> Payload:
        """Encode one sample."""
        return self.encode_payloads(x[None])[0]

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Decode one sample."""
        sample: FloatArray = self.decode_payloads([payload], shape)[0]
        return sample

    def _coder(self) -> _core.TransformCoder:
        coder: _core.TransformCoder = self.__dict__["_core_coder"]
        return coder

    def _check_grid(self, shape: tuple[int, ...], error: type[Exception]) -> tuple[int, int, int]:
        maps, height, width = grid_of(shape)
        if maps != self.maps:
            raise error(f"a transform of {self.maps} maps was expected to meet as many, got {maps} in shape {shape}")
        filled = (height + -height % self.block_height) * (width + -width % self.block_width) * maps
        if filled > _MOST_VALUES:
            raise error(f"a sample has at most {_MOST_VALUES} values with its blocks filled up, got {filled}: {shape}")
        return maps, height, width


def core_coder(layout: Layout, state: State) -> _core.TransformCoder:
    """Return the core's coder of a state.

    Raises
    ------
    ConfigError
        A tensor is missing, of another type or shape than the config's, or holds what no calibration writes.
    """
    for name, fresh in layout.fresh_state().items():
        found = state.get(name)
        if found is None or found.dtype != fresh.dtype or found.shape != fresh.shape:
            got = "none" if found is None else f"{found.dtype} {found.shape}"
            raise ConfigError(f"{name} of this transform is {fresh.dtype} {fresh.shape}, got {got}")
    arrays = {name: np.ascontiguousarray(state[name]) for name in layout.fresh_state()}
    return _core.TransformCoder(layout.maps, layout.block_height, layout.block_width, layout.group, arrays)
