"""What the JSON of a part's file may be: every field's type, every number's range, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featcodec.errors import PartError
from featcodec.layouts import check_layout
from featcodec.parts.operations import GETITEM
from featcodec.parts.program import DTYPES

MOST = {
    "inputs": 256,
    "sizes": 256,
    "derived": 1 << 14,
    "guards": 1 << 14,
    "tensors": 1 << 16,
    "operations": 1 << 18,
    "results": 1024,
    "ports": 256,
    "call": 256,
    "leaves": 4096,
    "outputs": 4096,
    "arguments": 4096,
}
_TEXT = 256
_EXPRESSION = 4096
_RANK = 16

Check = Callable[[Any], None]


def _refuse(what: str, wanted: str, got: Any) -> PartError:
    return PartError(f"a part's {what} is {wanted}, got {str(got)[:80]}")


def text(what: str, most: int = _TEXT) -> Check:
    """Return a check for a string."""

    def check(value: Any) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise _refuse(what, f"a string of at most {most} characters", value)

    return check


def whole(what: str, least: int, most: int) -> Check:
    """Return a check for an integer in a range, its ends included."""

    def check(value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise _refuse(what, f"an integer, {least}..{most}", value)

    return check


def record(what: str, **fields: Check) -> Check:
    """Return a check for a dictionary of just these fields."""

    def check(value: Any) -> None:
        if not isinstance(value, dict) or value.keys() != fields.keys():
            got = sorted(value) if isinstance(value, dict) else value
            raise _refuse(what, f"a dictionary of {', '.join(sorted(fields))}", got)
        for name, inner in fields.items():
            inner(value[name])

    return check


def several(what: str, most: int, inner: Check) -> Check:
    """Return a check for a list."""

    def check(value: Any) -> None:
        if not isinstance(value, list) or len(value) > most:
            got = f"{len(value)} of them" if isinstance(value, list) else value
            raise _refuse(what, f"a list of at most {most}", got)
        for item in value:
            inner(item)

    return check


def either(*checks: Check) -> Check:
    """Return a check that one of several passes; the last one's complaint where none does."""

    def check(value: Any) -> None:
        for inner in checks[:-1]:
            try:
                inner(value)
            except PartError:
                continue
            return
        checks[-1](value)

    return check


def just(what: str, *values: Any) -> Check:
    """Return a check for one of some values."""

    def check(value: Any) -> None:
        if not any(type(value) is type(wanted) and value == wanted for wanted in values):
            raise _refuse(what, f"one of {', '.join(map(str, values[:16]))}", value)

    return check


_number = whole("number", -(1 << 63), (1 << 63) - 1)
_shape = several("shape", _RANK, either(whole("size", 0, 1 << 40), text("size", _EXPRESSION)))


def _order(value: Any) -> None:
    if value is not None and (not isinstance(value, list) or any(type(a) is not int for a in value)):
        raise _refuse("order of axes", "null or a list of axes", value)
    if value is not None and sorted(value) != list(range(len(value))):
        raise _refuse("order of axes", "a permutation", value)


def _constant(value: Any) -> None:
    if isinstance(value, str):
        text("constant")(value)
    elif type(value) is int:
        _number(value)
    elif value is not None and not isinstance(value, (bool, float)):
        raise _refuse("constant", "null, a bool, a number or a string", value)


def _argument(value: Any) -> None:
    if isinstance(value, list):
        several("argument", MOST["arguments"], _single)(value)
    else:
        _single(value)


def _single(value: Any) -> None:
    if not isinstance(value, dict):
        _constant(value)
    elif len(value) != 1 or next(iter(value)) not in _TAGGED:
        raise _refuse("argument", f"a constant, a list or one of {', '.join(_TAGGED)}", value)
    else:
        ((tag, content),) = value.items()
        _TAGGED[tag](content)


_TAGGED = {
    "v": whole("value's number", 0, 1 << 20),
    "s": text("size", _EXPRESSION),
    "f": just("float", "inf", "-inf", "nan"),
    "dtype": just("dtype", *DTYPES),
    "layout": just("layout", "strided"),
    "memory_format": text("memory format"),
    "device": just("device", None),
}


