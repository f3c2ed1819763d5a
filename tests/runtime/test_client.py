"""The client against its transport's twin: what is sent, sent again, refused, given up, and never mixed up."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import featcodec as fc
from featcodec.errors import EdgeDeadlineError, EdgeError
from featcodec.runtime.client import Client
from featcodec.runtime.result import STAGES, Timing
from featcodec.runtime.retrying import wait_before_retry
from featcodec.runtime.sender import completed
from featcodec.runtime.wire import HELLO_BYTES_KEY
from tests.runtime.twin import LOST, Rows, TwinTransport

FULL = EdgeError("twin: full", "server full", 0.001)


def client(twin, **options):
    return Client("twin", head=Rows(), transport=twin, **options)


def rows(value, count=1):
    return np.full((count, 3), value, np.float32)


@pytest.fixture(params=[False, True], ids=["calls", "stream"])
def twin(request):
    return TwinTransport(streams=request.param)


def test_an_answer_is_the_input_s_with_every_stage_s_time(twin):
    with client(twin) as c:
        result = c.infer(rows(4))
    assert result.output == {"double": pytest.approx(rows(8))}
    assert (result.source, result.error, result.failed, result.timing.attempts) == ("edge", None, False, 1)
    assert (result.timing.queue, result.timing.decode, result.timing.tail) == (0.001, 0.0005, 0.0012)
    assert all(getattr(result.timing, stage) >= 0 for stage in STAGES)
    assert 0 <= result.timing.uncovered < result.timing.wall
    assert (twin.closed, twin.forgotten) == (True, [twin.hellos[0].session])


def test_the_hello_says_what_crosses(twin):
    with client(twin, entry="big") as c:
        assert c.welcome.max_in_flight == 64
    (hello,) = twin.hellos
    assert (hello.protocol, hello.entry, hello.fingerprint, len(hello.session)) == (1, "big", "ab" * 16, 16)
    assert [(p.name, p.dtype, list(p.shape), p.codec) for p in hello.ports] == [("x", "float32", [-1, 3], "")]


def test_what_the_head_knows_takes_the_place_of_none():
    assert completed({"a": None, "b": (1, None)}, {"a": 5, "b": (None, [2])}) == {"a": 5, "b": (1, [2])}
    assert completed([1, None], None) == [1, None]
    assert completed(None, {"a": 1}) == {"a": 1}


def test_a_lost_server_is_asked_again_with_the_same_id_and_body(twin):
    twin.faults = [LOST, LOST, None]
    with client(twin) as c:
        result = c.infer(rows(1))
        assert (c.link.resent, c.link.losses, c.link.round_trips) == (2, 2, 1)
    assert result.timing.attempts == 3
    assert twin.asked == {result.id: 3}


def test_a_full_server_is_asked_when_it_said(twin):
    twin.faults = [FULL, None]
    with client(twin) as c:
        assert c.infer(rows(1)).timing.attempts == 2
        assert (c.link.resent, c.link.losses) == (1, 0)


@pytest.mark.parametrize("cause", ["damaged", "too large", "tail failed", "token"])
def test_other_refusals_are_raised_at_once(twin, cause):
    twin.faults = [EdgeError("twin: no", cause)]
    with client(twin, fallback=lambda x: x) as c, pytest.raises(EdgeError, match="twin: no") as caught:
        c.infer(rows(1))
    assert caught.value.cause == cause
    assert set(twin.asked.values()) == {1}


def test_waits_grow_and_are_scattered():
    first, later, last = ([wait_before_retry(LOST, n) for _ in range(50)] for n in (1, 4, 400))
    assert 0.025 <= min(first) < max(first) <= 0.05
    assert 0.2 <= min(later) < max(later) <= 0.4
    assert max(last) <= 2.0
    hinted = [wait_before_retry(FULL, n) for n in range(1, 50)]
    assert 0.001 <= min(hinted) < max(hinted) <= 0.0015
    assert wait_before_retry(EdgeError("no", "token"), 1) is None


def test_a_server_that_forgot_the_session_is_sent_the_hello_along(twin):
    with client(twin) as c:
        c.infer(rows(1))
        twin.known.clear()
        assert c.infer(rows(2)).timing.attempts == 2
        assert c.infer(rows(2)).timing.attempts == 1
        assert len(twin.hellos) == 1


def test_a_server_that_never_learns_is_an_error(twin):
    twin.faults = [EdgeError("twin: who?", "unknown session")] * 2
    with client(twin) as c, pytest.raises(EdgeError, match="who"):
        c.infer(rows(2))


def test_an_answer_to_another_request_is_an_error_and_counted():
    twin = TwinTransport()
    twin.faults = [1]
    with client(twin) as c:
        with pytest.raises(EdgeError, match="was answered by the answer to") as caught:
            c.infer(rows(2))
        assert (caught.value.cause, c.link.strays) == ("answer", 1)


def test_an_answer_on_a_stream_to_another_request_is_nobody_s():
    twin = TwinTransport(streams=True)
    twin.faults = [1 << 40]
    with client(twin) as c:
        with pytest.raises(EdgeDeadlineError, match="no answer to request"):
            c.infer(rows(2), deadline_s=0.1)
        assert c.link.strays == 1
        assert c.infer(rows(3)).output["double"][0, 0] == 6


def test_a_deadline_that_cannot_be_kept_is_an_error_before_it(twin):
    twin.faults = [LOST] * 50
    with client(twin) as c, pytest.raises(EdgeError, match="nobody listens"):
        c.infer(rows(1), deadline_s=0.06)
    assert 1 <= sum(twin.asked.values()) <= 3


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), 1e9])
def test_deadlines_are_times(twin, deadline):
    with client(twin) as c, pytest.raises(ValueError, match="deadline_s must be above 0"):
        c.infer(rows(1), deadline_s=deadline)


def test_the_fallback_answers_where_the_edge_is_lost_and_is_marked(twin):
    with client(twin, fallback=lambda x: -x, patience_s=0.01) as c:
        twin.lost = True
        first, second = c.infer(rows(1)), c.infer(rows(2))
        assert (first.source, second.source, first.failed) == ("fallback", "fallback", False)
        assert (first.output == -rows(1)).all()
        assert first.error.cause == "lost"
        # an edge that stays lost is tried once for each request
        assert second.timing.attempts == 1
        assert (first.timing.queue, first.timing.tail) == (None, None)
        twin.lost = False
        assert c.infer(rows(3)).source == "edge"


def test_a_client_with_a_fallback_starts_without_a_server_and_finds_it_later(twin):
    twin.lost = True
    with client(twin, fallback=lambda x: -x, patience_s=0) as c:
        assert c.welcome is None
        assert c.infer(rows(1)).source == "fallback"
        twin.lost = False
        assert c.infer(rows(1)).source == "edge"
        assert c.welcome is not None


def test_without_a_fallback_a_client_waits_for_its_server(twin):
    twin.lost = True
    threading.Timer(0.1, lambda: setattr(twin, "lost", False)).start()
    with client(twin) as c:
        assert c.infer(rows(1)).source == "edge"
    twin.lost = True
    with pytest.raises(EdgeError, match="nobody listens"):
        client(twin, deadline_s=0.05)


def test_a_fallback_that_fails_says_so(twin):
    def broken(x):
        raise OSError("no model")

    with client(twin, fallback=broken, patience_s=0) as c:
        twin.lost = True
        with pytest.raises(OSError, match="no model"):
            c.infer(rows(1))


def test_a_message_that_is_too_large_is_not_sent():
    twin = TwinTransport(most=40)
    with client(twin) as c:
        assert c.infer(rows(1)).size_bytes <= 40
        with pytest.raises(EdgeError, match="messages of at most 40 bytes, this one has 6"):
            c.infer(rows(1, count=5))
    assert len(twin.asked) == 1


def test_sessions_stand_side_by_side(twin):
    with client(twin) as c, c.session(head=Rows(), entry="other") as other:
        one, two = c.infer(rows(1)), other.infer(rows(2))
        assert (one.output["double"][0, 0], two.output["double"][0, 0]) == (2, 4)
        assert one.id != two.id
        assert c.link.round_trips == 2
    assert len({hello.session for hello in twin.hellos}) == 2
    assert len(set(twin.forgotten)) == 2


def test_steps_have_positions_and_a_lost_state_is_an_error(twin):
    with client(twin) as c:
        c.step(rows(1))
        c.step(rows(1))
        twin.known.clear()
        with pytest.raises(EdgeError, match="keeps no state of this session") as caught:
            c.step(rows(1))
        assert caught.value.cause == "state"
        with pytest.raises(EdgeError, match="state is gone"):
            c.step(rows(1))
    assert twin.steps == 2


def test_a_step_asks_no_fallback(twin):
    with client(twin, fallback=lambda x: x, patience_s=0) as c:
        c.step(rows(1))
        twin.lost = True
        with pytest.raises(EdgeError, match="nobody listens"):
            c.step(rows(1), deadline_s=0.1)


def test_time_that_no_stage_covers():
    assert Timing(head=1, encode=1, network=2, queue=None, wall=5.5).uncovered == 1.5


def test_a_client_needs_codecs_once():
    with pytest.raises(fc.ConfigError, match="a client needs a codec, or a head that has its own"):
        Client("twin", transport=TwinTransport())
    with pytest.raises(fc.ConfigError, match="the head has its codecs"):
        Client("twin", fc.get_codec("raw"), head=Rows(), transport=TwinTransport())


def test_half_a_certificate_is_refused():
    with pytest.raises(ValueError, match="a client certificate is cert= and key="):
        Client("localhost:1", head=Rows(), cert="a.pem")


def test_streams_say_the_whole_hello():
    twin = TwinTransport(streams=True)
    with client(twin) as c:
        assert [r.output["double"][0, 0] for r in c.map(rows(i) for i in range(3))] == [0, 2, 4]
    (flight,) = twin.flights
    assert flight.streams
    assert HELLO_BYTES_KEY in dict(flight.metadata)


def test_deadline_errors_are_timeouts():
    assert issubclass(EdgeDeadlineError, TimeoutError)
    assert issubclass(EdgeError, ConnectionError)
