"""Sizes as expressions ("T.1 // 16 + 1"), as a part's file holds them: parsed and computed here, never run as code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from featcodec.errors import PartError

# an integer, a name, or an operation with what it is of
Size: TypeAlias = "int | str | tuple[Any, ...]"

MAX_CHARACTERS = 4096
MAX_DEPTH = 32
MAX_OPERATORS = 200
_MAX_BITS = 63

_TOKEN = re.compile(r"\s*([0-9]+|[A-Za-z_][A-Za-z0-9_.]*|//|\*\*|[<>=!]=|[-+*%<>(),])")
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_WORDS = ("and", "or", "not", "max", "min")


def parse(text: str) -> Size:
    """Parse an expression of integers, names, + - * // % **, max and min, comparisons, and, or, not.

    Raises
    ------
    PartError
        It is none, too long or too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise PartError(f"a size is an expression of at most {MAX_CHARACTERS} characters, got {len(text)}")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent, an operator's level of binding each a method."""

    def __init__(self, text: str) -> None:
        self._text, self._depth, self._operators = text, 0, 0
        self._tokens = list(self._cut(text))
        self._at = 0

    def whole(self) -> Size:
        value = self._either()
        if self._at < len(self._tokens):
            raise self._wrong(self._tokens[self._at])
        return value

    def _cut(self, text: str) -> Iterator[str]:
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._wrong(text[at : at + 8].strip())
            at = found.end()
            yield found.group(1)

    def _wrong(self, token: str) -> PartError:
        return PartError(f"{self._text[:80]!r} is no size: {token!r} is not expected there")

    def _next(self, *wanted: str) -> str | None:
        """The next token, taken, where it is one of these."""
        if self._at < len(self._tokens) and self._tokens[self._at] in wanted:
            self._at += 1
            return self._tokens[self._at - 1]
        return None

    def _chain(self, inner: Callable[[], Size], *operators: str) -> Size:
        value = inner()
        while (operator := self._next(*operators)) is not None:
            value = self._joined(operator, value, inner())
        return value

    def _joined(self, operator: str, *parts: Size) -> Size:
        self._operators += 1
        # a long chain is a deep tree
        if self._operators > MAX_OPERATORS:
            raise PartError(f"{self._text[:80]!r} has more than {MAX_OPERATORS} operators")
        return (operator, *parts)

    def _either(self) -> Size:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise PartError(f"{self._text[:80]!r} is nested more than {MAX_DEPTH} deep")
        value = self._chain(self._both, "or")
        self._depth -= 1
        return value

    def _both(self) -> Size:
        return self._chain(self._negated, "and")

    def _negated(self) -> Size:
        inverted = 0
        while self._next("not"):
            inverted += 1
        value = self._sum()
        if (operator := self._next(*_COMPARISONS)) is not None:
            value = self._joined(operator, value, self._sum())
        return self._joined("not", value) if inverted % 2 else value

    def _sum(self) -> Size:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Size:
        return self._chain(self._signed, "*", "//", "%")

    def _signed(self) -> Size:
        negative = 0
        while self._next("-"):
            negative += 1
        value = self._chain(self._atom, "**")
        return self._joined("-", 0, value) if negative % 2 else value

    def _atom(self) -> Size:
        if self._at == len(self._tokens):
            raise self._wrong("its end")
        token = self._tokens[self._at]
        self._at += 1
        if token.isdigit():
            if int(token).bit_length() > _MAX_BITS:
                raise PartError(f"{token[:80]} takes more than {_MAX_BITS} bits")
            return int(token)
        if token == "(":
            value = self._either()
            self._expect(")")
            return value
        if token in ("max", "min"):
            self._expect("(")
            value = self._either()
            while self._next(","):
                value = self._joined(token, value, self._either())
            self._expect(")")
            return value
        if token in _WORDS or not (token[0].isalpha() or token[0] == "_"):
            raise self._wrong(token)
        return token

    def _expect(self, token: str) -> None:
        if not self._next(token):
            raise self._wrong(self._tokens[self._at] if self._at < len(self._tokens) else "its end")


def names(size: Size) -> set[str]:
    """Return the names in an expression."""
    if isinstance(size, tuple):
        return {name for part in size[1:] for name in names(part)}
    return {size} if isinstance(size, str) else set()


def operators(size: Size) -> set[str]:
    """Return the operators in an expression."""
    return set().union({size[0]}, *map(operators, size[1:])) if isinstance(size, tuple) else set()


def walk(size: Size, values: Mapping[str, Any], apply: Callable[..., Any]) -> Any:
    """Return an expression with values in place of names and `apply(operator, *operands)` in place of operations."""
    if isinstance(size, tuple):
        return apply(size[0], *(walk(part, values, apply) for part in size[1:]))
    return values[size] if isinstance(size, str) else size


def compute(size: Size, values: Mapping[str, int]) -> int:
    """Compute an expression; comparisons give 0 or 1.

    Raises
    ------
    PartError
        A name has no value, a divisor is zero, or something does not fit 63 bits.
    """
    try:
        return int(walk(size, values, _apply))
    except KeyError as e:
        raise PartError(f"the size {e.args[0]!r} is not known") from e
    except ZeroDivisionError as e:
        raise PartError(f"a size divides by zero: {text_of(size)}, with {dict(values)}") from e


_COMPUTE: dict[str, Callable[..., int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "max": max,
    "min": min,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": lambda a: not a,
}


def _apply(operator: str, *operands: int) -> int:
    if operator == "**":
        base, exponent = operands
        # before the power is made: it may fill the memory
        if not 0 <= exponent <= _MAX_BITS or (base.bit_length() - 1) * exponent > _MAX_BITS:
            raise PartError(f"a size is {base} ** {exponent}: too large")
        value = int(base**exponent)
    else:
        value = _COMPUTE[operator](*operands)
    if abs(value) >> _MAX_BITS:
        raise PartError(f"a size is {value}: it takes more than {_MAX_BITS} bits")
    return value


def text_of(size: Size) -> str:
    """Write an expression as `parse` reads it."""
    if not isinstance(size, tuple):
        return str(size) if isinstance(size, str) or size >= 0 else f"(0 - {-size})"
    operator, *parts = size
    if operator in ("max", "min"):
        return f"{operator}({', '.join(map(text_of, parts))})"
    if operator == "not":
        return f"not ({text_of(parts[0])})"
    left, right = (text_of(part) if _stands_alone(part) else f"({text_of(part)})" for part in parts)
    if operator in ("+", "*", "and", "or") and isinstance(parts[0], tuple) and parts[0][0] == operator:
        left = text_of(parts[0])
    return f"{left} {operator} {right}"


def _stands_alone(size: Size) -> bool:
    return not isinstance(size, tuple) or size[0] in ("max", "min")
