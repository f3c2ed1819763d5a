"""What crosses a cut: the tensors by name with their codecs, and the sizes that no tensor shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featcodec.bitstream import Packet
from featcodec.codec import Codec
from featcodec.errors import BitstreamError, FeatureError
from featcodec.message import Item, PlainTensor
from featcodec.outline import Outline, canonical
from featcodec.parts.program import DTYPES


@dataclass(frozen=True)
class Port:
    """One tensor that crosses.

    Attributes
    ----------
    name
        "feature" where the layer gives one tensor, "feature.PATH" of several; an input's name; else that of what computed it.
    dtype, shape
        The dtype's name; integers and expressions in the names of open sizes.
    size_bytes
        Of the example's, as plain values.
    axis
        The one along which a codec's packets are samples; None where the tensor is sent as it is.
    codec
        In eval mode; None where the tensor is sent as it is.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    size_bytes: int
    axis: int | None = None
    codec: Codec | None = None

    def __str__(self) -> str:
        """One line of a summary."""
        how = "as it is" if self.codec is None else f"by {self.codec.codec_id}, a packet for each of axis {self.axis}"
        return f"{self.name}: {self.dtype} ({', '.join(map(str, self.shape))}), {self.size_bytes} bytes, {how}"

    def outline(self) -> Outline:
        """Return what the other end compares."""
        shape = tuple(-1 if isinstance(size, str) else size for axis, size in enumerate(self.shape) if axis != self.axis)
        return outline_of(self.name, self.dtype, shape, self.codec)

    def packed(self, x: Tensor) -> Item:
        """Return a tensor as an item of a message."""
        if self.codec is not None and self.axis is not None:
            packets = self.codec.encode(x.movedim(self.axis, 0))
            if not packets:
                raise FeatureError(f"{self.name} is empty, {tuple(x.shape)}: there is nothing to send")
            return tuple(packets)
        flat = x.detach().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8)
        return PlainTensor(self.dtype, tuple(x.shape), data.numpy())

    def unpacked(self, item: Item, device: torch.device) -> Tensor:
        """Return the tensor of an item.

        Raises
        ------
        BitstreamError
            The item is another port's, or its packets are no packets of this codec.
        """
        if self.codec is not None and self.axis is not None:
            if not isinstance(item, tuple):
                raise BitstreamError(f"{self.name} comes as packets of {self.codec.codec_id!r}, got {_kind(item)}")
            self._check_packets(item)
            return self.codec.decode(item, device=device).movedim(0, self.axis)
        if not isinstance(item, PlainTensor) or item.dtype != self.dtype or len(item.shape) != len(self.shape):
            raise BitstreamError(f"{self.name} comes as {self.dtype} of {len(self.shape)} axes, got {_kind(item)}")
        return tensor_of(item).to(device)

    def _check_packets(self, packets: tuple[Packet, ...]) -> None:
        """Sizes that are fixed hold before anything is decoded."""
        wanted = [size for axis, size in enumerate(self.shape) if axis != self.axis]
        for packet in packets:
            fits = len(wanted) == len(packet.shape) and packet.dtype == self.dtype
            if not fits or any(type(a) is int and a != b for a, b in zip(wanted, packet.shape, strict=True)):
                raise BitstreamError(
                    f"{self.name} is {self.dtype} {self.shape}, without axis {self.axis} a packet; "
                    f"got one of {packet.dtype} {packet.shape}"
                )


def outline_of(name: str, dtype: str, shape: tuple[int, ...], codec: Codec | None) -> Outline:
    """Return what two ends compare of a tensor and the codec that it goes through."""
    if codec is None:
        return Outline(name, dtype, shape)
    config = canonical(codec.config())
    return Outline(name, dtype, shape, config, codec.fingerprint(), codec.payload_kind, codec.config_crc())


def tensor_of(item: PlainTensor) -> Tensor:
    """Return a plain tensor as torch's, on the CPU: a copy."""
    return torch.from_numpy(np.array(item.data)).view(DTYPES[item.dtype]).reshape(item.shape)


def _kind(item: Item) -> str:
    if isinstance(item, PlainTensor):
        return f"a plain tensor, {item.dtype} {item.shape}"
    return f"{len(item)} packets" if isinstance(item, tuple) else f"the integer {item}"


@dataclass(eq=False)
class Crossing(Mapping[str, Tensor]):
    """What a head gives: tensors by the names of their ports.

    Attributes
    ----------
    tensors
        As computed: no codec has seen them.
    sizes
        Open sizes that the tail cannot see in a tensor, by name.
    known
        Tensors that the model returns and the head knows; empty where a message brought the crossing.
    output
        What the model returns, as far as the head knows it, None elsewhere; None altogether behind a message.
    """

    tensors: dict[str, Tensor]
    sizes: dict[str, int] = field(default_factory=dict)
    known: tuple[Tensor, ...] = ()
    output: Any = None

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor."""
        return self.tensors[name]

    def __iter__(self) -> Any:
        """Iterate over the names."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """Return how many tensors cross."""
        return len(self.tensors)
