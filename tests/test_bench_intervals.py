"""Intervals of rates and differences: against figures in print, and against each other where theory says they meet."""

from __future__ import annotations

import math

import pytest

from featcodec.bench.intervals import Z, paired_difference, unpaired_difference, wilson


@pytest.mark.parametrize(
    ("count", "total", "interval"),
    [  # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_rates_as_in_print(count, total, interval):
    assert wilson(count, total) == pytest.approx(interval, abs=5e-5)


def test_wilson_by_hand():
    # 1 of 4: (1/4 + z^2/8 -+ z sqrt(3/64 + z^2/64)) / (1 + z^2/4), z^2 = 3.8415
    half = 1.96 * math.sqrt((3 + 3.8415) / 64)
    assert wilson(1, 4) == pytest.approx(((0.25 + 0.48018 - half) / 1.96036, (0.25 + 0.48018 + half) / 1.96036), abs=1e-4)
    assert wilson(4, 4) == (pytest.approx(4 / (4 + Z * Z)), 1.0)


@pytest.mark.parametrize(
    ("first", "second", "interval"),
    [  # Newcombe, Statistics in Medicine 17 (1998) 873, table II, method 10
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
    ],
)
def test_unpaired_differences_as_in_print(first, second, interval):
    assert unpaired_difference(first, second) == pytest.approx(interval, abs=5e-5)
    low, high = unpaired_difference(second, first)
    assert (-high, -low) == pytest.approx(interval, abs=5e-5)


def test_paired_differences_as_in_print():
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850: airways before and after stem cell transplantation
    assert paired_difference(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_paired_differences_where_the_score_can_be_solved_by_hand():
    # nothing differs: n d^2 = z^2 d (1 - d) on either side
    assert paired_difference(0, 0, 500) == pytest.approx((-Z * Z / (500 + Z * Z), Z * Z / (500 + Z * Z)))
    # nothing is lost: the likeliest rate of losses is 0 at the upper end, where the score is that of one rate
    assert paired_difference(3, 0, 50)[1] == pytest.approx(wilson(3, 50)[1])
    low, high = paired_difference(2, 9, 100)
    assert paired_difference(9, 2, 100) == pytest.approx((-high, -low))
    # the same difference out of more pairs that differ is known less well
    wide, narrow = paired_difference(40, 30, 500), paired_difference(10, 0, 500)
    assert wide[0] < narrow[0] < 0.02 < narrow[1] < wide[1]


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5), (0, 0)])
def test_impossible_rates_are_refused(counts):
    with pytest.raises(ValueError, match="0 <= count <= total"):
        wilson(*counts)


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_pairs_are_refused(counts):
    with pytest.raises(ValueError, match="no counts of pairs"):
        paired_difference(*counts)
