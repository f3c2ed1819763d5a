"""Candidates for tests: by hand, and at random in numbers that floats add up exactly."""

from __future__ import annotations

from hypothesis import strategies as st

from featcodec.planning import Candidate, Link

TOTAL_MACS = 1000


def candidate(name, size_bytes, device_ms, server_ms, **more):
    """A split whose head and tail take these times, its MACs those of its place unless given."""
    return Candidate(name, size_bytes, device_ms, server_ms, **{"total_macs": TOTAL_MACS, **more})


# rates and sizes of which 8 D / NB in ms is a multiple of 1/8: no sum is rounded, and equal costs are equal
rates = st.sampled_from([2.0**k * 1000 for k in range(3)])
sizes = st.integers(0, 400)
times = st.integers(0, 400).map(lambda n: n / 8)


@st.composite
def random_candidates(draw):
    """Up to eight splits, all on the device and all on the server; figures lie close enough for ties."""
    count = draw(st.integers(1, 8))
    splits = [
        candidate(
            f"split{i}",
            draw(sizes),
            draw(times),
            draw(times),
            head_macs=draw(st.integers(1, 4)) * 100,
            accuracy=draw(st.integers(84, 96)) / 100,
            memory_bytes=draw(st.integers(1, 4)) * 1000,
            device_mw=1000.0,
        )
        for i in range(count)
    ]
    local = candidate(
        "local", 0, draw(times), 0.0, kind="local", head_macs=TOTAL_MACS, accuracy=0.9, memory_bytes=4000, device_mw=1000.0
    )
    picture = candidate(
        "picture", draw(sizes), 0.0, draw(times), kind="picture", accuracy=0.9, memory_bytes=0, device_mw=1000.0
    )
    return [local, picture, *splits]


links = st.builds(Link, rates, rtt_ms=times, alpha_mw_per_mbps=st.just(0.0), beta_mw=st.sampled_from([0.0, 500.0, 1000.0]))
