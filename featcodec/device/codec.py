"""DeviceCodec: arrays to packets and back; the packets of the codec with this config and state in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcodec._core import DefaultFloats
from featcodec.bitstream import Packet, PayloadKind, check_batch_shape, name_of, parse_batch
from featcodec.errors import BitstreamError, ConfigError, FeatureError, FeatureTypeError
from featcodec.payloads.coder import State
from featcodec.payloads.coders import coder_of
from featcodec.payloads.layout import FloatArray

_LARGEST_LATENT = 1e30  # what torch's side clips at


def codec(config: Mapping[str, Any], state: State | None = None) -> DeviceCodec:
    """Return a codec for arrays.

    Parameters
    ----------
    config
        The whole config, as `Codec.config` gives it.
    state
        Its tables, as `Codec.device_state` gives them, in that order; None where it has none.

    Raises
    ------
    ConfigError
        The codec runs with torch alone, or config and state are not a codec's.
    MissingDependencyError
        A package is missing; the message has the pip line.
    """
    return DeviceCodec(config, {} if state is None else state)


class DeviceCodec:
    """See `codec`. Read-only but for `set_quality`: any number of threads may use it.

    Attributes
    ----------
    config
        As it was given.
    of_latents
        True of a learned codec: it encodes what its network made of the feature.
    """

    def __init__(self, config: Mapping[str, Any], state: State) -> None:
        self.config = dict(config)
        self._coder = coder_of(config, state)
        self._crc = name_of(self.config, {name: array for name, array in state.items() if array.dtype.kind in "iub"})

    @property
    def of_latents(self) -> bool:
        """True of a learned codec."""
        return self._coder.of_latents

    def set_quality(self, quality: int) -> None:
        """Choose how finely samples are coded from now on; ConfigError where the codec has no quality to choose at run time."""
        self._coder.set_quality(quality)

    def encode(
        self, x: NDArray[np.floating[Any]], *, dtype: str | None = None, shape: Sequence[int] | None = None
    ) -> list[Packet]:
        """Encode a batch: packets of the same bytes as torch's side makes of the same numbers.

        Parameters
        ----------
        x
            (B, ...) float32 or float16, at most 8 dimensions, finite; of a learned codec the latents, from which NaN and
            infinity are cleared as torch's side does.
        dtype
            What decoding shall give: float32, float16 or bfloat16; the dtype of `x` unless given. NumPy has no bfloat16: its
            numbers come as float32.
        shape
            Of a learned codec: that of one sample of the feature, without the batch axis.

        Returns
        -------
        list of Packet
            One per sample; none of an empty batch.

        Raises
        ------
        FeatureTypeError
            `x` is no array, or of another dtype.
        FeatureError
            A sample is empty, too large or not finite; the index of the first bad value is named. The shape of a learned
            codec's feature is not given.
        """
        values = self._values(x)
        if self.of_latents == (shape is None):
            wanted = "needs shape=, that of one sample of the feature" if shape is None else "takes no shape="
            raise FeatureError(f"codec {self.config['id']!r} {wanted}")
        sample = values.shape[1:] if shape is None else tuple(int(dim) for dim in shape)
        name = x.dtype.name if dtype is None else dtype
        payloads = self._coder.encode_payloads(values) if len(values) else []
        return [Packet(sample, name, PayloadKind.BYTES, self._crc, payload) for payload in payloads]

    def decode(
        self, packets: Sequence[Packet | bytes], *, like: Packet | None = None, max_elements: int | None = None
    ) -> FloatArray:
        """Decode packets of one shape and dtype to (B, ...) float32, whatever dtype the header has.

        Raises
        ------
        ConfigError
            What this codec sends becomes a feature with torch alone: learned codecs and ldpc.
        BitstreamError
            A packet is damaged, of another config or kind, not of the first one's shape and dtype, or of too many elements.
        """
        if not self._coder.decodes:
            raise ConfigError(f"codec {self.config['id']!r} decodes with torch alone")
        parsed = parse_batch(packets, like, max_elements)
        for i, packet in enumerate(parsed):
            if packet.config_crc != self._crc or packet.kind is not PayloadKind.BYTES:
                raise BitstreamError(
                    f"packet {i} has {packet.kind.name} of config {packet.config_crc:#010x}, this codec reads BYTES of "
                    f"{self._crc:#010x}: {self.config}"
                )
        values = self._coder.decode_payloads([packet.payload for packet in parsed], parsed[0].shape)
        if not np.isfinite(values).all():
            raise BitstreamError("the packets decode to values that are not finite")
        return values

    def _values(self, x: NDArray[Any]) -> FloatArray:
        """A batch as float32, contiguous and finite."""
        if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float16):
            got = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise FeatureTypeError(f"a feature on a device is an array of float32 or float16, got {got}")
        check_batch_shape(x.shape)
        with DefaultFloats():
            values: FloatArray = np.ascontiguousarray(x, np.float32)
        finite = np.isfinite(values)
        if finite.all():
            return values.clip(-_LARGEST_LATENT, _LARGEST_LATENT) if self.of_latents else values
        if self.of_latents:
            return np.nan_to_num(values, nan=0.0).clip(-_LARGEST_LATENT, _LARGEST_LATENT)
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise FeatureError(f"a feature must be finite, got {values[index]} at index {index} of shape {x.shape}")
