"""A half's program: what it is given, its operations one after another, what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featcodec.conditions import Conditions
from featcodec.errors import FeatureTypeError, PartError
from featcodec.parts.operations import FRESH, GETITEM, WRITING, check_call, resolve
from featcodec.parts.steps import Slot, Step, execute, is_open, weigh
from featcodec.sizes import Size, compute, names, parse

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16),
        *(torch.float32, torch.float64, torch.complex64, torch.complex128),
    )
}
_FORMATS = {
    str(format_).removeprefix("torch."): format_
    for format_ in (torch.contiguous_format, torch.channels_last, torch.channels_last_3d, torch.preserve_format)
}
_MOST_SHAPES = 64  # whose sizes are kept


class Program:
    """A program and its tensors.

    Parameters
    ----------
    spec
        The JSON: docs/parts.md. Believed in nothing.
    tensors
        By name, on the device.
    most_bytes
        What its intermediate results may take at a time; None where the program is this process's own.

    Raises
    ------
    PartError
        It is no program.
    """

    def __init__(
        self, spec: dict[str, Any], tensors: Mapping[str, Tensor], device: torch.device, most_bytes: int | None = None
    ) -> None:
        self.spec, self.device, self.most_bytes = spec, device, most_bytes
        self.inputs: list[dict[str, Any]] = spec["inputs"]
        self._conditions = Conditions([(i["name"], i["shape"]) for i in self.inputs], spec["derived"], spec["guards"])
        self.shapes, self.bound, self.derived = self._conditions.shapes, self._conditions.bound, self._conditions.derived
        self.tensors = {about["name"]: tensors[about["name"]] for about in spec["tensors"]}
        self._stored = list(self.tensors.values())
        self.open_sizes: list[Size] = []
        self._size_slots: dict[str, int] = {}
        self._ready: dict[Any, list[int]] = {}
        self._compile()

    # ---- reading --------------------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        operations = self.spec["operations"]
        first = len(self.inputs) + len(self.spec["tensors"])
        count = first + len(operations)
        self._device_slot, self._first_size = count, count + 1
        known = {*self.bound, *self.spec["sizes"]}
        for name, size in self.derived:
            known |= {name} if names(size) <= known else set()
        self.steps: list[Step] = []
        fresh: set[int] = set()
        for i, (name, args, kwargs) in enumerate(operations):
            here = first + i
            if name == GETITEM:
                source, index = args
                step = Step(name, None, [self._slot(source, here), index], (), (), {}, {}, here, ())
                self.steps.append(step)
                continue
            check_call(name, args, kwargs)
            made = [self._argument(value, here, known) for value in args]
            named = {key: self._argument(value, here, known) for key, value in kwargs.items()}
            if name in WRITING and not (made and isinstance(made[0], Slot) and made[0] in fresh):
                raise PartError(f"operation {i}, {name}, writes into what is not its own")
            if name in FRESH or name in WRITING:
                fresh.add(here)
            self.steps.append(
                Step(
                    name,
                    resolve(name),
                    [None if is_open(value) else value for value in made],
                    tuple((at, int(value)) for at, value in enumerate(made) if isinstance(value, Slot)),
                    tuple((at, value) for at, value in enumerate(made) if isinstance(value, list) and is_open(value)),
                    {key: value for key, value in named.items() if not is_open(value)},
                    {key: value for key, value in named.items() if is_open(value)},
                    here,
                    (),
                )
            )
        self.results: list[int] = list(self.spec["results"])
        self._free(first)

    def _free(self, first: int) -> None:
        """Let each step drop what nobody reads after it."""
        last: dict[int, int] = {}
        for i, step in enumerate(self.steps):
            for slot in (*step.reads(), step.result):
                last[slot] = i
        kept = {*range(first), *self.results}
        for i, step in enumerate(self.steps):
            mine = {slot for slot in (*step.reads(), step.result) if last[slot] == i and slot not in kept}
            self.steps[i] = step._replace(frees=tuple(sorted(slot for slot in mine if slot < self._device_slot)))

    def _slot(self, value: Any, before: int) -> Slot:
        number: Any = value.get("v") if isinstance(value, dict) and len(value) == 1 else None
        if type(number) is not int or not 0 <= number < before:
            raise PartError(f"operation {before}'s argument {str(value)[:80]} is no value from before it")
        return Slot(number)

    def _argument(self, value: Any, before: int, known: set[str], depth: int = 0) -> Any:
        if isinstance(value, list):
            if depth:
                raise PartError("an operation's arguments are lists of values at most, not lists of lists")
            return [self._argument(item, before, known, 1) for item in value]
        if not isinstance(value, dict):
            return value
        ((tag, content),) = value.items()
        if tag == "v":
            return self._slot(value, before)
        if tag == "s":
            return self._size_slot(content, known)
        if tag == "device":
            return Slot(self._device_slot)
        if tag == "f" and content in ("inf", "-inf", "nan"):
            return float(content)
        tables: dict[str, dict[Any, Any]] = {"dtype": DTYPES, "memory_format": _FORMATS, "layout": {"strided": torch.strided}}
        found = tables.get(tag, {}).get(content)
        if found is None:
            raise PartError(f"an operation's argument is {str(value)[:80]}, which is none that a part has")
        return found

    def _size_slot(self, text: str, known: set[str]) -> Slot:
        if text not in self._size_slots:
            size = parse(text)
            if not names(size) <= known:
                raise PartError(f"the size {text[:80]!r} is made of names that no input has: {sorted(names(size) - known)[:4]}")
            self._size_slots[text] = self._first_size + len(self.open_sizes)
            self.open_sizes.append(size)
        return Slot(self._size_slots[text])

    # ---- running --------------------------------------------------------------------------------------------------------

    def run(self, inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> list[Tensor]:
        """Compute the results.

        Raises
        ------
        FeatureTypeError, FeatureError
            An input is of another dtype or shape, or of sizes for which the model computes something else.
        PartError
            An operation fails, or would take too much memory.
        """
        values = self.values(inputs, sizes)
        with torch.no_grad():
            execute(self.steps, values)
        return [values[slot] for slot in self.results]

    def values(self, inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> list[Any]:
        """Return a place for every value, as `execute` fills them; what is known is filled in. Errors are those of `run`."""
        with torch.no_grad():
            return self._values(inputs, self._prepared(inputs, sizes), self.device)

    def _values(self, inputs: Sequence[Tensor], numbers: list[int], device: torch.device) -> list[Any]:
        """A place for every value, those that are known filled in."""
        ordered = [in_order(x.to(device), about["order"]) for x, about in zip(inputs, self.inputs, strict=True)]
        tensors = self._stored if device == self.device else [x.to(device) for x in self._stored]
        return [*ordered, *tensors, *[None] * len(self.steps), device, *numbers]

    def _prepared(self, inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> list[int]:
        """The sizes among arguments, computed and checked once for each shape of the inputs."""
        key = (*(x.shape for x in inputs), *(x.dtype for x in inputs), *(sizes[name] for name in self.spec["sizes"]))
        found = self._ready.get(key)
        if found is None:
            found = self._checked(inputs, sizes)
            if len(self._ready) >= _MOST_SHAPES:
                self._ready.clear()
            self._ready[key] = found
        return found

    def all_sizes(self, known: Mapping[str, int]) -> Mapping[str, int]:
        """Return sizes with those that are derived from them; not to be changed."""
        return self._conditions.all_sizes(known)

    def _checked(self, inputs: Sequence[Tensor], sizes: Mapping[str, int]) -> list[int]:
        for x, about in zip(inputs, self.inputs, strict=True):
            if x.dtype != DTYPES[about["dtype"]]:
                raise FeatureTypeError(f"{about['name']} is {about['dtype']}, got {str(x.dtype).removeprefix('torch.')}")
        given = {name: sizes[name] for name in self.spec["sizes"]}
        known = self._conditions.check([tuple(x.shape) for x in inputs], given)
        numbers = [compute(size, known) for size in self.open_sizes]
        if self.most_bytes is not None:
            weigh(self._values(inputs, numbers, torch.device("meta")), self.steps, self.most_bytes)
        return numbers


def in_order(x: Tensor, order: Sequence[int] | None) -> Tensor:
    """Return a tensor with its axes in this order in memory, from the outermost to the innermost; as it is for None."""
    if order is None:
        return x
    return x.permute(*order).contiguous().permute(*(order.index(axis) for axis in range(len(order))))
