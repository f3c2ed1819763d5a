"""Expressions of sizes: parsed, computed and written by hand-made code that trusts no text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import featcodec as fc
from featcodec.conditions import Conditions
from featcodec.sizes import compute, names, parse, text_of

VALUES = {"B": 3, "x.2": 17, "_y": 5}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("7", 7),
        ("B", 3),
        ("x.2 // 16 + 1", 2),
        ("x.2 - B - 1", 13),
        ("-x.2 // 4", -5),
        ("-2 ** 2", -4),
        ("(0 - 2) ** 2", 4),
        ("2 * (B + 1) % 5", 3),
        ("max(B, x.2, 4) + min(B, 2)", 19),
        ("B == 3 and not x.2 < 17", 1),
        ("B != 3 or x.2 >= 18", 0),
        ("not not B > 2", 1),
        ("2 ** 62", 2**62),
    ],
)
def test_what_expressions_give(text, wanted):
    assert compute(parse(text), VALUES) == wanted


leaves = st.one_of(st.integers(0, 20), st.sampled_from(sorted(VALUES)))
trees = st.recursive(
    leaves,
    lambda inner: st.tuples(st.sampled_from(["+", "-", "*", "//", "%", "max", "min", "==", "<"]), inner, inner),
    max_leaves=12,
)


@given(trees)
def test_what_is_written_reads_the_same(tree):
    read = parse(text_of(tree))
    assert names(read) == names(tree)
    try:
        wanted = compute(tree, VALUES)
    except fc.PartError:
        with pytest.raises(fc.PartError):
            compute(read, VALUES)
    else:
        assert compute(read, VALUES) == wanted


@given(st.text(alphabet="Bx.2 ()+-*/%<>=!,maxinotdr0915_'[\n", max_size=30))
def test_any_text_parses_or_is_refused(text):
    try:
        parse(text)
    except fc.PartError:
        return


REFUSED = {
    "is no size: 'its end'": "1 +",
    "is no size: '2'": "1 2",
    "is no size: ','": "max(1, , 2)",
    "is no size: 'not'": "1 + not 2",
    "is no size: '.__clas": "B + .__class__",
    "is no size: '\\('": "B(1)",
    "is no size: '<'": "1 < 2 < 3",
    "is no size: '\\[2\\]'": "x[2]",
    "at most 4096 characters, got 4097": "1" * 4097,
    "more than 32 deep": "(" * 33 + "1" + ")" * 33,
    "more than 200 operators": "+".join("1" * 202),
    "more than 63 bits": "9223372036854775808",
}


@pytest.mark.parametrize("match", REFUSED)
def test_refusals(match):
    with pytest.raises(fc.PartError, match=match):
        parse(REFUSED[match])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 // (B - 3)", "divides by zero: 1 // \\(B - 3\\)"),
        ("B % 0", "divides by zero"),
        ("z + 1", "the size 'z' is not known"),
        ("2 ** 64", "2 \\*\\* 64: too large"),
        ("10 ** 60", "too large"),
        ("2 ** (0 - 1)", "too large"),
        ("2 ** 62 * 4", "more than 63 bits"),
    ],
)
def test_what_cannot_be_computed(text, match):
    with pytest.raises(fc.PartError, match=match):
        compute(parse(text), VALUES)


def test_derived_sizes_are_remembered_for_their_own_sizes_alone():
    conditions = Conditions([("x", ["B", "n"])], [["half", "n // 2"], ["both", "half * B"]], ["n > 1"])
    for _ in range(2):
        for n in range(2, 202):  # more than are remembered
            assert conditions.check([(3, n)], {}) == {"B": 3, "n": n, "half": n // 2, "both": n // 2 * 3}
    assert conditions.all_sizes({"B": 3}) == {"B": 3}
    with pytest.raises(fc.FeatureError, match="n > 1 does not hold"):
        conditions.check([(3, 1)], {})
