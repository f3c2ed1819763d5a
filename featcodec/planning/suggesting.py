"""How a space's dimensions are put to Optuna: numbers to choose from by their place, so that a sampler knows which are near."""

from __future__ import annotations

from typing import Any

import optuna

from featcodec.planning.space import Choices, Dimension, Point, Space, is_whole


def _ordered(dimension: Choices) -> list[Any] | None:
    """Numbers to choose from, from the least; None where they are not all numbers."""
    values = dimension.values
    is_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return sorted(set(values)) if is_numbers else None


def _parameter(name: str, dimension: Dimension) -> str:
    return f"{name} (place)" if isinstance(dimension, Choices) and _ordered(dimension) else name


def _coded(value: Any, dimension: Dimension) -> Any:
    ordered = _ordered(dimension) if isinstance(dimension, Choices) else None
    return ordered.index(value) if ordered else value


def suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> Any:
    """Draw a value of a dimension."""
    parameter = _parameter(name, dimension)
    if isinstance(dimension, Choices):
        ordered = _ordered(dimension)
        if ordered:
            return ordered[trial.suggest_int(parameter, 0, len(ordered) - 1)]
        return trial.suggest_categorical(parameter, dimension.values)
    if is_whole(dimension):
        return trial.suggest_int(parameter, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(parameter, dimension.low, dimension.high, log=dimension.log)


def parameters(point: Point, space: Space) -> dict[str, Any]:
    """Return a point as Optuna's parameters, to be tried next."""
    named = ((name, value, space.dimensions[name]) for name, value in point.items())
    return {_parameter(name, dimension): _coded(value, dimension) for name, value, dimension in named}
