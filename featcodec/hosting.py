"""Where an inserted codec hangs in a model, so that every copy of the layer (deepcopy, replicas) has one of its own."""

from __future__ import annotations

import torch
from torch import nn

from featcodec.codec import Codec
from featcodec.errors import LayerError


class Place:
    """A module without children that carries the codec: the first below the layer that no forward iterates over.

    Where the layer has none (an empty Sequential), it is the first of the whole model.

    Attributes
    ----------
    host
        It; None in a model that is all containers: the codec then hangs nowhere, and copies share it.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        path, self.host = _first_leaf(layer)
        self._in_layer = self.host is not None
        if self.host is None:
            path, self.host = _first_leaf(model)
        self._name = "" if self.host is None else _free_name(self.host)
        self._parts = (*path.split("."), self._name) if path else (self._name,)

    def attach(self, codec: Codec) -> None:
        """Hang the codec there."""
        if self.host is not None:
            self.host.add_module(self._name, codec)

    def detach(self, codec: Codec) -> None:
        """Take it away, if it still hangs there."""
        if self.host is not None and getattr(self.host, self._name, None) is codec:
            delattr(self.host, self._name)

    def find(self, layer: nn.Module, model: nn.Module | None, codec: Codec) -> Codec:
        """Return the codec of a layer: that which was attached, or its copy where the layer is one.

        Parameters
        ----------
        layer
            The layer that runs.
        model
            The model that runs, where it is known.
        codec
            What was attached.

        Raises
        ------
        LayerError
            What carried the codec is no longer there.
        """
        root = layer if self._in_layer else model
        if root is None or self.host is None:
            return codec
        found: nn.Module | None = root
        for part in self._parts:
            found = None if found is None else found._modules.get(part)
        if found is None:
            # a wrapper may have taken the host's place and kept it inside
            found = next((m for name, m in root.named_modules() if name.rpartition(".")[2] == self._name), None)
        if not isinstance(found, Codec):
            raise LayerError(
                f"the {type(self.host).__name__} {'.'.join(self._parts[:-1])!r} that carried codec {codec.codec_id!r} was "
                "replaced after insert, by quantisation, say: remove the codec, change the model, insert again"
            )
        return found


def _first_leaf(root: nn.Module) -> tuple[str, nn.Module | None]:
    for name, module in root.named_modules():
        inside_codec = any(isinstance(root.get_submodule(part), Codec) for part in _prefixes(name))
        if not (inside_codec or _is_container(module) or any(not isinstance(m, Codec) for m in module.children())):
            return name, module
    return "", None


def _prefixes(name: str) -> list[str]:
    parts = name.split(".") if name else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _is_container(module: nn.Module) -> bool:
    """True of what a forward may iterate over, and of what takes no further child."""
    return hasattr(type(module), "__iter__") or isinstance(module, torch.jit.ScriptModule)


def _free_name(host: nn.Module) -> str:
    name, number = "featcodec", 1
    while hasattr(host, name):
        number += 1
        name = f"featcodec{number}"
    return name


def device_of(model: nn.Module, layer: nn.Module) -> str | None:
    """Return where a layer is: the device of its first tensor with values, else of the model's; None where there is none."""
    for root in (layer, model):
        for tensor in (*root.parameters(), *root.buffers()):
            if not tensor.is_meta:
                return str(tensor.device)
    return None
