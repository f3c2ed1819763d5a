"""Served: a tail as a server takes it, whatever it is: what crosses to it, and a way from what crossed to an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from featcodec.bitstream import PayloadKind
from featcodec.codec import Codec
from featcodec.errors import ConfigError
from featcodec.parts import Crossing, Port, Tail
from featcodec.parts.symbols import BATCH
from featcodec.session import OPEN
from featcodec.sizes import names, parse
from featcodec.weights import fingerprint_of


@dataclass(frozen=True)
class Door:
    """What a tail takes through one port.

    Attributes
    ----------
    name
        As in a hello.
    dtype
        By name; empty where any will do.
    shape
        As in a hello: with a codec of one sample, else of the whole tensor; `OPEN` for any size. None where any shape will do.
    axis
        The one of which a codec's packets are samples; None for a tensor that is sent as it is.
    batch
        The batch axis, along which requests are joined; None where there is none that is known.
    codec
        None for a tensor that is sent as it is.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    axis: int | None
    batch: int | None
    codec: Codec | None

    def port(self, dtype: str, shape: Sequence[int]) -> Port:
        """Return the port of a session that agreed on a dtype and a shape."""
        sizes: list[int | str] = ["?" if size == OPEN else size for size in shape]
        if self.codec is None or self.axis is None:
            return Port(self.name, dtype, tuple(sizes), 0)
        sizes.insert(self.axis, BATCH)
        return Port(self.name, dtype, tuple(sizes), 0, self.axis, self.codec)


class Behind(Protocol):
    """What stands behind a cut."""

    fingerprint: str
    must_match: bool
    doors: tuple[Door, ...]
    sizes: tuple[str, ...]
    device: torch.device

    def run(self, crossing: Crossing) -> Any:
        """Return the output."""

    def step(self, crossing: Crossing, state: Any) -> tuple[Any, Any]:
        """Return the output and the state after it."""


class Served:
    """A tail as a server takes it.

    Parameters
    ----------
    tail
        A `featcodec.Tail`, which brings its codecs; or a module or callable that takes the feature (B, ...), decoded. Modules
        are in eval mode.
    codec
        That of the feature, in eval mode, where the tail brings none.
    stateful
        Keep a state for each session. A callable is then called as ``tail(feature, state)``, `state` being None at a session's
        first step, and returns the output and the next state. It may change the state in place: where it raises, the state is
        gone and the session ends.
    start
        Of a stateful `featcodec.Tail` (`export(own=)`): takes the first crossing and returns its own inputs by name. What the
        model returns under these names is the next state; it stays at the server.
    shape, dtype
        Of one sample, where the feature is to have these alone (-1: any size); else what a client says, within the limits.

    Raises
    ------
    ConfigError
        There is no codec, or one too many; a module is in training mode; a stateful tail lacks its start.
    """

    def __init__(
        self,
        tail: Tail | nn.Module | Callable[..., Any],
        codec: Codec | None = None,
        *,
        stateful: bool = False,
        start: Callable[[Crossing], Mapping[str, Any]] | None = None,
        shape: Sequence[int] | None = None,
        dtype: str = "",
    ) -> None:
        if isinstance(tail, Tail):
            if codec is not None or shape is not None or dtype:
                raise ConfigError("a featcodec.Tail brings its codecs, shapes and dtypes: give the tail alone")
            if stateful != (start is not None):
                raise ConfigError("start= says what a stateful featcodec.Tail begins with: give both or neither")
            self.behind: Behind = _BehindPorts(tail, start)
        else:
            if codec is None or start is not None:
                raise ConfigError("a module or callable needs the codec of its feature, and no start=")
            self.behind = _BehindFeature(tail, codec, None if shape is None else tuple(shape), dtype)
        self.stateful = stateful
        self.axes = None if stateful else _batch_axes(self.behind)

    @property
    def doors(self) -> tuple[Door, ...]:
        """What crosses, in order."""
        return self.behind.doors

    def kinds(self) -> dict[str, tuple[PayloadKind, int]]:
        """Return the kind of payload and the config_crc of each port that has a codec."""
        return {d.name: (d.codec.payload_kind, d.codec.config_crc()) for d in self.doors if d.codec is not None}


def _batch_axes(behind: Behind) -> dict[str, int] | None:
    """For each port the axis along which requests are joined; None where there is none: they are run one by one."""
    axes = {door.name: door.batch for door in behind.doors if door.batch is not None}
    return axes if len(axes) == len(behind.doors) and BATCH not in behind.sizes else None


class _BehindPorts:
    """A tail from a file, or from `featcodec.export`."""

    must_match = True

    def __init__(self, tail: Tail, start: Callable[[Crossing], Mapping[str, Any]] | None) -> None:
        self._tail, self._start = tail, start
        self.fingerprint, self.device, self.sizes = tail.fingerprint, tail.device, tail.about.sizes
        self.doors = tuple(_door(port) for port in tail.ports)

    def run(self, crossing: Crossing) -> Any:
        return self._tail(crossing)

    def step(self, crossing: Crossing, state: Any) -> tuple[Any, Any]:
        if self._start is None:
            raise ConfigError("the tail keeps no state")
        own = self._start(crossing) if state is None else state
        output = self._tail(crossing, **own)
        if not isinstance(output, dict) or not own.keys() <= output.keys():
            raise ConfigError(f"a stateful tail returns a dictionary with {', '.join(own)}, got {type(output).__name__}")
        return {name: x for name, x in output.items() if name not in own}, {name: output[name] for name in own}


def _door(port: Port) -> Door:
    shape = tuple(OPEN if isinstance(size, str) else size for axis, size in enumerate(port.shape) if axis != port.axis)
    mentions = [axis for axis, size in enumerate(port.shape) if isinstance(size, str) and BATCH in names(parse(size))]
    batch = mentions[0] if len(mentions) == 1 and port.shape[mentions[0]] == BATCH else None
    if port.codec is not None and batch != port.axis:
        batch = None  # packets that are no samples are not joined with another request's
    return Door(port.name, port.dtype, shape, port.axis, batch, port.codec)


class _BehindFeature:
    """A module, or any callable, behind one codec."""

    must_match = False
    sizes: tuple[str, ...] = ()

    def __init__(self, tail: Callable[..., Any], codec: Codec, shape: tuple[int, ...] | None, dtype: str) -> None:
        modules = [module for module in (tail, codec) if isinstance(module, nn.Module)]
        if any(module.training for module in modules):
            raise ConfigError("what is served is in eval mode: call eval() on the tail and on its codec")
        self._tail = tail
        state = tail.state_dict() if isinstance(tail, nn.Module) else None
        self.fingerprint = "" if state is None else fingerprint_of({}, state)
        self.device = next((x.device for x in (state or {}).values()), torch.device("cpu"))
        self.doors: tuple[Door, ...] = (Door("feature", dtype, shape, 0, 0, codec),)

    def run(self, crossing: Crossing) -> Any:
        with torch.no_grad():
            return self._tail(crossing["feature"])

    def step(self, crossing: Crossing, state: Any) -> tuple[Any, Any]:
        with torch.no_grad():
            output, state = self._tail(crossing["feature"], state)
        return output, state
