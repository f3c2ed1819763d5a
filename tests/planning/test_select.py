"""select: against brute force, with the server's load, at its limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcodec.errors import ConfigError, PlanError
from featcodec.planning import Link, Selector, changes, choice_map, get_link, relaxed, select
from featcodec.planning.choices import ranked
from featcodec.planning.cost import cost
from featcodec.planning.limits import Limits
from tests.planning.instances import candidate, links, random_candidates

MBIT = Link(1e6)


def brute_force(candidates, link, objective, max_drop, max_share, load):
    """The formulas once more, one candidate after another."""
    best = None
    floor = None if max_drop is None else 0.9 - max_drop / 100
    for c in candidates:
        if (floor is not None and c.accuracy < floor) or (max_share is not None and c.head_macs / c.total_macs > max_share):
            continue
        wait = 0.0 if c.kind == "local" else 8000 * c.size_bytes / link.rate_bps
        if objective == "latency":
            rtt = 0.0 if c.kind == "local" else link.rtt_ms
            value = c.head_ms + c.encode_ms + wait + rtt + load * (c.decode_ms + c.tail_ms)
        else:
            value = (c.head_ms * c.device_mw + wait * link.beta_mw) / 1000
        if best is None or (value, c.head_macs) < best[:2]:
            best = (value, c.head_macs, c)
    return best


@settings(max_examples=400, deadline=None)
@given(
    random_candidates(),
    links,
    st.sampled_from(["latency", "energy"]),
    st.sampled_from([None, 0, 2, 5]),
    st.sampled_from([None, 0.0, 0.2, 0.3, 1.0]),
    st.sampled_from([1.0, 2.0, 8.0]),
)
def test_the_choice_is_brute_force_s(candidates, link, objective, max_drop, max_share, load):
    found = select(candidates, link, objective=objective, max_drop=max_drop, max_share=max_share, load=load)
    wanted = brute_force(candidates, link, objective, max_drop, max_share, load)
    assert (found.cost, found.best) == (wanted[0], wanted[2])


@settings(max_examples=300, deadline=None)
@given(random_candidates(), links, st.lists(st.integers(0, 64), min_size=2, max_size=6).map(sorted))
def test_the_split_is_never_earlier_as_the_server_s_load_rises(candidates, link, loads):
    """E16, where TC falls along the network: split i is behind split i - 1, and leaves the server less to do."""
    splits = [c for c in candidates if c.kind == "split"]
    falling = sorted((c.tail_ms for c in splits), reverse=True)
    along = [
        candidate(f"split{i}", c.size_bytes, c.head_ms, tail + (len(splits) - i) / 8, head_macs=i)
        for i, (c, tail) in enumerate(zip(splits, falling, strict=True))
    ]
    chosen = [select(along, link, load=load).best.head_macs for load in loads]
    assert chosen == sorted(chosen)


def test_the_formulas_are_the_paper_s():
    one = candidate("one", 1000, 3.0, 4.0, encode_ms=1.0, decode_ms=0.5, device_mw=2000.0)
    link = Link(1e6, rtt_ms=5.0, loss=0.2, alpha_mw_per_mbps=100.0, beta_mw=50.0)
    assert cost(one, Link(1e6)) == 3 + 1 + 8 + 0.5 + 4
    assert cost(one, link, load=2.0) == pytest.approx(4 + 10 + 5 + 2 * 4.5)
    assert cost(one, link, "energy") == pytest.approx((4 * 2000 + 10 * 150) / 1000)


def test_ties_go_to_fewer_macs_on_the_device_and_then_to_the_first():
    late, early, other = (candidate(n, 125, 1.0, 1.0, head_macs=m) for n, m in (("late", 500), ("early", 100), ("other", 100)))
    assert [c.name for c, _ in ranked([late, early, other], MBIT, "latency", 1.0)] == ["early", "other", "late"]


def test_the_local_model_needs_no_link_and_the_slowest_link_leaves_it_as_it_is():
    local = candidate("local", 0, 9.0, 0.0, kind="local")
    split = candidate("split", 1, 1.0, 1.0)
    assert select([local, split], Link(1.0, rtt_ms=1e6)).best is local
    assert select([local, split], MBIT).best is split


def test_memory_and_share_are_limits_and_what_is_left_out_says_why():
    local = candidate("local", 0, 1.0, 0.0, kind="local", head_macs=1000, memory_bytes=9_000_000, accuracy=0.9)
    split = candidate("split", 10, 2.0, 0.0, head_macs=600, memory_bytes=2_000_000, accuracy=0.85)
    far = candidate("far", 10, 3.0, 0.0, head_macs=100, memory_bytes=1_000_000, accuracy=0.9)
    found = select([local, split, far], MBIT, max_memory_bytes=3e6)
    assert (found.best, found.left_out) == (split, {"local": "9 MB on the device, it has 3"})
    found = select([local, split, far], MBIT, max_share=0.5, max_drop=1)
    assert found.best is far
    assert found.left_out == {
        "local": "100% of the MACs on the device, at most 50% are allowed",
        "split": "accuracy 0.85, at least 0.89 is wanted; 60% of the MACs on the device, at most 50% are allowed",
    }


ONE = candidate("one", 1, 1.0, 1.0, accuracy=0.8, head_macs=300)
LOCAL = candidate("local", 0, 9.0, 0.0, kind="local", accuracy=0.9, head_macs=1000)


@pytest.mark.parametrize(
    ("candidates", "limits", "message"),
    [
        ([], {}, "there are no candidates to choose among"),
        ([ONE, ONE], {}, "two candidates are called 'one'"),
        ([ONE, LOCAL], {"min_accuracy": 0.95}, "no candidate has an accuracy of 0.95: the nearest is 'local' with 0.9"),
        (
            [ONE, LOCAL],
            {"max_drop": 1, "max_share": 0.5},
            "no candidate has an accuracy of 0.89: the nearest of those that keep the device's limits is 'one' with 0.8",
        ),
        ([ONE, LOCAL], {"max_share": 0.1}, "no candidate keeps the device's limits: the nearest is 'one', 30% of the MACs"),
        ([ONE], {"max_drop": 1}, "counted from the accuracy of the model all on the device: no candidate says that"),
        ([ONE, LOCAL], {"max_drop": -1}, "max_drop is a number of points from 0, got -1"),
        ([ONE, LOCAL], {"max_drop": float("nan")}, "max_drop is a number of points from 0, got nan"),
        ([ONE, LOCAL], {"min_accuracy": float("nan")}, "min_accuracy is a number, got nan"),
        ([ONE, LOCAL], {"min_accuracy": "0.9"}, "min_accuracy is a number, got '0.9'"),
        ([ONE, LOCAL], {"max_share": float("nan")}, "max_share is a share of the network, 0..1, got nan"),
        ([ONE, LOCAL], {"max_share": 50}, "max_share is a share of the network, 0..1, got 50"),
        ([ONE, LOCAL], {"max_memory_bytes": float("nan")}, "max_memory_bytes is a number of bytes from 0, got nan"),
        ([ONE, LOCAL], {"max_memory_bytes": 10}, "a limit is on the memory, which is not known of 'one'"),
        ([candidate("new", 1, 1.0, 1.0)], {"min_accuracy": 0.1}, "a limit is on the accuracy, which is not known of 'new'"),
        ([ONE], {"objective": "cost"}, "an objective is latency or energy, got 'cost'"),
        ([ONE], {"load": -1}, "a server's load is a number from 0"),
        ([ONE], {"objective": "energy"}, "energy needs the device's power while it computes: 'one' has no device_mw"),
        (
            [candidate("one", 1, 1.0, 1.0, device_mw=1.0)],
            {"objective": "energy"},
            "energy needs the power of sending: link has no alpha_mw_per_mbps and beta_mw",
        ),
    ],
)
def test_what_cannot_be_chosen_among_says_why(candidates, limits, message):
    with pytest.raises(PlanError, match=message):
        select(candidates, MBIT, **limits)


@settings(max_examples=200, deadline=None)
@given(random_candidates(), links, st.sampled_from(["latency", "energy"]), st.sampled_from([1.0, 2.0]))
def test_what_would_change_a_choice_does(candidates, link, objective, load):
    """Just before each point the choice costs least, just behind it somebody else costs less."""
    choice = select(candidates, link, objective=objective, load=load)
    for change in changes(choice):
        far, near = (1.02, 0.98) if change.direction == "above" else (0.98, 1.02)
        for factor, is_best in ((near, True), (far, False)):
            at = factor * change.value
            if change.what == "rate":
                there, its_load = link.at_rate(at), load
            else:
                there, its_load = link, at
            here = 1 / link.rate_bps if change.what == "rate" else load
            value = 1 / at if change.what == "rate" else at
            point = 1 / change.value if change.what == "rate" else change.value
            if is_best and not min(here, point) <= value <= max(here, point):
                continue  # the point lies nearer than that
            least = ranked(candidates, there, objective, its_load)[0][1]
            own = cost(choice.best, there, objective, its_load)
            assert (own <= least + 1e-9) == is_best or abs(own - least) < 1e-6


def test_a_change_by_hand():
    """split: 1 + 8 / NB + 4 load, local: 13 ms; alike at 1 Mbit/s where 8 / NB = 8 (1 MB/s), and at load 1."""
    split, local = candidate("split", 1000, 1.0, 4.0), candidate("local", 0, 15.0, 0.0, kind="local")
    found = {(c.what, c.direction): (c.value, c.candidate.name) for c in changes(select([split, local], MBIT))}
    assert found == {("rate", "below"): (pytest.approx(0.8e6), "local"), ("load", "above"): (pytest.approx(1.5), "local")}


def test_the_map_has_a_choice_for_every_rate_and_load():
    split, local = candidate("split", 1000, 1.0, 4.0, head_macs=10), candidate("local", 0, 15.0, 0.0, kind="local")
    found = choice_map([split, local], MBIT, rates_bps=(0.5e6, 1e6, 2e6), loads=(1, 2))
    assert found.to_dict()["best"] == [["local", "split", "split"], ["local", "local", "split"]]
    assert found.names() == ["local", "split"]
    with pytest.raises(PlanError, match="a limit is on the accuracy, which is not known of 'split'"):
        choice_map([split], MBIT, limits=Limits(min_accuracy=0.5))
    with pytest.raises(PlanError, match="a row for each load of the server: there are none"):
        choice_map([split], MBIT, loads=())


def test_a_link_may_be_given_by_its_spec():
    split, local = candidate("split", 1000, 1.0, 4.0), candidate("local", 0, 15.0, 0.0, kind="local")
    assert select([split, local], "1Mbit/s") == select([split, local], get_link("1Mbit/s"))
    assert choice_map([split, local], "wifi").link == get_link("wifi")
    assert Selector([split, local]).decide("0.1Mbit/s") is local
    for wrong, message in (("wify", "no link 'wify'"), (10, "a spec is a string or a mapping")):
        for ask in (lambda link: select([split, local], link), Selector([split, local]).decide):
            with pytest.raises(ConfigError, match=message):
                ask(wrong)


def test_more_accuracy_to_lose_is_a_choice_only_where_it_is_cheaper():
    bad, local = candidate("bad", 1, 1.0, 1.0, accuracy=0.88), candidate("local", 0, 9.0, 0.0, kind="local", accuracy=0.9)
    choice = select([bad, local], MBIT, max_drop=1)
    assert choice.best is local
    assert relaxed([bad, local], choice, 1.0, Limits(max_drop=1)).best is bad
    assert relaxed([bad, local], choice, 0.5, Limits(max_drop=1)) is None
    with pytest.raises(PlanError, match="relaxed from max_drop, which is not given"):
        relaxed([bad, local], choice, 1.0, Limits())
