"""transform: a block transform in the coordinates in which every direction matters equally to the tail, and a range coder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcodec import _core
from featcodec.codec import Codec, Payload
from featcodec.errors import FeatureError
from featcodec.families.transform import fit
from featcodec.families.transform_layouts import layouts
from featcodec.families.transform_tables import coding_of
from featcodec.features import check_feature
from featcodec.ops.cast import to_floats
from featcodec.ops.versions import version_of
from featcodec.payloads.transform import TransformCoder, core_coder, to_grids

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST_NUMBERS = 1 << 18  # of a side's matrices, where nobody says


class TransformCodec(TransformCoder, Codec):
    """Cosine transform of blocks, then a transform across maps in the tail's metric, plain rounding, range coder: untrained.

    `featcodec.calibrate` finds the transform from unlabelled inputs and the tail's gradients; `calibrate` alone, from features,
    makes it a plain Karhunen-Loeve transform. Before, it is a cosine transform with flat tables. What is far beyond
    anything that calibration met is sent as it is, in five bytes or so; nothing is clipped. docs/transform.md is normative.

    Parameters
    ----------
    maps
        C, maps of the feature (D of tokens (T, D) or of a vector).
    block_height, block_width
        Of a block, 1..32: the whole map where that is small; 1 for tokens and vectors. A map of any size is filled up.
    zones
        Of a block's frequencies, each with a transform across maps of its own: as many as there are frequencies unless given.
    group
        Maps that are transformed together, a divisor of `maps`; all unless given.
    joint
        How many of a block's strongest coefficients are transformed together once more.

    Attributes
    ----------
    quality
        See `TransformCoder`.
    """

    examples = (
        {"maps": 8},
        {"maps": 8, "block_height": 7, "block_width": 5, "zones": 3, "joint": 24},
        {"maps": 8, "block_height": 1, "block_width": 1, "group": 4},
    )
    wants_sensitivity = True
    _transient = (*Codec._transient, "_core_coder")

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
        super().__init__(maps=maps, block_height=block_height, block_width=block_width, zones=zones, group=group, joint=joint)
        for name, array in self.layout.fresh_state().items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Add maps, and the largest blocks and the most zones that 2^18 numbers hold."""
        return cls.choices(params, shape, 0, _MOST_NUMBERS)[0]

    @classmethod
    def choices(cls, params: Mapping[str, Any], shape: tuple[int, ...], samples: int, max_table: int) -> list[dict[str, Any]]:
        """Return the configs that calibration tries; see `Codec.choices`."""
        return [{**layout._asdict(), **params} for layout in layouts(params, shape, samples, max_table)]

    @property
    def needs_calibration(self) -> bool:
        """True: the transform comes from features."""
        return True

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Make the plain transform, every direction counted alike; see `Codec.calibrate`.

        Raises
        ------
        FeatureError
            Also where there is no feature, they are of several shapes or of other maps, or all are the same constant.
        """
        return self.calibrate_for(features, None)

    def calibrate_for(
        self, features: Tensor | Iterable[Tensor], gradients: Tensor | Iterable[Tensor] | None, strength: float = 0.1
    ) -> Self:
        """Make the transform in the metric of the output's gradients; see `Codec.calibrate_for`."""
        grids = self._grids(features)
        moved = None if gradients is None else self._grids(gradients)
        if not bool((grids != grids[:1]).any()):
            raise FeatureError(f"features that differ are needed to calibrate with, got {len(grids)} of one value")
        if moved is not None and not bool(moved.any()):
            raise FeatureError("the output does not depend on the feature: every gradient is 0")
        state = {**self.layout.fresh_state(), **fit(self.layout, grids, moved, strength)}
        state |= coding_of(self.layout, state, grids.numpy())
        for name, array in state.items():
            getattr(self, name).copy_(torch.from_numpy(array))
        return self

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the byte with the quality."""
        return {"side": 8}

    def _grids(self, features: Tensor | Iterable[Tensor]) -> Tensor:
        """All samples as (n, C, h, w)."""
        batches = list(_checked([features] if isinstance(features, Tensor) else features))
        if not batches:
            raise FeatureError("at least one feature is needed to calibrate with, got none")
        shapes = sorted({batch.shape[1:] for batch in batches})
        if len(shapes) > 1:
            raise FeatureError(f"features to calibrate with have one shape, got {' and '.join(map(str, shapes))}")
        self._check_grid(shapes[0], FeatureError)
        return torch.from_numpy(np.concatenate([to_grids(batch) for batch in batches]))

    def _state_version(self) -> tuple[tuple[int, int], ...]:
        # looked at twice a call, and there is no module inside: not by way of all modules
        return tuple([(id(buffer), version_of(buffer)) for buffer in self._buffers.values() if buffer is not None])

    def _coder(self) -> _core.TransformCoder:
        """The core's coder, made again where the state has changed."""
        version = self._state_version()
        known = self.__dict__.get("_core_coder")
        if known is None or known[0] != version:
            known = self.__dict__["_core_coder"] = version, core_coder(self.layout, self._integers())
        coder: _core.TransformCoder = known[1]
        return coder


def _checked(batches: Iterable[Tensor]) -> Iterator[NDArray[np.float32]]:
    for batch in batches:
        check_feature(batch)
        if len(batch):
            yield to_floats(batch)
