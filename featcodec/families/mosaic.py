"""MosaicCodec: what all codecs that send the maps as one picture share."""

from __future__ import annotations

from typing import ClassVar

from featcodec.codec import Codec, Payload
from featcodec.payloads import ranged
from featcodec.payloads.mosaic import MosaicCoder, Picture

__all__ = ["MosaicCodec", "Picture"]


class MosaicCodec(MosaicCoder, Codec):
    """The maps of a sample as one grey picture before an image coder: see `featcodec.payloads.mosaic`."""

    stable_bytes: ClassVar[bool] = False

    def payload_parts(self, payload: Payload, shape: tuple[int, ...]) -> dict[str, int]:
        """Tell the range from the picture."""
        return ranged.parts(payload, 1)
