"""Training-free rivals of the transform, built small from their papers' ideas, with coders at least as good as theirs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pillow_heif
import torch
from PIL import Image
from torch import Tensor

import featcodec as fc
from featcodec.codec import Codec, FloatArray, Payload
from featcodec.errors import BitstreamError

LEVELS = tuple(range(2, 13))
SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)
_KEPT_BITS = 4
_HEIF_TOP = 1023
# one thread a picture: the same bytes in half the time
_X265 = {"preset": "fast", "x265:pools": "none", "x265:frame-threads": "1", "x265:wpp": "0"}


class ClipCodec(Codec):
    """Clip and few levels: "Lightweight compression of intermediate neural network features for collaborative intelligence".

    Cohen, Choi and Bajic (2021). Their own coder is adaptive arithmetic coding of unary symbols; here the core's context coder
    with adaptive tables has the levels, which knows neighbours beside.

    Parameters
    ----------
    levels
        Of the uniform quantiser, the two ends of the clipping range among them.
    low, high
        The clipping range; `clipping_range` finds it.
    """

    codec_id = "clip"

    def __init__(self, *, levels: int, low: float, high: float) -> None:
        super().__init__()
        self.levels, self.low, self.high = levels, low, high
        self.inner = fc.get_codec("context", step=(high - low) / (levels - 1))

    def params(self) -> dict[str, Any]:
        """Return levels and range."""
        return {"levels": self.levels, "low": self.low, "high": self.high}

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Clip, and code multiples of the step from the lower end."""
        return self.inner.encode_payloads(np.clip(x, self.low, self.high) - np.float32(self.low))

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Undo `encode_payloads`."""
        return self.inner.decode_payloads(payloads, shape) + np.float32(self.low)


def clipping_range(features: Tensor, levels: int) -> tuple[float, float]:
    """Return the range in which so many uniform levels have the least squared error on features (N, ...), on a grid of 64."""
    low = min(0.0, float(features.quantile(0.0005))) if features.numel() < 1 << 24 else 0.0
    top = float(features.max())
    best = (np.inf, top)
    for high in np.linspace(top / 64, top, 64):
        step = (high - low) / (levels - 1)
        kept = torch.round((features.clamp(low, high) - low) / step) * step + low
        best = min(best, (float((kept - features).square().mean()), float(high)))
    return low, best[1]


class TopCodec(Codec):
    """The largest magnitudes alone, quantised: SLICER's asymmetric top-K filter and few bits (Sung et al. 2025).

    Their blocks and adaptive bit widths give way to the core's context coder, which takes the zeros in runs of contexts.

    Parameters
    ----------
    share
        Of the elements that is kept, above 0 and up to 1.
    """

    codec_id = "top"

    def __init__(self, *, share: float) -> None:
        super().__init__()
        self.share = share
        self.inner = fc.get_codec("context", bits=_KEPT_BITS)

    def params(self) -> dict[str, Any]:
        """Return the share."""
        return {"share": self.share}

    def encode_payloads(self, x: FloatArray) -> list[Payload]:
        """Set all but each sample's largest to zero, and code the rest."""
        magnitudes = np.abs(x).reshape(len(x), -1)
        below = magnitudes.shape[1] - max(1, round(self.share * magnitudes.shape[1]))
        least = np.partition(magnitudes, below, axis=1)[:, below, None]
        kept = np.where(magnitudes >= least, x.reshape(magnitudes.shape), np.float32(0))
        return self.inner.encode_payloads(kept.reshape(x.shape))

    def decode_payloads(self, payloads: Sequence[Payload], shape: tuple[int, ...]) -> FloatArray:
        """Undo `encode_payloads`."""
        return self.inner.decode_payloads(payloads, shape)


class FcmCodec(Codec):
    """Feature coding for machines without its learned part: 10-bit range, maps tiled by divisors, HEVC intra (MPEG FCM's core).

    Payload: minimum and maximum as float32, then what HEIF's `mdat` box holds; the file's other boxes follow from size and
    quality, and the decoder makes them from a flat picture.

    Parameters
    ----------
    quality
        0..100 on libheif's scale.
    """

    codec_id = "fcm"

    def __init__(self, *, quality: int) -> None:
        super().__init__()
        self.quality = quality

    def params(self) -> dict[str, Any]:
        """Return the quality."""
        return {"quality": self.quality}

    def encode_payload(self, x: FloatArray) -> Payload:
        """Bring the range to 10 bits, tile, and keep the coded picture of the file."""
        low, high = np.float32(x.min()), np.float32(x.max())
        levels = np.rint((x - low) * (_HEIF_TOP / max(high - low, np.float32(1e-12)))).astype(np.uint16)
        file = self._file(_tiled(levels))
        at = _coded_at(file)
        if self._rebuilt(file[at:], x.shape) != file:
            raise BitstreamError("the file's boxes do not follow from the picture's size")
        return np.frombuffer(np.array([low, high]).tobytes() + file[at:], np.uint8)

    def decode_payload(self, payload: Payload, shape: tuple[int, ...]) -> FloatArray:
        """Make the file again, decode it, and cut the tiles."""
        low, high = np.frombuffer(payload[:8].tobytes(), np.float32)
        file = pillow_heif.open_heif(io.BytesIO(self._rebuilt(payload[8:].tobytes(), shape)), convert_hdr_to_8bit=False)
        picture = np.asarray(file[0]).reshape(_side(shape)) >> 6
        maps = picture.reshape(_rows(shape[0]), shape[1], -1, shape[2]).swapaxes(1, 2).reshape(shape)
        return (maps * ((high - low) / np.float32(_HEIF_TOP)) + low).astype(np.float32)

    def _file(self, picture: np.ndarray) -> bytes:
        out = io.BytesIO()
        image = Image.fromarray(picture << 6)
        pillow_heif.from_pillow(image).save(out, quality=self.quality, enc_params=_X265)
        return out.getvalue()

    def _rebuilt(self, coded: bytes, shape: tuple[int, ...]) -> bytes:
        """The file around a coded picture: a flat one's, its two lengths set."""
        flat = self._flat(_side(shape))
        at = _coded_at(flat)
        front = bytearray(flat[:at])
        length = (len(flat) - at).to_bytes(4, "big")
        extent = front.index(b"iloc")
        extent = front.index(length, extent)
        front[extent : extent + 4] = len(coded).to_bytes(4, "big")
        front[at - 8 : at - 4] = (len(coded) + 8).to_bytes(4, "big")
        return bytes(front) + coded

    def _flat(self, side: tuple[int, int]) -> bytes:
        if (self.quality, side) not in _FLAT:
            _FLAT[self.quality, side] = self._file(np.zeros(side, np.uint16))
        return _FLAT[self.quality, side]


_FLAT: dict[tuple[int, tuple[int, int]], bytes] = {}  # a flat picture's file by quality and size


def _coded_at(file: bytes) -> int:
    return file.index(b"mdat") + 4


def _rows(maps: int) -> int:
    """The largest divisor of the number of maps up to its root: rows of tiles."""
    return max(d for d in range(1, int(maps**0.5) + 1) if maps % d == 0)


def _side(shape: tuple[int, ...]) -> tuple[int, int]:
    rows = _rows(shape[0])
    return rows * shape[1], shape[0] // rows * shape[2]


def _tiled(maps: np.ndarray) -> np.ndarray:
    count, height, width = maps.shape
    rows = _rows(count)
    grid = maps.reshape(rows, count // rows, height, width).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(_side(maps.shape)))


RIVALS: dict[str, type[Codec]] = {cls.codec_id: cls for cls in (ClipCodec, TopCodec, FcmCodec)}
