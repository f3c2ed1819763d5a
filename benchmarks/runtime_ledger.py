"""How every request ended: in one result or one error, and the result its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_APART = 10.0  # how many times the tolerance known outputs are apart, at least


@dataclass
class Ledger:
    """Requests by number; request i is of input i modulo the known inputs.

    Parameters
    ----------
    known
        (inputs, ...): the output of each input, as one process has it. No two are alike.
    tolerance
        By how much an element of a result may differ from its known output: a batched network rounds otherwise.

    Raises
    ------
    ValueError
        Two known outputs are so near each other that a result of one might pass for the other's.
    """

    known: Tensor
    tolerance: float = 1e-4
    ended: Counter[int] = field(default_factory=Counter)
    results: int = 0
    strangers: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse outputs that tell nothing apart."""
        flat = self.known.flatten(1)
        apart = torch.cdist(flat, flat, p=torch.inf).fill_diagonal_(torch.inf)
        if float(apart.min()) < _APART * self.tolerance:
            first, second = divmod(int(apart.argmin()), len(flat))
            raise ValueError(
                f"inputs {first} and {second} have outputs {float(apart.min()):.1e} apart: results cannot be told apart"
            )

    def result(self, number: int, output: Tensor) -> None:
        """Count a request that ended in a result."""
        self.ended[number] += 1
        self.results += 1
        wanted = self.known[number % len(self.known)]
        if output.shape != wanted.shape or not float((output - wanted).abs().max()) <= self.tolerance:
            self.strangers += 1

    def error(self, number: int, cause: str) -> None:
        """Count a request that ended in an error."""
        self.ended[number] += 1
        self.errors[cause] += 1

    def figures(self, requests: int) -> dict[str, Any]:
        """Return how requests 0..requests-1 ended; `exact`: each once, and every result its own."""
        missing = sum(number not in self.ended for number in range(requests))
        unknown = sum(number not in range(requests) for number in self.ended)
        twice = sum(times > 1 for times in self.ended.values())
        return {
            "requests": requests,
            "results": self.results,
            "errors": dict(self.errors),
            "missing": missing,
            "twice": twice,
            "never_sent": unknown,
            "strangers": self.strangers,
            "exact": not (missing or twice or unknown or self.strangers),
        }
