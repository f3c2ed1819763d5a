"""insert: any codec at any layer of any model, by forward hooks, and out again without a trace."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, fx, nn

from featcodec.accounting import ledger
from featcodec.bitstream import Packet, PayloadKind
from featcodec.channel import Channel, get_channel
from featcodec.codec import Codec
from featcodec.errors import BitstreamError, ConfigError, FeatureError, FeatureTypeError, LayerError
from featcodec.features import check_eager, not_traceable
from featcodec.hosting import Place, device_of
from featcodec.inputs import call, see
from featcodec.layers import evaluating, find_layer
from featcodec.ops.eager import eager
from featcodec.outputs import ALL, Path, Wanted, describe, leaves, map_leaves, name_of
from featcodec.registry import fit_spec, get_codec
from featcodec.spec import Spec
from featcodec.stats import Crossing, Stats
from featcodec.transmission import NOTHING_LOST, Transmission


@dataclass(slots=True)
class _Forward:
    """A forward of the model that is under way in one thread, or a layer's call outside of any."""

    model: nn.Module | None = None
    sizes: tuple[int, ...] = ()  # what the batch may be: first axes of the inputs' tensors
    handled: BaseException | None = None  # the error that its caller was handling when it began
    crossing: Crossing = field(default_factory=Crossing)
    depth: int = 1
    has_trained: bool = False
    is_measured: bool = False
    tensors: int = 0


