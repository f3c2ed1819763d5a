"""What a client tells of its link from requests of known sizes and times."""

from __future__ import annotations

import random

import pytest

from featcodec.runtime import Link


def answered(link, sizes, delay_ms, mbit_s, jitter=None):
    for size in sizes:
        link.answered(size, 100, delay_ms + 8e-3 * size / mbit_s + (jitter.random() / 2 if jitter else 0.0))


def told(link):
    return pytest.approx(link.delay_ms, rel=0.01), pytest.approx(link.rate_mbit_s, rel=0.01)


def test_two_sizes_tell_delay_and_rate():
    link = Link()
    assert (link.round_trip_ms, link.rate_mbit_s, link.delay_ms, link.planned()) == (None, None, None, None)
    answered(link, [1000] * 20, 2.0, 8.0)
    # of one size they are not told apart
    assert (link.round_trip_ms, link.rate_mbit_s, link.delay_ms) == (pytest.approx(3.0), None, None)
    assert (link.planned().rate_bps, link.planned().rtt_ms) == (pytest.approx(8e3 * 1000 / 3), 0.0)
    answered(link, [1000, 5000, 3000, 9000] * 20, 2.0, 8.0)
    assert told(link) == (2.0, 8.0)
    assert (link.planned().rate_bps, link.planned().rtt_ms) == (pytest.approx(8e6), pytest.approx(2.0))
    assert (link.round_trips, link.bytes_sent, link.bytes_received) == (100, 20 * 1000 + 20 * 18000, 10_000)


def test_two_requests_tell_what_is_not_known_and_one_of_another_size_does_not_overturn_what_is():
    link = Link()
    answered(link, [1000, 9000], 2.0, 8.0)
    assert told(link) == (2.0, 8.0)
    answered(link, [9000] * 6, 2.0, 8.0)
    link.answered(500, 0, 1.0)
    assert told(link) == (2.0, 8.0)
    link.answered(500, 0, 1.0)
    assert told(link) == (pytest.approx(1 - 0.5 * 10 / 8.5), pytest.approx(8 * 8.5 / 10))


def test_a_slower_link_is_told_from_one_size_by_the_rate():
    link = Link()
    answered(link, [1000, 9000], 2.0, 8.0)
    answered(link, [9000] * 6, 2.0, 1.0)
    assert told(link) == (2.0, 1.0)
    # and when it is fast again
    answered(link, [9000] * 6, 2.0, 8.0)
    assert told(link) == (2.0, 8.0)


def test_a_faster_link_under_messages_too_small_to_tell_is_taken_for_as_fast_as_can_be_and_not_said_to_be_known():
    link = Link()
    answered(link, [1000, 9000], 2.0, 0.5)
    answered(link, [1000] * 6, 2.0, 100.0)
    assert (link.rate_mbit_s, link.delay_ms) == (None, None)
    assert link.planned().rate_bps > 100e6
    # two larger messages then tell
    answered(link, [9000], 2.0, 1.0)
    assert link.planned().rate_bps > 100e6
    answered(link, [9000], 2.0, 1.0)
    assert link.planned().rate_bps == pytest.approx(1e6, rel=0.05)
    answered(link, [1000, 9000] * 3, 2.0, 1.0)
    assert told(link) == (2.0, 1.0)


def test_one_slow_round_trip_changes_nothing():
    link = Link()
    answered(link, [1000, 9000] * 3, 2.0, 8.0)
    link.answered(9000, 0, 500.0)
    assert told(link) == (2.0, 8.0)


def test_small_differences_under_jitter_tell_no_rate():
    link, jitter = Link(), random.Random(0)
    answered(link, [60, 8000], 20.0, 0.5)
    known = link.rate_mbit_s
    for _ in range(50):
        answered(link, [50, 60, 75], 20.0, 0.5, jitter)
        assert link.rate_mbit_s == pytest.approx(known, rel=0.05)


def test_larger_messages_that_take_no_longer_tell_no_rate():
    link = Link()
    for size in (100, 60_000) * 3:
        link.answered(size, 0, 0.5)
    assert (link.rate_mbit_s, link.delay_ms) == (None, None)
    assert link.planned().upload_ms(60_000) <= 0.5


def test_where_the_first_two_tell_little_they_tell_at_least_that_it_is_the_delay():
    link = Link()
    answered(link, [600, 4000], 15.0, 18.88)
    assert (link.rate_mbit_s, link.delay_ms) == (None, None)
    assert (link.planned().rtt_ms, link.planned().rate_bps) == (pytest.approx(15.0), pytest.approx(18.88e6))
    slow_start = Link()
    slow_start.answered(600, 0, 60.0)
    slow_start.answered(4000, 0, 2.0)
    assert slow_start.planned().rtt_ms == pytest.approx(2.0)


def test_a_change_in_the_middle_is_not_taken_for_a_rate():
    """Large messages before it, small ones after: these take less than their bytes should."""
    link = Link()
    answered(link, [1000, 9000], 2.0, 0.1)
    answered(link, [9000] * 3, 2.0, 0.1)
    answered(link, [1000] * 3, 1.0, 50.0)
    assert link.planned().rate_bps > 50e6


def test_after_a_pause_the_next_request_tells():
    link = Link()
    answered(link, [1000, 9000] * 3, 2.0, 8.0)
    link.forget()
    assert link.round_trip_ms is None
    answered(link, [1000], 2.0, 0.5)
    assert told(link) == (2.0, 0.5)
