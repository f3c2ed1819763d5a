"""Links: the paper's, any other, what cannot be one, and what requests tell of one."""

from __future__ import annotations

import pytest

from featcodec.errors import ConfigError, PlanError
from featcodec.planning import Link, get_link, measured, shannon


@pytest.mark.parametrize(("spec", "mbps", "power_mw"), [("3g", 1.1, 1773.76), ("4G", 5.85, 3852.62), ("wifi", 18.88, 5479.11)])
def test_named_links_have_the_paper_s_rates_and_powers(spec, mbps, power_mw):
    link = get_link(spec)
    assert link.rate_bps == mbps * 1e6
    assert link.power_mw == pytest.approx(power_mw, abs=5e-3)
    assert (link.rtt_ms, link.loss) == (0, 0)


def test_power_follows_the_rate():
    assert get_link("wifi:bps=1e6").power_mw == pytest.approx(283.17 + 132.86)
    assert get_link("wifi").at_rate(2e6).power_mw == pytest.approx(2 * 283.17 + 132.86)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("10Mbit/s", Link(10e6)),
        ("250 kbps:rtt=20ms,loss=0.1", Link(250e3, 20.0, 0.1)),
        ("rate:bps=2e6,rtt=0.5s", Link(2e6, 500.0)),
        ("rate:bps=2e6,rtt=3", Link(2e6, 3.0)),
    ],
)
def test_any_rate_is_a_link(spec, wanted):
    assert get_link(spec) == wanted
    assert get_link(wanted) is wanted


def test_shannon_s_rate_is_the_seed_s():
    """14.5 dB at 1 MHz: 4.8671 Mbit/s, and 13.465 ms for 2,048 floats."""
    link = get_link("shannon:snr_db=14.5,bandwidth_hz=1e6")
    assert link.rate_bps == pytest.approx(4.86710e6, abs=5)
    assert link.upload_ms(4 * 2048) == pytest.approx(13.465, abs=5e-4)
    assert shannon(0.0, 1e6, rtt="2ms") == Link(1e6, 2.0, name="Shannon at 0 dB, 1 MHz")


def test_what_is_lost_is_sent_again():
    assert Link(1e6, loss=0.5).upload_ms(1000) == 16


def test_a_link_is_told_from_requests():
    found = measured([(size, 0.004 + 8 * size / 2e6) for size in (100, 5000, 20000, 100)])
    assert (found.rate_bps, found.rtt_ms) == (pytest.approx(2e6), pytest.approx(4.0))
    assert measured([(1000, 0.008), (1000, 0.008)]) == Link(1e6, 0.0, name="measured")
    # less than no round trip: the mean rate
    steep = measured([(1000, 0.001), (2000, 0.016)])
    assert (steep.rate_bps, steep.rtt_ms) == (pytest.approx(8 * 1500 / 0.0085), 0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Link(0.0), "a link's rate_bps is a number above 0, got 0.0"),
        (lambda: Link(-1e6), "a link's rate_bps is a number above 0, got -1000000.0"),
        (lambda: Link(float("nan")), "a link's rate_bps is a number above 0, got nan"),
        (lambda: Link(1e6, rtt_ms=-1.0), "a link's rtt_ms is a number from 0, got -1.0"),
        (lambda: Link(1e6, loss=1.0), "a link's loss is below 1, got 1.0"),
        (lambda: Link(1e6, alpha_mw_per_mbps=3.0), "one of them is given alone"),
        (lambda: get_link("wifi:bps=0"), "a link's rate_bps is a number above 0, got 0"),
        (lambda: get_link("rate:rtt=5ms"), "a link needs its rate: rate:bps=2e6"),
        (lambda: get_link("wifi:rtt=5 parsec"), "a duration is written 5ms, 0.1s or 20us, got '5 parsec'"),
        (lambda: shannon(10.0, 0.0), "a link's bandwidth_hz is a number above 0, got 0.0"),
        (lambda: measured([]), "measured by pairs"),
        (lambda: measured([(100, 0.0)]), "measured by pairs"),
        (lambda: measured([(0, 0.1)]), "no rate can be told from 1 requests"),
        (lambda: measured([(100, 0.2), (1000, 0.1)]), "no rate can be told from 2 requests"),
    ],
)
def test_what_is_no_link_says_why(make, message):
    with pytest.raises(PlanError, match=message):
        make()


def test_an_unknown_link_is_met_with_near_names():
    with pytest.raises(ConfigError, match="no link 'wify'; did you mean wifi"):
        get_link("wify")
    with pytest.raises(ConfigError, match="link '3g' has no parameter speed; it takes bps, loss, rtt"):
        get_link("3g:speed=4")
