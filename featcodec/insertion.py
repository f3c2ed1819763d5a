"""insert: any codec at any layer of any model, by a forward hook, and out again without a trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.accounting import ledger
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import Channel, get_channel
from featcodec.codec import Codec
from featcodec.errors import BitstreamError, ConfigError, FeatureError, FeatureTypeError, LayerError
from featcodec.layers import evaluating, find_layer
from featcodec.ops.eager import eager
from featcodec.registry import fit_spec, get_codec
from featcodec.spec import Spec
from featcodec.stats import Crossing, Stats


class Insertion:
    """A codec at a layer: a handle that measures, and that `remove` (or leaving the `with`) takes out again.

    Attributes
    ----------
    layer
        Dotted name of the layer.
    codec, channel
        What the layer's output goes through.
    stats
        What has crossed.
    """

    def __init__(self, model: nn.Module, layer: str | nn.Module, codec: Codec, channel: Channel | None) -> None:
        self.layer, module = find_layer(model, layer)
        taken = insertion_at(module)
        if taken is not None:
            raise LayerError(f"layer {self.layer!r} already carries {taken.codec.codec_id!r}: remove it first")
        if any(m is codec for m in model.modules()):
            raise ConfigError("this codec is inserted in the model already: build another with get_codec(codec.config())")
        self.channel = channel
        self.stats = Stats()
        self._pixels: int | None = None
        # The codec is a submodule of the layer's own tree, so that every copy of the layer (deepcopy, replicas) has its own.
        self._path, host = _host(module)
        self._child = _free_name(host)
        self._host = host
        weight = next(model.parameters(), None)
        if codec.learned and weight is not None:
            codec.to(weight.device)
        host.add_module(self._child, codec.train(module.training))
        self._handles = [
            module.register_forward_hook(self._cross),
            model.register_forward_pre_hook(self._see_input, with_kwargs=True),
        ]
        self._codec = codec

    @property
    def codec(self) -> Codec:
        """The codec that was inserted."""
        return self._codec

    def cross(self, x: Tensor) -> Tensor:
        """Send a feature as the layer's output goes: through codec and channel, measured where bytes are made."""
        return self._send(self._codec, x)

    def remove(self) -> None:
        """Restore the model exactly; more than one call does no harm."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if getattr(self._host, self._child, None) is self._codec:
            delattr(self._host, self._child)

    def __enter__(self) -> Insertion:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove."""
        self.remove()

    def __repr__(self) -> str:
        """Show layer, codec, channel."""
        return f"Insertion(layer={self.layer!r}, codec={self._codec!r}, channel={self.channel!r})"

    @eager
    def _see_input(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        images = (v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.ndim == 4 and v.shape[1] in (1, 3, 4))
        image = next(images, None)
        self._pixels = None if image is None else int(image.shape[2] * image.shape[3])

    @eager
    def _cross(self, module: nn.Module, _: Any, output: Any) -> Any:
        codec = module.get_submodule(f"{self._path}.{self._child}" if self._path else self._child)
        assert isinstance(codec, Codec)
        found = 0

        def send(x: Tensor) -> Tensor:
            nonlocal found
            found += 1
            try:
                return self._send(codec, x)
            except (FeatureError, FeatureTypeError, BitstreamError) as e:
                raise type(e)(f"layer {self.layer!r}: {e}") from e

        result = map_tensors(output, send)
        if found == 0:
            raise FeatureTypeError(f"layer {self.layer!r}: its output ({type(output).__name__}) holds no floating-point tensor")
        return result

    def _send(self, codec: Codec, x: Tensor) -> Tensor:
        if not codec.sends(x, self.channel):
            y: Tensor = codec(x, self.channel)
            return y
        way = codec.transmit(x, self.channel)
        analog = way.packets[0].kind is PayloadKind.SYMBOLS
        modulated = self.channel is not None and self.channel.modulation is not None
        self.stats.crossings.append(
            Crossing(
                samples=len(way.packets),
                elements=way.packets[0].num_elements,
                payload_bits=0 if analog else sum(packet.payload_bits for packet in way.packets),
                wire_bits=sum(packet.frame_bits if analog else packet.num_bits for packet in way.packets),
                encode_s=way.encode_s,
                decode_s=way.decode_s,
                pixels=self._pixels,
                losses=way.losses,
                real_symbols=sum(packet.payload.size for packet in way.packets) if analog else 0,
                complex_uses=self._complex_uses(way.packets) if analog or modulated else None,
            )
        )
        return way.output

    def _complex_uses(self, packets: list[Packet]) -> int:
        modulation = (self.channel.modulation if self.channel is not None else None) or "bpsk"
        return sum(ledger(packet, modulation=modulation).complex_uses for packet in packets)


def insert(
    model: nn.Module,
    layer: str | nn.Module,
    codec: Codec | Spec,
    channel: Channel | Spec | None = None,
    *,
    example: Tensor | None = None,
) -> Insertion:
    """Send a layer's output through a codec from now on.

    Real bytes wherever no gradient is wanted or the model is in eval mode; in training the same values with the
    straight-through gradient. Every floating-point tensor in the output crosses: one tensor, or those in a tuple, list, dict
    or dataclass.

    Parameters
    ----------
    model
        The model; wrap it (DDP, torch.compile) after inserting.
    layer
        Dotted name of the layer, or the module itself.
    codec
        A codec or its spec. Its parameters appear among the model's while inserted.
    channel
        A channel or its spec: what the packets meet on their way.
    example
        A batch of the model's inputs: run once in eval mode, so that a spec of a learned codec may leave out its sizes
        (`featcodec.fit_spec`).

    Returns
    -------
    Insertion
        A handle with `stats` and `remove`; leaving its `with` block removes it.

    Raises
    ------
    LayerError
        No such layer, several, or one that carries a codec already.
    ConfigError
        This very codec is in the model already, or a spec is wrong.
    """
    if not isinstance(codec, Codec) and example is not None:
        codec = fit_spec(codec, feature_shape(model, layer, example))
    built = codec if isinstance(codec, Codec) else get_codec(codec)
    if channel is not None and not isinstance(channel, Channel):
        channel = get_channel(channel)
    return Insertion(model, layer, built, channel)


def feature_shape(model: nn.Module, layer: str | nn.Module, example: Tensor) -> tuple[int, ...]:
    """Return the shape of one sample of a layer's output, the first tensor where it has several.

    Parameters
    ----------
    example
        A batch of the model's inputs; the model runs once on it, in eval mode and without gradients, and is left as it was.

    Raises
    ------
    LayerError
        No such layer, several, or one that the model does not call.
    """
    name, module = find_layer(model, layer)
    seen: list[tuple[int, ...]] = []

    def note(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape[1:]))
        return x

    def look(m: nn.Module, inputs: Any, output: Any) -> None:
        map_tensors(output, note)

    handle = module.register_forward_hook(look)
    try:
        with evaluating(model), torch.no_grad():
            model(example)
    finally:
        handle.remove()
    if not seen:
        raise LayerError(f"layer {name!r} gave no floating-point tensor when the model ran on the example")
    return seen[0]


def insertion_at(module: nn.Module) -> Insertion | None:
    """Return the insertion whose codec a module's output goes through, if there is one."""
    for hook in module._forward_hooks.values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, Insertion):
            return owner
    return None


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `function` applied to each floating-point tensor in it: through tuples, lists, dicts, dataclasses."""
    if isinstance(value, Tensor):
        return function(value) if value.is_floating_point() else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: map_tensors(getattr(value, f.name), function) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **changed)
    if isinstance(value, Mapping):
        return type(value)({key: map_tensors(item, function) for key, item in value.items()})  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, function) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(item, function) for item in value)
    return value


def _host(module: nn.Module) -> tuple[str, nn.Module]:
    """The module that carries the codec: the first below the layer without children, so that no container iterates over it."""
    path = ""
    while True:
        child = next(((name, m) for name, m in module.named_children() if not isinstance(m, Codec)), None)
        if child is None:
            return path, module
        path = f"{path}.{child[0]}" if path else child[0]
        module = child[1]


def _free_name(host: nn.Module) -> str:
    name, number = "featcodec", 1
    while hasattr(host, name):
        number += 1
        name = f"featcodec{number}"
    return name
