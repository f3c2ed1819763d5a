"""What people send today, as codecs of the same service: a tensor by torch.save, a picture as JPEG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import featcodec as fc
from featcodec.bench.data import NORMALIZATIONS
from featcodec.codec import FloatArray, Payload
from featcodec.errors import BitstreamError


class TorchSaveCodec(fc.Codec):
    """What torch.save writes; read with weights_only, so that no code runs."""

    codec_id = "torch_save"

    def encode_payload(self, x: FloatArray) -> Payload:
        """Save one sample."""
        file = io.BytesIO()
        torch.save(torch.from_numpy(x), file)
        return np.frombuffer(file.getbuffer(), np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Load one sample."""
        x: Any = torch.load(io.BytesIO(payload.tobytes()), weights_only=True)
        if not isinstance(x, Tensor) or tuple(x.shape) != shape:
            raise BitstreamError(f"a float32 tensor {shape} was wanted")
        found: FloatArray = x.numpy()
        return found


class JpegPictureCodec(fc.Codec):
    """A picture (3, height, width), 0..255, as a JPEG file.

    Parameters
    ----------
    quality
        1..95, as Pillow has it.
    """

    codec_id = "jpeg_picture"
    example_shape = (3, 8, 8)

    def __init__(self, *, quality: int = 90) -> None:
        super().__init__()
        self.quality = quality

    def params(self) -> dict[str, Any]:
        """Return the quality."""
        return {"quality": self.quality}

    def encode_payload(self, x: FloatArray) -> Payload:
        """Write the file."""
        file = io.BytesIO()
        Image.fromarray(x.clip(0, 255).round().astype(np.uint8).transpose(1, 2, 0)).save(file, "JPEG", quality=self.quality)
        return np.frombuffer(file.getbuffer(), np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Read the file."""
        with Image.open(io.BytesIO(payload.tobytes()), formats=("JPEG",)) as picture:
            x = np.asarray(picture.convert("RGB"), np.float32).transpose(2, 0, 1)
        if x.shape != shape:
            raise BitstreamError(f"the picture is {x.shape}, {shape} was wanted")
        return np.ascontiguousarray(x)


class OfPictures(nn.Module):
    """A network for normalised images behind pictures (B, 3, height, width), 0..255."""

    def __init__(self, network: nn.Module, normalization: str = "cifar10") -> None:
        super().__init__()
        self.network = network
        mean, deviation = (torch.tensor(v)[:, None, None] for v in NORMALIZATIONS[normalization])
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, then run the network."""
        output: Tensor = self.network((x / 255 - self.mean) / self.deviation)
        return output
