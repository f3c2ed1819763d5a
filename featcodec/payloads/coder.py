"""PayloadCoder: the half of a codec that needs no torch, arrays to payloads and back. A device has it alone, `Codec` is one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from featcodec.errors import ConfigError
from featcodec.payloads.layout import FloatArray, stacked
from featcodec.spec import build

if TYPE_CHECKING:
    from typing_extensions import Self

Payload = np.ndarray[Any, np.dtype[Any]]
State = Mapping[str, NDArray[Any]]


class PayloadCoder:
    """Samples to payloads and back, by the parameters of a codec and the tables of its state.

    Attributes
    ----------
    codec_id
        The registry id.
    examples
        Configs (without id) that tests, goldens and benchmarks sweep.
    of_latents
        True where a network stands before it: what it encodes are that network's latents.
    decodes
        False where what is sent becomes a feature with torch alone.
    qualities
        What `set_quality` takes, the coarsest first; None where the config alone tells how finely a sample is coded.
    """

    codec_id: ClassVar[str]
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    of_latents: bool = False
    decodes: ClassVar[bool] = True
    qualities: ClassVar[range | None] = None

    @classmethod
    def of(cls, params: Mapping[str, Any], state: State) -> Self:
        """Return the coder of a config's parameters and what `Codec.device_state` gave.

        Raises
        ------
        ConfigError
            A parameter is unknown or out of range, or the state is not of this config.
        """
        known = [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]
        coder: Self = build("codec", cls.codec_id, cls, params, known)
        return coder

    def params(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON only."""
        return {}

    def set_quality(self, quality: int) -> None:
        """Choose one of `qualities` for what is encoded from now on; a decoder need not know it.

        Raises
        ------
        ConfigError
            It is none of them, or there are none.
        """
        raise ConfigError(f"codec {self.codec_id!r} has no quality to choose at run time, got {quality}")

    def encode_payload(self, x: FloatArray) -> Payload:
        """Encode one sample: finite, C-contiguous float32 of any shape -> 1-D uint8 (or float32 for SYMBOLS)."""
        raise NotImplementedError

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Decode one sample to float32 of this shape; trust no byte: raise BitstreamError with the numbers."""
        raise NotImplementedError

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Encode a batch (B, ...) of float32; sample by sample unless overridden."""
        return [self.encode_payload(np.asarray(sample)) for sample in x]

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Decode payloads of samples of one shape to (B, ...) float32; sample by sample unless overridden."""
        return stacked((self.decode_payload(payload, shape) for payload in payloads), len(payloads), shape)
