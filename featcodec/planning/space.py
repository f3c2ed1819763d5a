"""The space of a search: what a split, a codec and its training may be."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcodec.errors import ConfigError
from featcodec.registry import codec_class
from featcodec.spec import near_names, parse_spec, read_value, split_outside_parentheses

LAYER, CODEC = "layer", "codec"
# what a point may say beside the codec's own parameters: the weight of its rate loss, the share of the head that is pruned
RATE_WEIGHT, SPARSITY = "rate_weight", "sparsity"
Point = dict[str, Any]

_RANGE = re.compile(r"(?P<low>[^.]*\.?[^.]*)\.\.(?P<high>[^:]+)(?P<log>:log)?")


@dataclass(frozen=True)
class Choices:
    """One of these values."""

    values: tuple[Any, ...]

    def to_list(self) -> list[Any]:
        """Return what it is, JSON only."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, whole where both are; `log`: as likely in every factor of two."""

    low: float
    high: float
    log: bool = False

    def to_list(self) -> list[Any]:
        """Return what it is, JSON only."""
        return [self.low, "..", self.high, *(["log"] if self.log else [])]


Dimension = Choices | Range


class Space:
    """Every point that a search may try.

    Parameters
    ----------
    dimensions
        By name: "layer" and "codec" (specs, whose parameters are fixed), which every space has; "sparsity"; "rate_weight",
        drawn for learned codecs; any parameter of the codecs, drawn for those that take it.

    Raises
    ------
    ConfigError
        There is nothing to choose from, or a name that no codec of the space takes.
    """

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        self.dimensions = dict(dimensions)
        for name in (LAYER, CODEC):
            if not isinstance(self.dimensions.get(name), Choices):
                raise ConfigError(f"a space chooses a {name} from a list: {name}=a,b")
        for name, dimension in self.dimensions.items():
            _check(name, dimension)
        self._takes = {spec: _parameters(spec) for spec in self._choices(CODEC)}
        known = {SPARSITY}.union(*self._takes.values())
        for name in self.dimensions:
            if name not in known | {LAYER, CODEC}:
                raise ConfigError(f"no codec of this space takes {name!r}; {near_names(name, known)}")

    def draw(self, choose: Callable[[str, Dimension], Any]) -> Point:
        """Return a point whose values `choose` gives, in an order that is always the same."""
        point: Point = {}
        for name in (LAYER, CODEC, *(n for n in self.dimensions if n not in (LAYER, CODEC))):
            if name in (LAYER, CODEC, SPARSITY) or name in self._takes[point[CODEC]]:
                point[name] = choose(name, self.dimensions[name])
        return point

    def points(self) -> Iterator[Point] | None:
        """Return every point, or None where there is no end of them."""
        values = {name: _all(dimension) for name, dimension in self.dimensions.items()}
        if any(found is None for found in values.values()):
            return None
        return self._points({name: found for name, found in values.items() if found is not None})

    def _points(self, values: Mapping[str, Sequence[Any]]) -> Iterator[Point]:
        seen: set[str] = set()
        for chosen in itertools.product(*values.values()):
            given = dict(zip(values, chosen, strict=True))
            point = self.draw(lambda name, _, given=given: given[name])  # type: ignore[misc]
            if repr(point) not in seen:
                seen.add(repr(point))
                yield point

    def _choices(self, name: str) -> tuple[Any, ...]:
        dimension = self.dimensions[name]
        assert isinstance(dimension, Choices)
        return dimension.values

    def to_dict(self) -> dict[str, Any]:
        """Return the dimensions, JSON only."""
        return {name: dimension.to_list() for name, dimension in self.dimensions.items()}


def codec_spec(point: Point) -> dict[str, Any]:
    """Return the config of a point's codec: its spec's parameters and those drawn."""
    name, params = parse_spec(point[CODEC])
    drawn = {key: value for key, value in point.items() if key not in (LAYER, CODEC, RATE_WEIGHT, SPARSITY)}
    return {"id": name, **params, **drawn}


def point_name(point: Point) -> str:
    """Return a point in a line: layer, codec, and the rest as name=value."""
    rest = [f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}" for name, value in point.items()]
    return " ".join([str(point[LAYER]), str(point[CODEC]), *rest[2:]])


def read_space(items: Sequence[str]) -> Space:
    """Read a space as it is written on a command line.

    Parameters
    ----------
    items
        ``name=a,b,c``, a choice; ``name=1..8``, whole numbers; ``name=.5..4`` or ``name=.001..1:log``, any numbers. A codec
        with parameters goes into parentheses: ``codec=dsc,(huffman:bits=4,axis=map)``.

    Raises
    ------
    ConfigError
        One is malformed, or the space is none.
    """
    dimensions: dict[str, Dimension] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"what a space chooses from is written name=a,b or name=low..high, got {item!r}")
        if name in dimensions:
            raise ConfigError(f"{name} is given twice")
        dimensions[name] = _read(name, text)
    return Space(dimensions)


def _read(name: str, text: str) -> Dimension:
    found = _RANGE.fullmatch(text)
    if found is not None and name not in (LAYER, CODEC):
        low, high = (read_value(found[side]) for side in ("low", "high"))
        if not all(isinstance(side, (int, float)) for side in (low, high)):
            raise ConfigError(f"{name} ranges from a number to a number, got {text!r}")
        return Range(low, high, found["log"] is not None)
    values = [value.strip() for value in split_outside_parentheses(text, ",") if value.strip()]
    if name == CODEC:
        return Choices(tuple(v[1:-1] if v.startswith("(") and v.endswith(")") else v for v in values))
    return Choices(tuple(values if name == LAYER else map(read_value, values)))


def _check(name: str, dimension: Dimension) -> None:
    if isinstance(dimension, Choices) and not dimension.values:
        raise ConfigError(f"{name} has nothing to choose from")
    if isinstance(dimension, Range):
        if not dimension.low < dimension.high:
            raise ConfigError(f"{name} ranges upwards, got {dimension.low}..{dimension.high}")
        if dimension.log and dimension.low <= 0:
            raise ConfigError(f"{name} ranges by factors from above 0, got {dimension.low}")


def _parameters(spec: Any) -> set[str]:
    """What a codec takes beside what its spec has fixed; a learned one a weight of its rate loss, too."""
    name, fixed = parse_spec(spec)
    cls = codec_class(name)
    own = {key for key in inspect.signature(cls).parameters if key not in fixed}
    return own | ({RATE_WEIGHT} if cls.learned else set())


def is_whole(dimension: Range) -> bool:
    """Return whether a range is one of whole numbers."""
    return isinstance(dimension.low, int) and isinstance(dimension.high, int)


def _all(dimension: Dimension) -> Sequence[Any] | None:
    if isinstance(dimension, Choices):
        return dimension.values
    return range(int(dimension.low), int(dimension.high) + 1) if is_whole(dimension) else None
