"""Calibrated: what a codec learns before its first sample from a feature's shape, from features and from gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


class Calibrated:
    """The part of `Codec` that calibration calls; a codec overrides what it has to say.

    Attributes
    ----------
    needs_calibration
        True where `calibrate` has something to do.
    wants_sensitivity
        True where every codec of the class does better when it knows the gradients of the model's output (`calibrate_for`).
    """

    wants_sensitivity: ClassVar[bool] = False

    @classmethod
    def fitted(cls, params: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
        """Return constructor's arguments with those added that follow from a sample's shape; see `featcodec.fit_spec`."""
        return dict(params)

    @classmethod
    def choices(cls, params: Mapping[str, Any], shape: tuple[int, ...], samples: int, max_table: int) -> list[dict[str, Any]]:
        """Return the constructor's arguments among which `featcodec.calibrate` chooses, by what they do on inputs held out.

        Parameters
        ----------
        params
            What is given; all choices keep to it.
        shape
            Of a sample.
        samples
            That there are to calibrate with.
        max_table
            The numbers that a codec's matrices may hold on either side.
        """
        return [cls.fitted(params, shape)]

    @classmethod
    def wants_gradients(cls, params: Mapping[str, Any]) -> bool:
        """Return whether a codec of these constructor's arguments does better when it knows gradients; see `calibrate_for`."""
        return cls.wants_sensitivity

    @property
    def needs_calibration(self) -> bool:
        """True where the codec has integer tables or means that come from features: see `calibrate`."""
        return False

    def calibrate(self, features: Tensor | Iterable[Tensor]) -> Self:
        """Make what the state holds beside weights from features; nothing to do unless `needs_calibration`.

        Both ends need the same state: send `state_dict()`, or a file that `save` wrote, along with the config.

        Parameters
        ----------
        features
            A batch (B, ...) or several; no labels, a few dozen samples will do.

        Raises
        ------
        FeatureTypeError, FeatureError
            As for `encode`; the state then stays what it was.
        """
        return self

    def calibrate_for(
        self, features: Tensor | Iterable[Tensor], gradients: Tensor | Iterable[Tensor] | None, strength: float = 0.1
    ) -> Self:
        """Calibrate with what the model's output says about the feature; `calibrate` where the codec does not ask for it.

        Parameters
        ----------
        features
            As for `calibrate`.
        gradients
            Of the shape of features: of random projections of the model's output, by the feature; None where there are none.
        strength
            0..1: how much of the gradients' second moments is smoothed away.

        Raises
        ------
        FeatureTypeError, FeatureError
            As for `calibrate`; the gradients are all 0.
        """
        return self.calibrate(features)
