"""Spec strings: "huffman:bits=4,axis=map" <-> an id and its parameters. Used for codecs and channels alike."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from featcodec.errors import ConfigError

Spec = str | Mapping[str, Any]

# Numbers as people and C write them, JSON's aside: .1, 1., +.5, 1.e3, +2
_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?|\+\d+(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def parse_spec(spec: Spec) -> tuple[str, dict[str, Any]]:
    """Split a spec into its id and parameters.

    Parameters
    ----------
    spec
        ``"id"``, ``"id:key=value,key=value"`` or ``{"id": ..., key: value}``. A value is JSON (``4``, ``0.5``, ``true``,
        ``null``, ``[1, 2]``), a number in another usual spelling (``.5``, ``1.``, ``+2``), else a string. A value in
        parentheses is kept whole, so that specs nest: ``"outer:inner=(huffman:bits=4)"``.

    Raises
    ------
    ConfigError
        The spec is malformed.
    """
    if isinstance(spec, Mapping):
        params = dict(spec)
        name = params.pop("id", None)
        if not isinstance(name, str):
            raise ConfigError(f'a config needs a string under "id", got {dict(spec)!r}')
        if any(not isinstance(key, str) for key in params):
            raise ConfigError(f"a config's keys are strings, got {dict(spec)!r}")
        return name, params
    if not isinstance(spec, str):
        raise ConfigError(f"a spec is a string or a mapping, got {type(spec).__name__}")
    name, _, rest = spec.partition(":")
    if not name:
        raise ConfigError(f"a spec begins with an id, got {spec!r}")
    params = {}
    for item in split_outside_parentheses(rest, ","):
        key, equals, value = item.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ConfigError(f"a spec's parameters are written key=value, got {item!r} in {spec!r}")
        if key.strip() in params:
            raise ConfigError(f"{key.strip()} is given twice in {spec!r}")
        params[key.strip()] = _parse_value(value.strip())
    return name, params


def split_chain(spec: str) -> list[str]:
    """Split ``"a:p=1+b:q=2"`` at each + outside parentheses that an id follows; the + of a number such as 1e+3 is none."""
    parts = split_outside_parentheses(spec, "+", lambda rest: not rest.strip() or rest.lstrip()[0].isalpha())
    return [part.strip() for part in parts]


def format_spec(config: Mapping[str, Any]) -> str:
    """Write a config as the spec string that `parse_spec` reads back (nested configs become specs in parentheses)."""
    name, params = parse_spec(config)
    items = ",".join(f"{key}={_format_value(value)}" for key, value in params.items())
    return f"{name}:{items}" if items else name


def near_names(name: str, known: Iterable[str]) -> str:
    """Write the clause of an error message that names what is close to `name`, else everything known."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(choices)}"


def build(kind: str, name: str, make: Callable[..., Any], params: Mapping[str, Any], allowed: Iterable[str]) -> Any:
    """Call `make(**params)` after checking that every parameter is known.

    Raises
    ------
    ConfigError
        A parameter is unknown or missing.
    """
    known = set(allowed)
    unknown = sorted(set(params) - known)
    if unknown:
        wanted = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        raise ConfigError(f"{kind} {name!r} has no parameter {', '.join(unknown)}; {wanted}")
    try:
        return make(**params)
    except TypeError as e:
        raise ConfigError(f"{kind} {name!r} cannot be built from {dict(params)!r}: {e}") from e


def split_outside_parentheses(text: str, separator: str, splits: Callable[[str], bool] = lambda rest: True) -> list[str]:
    """Return the parts of a text between separators that stand in no parentheses or brackets; [] of the empty text.

    A separator counts where `splits` says so of what comes after it.

    Raises
    ------
    ConfigError
        Parentheses do not match.
    """
    items, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if depth < 0:
            break
        if char == separator and depth == 0 and splits(text[i + 1 :]):
            items.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise ConfigError(f"parentheses do not match in {text!r}")
    last = text[start:]
    return [*items, last] if text else []


def check_int(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` where it is an integer in low..high; raise ConfigError where it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be an integer {low}..{high}, got {value!r}")
    return value


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return `value` where it is one of `choices`; raise ConfigError where it is not."""
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def check_bool(name: str, value: Any) -> bool:
    """Return `value` where it is a bool; raise ConfigError where it is not."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, got {value!r}")
    return value


def check_probability(name: str, value: Any) -> float:
    """Return `value` as a float where it lies in [0, 1]; raise ConfigError where it does not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} must be a probability in [0, 1], got {value!r}")
    return float(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float where it is a number in low..high; raise ConfigError where it is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"{name} must be a number {low:g}..{high:g}, got {value!r}")
    return float(value)


def read_value(text: str) -> Any:
    """Return what a text says: JSON, or a number in another usual spelling (``.5``, ``1.``, ``+2``); else the text itself."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        if _NUMBER.fullmatch(text) is None:
            return text
        value = int(text) if text[0] == "+" and text[1:].isdigit() else float(text)
    # json also reads NaN and Infinity, which no config may hold
    return text if isinstance(value, float) and value - value != 0 else value


def _parse_value(text: str) -> Any:
    return text[1:-1] if text.startswith("(") and text.endswith(")") else read_value(text)


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({format_spec(value)})"
    if isinstance(value, str):
        return f"({value})" if "," in value or ":" in value else value
    return json.dumps(value)