class Insertion:
    """A codec at a layer: a handle that measures, and that `remove` (or leaving the `with`) takes out again.

    Attributes
    ----------
    layer
        Dotted name of the layer.
    codec, channel
        What the layer's output goes through.
    wanted, batch_axis
        Which of the layer's tensors cross, and their axis that is the batch.
    stats
        What has crossed; `measuring` counts somewhere else for a while.
    crossed
        Tensors that went through the codec since the insertion, in training too.
    uncoded
        What the layer last returned beside them, as "path: what": integers, tensors without axes, what `tensors` left out.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        codec: Codec,
        channel: Channel | None,
        wanted: Wanted = ALL,
        batch_axis: int = 0,
    ) -> None:
        self.layer, module = find_layer(model, layer)
        taken = insertion_of(module)
        if taken is not None:
            raise LayerError(
                f"layer {self.layer!r} already carries {taken.codec.codec_id!r}: remove it first, "
                f"featcodec.insertion_at(model, {self.layer!r}) is its handle"
            )
        if any(m is codec for m in model.modules()):
            raise ConfigError("this codec is inserted in the model already: build another with get_codec(codec.config())")
        self.channel = channel
        self.stats = Stats()
        self.crossed = 0
        self.uncoded: tuple[str, ...] = ()
        self.wanted, self.batch_axis = wanted, batch_axis
        self._runs, self._has_warned = 0, False
        self._forwards: dict[int, _Forward] = {}
        self._codec = codec
        device = device_of(model, module)
        if codec.learned and device is not None:
            codec.to(device)
        self._place = Place(model, module)
        _forget_compiled()  # first, for it may fail: warnings of torch's may be errors
        self._place.attach(codec.train(module.training))
        self._handles = [
            module.register_forward_hook(self._cross),
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end, always_call=True),
        ]

    @property
    def codec(self) -> Codec:
        """The codec that was inserted."""
        return self._codec

    def cross(self, x: Tensor) -> Tensor:
        """Send a feature as the layer's output goes: through codec and channel, measured where bytes are made."""
        forward = _Forward()
        y = self._send(self._codec, x, forward)
        self._commit(forward)
        return y

    @contextmanager
    def measuring(self, stats: Stats) -> Iterator[Stats]:
        """Within this context what crosses is counted in other stats."""
        kept, self.stats = self.stats, stats
        try:
            yield stats
        finally:
            self.stats = kept

    def module_in(self, model: nn.Module) -> nn.Module:
        """Return the layer of a model that this codec sits at, or a copy's of that model.

        Raises
        ------
        LayerError
            It is not there: removed, or the layer was replaced, or the model is another.
        """
        try:
            _, module = find_layer(model, self.layer)
        except LayerError:
            module = nn.Identity()
        if insertion_of(module) is not self:
            raise LayerError(
                f"codec {self._codec.codec_id!r} is not at layer {self.layer!r} of this model: it was removed, or the layer "
                "was replaced after insert (insert again), or the model is another"
            )
        return module

    def remove(self) -> None:
        """Restore the model exactly; more than one call does no harm."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._place.detach(self._codec)
        _forget_compiled()

    def __enter__(self) -> Insertion:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove; warn where the model ran and nothing crossed."""
        self.remove()
        if error is None and self._runs and not self.crossed:
            self._warn(
                f"the model ran {self._runs} times and never called layer {self.layer!r}: nothing went through the codec"
            )

    def __repr__(self) -> str:
        """Show layer, codec, channel."""
        return f"Insertion(layer={self.layer!r}, codec={self._codec!r}, channel={self.channel!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave forwards that are under way out of copies."""
        return {**self.__dict__, "_forwards": {}}

    # ---- a forward of the model, in its thread --------------------------------------------------------------------------

    @eager
    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        me = threading.get_ident()
        running = self._forwards.get(me)
        if running is not None:  # the model calls itself
            running.depth += 1
            return
        samples, pixels, sizes = see(args, kwargs, self.batch_axis)
        self._forwards[me] = _Forward(model, sizes, sys.exc_info()[1], Crossing(samples or 0, pixels=pixels))

    @eager
    def _end(self, model: nn.Module, _: Any, __: Any) -> None:
        """After every forward; one that raised is not counted."""
        me = threading.get_ident()
        forward = self._forwards.get(me)
        if forward is None:
            return
        if sys.exc_info()[1] is not forward.handled:
            del self._forwards[me]
            return
        forward.depth -= 1
        if forward.depth:
            return
        del self._forwards[me]
        self._runs += 1
        if not forward.tensors:
            self.module_in(model)
        self._commit(forward)

    def _commit(self, forward: _Forward) -> None:
        # what a checkpointed segment computes again in the backward has been counted
        if forward.is_measured and forward.crossing.samples and torch._C._current_graph_task_id() == -1:
            self.stats.add(forward.crossing)

    # ---- a call of the layer --------------------------------------------------------------------------------------------

    @eager
    def _cross(self, module: nn.Module, _: Any, output: Any) -> Any:
        check_eager()
        running = self._forwards.get(threading.get_ident())
        forward = _Forward() if running is None else running
        codec = self._place.find(module, forward.model, self._codec)
        if type(output) is Tensor and self.wanted.takes((), output):  # what most layers return: no tree to walk
            self.uncoded = ()
            result = self._send(codec, output, forward)
        else:
            result = self._cross_leaves(codec, output, forward)
        if running is None:
            self._commit(forward)
        return result

    def _cross_leaves(self, codec: Codec, output: Any, forward: _Forward) -> Any:
        """Output with what crosses replaced; what is left as it is, is named in `uncoded`."""
        found: list[Path] = []
        rest: list[str] = []

        def send(path: Path, leaf: Any) -> Any:
            if isinstance(leaf, fx.Proxy):
                raise not_traceable("torch.fx")
            if self.wanted.takes(path, leaf):
                found.append(path)
                return self._send(codec, leaf, forward)
            if leaf is not None and not isinstance(leaf, (bool, int, float, str)):
                rest.append(f"{name_of(path)}: {describe(leaf)}")
            return leaf

        result = map_leaves(output, send)
        self._check_found(found, output)
        self.uncoded = tuple(rest)
        return result

    def _check_found(self, found: list[Path], output: Any) -> None:
        missing = [wanted for wanted in self.wanted.paths or () if not any(path[: len(wanted)] == wanted for path in found)]
        if found and not missing:
            return
        returned = ", ".join(f"{name_of(path)}: {describe(leaf)}" for path, leaf in leaves(output)) or type(output).__name__
        what = f"tensor that can cross at {name_of(missing[0])!r}" if missing else "floating-point tensor with an axis"
        raise FeatureTypeError(f"layer {self.layer!r} returns no {what}; it returns {returned}")

    def _send(self, codec: Codec, x: Tensor, forward: _Forward) -> Tensor:
        axis = self.batch_axis
        if axis >= x.ndim:
            raise FeatureError(f"layer {self.layer!r}: batch_axis is {axis}, the feature has shape {tuple(x.shape)}")
        self.crossed += 1
        forward.tensors += 1
        batch = x if axis == 0 else x.movedim(axis, 0)
        if batch.shape[0] != forward.crossing.samples:
            self._see_batch(batch.shape[0], forward)
        if codec.learned:
            _follow(codec, x.device)
        try:
            if codec.sends(batch, self.channel):
                way = codec.transmit(batch, self.channel)
                y = way.output
                forward.is_measured = True
                self._count(way, forward.crossing)
            else:
                # of all tensors and calls of one forward the losses add up
                before = codec.losses() if forward.has_trained else {}
                forward.has_trained = True
                y = codec(batch, self.channel)
                codec.keep_losses(before)
        except (FeatureError, FeatureTypeError, BitstreamError) as e:
            raise type(e)(f"layer {self.layer!r}: {e}") from e
        return y if axis == 0 else y.movedim(0, axis)

    def _see_batch(self, samples: int, forward: _Forward) -> None:
        if forward.model is None:  # called by itself: the tensor is all that is known
            forward.crossing.samples = max(forward.crossing.samples, samples)
        elif samples in forward.sizes or not forward.sizes:
            if forward.tensors == 1:
                forward.crossing.samples = samples
        else:
            self._warn(
                f"layer {self.layer!r} gives {samples} along axis {self.batch_axis}, the model was called with a batch of "
                f"{forward.sizes[0]}: every slice along that axis is a packet of its own. If another axis is the batch: "
                "insert(..., batch_axis=)"
            )

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(text, RuntimeWarning, stacklevel=3)

    def _count(self, way: Transmission, crossing: Crossing) -> None:
        packets = way.packets
        if not packets:
            return
        analog = packets[0].kind is PayloadKind.SYMBOLS
        crossing.elements += way.output.numel()
        crossing.payload_bits += way.payload_bits
        crossing.wire_bits += way.payload_bits + way.frame_bits
        crossing.encode_s += way.encode_s
        crossing.decode_s += way.decode_s
        crossing.tokens += way.crushed.tokens * len(packets)
        crossing.crushed_tokens += way.crushed.total
        if way.losses is not NOTHING_LOST:
            crossing.losses = crossing.losses + way.losses
        crossing.real_symbols += sum(packet.payload.size for packet in packets) if analog else 0
        modulated = self.channel is not None and self.channel.modulation is not None
        uses = self._complex_uses(packets) if analog or modulated else None
        crossing.complex_uses = None if uses is None or crossing.complex_uses is None else crossing.complex_uses + uses

    def _complex_uses(self, packets: list[Packet]) -> int:
        modulation = (self.channel.modulation if self.channel is not None else None) or "bpsk"
        return sum(ledger(packet, modulation=modulation).complex_uses for packet in packets)


