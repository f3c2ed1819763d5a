"""Inputs that calibration holds out: what a codec at the layer costs on them, and what it changes in the output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featcodec.codec import Codec
from featcodec.sensitivity import Tap, are_classes, floats

CHANGES = ("top1", "kl", "l2")


class Cost(NamedTuple):
    """Of one quality: mean payload of a sample, and the output's changes by name; top1 and kl of classes alone."""

    payload_bytes: float
    changes: dict[str, float]


class HeldOut:
    """Inputs, their features and what the model says of them.

    Parameters
    ----------
    batches
        Inputs, as `featcodec.inputs.call` takes them.
    """

    def __init__(self, model: nn.Module, tap: Tap, batches: Sequence[Any]) -> None:
        self.model, self.tap, self.batches = model, tap, batches
        with torch.no_grad():
            runs = [tap.forward(model, inputs) for inputs in batches]
        self.features = [feature for _, feature in runs]
        self.outputs = [floats(output) for output, _ in runs]

    @property
    def samples(self) -> int:
        """How many inputs there are."""
        return sum(map(len, self.features))

    @property
    def known_changes(self) -> tuple[str, ...]:
        """What `Cost.changes` has."""
        return ("l2", "kl", "top1") if are_classes(self.outputs[0]) else ("l2",)

    def payload_bytes(self, codec: Codec) -> float:
        """Return the mean payload of a sample."""
        packets = [packet for feature in self.features for packet in codec.encode_over(feature, None)]
        return sum(packet.payload.nbytes for packet in packets) / len(packets)

    @torch.no_grad()
    def cost(self, codec: Codec) -> Cost:
        """Run the model on what the codec gives back."""
        size, found = 0, []
        for inputs, feature, wanted in zip(self.batches, self.features, self.outputs, strict=True):
            packets = codec.encode_over(feature, None)  # a coarse quality is no news here, and warns of nothing
            size += sum(packet.payload.nbytes for packet in packets)
            value = codec.decode(packets, device=feature.device)
            output, _ = self.tap.forward(self.model, inputs, partial(_instead, value))
            found.append((len(feature), changes(wanted, floats(output))))
        mean = {name: sum(n * change[name] for n, change in found) / self.samples for name in found[0][1]}
        return Cost(size / self.samples, mean)


def _instead(value: Tensor, x: Tensor) -> Tensor:
    return value.to(x.dtype)


def changes(wanted: Sequence[Tensor], got: Sequence[Tensor]) -> dict[str, float]:
    """Return how far outputs are from those without a codec.

    Returns
    -------
    dict
        "l2": |got - wanted| / |wanted| over all tensors, of classes less their mean. Of classes (B, K) also "kl", the mean KL
        divergence of the softmax in nats, and "top1", the share of samples whose largest logit is another.
    """
    have_classes = are_classes(wanted)
    pairs = [(_centred(a, have_classes), _centred(b, have_classes)) for a, b in zip(got, wanted, strict=True)]
    difference = sum(float((a - b).square().sum()) for a, b in pairs)
    found = {"l2": math.sqrt(difference / max(sum(float(b.square().sum()) for _, b in pairs), 1e-300))}
    if have_classes:
        p, q = wanted[0].double().log_softmax(1), got[0].double().log_softmax(1)
        found["kl"] = max(0.0, float((p.exp() * (p - q)).sum(1).mean()))
        found["top1"] = float((wanted[0].argmax(1) != got[0].argmax(1)).double().mean())
    return found


def _centred(output: Tensor, have_classes: bool) -> Tensor:
    return output.double() - output.double().mean(1, keepdim=True) if have_classes else output.double()
