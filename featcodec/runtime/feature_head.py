"""FeatureHead: a codec of torch's, behind a head that is any callable, as what a client holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, no_grad

from featcodec.codec import Codec
from featcodec.errors import ConfigError, FeatureError, FeatureTypeError
from featcodec.message import Item, PlainTensor
from featcodec.ops.cast import DTYPE_NAMES
from featcodec.outline import Outline
from featcodec.parts.port import outline_of, tensor_of

PORT = "feature"


class FeatureHead:
    """A head that gives one feature, samples first.

    Parameters
    ----------
    codec
        In eval mode.
    head
        Gives features (B, ...), computed without gradients; None: the client is given features.
    shape, dtype
        Of one sample, -1 for an open size; None: those of the first feature.
    """

    fingerprint = ""
    sizes: tuple[str, ...] = ()

    def __init__(
        self, codec: Codec, head: Callable[..., Tensor] | None, shape: Sequence[int] | None, dtype: str = "float32"
    ) -> None:
        if codec.training:
            raise ConfigError("a client sends what a codec in eval mode makes: call eval()")
        self._codec, self._head = codec, head
        self._shape, self._dtype = None if shape is None else tuple(shape), dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the feature."""
        if self._head is not None:
            with no_grad():
                feature = self._head(*args, **kwargs)
        elif len(args) == 1 and not kwargs:
            feature = args[0]
        else:
            raise FeatureTypeError(f"without a head an input is one feature, got {len(args)} and {sorted(kwargs)} by name")
        if not isinstance(feature, Tensor):
            raise FeatureTypeError(f"a head gives one tensor (B, ...), got {type(feature).__name__}")
        return feature

    def outlines(self, crossing: Tensor | None = None) -> tuple[Outline, ...] | None:
        """Return the feature's; None where no shape was given, and no feature is."""
        if self._shape is not None:
            return (outline_of(PORT, self._dtype, self._shape, self._codec),)
        if crossing is None:
            return None
        if crossing.dtype not in DTYPE_NAMES:
            raise FeatureTypeError(f"a feature is {', '.join(DTYPE_NAMES.values())}, got {crossing.dtype}")
        return (outline_of(PORT, DTYPE_NAMES[crossing.dtype], tuple(crossing.shape[1:]), self._codec),)

    def items(self, crossing: Tensor) -> tuple[Item, ...]:
        """Encode the feature."""
        packets = self._codec.encode(crossing)
        if not packets:
            raise FeatureError(f"the feature is empty, {tuple(crossing.shape)}: there is nothing to send")
        return (tuple(packets),)

    def known(self, crossing: Tensor) -> None:
        """Return what of the model's output the head knows: nothing."""

    def array(self, tensor: PlainTensor) -> Tensor:
        """Return a tensor of the tail's output, on the CPU."""
        return tensor_of(tensor)