def _operation(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 3:
        raise _refuse("operation", "a name, arguments and arguments by name", value)
    name, args, kwargs = value
    text("operation's name")(name)
    several("operation's arguments", 64, _argument)(args)
    if not isinstance(kwargs, dict) or len(kwargs) > 64:
        raise _refuse("operation's arguments by name", "a dictionary", kwargs)
    if name == GETITEM and (len(args) != 2 or kwargs or type(args[1]) is not int or not 0 <= args[1] < 4096):
        raise _refuse("getitem", "of a value and an index", args)
    for argument in kwargs.values():
        _argument(argument)


def _pair(inner: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list) or len(value) != 2:
            raise _refuse("pair", "a name and what it stands for", value)
        text("name")(value[0])
        inner(value[1])

    return check


def _mapping(value: Any) -> None:
    if not isinstance(value, dict) or len(value) > 64:
        raise _refuse("codec's config", "a dictionary", value)


def _named_sizes(value: Any) -> None:
    if not isinstance(value, dict) or len(value) > MOST["sizes"] * 16:
        raise _refuse("sizes of the example", "a dictionary", value)
    for size in value.values():
        whole("size", 0, 1 << 40)(size)


_INPUT = record("input", name=text("name"), dtype=just("dtype", *DTYPES), shape=_shape, order=_order)
_TENSOR = record("tensor", name=text("name", 1024), grad=just("flag", True, False), order=_order)
_INDEX = whole("index", 0, MOST["leaves"])
_LEAF = either(just("leaf", None), _INDEX, record("leaf", constant=_constant))
_OUTPUT = either(
    just("output", None),
    record("output", known=_INDEX),
    record("output", result=_INDEX),
    record("output", size=text("size", _EXPRESSION)),
    record("output", constant=_constant),
)
_PORT = record(
    "port",
    name=text("name"),
    dtype=just("dtype", *DTYPES),
    shape=_shape,
    size_bytes=whole("size in bytes", 0, 1 << 50),
    axis=either(just("axis", None), whole("axis", 0, _RANK - 1)),
    codec=either(just("codec", None), _mapping),
)
_PROGRAM = record(
    "program",
    inputs=several("inputs", MOST["inputs"], _INPUT),
    sizes=several("sizes", MOST["sizes"], text("name")),
    derived=several("derived sizes", MOST["derived"], _pair(text("size", _EXPRESSION))),
    guards=several("guards", MOST["guards"], text("guard", _EXPRESSION)),
    tensors=several("tensors", MOST["tensors"], _TENSOR),
    operations=several("operations", MOST["operations"], _operation),
    results=several("results", MOST["results"], whole("value's number", 0, 1 << 20)),
)
_PART = record(
    "description",
    kind=just("kind", "head", "tail"),
    model=text("model"),
    layer=text("layer", 1024),
    fingerprint=text("fingerprint", 32),
    versions=record("versions", featcodec=text("version"), torch=text("version")),
    ports=several("ports", MOST["ports"], _PORT),
    sizes=several("sizes", MOST["sizes"], text("name")),
    call=several("call", MOST["call"], _pair(lambda layout: None)),
    leaves=several("leaves", MOST["leaves"], _LEAF),
    layout=lambda layout: None,
    outputs=several("outputs", MOST["outputs"], _OUTPUT),
    example=_named_sizes,
    program=_PROGRAM,
)


def check_part(about: Any) -> None:
    """Raise PartError where JSON is no part's, or its pieces do not fit one another."""
    _PART(about)
    program = about["program"]
    values = len(program["inputs"]) + len(program["tensors"]) + len(program["operations"])
    _within("result", program["results"], values)
    _within("leaf", (leaf for leaf in about["leaves"] if type(leaf) is int), len(program["inputs"]))
    for _, layout in about["call"]:
        check_layout(layout, len(about["leaves"]))
    check_layout(about["layout"], len(about["outputs"]))
    results = len(program["results"])
    given = [output["result"] for output in about["outputs"] if output and "result" in output]
    _within("output", given, results if about["kind"] == "tail" else 0)
    if len(about["ports"]) > (len(program["inputs"]) if about["kind"] == "tail" else results):
        raise _refuse("ports", "as many as its program has", len(about["ports"]))
    shown = {size for given in program["inputs"] for size in given["shape"] if isinstance(size, str)}
    if program["sizes"] != (about["sizes"] if about["kind"] == "tail" else []):
        raise _refuse("program's sizes", "those that cross, for a tail", program["sizes"])
    if about["kind"] == "head" and not set(about["sizes"]) <= shown:
        raise _refuse("sizes", "some that an input of the head shows", about["sizes"])
    if len(about["fingerprint"]) != 32 or set(about["fingerprint"]) - set("0123456789abcdef"):
        raise _refuse("fingerprint", "32 hexadecimal digits", about["fingerprint"])
    for port in about["ports"]:
        if (port["axis"] is None) != (port["codec"] is None) or (port["axis"] or 0) >= max(1, len(port["shape"])):
            raise _refuse("port's axis", "one of its shape's, where it has a codec", port["axis"])
    for entry in (*program["inputs"], *program["tensors"]):
        if entry["order"] is not None and "shape" in entry and len(entry["order"]) != len(entry["shape"]):
            raise _refuse("order of axes", f"of {len(entry['shape'])} axes", entry["order"])


def _within(what: str, numbers: Any, count: int) -> None:
    for number in numbers:
        if number >= count:
            raise PartError(f"a part's {what} has the number {number}, there are {count}")
