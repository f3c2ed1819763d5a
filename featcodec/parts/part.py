"""Head and Tail: the halves of a model, each of which lives without the other and without the model's source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from featcodec.errors import BitstreamError, FeatureError, FeatureTypeError
from featcodec.layouts import filled, taken
from featcodec.message import MAX_MESSAGE_ELEMENTS, Item, Message, PlainTensor
from featcodec.outline import Outline
from featcodec.parts.about import About
from featcodec.parts.module import Builder
from featcodec.parts.onnx import write_onnx
from featcodec.parts.port import Crossing, Port, tensor_of
from featcodec.parts.program import Program
from featcodec.sizes import compute, parse


class Part:
    """A half of a model.

    Attributes
    ----------
    about
        What it says of itself.
    program
        What it computes.
    """

    kind: str

    def __init__(self, about: About, program: Program) -> None:
        self.about, self.program = about, program

    @property
    def layer(self) -> str:
        """The layer behind which the model was cut."""
        return self.about.layer

    @property
    def ports(self) -> tuple[Port, ...]:
        """The tensors that cross, in order."""
        return self.about.ports

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes that cross as integers, in order."""
        return self.about.sizes

    @property
    def fingerprint(self) -> str:
        """What head and tail of one export share, and no others have."""
        return self.about.fingerprint

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.program.device

    def __repr__(self) -> str:
        """Show model, layer and the number of operations."""
        return f"{type(self).__name__}({self.about.model}, layer={self.layer!r}, operations={len(self.program.steps)})"

    def _check(self) -> int:
        return int(self.fingerprint[:8], 16)

    def _given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor | None]:
        """The program's inputs among what the half was called with."""
        names = [name for name, _ in self.about.call]
        if len(args) > len(names):
            raise FeatureTypeError(f"the {self.kind} takes {len(names)} inputs, {', '.join(names) or 'none'}; got {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names or name in given:
                wrong = (
                    "is given twice"
                    if name in given
                    else f"is not one of the {self.kind}'s inputs, {', '.join(names) or 'none'}"
                )
                raise FeatureTypeError(f"{name!r} {wrong}")
            given[name] = value
        found: dict[int, Any] = {}
        for name, layout in self.about.call:
            taken(layout, given.get(name), found, name)
        inputs: list[Tensor | None] = [None] * len(self.program.inputs)
        for leaf, wanted in enumerate(self.about.leaves):
            if isinstance(wanted, dict):
                if found.get(leaf, wanted["constant"]) not in (None, wanted["constant"]):
                    raise FeatureError(
                        f"the model was exported with {wanted['constant']!r} among its inputs, got {found[leaf]!r}"
                    )
            elif wanted is not None:
                inputs[wanted] = found.get(leaf)
        return inputs

    def _run(self, inputs: Sequence[Tensor | None], sizes: dict[str, int]) -> list[Tensor]:
        for value, about in zip(inputs, self.program.inputs, strict=True):
            if not isinstance(value, Tensor):
                raise FeatureTypeError(f"the {self.kind} needs the tensor {about['name']!r}, got {type(value).__name__}")
        return self.program.run(inputs, sizes)  # type: ignore[arg-type]

    def _output(self, results: Sequence[Tensor], known: Sequence[Tensor], sizes: Mapping[str, int]) -> Any:
        """What the model returns, as far as this half knows it."""

        def leaf(value: Any) -> Any:
            if value is None or "constant" in value:
                return None if value is None else value["constant"]
            if "known" in value:
                return known[value["known"]] if value["known"] < len(known) else None
            return results[value["result"]] if "result" in value else compute(parse(value["size"]), sizes)

        return filled(self.about.layout, [leaf(value) for value in self.about.outputs])

    def _sizes(self, inputs: Sequence[Tensor | None], sizes: dict[str, int]) -> Mapping[str, int]:
        """Every open size that shows."""
        shown = {n: x.shape[axis] for n, (i, axis) in self.program.bound.items() if isinstance(x := inputs[i], Tensor)}
        return self.program.all_sizes(sizes | shown)


class Head(Part):
    """The model before the cut."""

    kind = "head"

    def __call__(self, *args: Any, **kwargs: Any) -> Crossing:
        """Compute what crosses.

        Parameters
        ----------
        *args, **kwargs
            What the model is called with, tensors on the head's device or the CPU. Inputs that the head does not need may be
            left out, or None.

        Raises
        ------
        FeatureError, FeatureTypeError
            An input is missing, of another shape or dtype, or of sizes for which the model computes something else.
        """
        inputs = self._given(args, kwargs)
        results = self._run(inputs, {})
        sizes = self._sizes(inputs, {})
        count = len(self.ports)
        tensors = {port.name: x for port, x in zip(self.ports, results, strict=False)}
        known = tuple(results[count:])
        return Crossing(tensors, {name: sizes[name] for name in self.about.sizes}, known, self._output((), known, sizes))

    def pack(self, crossing: Crossing) -> bytes:
        """Return what crosses as one message; errors are those of `Codec.encode`."""
        return Message(self._check(), self.items(crossing)).to_bytes()

    def items(self, crossing: Crossing) -> tuple[Item, ...]:
        """Return what crosses as the items of a message."""
        items = (port.packed(crossing[port.name]) for port in self.ports)
        return (*items, *(crossing.sizes[name] for name in self.sizes))

    def outlines(self, crossing: Crossing | None = None) -> tuple[Outline, ...]:
        """Return what the head's other end compares of each tensor that crosses; the crossing is not looked at."""
        return tuple(port.outline() for port in self.ports)

    def known(self, crossing: Crossing) -> Any:
        """Return what of the model's output the head knows, None elsewhere."""
        return crossing.output

    @property
    def inputs(self) -> dict[str, tuple[int | str, ...]]:
        """Names of the tensors that it needs, with their shapes: integers, and expressions in the names of open sizes."""
        return {given["name"]: tuple(given["shape"]) for given in self.program.inputs}

    def tensor_from(self, array: NDArray[Any]) -> Tensor:
        """Return an array as the head takes it: a tensor on its device."""
        return torch.from_numpy(array).to(self.device)

    def array(self, tensor: PlainTensor) -> Tensor:
        """Return a tensor of the tail's output, on the CPU."""
        return tensor_of(tensor)

    def encode(self, *args: Any, **kwargs: Any) -> bytes:
        """Compute what crosses and return it as one message: `pack` of what the head gives."""
        return self.pack(self(*args, **kwargs))

    def module(self) -> fx.GraphModule:
        """Return the head as a module with its weights, for torch.compile or training on.

        It takes the tensors that the head needs and gives those that cross (one by itself, several as a tuple, with open sizes
        that no tensor shows behind them).
        """
        builder = Builder(self.program)
        results = [*builder.results[: len(self.ports)], *(builder.size(name) for name in self.about.sizes)]
        return builder.module(results[0] if len(results) == 1 else tuple(results))

    def to_onnx(self, path: str | Path) -> None:
        """Write the head as an ONNX file, with the networks and tables of its codecs, for `featcodec.device.Head`.

        Sizes stay open as in the head, but a device wants fixed ones around a learned codec (`export(fixed=)`). Values differ
        from torch's by rounding. What the head itself returns of the model's output is left out.

        Raises
        ------
        ConfigError
            A codec runs with torch alone.
        MissingDependencyError
            onnx or onnxscript is not installed.
        PartError
            torch finds no ONNX for it.
        """
        write_onnx(self.about, self.program, self.module(), path)


class Tail(Part):
    """The model behind the cut."""

    kind = "tail"

    def __call__(self, crossing: Crossing, **own: Any) -> Any:
        """Compute what the model returns from what crosses, tensors on the tail's device or the CPU.

        Parameters
        ----------
        **own
            Inputs that the tail has of its own (`export(own=)`), laid out as the model takes them; leaves that it does not
            need may be None.

        Returns
        -------
        Any
            Tensors in the tuples, lists and dictionaries that the model returns; dictionaries in place of dataclasses. Bit for
            bit what the model gives for this batch on this machine. None where the head knows a tensor and a message brought
            the crossing.

        Raises
        ------
        FeatureError, FeatureTypeError
            A tensor is missing, or of another shape or dtype than those that cross.
        """
        missing = [port.name for port in self.ports if port.name not in crossing]
        if missing:
            raise FeatureTypeError(f"what crosses lacks {', '.join(missing)}; it has {', '.join(crossing) or 'nothing'}")
        inputs = self._given((), own)
        inputs[: len(self.ports)] = [crossing[port.name] for port in self.ports]
        results = self._run(inputs, crossing.sizes)
        return self._output(results, crossing.known, self._sizes(inputs, crossing.sizes))

    def decode(self, message: bytes, *, max_elements: int = MAX_MESSAGE_ELEMENTS) -> Crossing:
        """Return what a message brings.

        Parameters
        ----------
        max_elements
            The most elements that its tensors may have together.

        Raises
        ------
        BitstreamError
            It is damaged, or of the head of another model, cut or codec.
        """
        parsed = Message.from_bytes(message, max_elements=max_elements)
        if parsed.check != self._check():
            raise BitstreamError(
                f"the message is of a head whose fingerprint begins with {parsed.check:08x}, this tail's is {self.fingerprint}"
            )
        count = len(self.ports)
        integers = parsed.items[count:]
        if len(parsed.items) != count + len(self.about.sizes) or not all(isinstance(item, int) for item in integers):
            raise BitstreamError(
                f"a message has {count} tensors and {len(self.about.sizes)} sizes, got {len(parsed.items)} items"
            )
        tensors = {port.name: port.unpacked(item, self.device) for port, item in zip(self.ports, parsed.items, strict=False)}
        sizes = {name: item for name, item in zip(self.about.sizes, integers, strict=True) if isinstance(item, int)}
        return Crossing(tensors, sizes)

    def run(self, message: bytes, *, max_elements: int = MAX_MESSAGE_ELEMENTS, **own: Any) -> Any:
        """Return what the model returns for a message: the call of what `decode` gives."""
        return self(self.decode(message, max_elements=max_elements), **own)

    def module(self) -> fx.GraphModule:
        """Return the tail as a module with its weights, for torch.compile or training on.

        It takes what the head's module gives, argument by argument, inputs of its own in between, and gives what the model
        returns.
        """
        builder = Builder(self.program)

        def leaf(value: Any) -> Any:
            if value is None or "known" in value:
                return None
            if "constant" in value:
                return value["constant"]
            return builder.results[value["result"]] if "result" in value else builder.size(parse(value["size"]))

        return builder.module(filled(self.about.layout, [leaf(value) for value in self.about.outputs]))
