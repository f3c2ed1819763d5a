"""map against the transport's twin: order, bounds, single failures, and leaving early."""

from __future__ import annotations

import numpy as np
import pytest

from featcodec.errors import EdgeError
from tests.runtime.test_client import FULL, client, rows
from tests.runtime.twin import LOST, TwinTransport


@pytest.fixture(params=[False, True], ids=["calls", "stream"])
def twin(request):
    return TwinTransport(streams=request.param)


def values(results):
    return [int(result.output["double"][0, 0]) // 2 for result in results]


def test_results_come_in_order_and_each_is_its_input_s(twin):
    with client(twin) as c:
        assert values(c.map((rows(i) for i in range(100)), in_flight=5)) == list(range(100))
        assert sorted(values(c.map((rows(i) for i in range(100)), in_flight=5, ordered=False))) == list(range(100))
        assert (c.link.round_trips, c.link.strays) == (200, 0)
    assert twin.most_in_flight <= 5


def test_as_many_as_were_asked_for_are_sent_before_the_first_answer(twin):
    twin.gate.clear()
    twin.opens_at = 5
    with client(twin) as c:
        assert values(c.map((rows(i) for i in range(20)), in_flight=5)) == list(range(20))
    assert twin.most_in_flight == 5


def test_the_server_s_bound_holds():
    twin = TwinTransport(max_in_flight=2)
    twin.gate.clear()
    twin.opens_at = 2
    with client(twin) as c:
        assert values(c.map((rows(i) for i in range(20)), in_flight=50)) == list(range(20))
    assert twin.most_in_flight == 2


def test_an_input_that_fails_does_not_lose_the_others(twin):
    inputs = [rows(0), np.zeros((1, 4)), rows(2), "no array", rows(4)]
    with client(twin) as c:
        results = list(c.map(inputs))
    assert [result.failed for result in results] == [False, True, False, True, False]
    assert values(results[::2]) == [0, 2, 4]
    with pytest.raises(ValueError, match="could not convert"):
        _ = results[3].output


def test_a_request_that_is_refused_is_its_result_s_error(twin):
    twin.faults = [None, EdgeError("twin: no", "damaged"), None]
    with client(twin) as c:
        results = list(c.map((rows(i) for i in range(3)), in_flight=1))
    assert [result.failed for result in results] == [False, True, False]
    with pytest.raises(EdgeError, match="twin: no"):
        _ = results[1].output


def test_a_server_that_is_lost_or_full_on_the_way_is_asked_again(twin):
    twin.faults = [None, LOST, LOST, FULL, LOST, None, LOST]
    with client(twin) as c:
        results = list(c.map((rows(i) for i in range(20)), in_flight=4))
        assert values(results) == list(range(20))
        assert c.link.resent == 5
    assert sum(result.timing.attempts for result in results) == 25
    assert {twin.asked[result.id] for result in results} <= {1, 2, 3, 4, 5, 6}


def test_a_forgotten_session_is_opened_again_on_the_way(twin):
    with client(twin) as c:
        results = c.map((rows(i) for i in range(10)), in_flight=3)
        first = next(results)
        twin.known.clear()
        assert values([first, *results]) == list(range(10))


def test_answers_to_nothing_that_was_asked_are_counted_and_not_handed_on(twin):
    twin.faults = [None, 1 << 40, None]
    with client(twin, deadline_s=0.2) as c:
        results = list(c.map((rows(i) for i in range(3)), in_flight=1))
        assert [result.failed for result in results] == [False, True, False]
        assert c.link.strays == 1
    assert results[1].error.cause == "deadline"


def test_what_the_iterable_raises_comes_after_what_it_gave(twin):
    def source():
        yield rows(0)
        yield rows(1)
        raise KeyError("camera")

    with client(twin) as c:
        results = c.map(source(), in_flight=8)
        assert values([next(results), next(results)]) == [0, 1]
        with pytest.raises(KeyError, match="camera"):
            next(results)


def test_leaving_early_gives_up_what_is_on_its_way(twin):
    taken = []

    def source():
        for i in range(100):
            taken.append(i)
            yield rows(i)

    with client(twin) as c:
        for result in c.map(source(), in_flight=4):
            assert result.output["double"][0, 0] == 0
            break
        assert twin.flights[0].closed
        assert len(taken) <= 5
        assert values([c.infer(rows(7))]) == [7]


def test_a_deadline_holds_for_each_input_and_the_fallback_answers(twin):
    twin.gate.clear()
    with client(twin, fallback=lambda x: {"double": 20 * x}) as c:
        results = list(c.map((rows(i) for i in range(3)), in_flight=3, deadline_s=0.1))
        assert {result.source for result in results} == {"fallback"}
        assert values(results) == [0, 10, 20]
        twin.gate.set()


def test_a_lost_edge_in_the_middle_falls_back_and_comes_back(twin):
    def source():
        for i in range(12):
            twin.lost = 4 <= i < 8
            yield rows(i)

    with client(twin, fallback=lambda x: {"double": 2 * x}, patience_s=0) as c:
        results = list(c.map(source(), in_flight=1))
    assert values(results) == list(range(12))
    assert [result.source for result in results] == ["edge"] * 4 + ["fallback"] * 4 + ["edge"] * 4


def test_in_flight_is_a_count(twin):
    with client(twin) as c, pytest.raises(ValueError, match="in_flight must be at least 1, got 0"):
        c.map([], in_flight=0)
