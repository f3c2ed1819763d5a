"""A network cut after a layer: its features of some pictures on disk, and what a codec makes of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import featcodec as fc

Floats = NDArray[np.float32]

BATCH = 250


@dataclass(frozen=True)
class Measured:
    """What a codec cost and what the tail then said, picture by picture.

    Attributes
    ----------
    payload, wire
        (N,) uint32: bytes of the packet without its header and with it.
    outputs
        (N, classes) float32 logits.
    """

    payload: NDArray[np.uint32]
    wire: NDArray[np.uint32]
    outputs: Floats


class Cut:
    """A head and a tail, and the features (N, ...) that cross between them, in a file.

    Parameters
    ----------
    inputs
        (N, 3, height, width) float32, as the network takes them; not kept.
    path
        The .npy file of the features: made where it is missing, else believed, as that of the tail's outputs beside it.
    """

    def __init__(self, model: nn.Module, layer: str, inputs: Tensor, path: Path, batch: int = BATCH) -> None:
        self.head, self.tail = fc.split(model.eval(), layer, inputs[:2])
        self.batch = batch
        if not path.is_file():
            self._write(inputs, path)
        self.features: Floats = np.load(path, mmap_mode="r")
        if len(self.features) != len(inputs):
            raise ValueError(f"{path} holds features of {len(self.features)} pictures, wanted {len(inputs)}")
        outputs = path.with_suffix(".outputs.npy")
        if not outputs.is_file():
            _save(outputs, self._tail_of(self.batches()))
        self.outputs: Floats = np.load(outputs)

    def _write(self, inputs: Tensor, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with torch.no_grad():
            shape = tuple(self.head(inputs[:1]).shape[1:])
            file = np.lib.format.open_memmap(part, "w+", np.float32, (len(inputs), *shape))
            for start in range(0, len(inputs), self.batch):
                file[start : start + self.batch] = self.head(inputs[start : start + self.batch]).numpy()
        file.flush()
        part.rename(path)

    def batches(self) -> Iterator[Tensor]:
        """Yield the features, (B, ...) at a time."""
        for start in range(0, len(self.features), self.batch):
            yield torch.from_numpy(np.array(self.features[start : start + self.batch]))

    def _tail_of(self, features: Iterator[Tensor]) -> Floats:
        with torch.no_grad():
            return np.concatenate([self.tail(x).numpy() for x in features])

    def measure(self, codec: fc.Codec) -> Measured:
        """Send every feature through real packets, and run the tail on what is decoded."""
        payload: list[int] = []
        wire: list[int] = []

        def sent(x: Tensor) -> Tensor:
            packets = codec.encode(x)
            payload.extend(packet.payload_bits // 8 for packet in packets)
            wire.extend(len(packet.to_bytes()) for packet in packets)
            return codec.decode(packets)

        outputs = self._tail_of(sent(x) for x in self.batches())
        return Measured(np.array(payload, np.uint32), np.array(wire, np.uint32), outputs)


def _save(path: Path, array: Floats) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, array)
    part.rename(path)


def crc_of(model: nn.Module, inputs: Tensor) -> int:
    """Return a checksum of a model's state and of inputs: features depend on them."""
    crc = zlib.crc32(inputs.contiguous().numpy())
    for value in model.state_dict().values():
        crc = zlib.crc32(value.contiguous().numpy().tobytes(), crc)
    return crc


def kl_divergence(outputs: Floats, reference: Floats) -> NDArray[np.float64]:
    """Return each picture's KL divergence, in nats, of the softmax of logits (N, classes) from the reference's."""
    logs = [x - x.max(1, keepdims=True) for x in (outputs.astype(np.float64), reference.astype(np.float64))]
    ours, theirs = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in logs)
    divergence: NDArray[np.float64] = (np.exp(theirs) * (theirs - ours)).sum(1)
    return divergence