def insert(
    model: nn.Module,
    layer: str | nn.Module,
    codec: Codec | Spec,
    channel: Channel | Spec | None = None,
    *,
    tensors: int | str | Sequence[int | str] | None = None,
    batch_axis: int = 0,
    example: Any = None,
) -> Insertion:
    """Send a layer's output through a codec from now on.

    Real bytes wherever no gradient is wanted or the model is in eval mode; in training the same values with the
    straight-through gradient. Code that torch.compile made before is made anew.

    Parameters
    ----------
    model
        The model; wrap it (DDP, torch.compile) after inserting.
    layer
        Dotted name of the layer, or the module itself.
    codec
        A codec or its spec. Its parameters appear among the model's while inserted, in `state_dict()` too: remove it before
        `save_pretrained`, or save what `Codec.save` writes beside the model as it was.
    channel
        A channel or its spec: what the packets meet on their way.
    tensors
        Which of the layer's tensors cross: an index, a key or a field's name, a path of them ("hidden.0"), or several. Unless
        given every floating-point tensor with an axis does, through tuples, lists, mappings and dataclasses.
    batch_axis
        The axis of these tensors that is the batch: 1 of an LSTM's state (layers, B, H), or of features with time first.
    example
        A batch of the model's inputs (`featcodec.inputs.call`): run once in eval mode, so that a spec of a learned codec may
        leave out its sizes (`featcodec.fit_spec`).

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

    Warns
    -----
    RuntimeWarning
        Once, when something crosses: the batch axis is not as long as the model's batch. On leaving a `with` block in which
        the model ran: the layer was never called.
    """
    wanted = Wanted.of(tensors)
    if isinstance(batch_axis, bool) or not isinstance(batch_axis, int) or batch_axis < 0:
        raise ConfigError(f"batch_axis is an axis, 0 or more, got {batch_axis!r}")
    if not isinstance(codec, Codec) and example is not None:
        codec = fit_spec(codec, feature_shape(model, layer, example, wanted, batch_axis))
    built = codec if isinstance(codec, Codec) else get_codec(codec)
    if channel is not None and not isinstance(channel, Channel):
        channel = get_channel(channel)
    return Insertion(model, layer, built, channel, wanted, batch_axis)


def feature_shape(
    model: nn.Module,
    layer: str | nn.Module,
    example: Any,
    wanted: Wanted = ALL,
    batch_axis: int = 0,
) -> tuple[int, ...]:
    """Return the shape of one sample of a layer's output, the first tensor that crosses.

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

    def look(_: nn.Module, __: Any, output: Any) -> None:
        seen.extend(tuple(leaf.shape) for path, leaf in leaves(output) if wanted.takes(path, leaf))

    handle = module.register_forward_hook(look)
    try:
        with evaluating(model), torch.no_grad():
            call(model, example)
    finally:
        handle.remove()
    if not seen:
        raise LayerError(f"layer {name!r} gave no floating-point tensor when the model ran on the example")
    return tuple(size for axis, size in enumerate(seen[0]) if axis != batch_axis)


def insertion_at(model: nn.Module, layer: str | nn.Module) -> Insertion | None:
    """Return the handle of the codec at a layer, None where there is none; LayerError where no layer, or several, match."""
    return insertion_of(find_layer(model, layer)[1])


def insertion_of(module: nn.Module) -> Insertion | None:
    """Return the insertion whose codec a module's output goes through, if there is one."""
    for hook in module._forward_hooks.values():
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, Insertion) and getattr(hook, "__func__", None) is Insertion._cross:
            return owner
    return None


def _follow(codec: Codec, device: torch.device) -> None:
    """Move a learned codec to where its features are."""
    weight = next(codec.parameters(), None)
    if weight is not None and weight.device != device:
        codec.to(device)


def _forget_compiled() -> None:
    """Have torch.compile make its code anew: it does not look whether hooks have come or gone."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        dynamo.reset()
