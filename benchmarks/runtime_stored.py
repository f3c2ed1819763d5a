"""What the runtime benchmark sends: pictures, features and their known outputs, and stored requests for the load generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import featcodec as fc
from benchmarks import runtime_servers as servers
from benchmarks.runtime_load import Stored
from benchmarks.runtime_peers import TorchSaveCodec
from featcodec.bench.data import load
from featcodec.runtime.client import sender_of
from featcodec.runtime.introduction import Introduction

OURS, TORCH_SAVE = "ours.npz", "torch_save.npz"
_BATCH = 250


@dataclass(frozen=True)
class Samples:
    """Pictures and what becomes of them.

    Attributes
    ----------
    head, tail
        The halves, as files gave them.
    images
        (N, 3, 32, 32), normalised.
    features
        (N, ...): the head's.
    known
        (N, classes): of each feature by itself, through the codec's bytes, in one process.
    """

    head: fc.Head
    tail: fc.Tail
    images: Tensor
    features: Tensor
    known: Tensor


def load_samples(folder: Path, data: str, say: Callable[[str], None]) -> Samples:
    """Export both halves into a folder, run them on all pictures, and store our requests there."""
    head, tail = servers.export(folder)
    images = torch.cat([x for x, _ in load(data, 32).batches(_BATCH, "cifar10")])
    say(f"{len(images)} pictures through head and codec ...")
    bodies, features, known = [], [], []
    session = _introduced(head, "ours")
    for x in images.split(1):
        crossing = head(x)
        features.append(crossing["feature"])
        bodies.append(session.session.to_bytes(head.items(crossing)))
        known.append(tail(tail.decode(head.pack(crossing))))
    Stored(session.hello.SerializeToString(), bodies).save(folder / OURS)
    return Samples(head, tail, images, torch.cat(features), torch.cat(known))


def store_torch_save(features: Tensor, path: Path) -> None:
    """Store the same features as torch.save writes them."""
    sender = sender_of(TorchSaveCodec().eval(), None, features.shape[1:], "float32")
    introduced = _introduced(sender, "torch.save")
    bodies = [introduced.session.to_bytes(sender.items(x)) for x in features.split(1)]
    Stored(introduced.hello.SerializeToString(), bodies).save(path)


def _introduced(sender: Any, entry: str) -> Introduction:
    return Introduction.of(bytes(16), entry, sender.fingerprint, sender.outlines(None), sender.sizes)
