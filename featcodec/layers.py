"""Finding one layer of a model, by its dotted name or by itself; eval mode for a while."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from featcodec.errors import LayerError


def check_model(model: nn.Module) -> None:
    """Raise LayerError where a model is none."""
    if not isinstance(model, nn.Module):
        raise LayerError(f"the model is a torch.nn.Module, got {type(model).__name__}")


def find_layer(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """Return the dotted name and the module of one layer.

    Parameters
    ----------
    model
        The root.
    layer
        A dotted name as in ``model.named_modules()``, or the end of one where that is unique ("layer1" finds "module.layer1"
        in a wrapped model); or the module itself.

    Raises
    ------
    LayerError
        The model is none; nothing matches (near names are given) or several do (they are named).
    """
    check_model(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        matches = [name for name, module in modules.items() if module is layer]
        wanted = f"the given {type(layer).__name__}"
    elif isinstance(layer, str) and layer:
        exact = layer in modules
        matches = [layer] if exact else [name for name in modules if name.endswith(f".{layer}")]
        wanted = repr(layer)
    else:
        raise LayerError(f"a layer is a dotted name or a module of the model, got {layer!r}")
    if not matches:
        raise LayerError(f"no layer of {type(model).__name__} matches {wanted}{_near(layer, modules)}")
    if len(matches) > 1:
        raise LayerError(f"{wanted} matches {len(matches)} layers of {type(model).__name__}: {', '.join(sorted(matches)[:8])}")
    return matches[0], modules[matches[0]]


@contextmanager
def evaluating(*roots: nn.Module) -> Iterator[None]:
    """Eval mode inside for modules and all below them; afterwards each has its own mode again."""
    # the attribute alone: overridden train() methods, which may change weights, are the caller's to call
    training = [module for root in roots for module in root.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def weights_of(module: nn.Module) -> Iterator[Tensor]:
    """Yield a module's parameters; a replica of nn.DataParallel has plain tensors in their place."""
    for inner in module.modules():
        yield from inner.parameters(recurse=False)
        yield from getattr(inner, "_former_parameters", {}).values()


def _near(layer: str | nn.Module, modules: dict[str, nn.Module]) -> str:
    names = [name for name in modules if name]
    if not isinstance(layer, str) or not names:
        return ""
    near = difflib.get_close_matches(layer, names, n=4, cutoff=0.5)
    return (
        f"; did you mean {', '.join(near)}?" if near else f"; it has {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    )
