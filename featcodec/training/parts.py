"""Which modules lie before and after the cut, and freezing them: frozen ones stay in eval mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featcodec._core import crc32c
from featcodec.errors import ConfigError, LayerError
from featcodec.insertion import Insertion, insertion_of
from featcodec.layers import evaluating, find_layer
from featcodec.training.phase import Phase


@dataclass(frozen=True)
class Parts:
    """The modules of a model with a codec in it.

    Attributes
    ----------
    bottleneck
        The codec's.
    head
        Those that end before the layer's output crosses, and those that the cut lies in.
    tail
        All others.
    """

    bottleneck: tuple[nn.Module, ...]
    head: tuple[nn.Module, ...]
    tail: tuple[nn.Module, ...]

    def trained(self, phase: Phase) -> tuple[nn.Module, ...]:
        """Return the modules that a phase trains."""
        chosen = {"bottleneck": self.bottleneck, "tail": self.bottleneck + self.tail}
        return chosen.get(phase.train, self.bottleneck + self.head + self.tail)

    def parameters(self, phase: Phase) -> list[nn.Parameter]:
        """Return the parameters that a phase trains: those that are not frozen by the user.

        Raises
        ------
        ConfigError
            There are none.
        """
        found = {id(p): p for module in self.trained(phase) for p in module.parameters(recurse=False) if p.requires_grad}
        if not found:
            what = "this codec has no learned parameters" if phase.train == "bottleneck" else "no parameter wants a gradient"
            raise ConfigError(f"phase {phase.name!r} trains {phase.train!r}, but {what}")
        return list(found.values())


def check_inserted(model: nn.Module, insertion: Insertion) -> nn.Module:
    """Return the layer that an insertion sits at; LayerError where the model does not carry it."""
    try:
        _, layer = find_layer(model, insertion.layer)
    except LayerError:
        layer = nn.Identity()
    if insertion_of(layer) is not insertion:
        raise LayerError(f"{insertion!r} is not in this model: it was removed, or belongs to another")
    return layer


def find_parts(model: nn.Module, insertion: Insertion, example: Tensor) -> Parts:
    """Sort the modules by running the model once, in eval mode, up to the cut."""
    layer = check_inserted(model, insertion)
    codec = set(insertion.codec.modules())
    before: list[nn.Module] = []

    def begin(module: nn.Module, _: Any) -> None:
        before.append(module)

    handles = [module.register_forward_pre_hook(begin) for module in model.modules() if module not in codec]
    try:
        feature_at(model, layer, example)
    finally:
        for handle in handles:
            handle.remove()
    # what runs within a module that was whole before the cut may go by another way than its forward: it counts as run
    head = {m: None for started in before if layer not in set(started.modules()) or started is layer for m in started.modules()}
    head.update(dict.fromkeys(before))
    tail = [m for m in model.modules() if m not in head and m not in codec]
    return Parts(tuple(insertion.codec.modules()), tuple(m for m in head if m not in codec), tuple(tail))


class _Stop(Exception):  # noqa: N818
    """Raised to leave a forward pass at the cut."""


def feature_at(model: nn.Module, layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return a layer's own output, before any codec, in eval mode without gradients; the model runs no further.

    Raises
    ------
    LayerError
        The output is no single tensor, or the model does not call the layer.
    """
    seen: list[Any] = []

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        seen.append(output)
        raise _Stop

    handle = layer.register_forward_hook(stop, prepend=True)
    try:
        with evaluating(model), torch.no_grad():
            model(inputs)
    except _Stop:
        pass
    finally:
        handle.remove()
    if not seen or not isinstance(seen[0], Tensor):
        got = type(seen[0]).__name__ if seen else "nothing"
        raise LayerError(f"training needs a layer that gives one tensor, got {got}")
    return seen[0]


@contextmanager
def trained(model: nn.Module, insertion: Insertion, parts: Parts, phase: Phase) -> Iterator[list[nn.Parameter]]:
    """Within: what a phase trains is in training mode and has gradients, all else is frozen and in eval mode."""
    parameters = parts.parameters(phase)
    codec = insertion.codec
    chosen, wanted = set(parts.trained(phase)), {id(p) for p in parameters}
    frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in wanted]
    for name in phase.attributes:
        if not hasattr(codec, name):
            raise ConfigError(f"phase {phase.name!r} sets {name!r}, which {codec.codec_id!r} does not have")
    for name in phase.prepare:
        if name.startswith("_") or not callable(getattr(codec, name, None)):
            raise ConfigError(f"phase {phase.name!r} prepares by {name!r}, which is no method of {codec.codec_id!r}")
    names = [name for name, _ in codec.named_parameters()]
    for start in phase.lr_scales:
        if not any(name.startswith(start) for name in names):
            raise ConfigError(f"phase {phase.name!r} scales the learning rate of {start!r}, which starts no parameter's name")
    kept = {name: getattr(codec, name) for name in phase.attributes}
    try:
        model.eval()
        for module in model.modules():
            if module in chosen:
                module.training = True
        for p in frozen:
            p.requires_grad_(False)
        for name, value in phase.attributes.items():
            setattr(codec, name, value)
        yield parameters
    finally:
        for name, value in kept.items():
            setattr(codec, name, value)
        for p in frozen:
            p.requires_grad_(True)
        model.eval()


def state_crc(modules: Iterable[nn.Module]) -> int:
    """Return a checksum of modules' own parameters and buffers: what they compute depends on them."""
    crc = 0
    for module in modules:
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            crc = crc32c(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), crc)
    return crc
