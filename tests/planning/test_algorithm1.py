"""Algorithm 1 on what BottleNet publishes: its choice, its formulas, and how far its own tables agree."""

from __future__ import annotations

import pytest

from benchmarks.published import (
    LATENCY_MS,
    LINKS,
    SENT_BYTES,
    candidates,
    computing_ms,
    link,
    with_early_blocks_larger,
)
from featcodec.planning import latency_ms, select

UPLOAD_MS = {"3G": 2.298, "4G": 0.432, "Wi-Fi": 0.134}  # of RB1's 316 bytes


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("times_of", LINKS)
def test_the_published_inputs_give_the_published_choice(name, objective, times_of):
    assert select(candidates(times_of), link(name), objective=objective).best.name == "RB1"


@pytest.mark.parametrize("name", LINKS)
def test_the_published_latencies_come_out(name):
    splits = [c for c in candidates(name) if c.kind == "split"]
    assert [latency_ms(c, link(name)) for c in splits] == pytest.approx(LATENCY_MS[name], abs=1e-9)
    assert link(name).upload_ms(SENT_BYTES[0]) == pytest.approx(UPLOAD_MS[name], abs=5e-4)


def test_what_is_left_for_computing_agrees_but_for_3g():
    """TM + TC do not depend on the link: 4G's and Wi-Fi's agree to their last digit, 3G's are off."""
    found = {name: computing_ms(name) for name in LINKS}
    off = {name: [a - b for a, b in zip(found[name], found["4G"], strict=True)] for name in ("3G", "Wi-Fi")}
    assert max(map(abs, off["Wi-Fi"])) <= 0.2
    assert (round(min(off["3G"]), 1), round(max(off["3G"]), 1)) == (-0.6, 0.8)


@pytest.mark.parametrize(("name", "times"), [("3G", 3), ("4G", 10), ("Wi-Fi", 30)])
@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_where_early_blocks_send_more_a_later_one_wins(name, times, objective):
    changed = with_early_blocks_larger(candidates(name), times)
    assert select(changed, link(name), objective=objective).best.name == "RB4"


def test_a_slow_enough_device_leaves_it_to_the_server():
    far = [c for c in candidates("Wi-Fi") if c.kind != "split"]
    assert select(far, link("Wi-Fi")).best.name == "picture"
    assert select(far, link("3G")).best.name == "local"
