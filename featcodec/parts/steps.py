"""The steps of a program: operations whose arguments are put together from values, and what they would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from featcodec.errors import PartError
from featcodec.parts.recurrent import WITHOUT_VALUES


class Slot(int):
    """Where a value stands while a program runs."""


class Step(NamedTuple):
    """One operation, ready to be called."""

    name: str
    target: Any  # None: one of several results
    args: list[Any]
    direct: tuple[tuple[int, int], ...]  # arguments that are slots: position, slot
    nested: tuple[tuple[int, Any], ...]  # lists with slots in them
    kwargs: dict[str, Any]
    open_kwargs: dict[str, Any]
    result: int
    frees: tuple[int, ...]

    def reads(self) -> Iterator[int]:
        """Yield the slots that it reads."""
        if self.target is None:
            yield self.args[0]
        yield from (slot for _, slot in self.direct)
        for value in (*(parts for _, parts in self.nested), *self.open_kwargs.values()):
            yield from (part for part in (value if isinstance(value, list) else [value]) if isinstance(part, Slot))


def is_open(value: Any) -> bool:
    """Return whether an argument is a slot or has some in it."""
    return isinstance(value, Slot) or (isinstance(value, list) and any(isinstance(part, Slot) for part in value))


def filled(value: Any, values: Sequence[Any]) -> Any:
    """Return an argument with values in place of slots."""
    if isinstance(value, list):
        return [values[part] if isinstance(part, Slot) else part for part in value]
    return values[value] if isinstance(value, Slot) else value


def execute(steps: Sequence[Step], values: list[Any]) -> None:
    """Run steps, each putting its result among the values.

    Raises
    ------
    PartError
        One fails.
    """
    step = None
    try:
        for step in steps:
            _, target, args, direct, nested, kwargs, open_kwargs, result, frees = step
            if target is None:
                values[result] = values[args[0]][args[1]]
            else:
                args = args.copy()
                for at, slot in direct:
                    args[at] = values[slot]
                for at, parts in nested:
                    args[at] = [values[part] if isinstance(part, Slot) else part for part in parts]
                if open_kwargs:
                    kwargs = kwargs | {key: filled(value, values) for key, value in open_kwargs.items()}
                values[result] = target(*args, **kwargs)
            for slot in frees:
                values[slot] = None
    except Exception as e:  # whatever torch raises for arguments that do not fit
        assert step is not None
        said = str(e).splitlines()
        raise PartError(f"operation {step.result}, {step.name}, fails: {said[0] if said else repr(e)}") from e


def weigh(values: list[Any], steps: Sequence[Step], most_bytes: int) -> None:
    """Run steps on tensors without values (device "meta").

    Raises
    ------
    PartError
        One fails, or more bytes would be in use at a time.
    """
    users = Counter(value.untyped_storage()._cdata for value in values if isinstance(value, Tensor))
    held: dict[int, list[tuple[int, int]]] = {}
    total = 0
    with torch.no_grad():
        for step in steps:
            # torch would unroll a recurrent layer
            execute([step._replace(target=WITHOUT_VALUES.get(step.target, step.target), frees=())], values)
            made = values[step.result]
            for tensor in made if isinstance(made, (tuple, list)) else [made]:
                if not isinstance(tensor, Tensor):
                    raise PartError(f"operation {step.result}, {step.name}, gives a {type(tensor).__name__} and no tensor")
                storage = tensor.untyped_storage()
                users[storage._cdata] += 1
                size = storage.nbytes() if users[storage._cdata] == 1 else 0
                held.setdefault(step.result, []).append((storage._cdata, storage.nbytes()))
                total += size
            if total > most_bytes:
                raise PartError(
                    f"operation {step.result}, {step.name}, would have {total} bytes in use, at most {most_bytes} are taken"
                )
            for slot in step.frees:
                for storage_key, size in held.pop(slot, ()):
                    users[storage_key] -= 1
                    total -= 0 if users[storage_key] else size
                values[slot] = None
