"""Selector and advise: the choice made anew, and whether coding pays."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from featcodec.errors import PlanError
from featcodec.planning import Link, Selector, advise, load_of
from tests.planning.instances import candidate

# alike at 1 Mbit/s: 1 + 8 + 1 and 10
SPLIT = candidate("split", 1000, 1.0, 1.0, accuracy=0.89)
LOCAL = candidate("local", 0, 10.0, 0.0, kind="local", accuracy=0.9, head_macs=1000)
FAST, SLOW = Link(8e6), Link(0.4e6)


def decided(selector, rates, load=1.0):
    return [selector.decide(Link(rate * 1e6), load).name for rate in rates]


def test_it_switches_after_as_many_better_decisions_running_as_patience_says():
    selector = Selector([SPLIT, LOCAL], patience=3)
    assert selector.current is None
    assert decided(selector, [8, 0.4, 0.4, 8, 0.4, 0.4, 0.4, 0.4]) == ["split"] * 6 + ["local"] * 2
    assert selector.current is LOCAL


def test_a_link_that_swings_where_two_are_alike_does_not_make_it_swing():
    swinging = [1.04, 0.96] * 20
    assert len(set(decided(Selector([SPLIT, LOCAL], margin=0.1, patience=1), swinging))) == 1
    assert len(set(decided(Selector([SPLIT, LOCAL], margin=0.0, patience=1), swinging))) == 2


def test_the_margin_is_a_share_of_what_the_present_one_costs():
    """At rate r the split costs 2 + 8 / r, local 10."""
    for margin, rate, wanted in ((0.2, 0.78, "split"), (0.2, 0.76, "local"), (0.2, 0.9, "split"), (0.05, 0.9, "local")):
        selector = Selector([SPLIT, LOCAL], margin=margin, patience=1)
        assert decided(selector, [8, rate])[1] == wanted, (margin, rate)


def test_the_server_s_load_counts():
    selector = Selector([candidate("split", 0, 1.0, 3.0), LOCAL], patience=1)
    assert selector.decide(FAST).name == "split"
    assert selector.decide(FAST, load=10.0).name == "local"


def test_without_a_link_all_runs_on_the_device_at_once_and_comes_back_with_it():
    selector = Selector([SPLIT, LOCAL], patience=2)
    assert selector.decide(FAST) is SPLIT
    assert selector.decide(None) is LOCAL
    assert decided(selector, [8, 8]) == ["local", "split"]
    with pytest.raises(PlanError, match=r"there is no link, and of the candidates that keep the limits none runs"):
        Selector([SPLIT, LOCAL], max_share=0.5).decide(None)


def test_only_what_keeps_the_limits_is_decided_for():
    assert Selector([SPLIT, LOCAL], max_drop=0.5, patience=1).decide(FAST) is LOCAL
    with pytest.raises(PlanError, match=r"no candidate has an accuracy of 0\.95"):
        Selector([SPLIT, LOCAL], min_accuracy=0.95)


@pytest.mark.parametrize("wrong", [{"margin": 1.0}, {"margin": -0.1}, {"patience": 0}, {"patience": 1.5}, {"patience": True}])
def test_margin_and_patience_have_their_ranges(wrong):
    with pytest.raises(PlanError, match=r"margin lies in \[0, 1\) and patience is an integer from 1"):
        Selector([SPLIT, LOCAL], **wrong)


def test_many_threads_may_ask_and_each_answer_counts_once():
    selector = Selector([SPLIT, LOCAL], patience=100)
    selector.decide(FAST)
    with ThreadPoolExecutor(8) as pool:
        names = [c.name for c in pool.map(lambda _: selector.decide(SLOW), range(150))]
    assert names.count("split") == 99


def test_a_load_is_how_many_times_as_long_a_server_takes():
    assert load_of(30.0, 10.0) == 3.0
    assert load_of(5.0, 10.0) == 1.0
    with pytest.raises(PlanError, match=r"a load is told from times above 0, got 0 and 1 ms"):
        load_of(0, 1)


def test_a_device_without_torch_decides():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from featcodec.planning import Candidate, Link, Selector, advise, choice_map, get_link, measured, select\n"
        "found = Selector([Candidate('a', 10, 1.0, 1.0)]).decide(measured([(100, 0.1), (200, 0.2)]))\n"
        "print(found.name, advise(10, 5, 1e6).send)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("a coded", "")


def test_tiny_messages_on_fast_links_are_sent_raw():
    found = advise(400, 100, 1e9, rtt_ms=0.2, encode_ms=0.05, decode_ms=0.03)
    assert (found.send, found.raw_ms) == ("raw", pytest.approx(0.2032))
    # 2,400 bits saved in .08 ms: 30 Mbit/s
    assert found.break_even_bps == pytest.approx(30e6)
    assert advise(400, 100, 29e6, 0.2, 0.05, 0.03).send == "coded"
    assert advise(400, 100, 31e6, 0.2, 0.05, 0.03).send == "raw"


def test_the_round_trip_does_not_change_whether_coding_pays():
    near, far = (advise(65536, 4000, 18.88e6, rtt, 1.0, 1.0) for rtt in (0.0, 100.0))
    assert (near.send, near.break_even_bps) == (far.send, far.break_even_bps)
    assert far.coded_ms - near.coded_ms == pytest.approx(100)


def test_coding_that_saves_nothing_never_pays_and_coding_that_takes_no_time_always_does():
    assert (advise(100, 120, 1.0).send, advise(100, 120, 1.0).break_even_bps) == ("raw", 0.0)
    assert (advise(100, 90, 1e12).send, advise(100, 90, 1e12).break_even_bps) == ("coded", math.inf)
    assert advise(100, 100, 1e6).send == "raw"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((-1, 1, 1e6), "bytes_raw is a number from 0, got -1"),
        ((1, 1, 1e6, 0.0, -2.0), "encode_ms is a number from 0, got -2.0"),
        ((1, 1, 0), "a link's rate_bps is a number above 0, got 0"),
    ],
)
def test_what_no_advice_is_given_on_says_why(args, message):
    with pytest.raises(PlanError, match=message):
        advise(*args)


# 2 ms and the bits of 1000, 500 and 250 bytes: at 1 Mbit/s 10, 6 and 4 ms
FINE, MIDDLE, COARSE = (
    candidate(name, size, 1.0, 1.0, accuracy=accuracy)
    for name, size, accuracy in (("fine", 1000, 0.92), ("middle", 500, 0.91), ("coarse", 250, 0.88))
)


def test_the_most_accurate_that_is_in_time_is_taken_and_the_cheapest_where_none_is():
    qualities = [FINE, MIDDLE, COARSE]
    selector = Selector(qualities, within_ms=10.0, margin=0.0, patience=1)
    assert decided(selector, [8, 1.0, 0.9, 0.4, 0.1, 8]) == ["fine", "fine", "middle", "coarse", "coarse", "fine"]
    assert decided(Selector(qualities, patience=1), [8, 0.1]) == ["coarse", "coarse"]
    # none in time, and the device is the fastest
    assert decided(Selector([*qualities, LOCAL], within_ms=3.0, patience=1), [8, 0.1]) == ["fine", "local"]


def test_what_is_late_is_left_at_once_and_what_is_finer_must_be_in_time_by_the_margin():
    selector = Selector([FINE, MIDDLE, COARSE], within_ms=10.0, margin=0.2, patience=2)
    assert decided(selector, [1.0, 0.9, 0.9, 1.2, 1.2, 1.2]) == ["fine", "fine", "middle", "middle", "middle", "middle"]
    assert decided(selector, [1.4, 1.4]) == ["middle", "fine"]
    # fine is not in time by the margin, middle is
    assert decided(selector, [0.2, 0.2, 1.2, 1.2]) == ["fine", "coarse", "coarse", "middle"]


def test_of_equally_accurate_ones_the_cheapest_is_taken_if_by_the_margin():
    slow = candidate("slow", 0, 5.0, 0.5, accuracy=FINE.accuracy)
    selector = Selector([FINE, slow], within_ms=20.0, margin=0.2, patience=1)
    # 5.5 beside 2 + 8 / r
    assert decided(selector, [8, 2.0, 1.0, 4.0]) == ["fine", "fine", "slow", "fine"]


@pytest.mark.parametrize(
    ("candidates", "within", "message"),
    [
        ([FINE], 0, "within_ms is a number of milliseconds above 0, got 0"),
        ([FINE, candidate("unknown", 1, 1.0, 1.0)], 9.0, "within_ms chooses by accuracy, which is not known of 'unknown'"),
    ],
)
def test_what_no_accuracy_is_chosen_within_says_why(candidates, within, message):
    with pytest.raises(PlanError, match=message):
        Selector(candidates, within_ms=within)


def test_who_starts_over_takes_the_best_at_once():
    selector = Selector([SPLIT, LOCAL], patience=3)
    assert decided(selector, [8, 0.4]) == ["split", "split"]
    selector.start_over()
    assert selector.current is None
    assert decided(selector, [0.4, 8]) == ["local", "local"]
