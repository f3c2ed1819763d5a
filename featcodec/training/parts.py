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
from featcodec.evaluation import never_called
from featcodec.inputs import call
from featcodec.insertion import Insertion
from featcodec.layers import evaluating
from featcodec.outputs import leaves
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


def find_parts(model: nn.Module, insertion: Insertion, example: Any) -> Parts:
    """Sort the modules by running the model once, in eval mode, up to the first call of the layer."""
    layer = insertion.module_in(model)
    codec = set(insertion.codec.modules())
    before: list[nn.Module] = []

    def begin(module: nn.Module, _: Any) -> None:
        before.append(module)

    handles = [module.register_forward_pre_hook(begin) for module in model.modules() if module not in codec]
    try:
        output_at(model, layer, example)
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


def output_at(model: nn.Module, layer: nn.Module, inputs: Any) -> Any:
    """Return what a layer's first call gives, before any codec, in eval mode without gradients; the model runs no further.

    Parameters
    ----------
    inputs
        As for `featcodec.inputs.call`.

    Raises
    ------
    LayerError
        The model does not call the layer.
    """
    seen: list[Any] = []

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        seen.append(output)
        raise _Stop

    handle = layer.register_forward_hook(stop, prepend=True)
    try:
        with evaluating(model), torch.no_grad():
            call(model, inputs)
    except _Stop:
        pass
    finally:
        handle.remove()
    if not seen:
        raise never_called(next((name for name, module in model.named_modules() if module is layer), type(layer).__name__))
    return seen[0]


def feature_at(model: nn.Module, layer: nn.Module, inputs: Any) -> Tensor:
    """Return the tensor that a layer gives (`output_at`); LayerError where its output is no single one."""
    output = output_at(model, layer, inputs)
    if not isinstance(output, Tensor):
        raise LayerError(f"caching and measuring features need a layer that gives one tensor, got {type(output).__name__}")
    return output


def features_at(model: nn.Module, insertion: Insertion, inputs: Any) -> list[Tensor]:
    """Return the tensors that an insertion's codec gets from the layer's first call (`output_at`), (B, ...) each."""
    output = output_at(model, insertion.module_in(model), inputs)
    crossing = [leaf for path, leaf in leaves(output) if insertion.wanted.takes(path, leaf)]
    return [x.movedim(insertion.batch_axis, 0) for x in crossing]


@contextmanager
def trained(model: nn.Module, insertion: Insertion, parts: Parts, phase: Phase) -> Iterator[list[nn.Parameter]]:
    """Within: what a phase trains is in training mode and has gradients, all else is frozen and in eval mode.

    Modules whose own parameters the user froze, all of them, count among the frozen. Afterwards modes are what they were.
    """
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
    training = [module for module in model.modules() if module in chosen and not _is_frozen(module)]
    with evaluating(model), _frozen(frozen):
        try:
            for module in training:
                module.training = True
            for name, value in phase.attributes.items():
                setattr(codec, name, value)
            yield parameters
        finally:
            for name, value in kept.items():
                setattr(codec, name, value)
            for module in training:
                module.training = False


def _is_frozen(module: nn.Module) -> bool:
    """Whether the user froze a module: it has parameters of its own, and none wants a gradient."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(p.requires_grad for p in own)


@contextmanager
def _frozen(parameters: list[nn.Parameter]) -> Iterator[None]:
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


def state_crc(modules: Iterable[nn.Module]) -> int:
    """Return a checksum of modules' own parameters and buffers: what they compute depends on them."""
    crc = 0
    for module in modules:
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            crc = crc32c(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), crc)
    return crc
