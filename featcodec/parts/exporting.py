"""export: a model cut after a layer into a head and a tail that are frozen, and that are saved as a file each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featcodec.codec import Codec
from featcodec.errors import FeatureError, LayerError
from featcodec.inputs import call as call_model
from featcodec.layers import evaluating, find_layer
from featcodec.layouts import leaves_of, plain
from featcodec.outputs import same
from featcodec.parts.assemble import joined, pair_by_hand, pair_of_cut
from featcodec.parts.cut import cut_at
from featcodec.parts.file import write_part
from featcodec.parts.part import Head, Tail
from featcodec.parts.trace import arguments, doubled, trace
from featcodec.spec import Spec


class Parts:
    """A head and its tail.

    ``head, tail = parts`` takes them apart; printed it says what crosses.

    Attributes
    ----------
    head, tail
        The halves.
    """

    def __init__(self, head: Head, tail: Tail) -> None:
        self.head, self.tail = head, tail

    @property
    def layer(self) -> str:
        """The layer behind which the model was cut."""
        return self.head.layer

    def save(self, head: str | Path, tail: str | Path | None = None) -> None:
        """Write both halves.

        Parameters
        ----------
        head, tail
            Two files; or a folder, made where it is missing, which gets head.fcz and tail.fcz.
        """
        if tail is None:
            Path(head).mkdir(parents=True, exist_ok=True)
            head, tail = Path(head) / "head.fcz", Path(head) / "tail.fcz"
        write_part(self.head, head)
        write_part(self.tail, tail)

    def __iter__(self) -> Iterator[Head | Tail]:
        """Give the head, then the tail."""
        return iter((self.head, self.tail))

    def __str__(self) -> str:
        """Say what crosses, and what each half computes."""
        head, tail = self.head, self.tail
        lines = [
            f"{head.about.model} cut behind {self.layer!r}: {len(head.program.steps)} and {len(tail.program.steps)} operations"
        ]
        lines += [f"  crosses {port}" for port in head.ports]
        lines += [f"  crosses {name}: a size" for name in head.about.sizes]
        if known := len(head.program.results) - len(head.ports):
            lines.append(f"  the head returns {known} of the model's tensors")
        return "\n".join(lines)


def export(
    model: nn.Module,
    layer: str | nn.Module,
    example: Any,
    *,
    codec: Codec | Spec | Mapping[str, Codec | Spec] = "raw",
    head: nn.Module | None = None,
    tail: nn.Module | None = None,
    call: int | None = None,
    own: Collection[str] = (),
    fixed: Collection[str] = (),
) -> Parts:
    """Cut a model after a layer into a head and a tail that need neither each other nor the model's source.

    The halves are frozen: eval mode, and copies of the weights. What crosses is what the tail needs and no more: the layer's
    output, and where something goes around the layer the cheapest tensors that give it. Sizes of batch, sequences and pictures
    stay open where the model allows it.

    Parameters
    ----------
    model
        A model that `torch.export` traces.
    layer
        Dotted name of the layer, or the module itself.
    example
        A batch of the model's inputs (`featcodec.inputs.call`). Axes of size 1 stay 1, save the batch's.
    codec
        For the layer's floating-point tensors: a codec or a spec. Or several by the names of tensors that cross: what is not
        named is sent as it is. A codec is copied.
    head, tail
        Where no tracing finds the way through the model: two modules made by hand. The tail takes what the head returns (a
        tuple as positional inputs, a dictionary as keyword inputs), which is what crosses. `layer` then is a name for people.
    call
        Which of the layer's calls in one forward, from 0; unless given all of them.
    own
        Names of parameters of the model, or paths below ("cache.1"), that never cross: each half is given those it needs.
        Caches of keys and values, of which each half keeps its own layers'.
    fixed
        Inputs of which all sizes but the first, or sizes ("x.2") that stay as in the example: a model with many conditions on
        sizes is exported sooner.

    Returns
    -------
    Parts
        Head and tail: ``tail(head(x))`` equals ``model(x)`` bit for bit, for the same batch on the same machine.

    Raises
    ------
    LayerError
        No such layer, or one that is no cut; the model cannot be traced, and where; it uses operations that no part has; the
        halves do not give what the model gives.
    FeatureError
        The model does not take the example.
    ConfigError
        A codec is given for what does not cross, or does not fit it.
    MissingDependencyError
        This torch is too old.
    """
    if head is not None or tail is not None:
        return _by_hand(model, str(layer), example, head, tail, codec, fixed)
    name, module = find_layer(model, layer)
    if module is model:
        raise LayerError("the whole model is no split point: name a layer inside it")
    wanted = _reference(model, example)
    cut = cut_at(trace(model, [name], example, fixed), name, call, own)
    parts = Parts(*joined(pair_of_cut(cut, name), type(model).__name__, name, codec))
    _verify(parts, model, wanted, example)
    return parts


def _reference(model: nn.Module, example: Any) -> Any:
    """What the model gives for the example, with the kernels that tracing sees, too."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model), torch.no_grad():
            return plain(call_model(model, doubled(example)))
    except Exception as e:  # whatever a model raises for inputs that are not its own
        raise FeatureError(f"{type(model).__name__} does not run on the example: {e}") from e
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _verify(parts: Parts, model: nn.Module, wanted: Any, example: Any) -> None:
    """Raise LayerError where head and tail do not give what the model gave."""
    args, kwargs = arguments(doubled(example))
    own = {name: value for name, value in _named(parts.head, args, kwargs).items() if name in dict(parts.tail.about.call)}
    if not same(wanted, parts.tail(parts.head(*args, **kwargs), **own)):
        raise LayerError(
            f"cut behind {parts.layer!r}, the halves do not give what {type(model).__name__} gives: "
            "its forward is not deterministic"
        )


def _named(head: Head, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip((name for name, _ in head.about.call), args, strict=False)), **kwargs}


def _by_hand(
    model: nn.Module,
    layer: str,
    example: Any,
    head: nn.Module | None,
    tail: nn.Module | None,
    codec: Any,
    fixed: Collection[str],
) -> Parts:
    if not isinstance(head, nn.Module) or not isinstance(tail, nn.Module):
        raise LayerError(f"by hand both halves are modules, got head={type(head).__name__} and tail={type(tail).__name__}")
    wanted = _reference(model, example)
    crossing = _reference(head, example)
    names = [f"feature{path}" for path, _ in leaves_of(crossing, "")]
    pair = pair_by_hand(trace(head, [], example, fixed), names, trace(tail, [], crossing))
    parts = Parts(*joined(pair, type(model).__name__, layer, codec))
    _verify(parts, model, wanted, example)
    return parts
