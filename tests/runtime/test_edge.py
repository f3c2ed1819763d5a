"""The service without its transport: requests that come again, limits, deadlines, batches that fail in part."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import torch

import featcodec as fc
from featcodec.runtime import Limits, Served, answers, edge_pb2, sessions
from featcodec.runtime import edge as edge_module
from featcodec.runtime.edge import Edge
from featcodec.runtime.refusals import RefusedError
from featcodec.runtime.wire import agreed_on, hello_name, unpack_output
from tests.runtime.stub import hello_of_feature, tensor

CODEC = fc.get_codec("raw").eval()
AGREED = {"feature": (CODEC.payload_kind, CODEC.config_crc())}


class Tail:
    """A tail that counts its calls and waits to be let go."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.began = threading.Event()

    def __call__(self, x: torch.Tensor) -> dict:
        self.began.set()
        assert self.go.wait(20)
        self.batches.append(len(x))
        if (x == 666).any():
            raise RuntimeError("a secret of the tail's")
        return {"sum": x.sum((1, 2)), "kind": "sums"}


class Caller:
    """One session of an edge."""

    def __init__(self, edge: Edge, shape=(2, 3), peer="ipv4:1.2.3.4", client="a") -> None:
        self.edge, self.peer, self.client = edge, peer, client
        self.hello = hello_of_feature(CODEC, shape)
        self.agreed = agreed_on(self.hello, AGREED)
        edge.open(self.hello, peer)

    def request(self, x, number: int) -> edge_pb2.Request:
        return edge_pb2.Request(id=number, session=self.hello.session, body=self.agreed.to_bytes([tuple(CODEC.encode(x))]))

    def begin(self, x, number: int, **about):
        given = {"client": self.client, "peer": self.peer, **about}
        return self.edge.begin(self.request(x, number), **given)


def run(body, *, tail=None, limits=None, **about):
    """Run a coroutine function against an edge of its own."""
    tail = tail or Tail()

    async def main():
        edge = Edge(Served(tail, CODEC), limits=limits, **about)
        try:
            return await asyncio.wait_for(body(edge, tail), 60)
        finally:
            tail.go.set()
            edge.stop()

    return asyncio.run(main())


async def blocked(caller: Caller, tail: Tail):
    """Keep the tail at work on a request with the id 0."""
    tail.go.clear()
    future = caller.begin(ones(1), 0)
    assert await asyncio.to_thread(tail.began.wait, 20)
    return future


@pytest.fixture
def clock(monkeypatch):
    """The time of answers and sessions, which stands still until it is moved."""
    now = [time.monotonic()]
    for module in (answers, edge_module, sessions):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def ones(value: float, samples: int = 1) -> torch.Tensor:
    return torch.full((samples, 2, 3), float(value))


def total(answer) -> list[float]:
    assert answer.HasField("output"), answer.refusal
    return unpack_output(answer.output, tensor)["sum"].tolist()


def cause(begin, *args, **kwargs) -> str:
    with pytest.raises(RefusedError) as e:
        begin(*args, **kwargs)
    return e.value.cause.word


def test_what_comes_while_the_tail_is_at_work_is_run_together():
    async def body(edge, tail):
        caller, other = Caller(edge), Caller(edge, client="b")
        first = await blocked(caller, tail)
        rest = [caller.begin(ones(2), 1), other.begin(ones(3, samples=2), 1), other.begin(ones(4), 2)]
        tail.go.set()
        assert [total(await f) for f in (first, *rest)] == [[6], [12], [18, 18], [24]]
        # the first batch of its kind is looked at: one request of it is run alone beside it
        assert tail.batches == [1, 4, 1]
        assert [(await f).timing.batch for f in (first, *rest)] == [1, 4, 4, 4]

    run(body)


def test_a_batch_holds_as_many_samples_as_it_may():
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        rest = [caller.begin(ones(i, samples=2), i) for i in range(1, 5)]
        big = caller.begin(ones(9, samples=7), 9)
        tail.go.set()
        await asyncio.gather(first, *rest, big)
        assert [(await f).timing.batch for f in (*rest, big)] == [4, 4, 4, 4, 7]

    run(body, max_batch=5)


def test_a_batch_of_one_is_exact():
    async def body(edge, tail):
        caller = Caller(edge)
        await asyncio.gather(*(caller.begin(ones(i), i) for i in range(6)))
        assert tail.batches == [1] * 6

    run(body, max_batch=1)


def test_other_shapes_are_run_apart():
    async def body(edge, tail):
        caller, other = Caller(edge), Caller(edge, shape=(2, -1))
        first = await blocked(caller, tail)
        futures = [other.begin(torch.ones(1, 2, 4), 1), caller.begin(ones(1), 1), other.begin(torch.ones(1, 2, 3), 2)]
        tail.go.set()
        assert [total(await f) for f in (first, *futures)] == [[6], [8], [6], [6]]
        assert [(await f).timing.batch for f in futures] == [1, 2, 2]

    run(body)


def test_a_request_waits_for_others_where_it_is_asked_to():
    async def body(edge, tail):
        caller = Caller(edge)
        futures = [caller.begin(ones(1), 1)]
        await asyncio.sleep(0.05)
        futures += [caller.begin(ones(1), 2), caller.begin(ones(1), 3)]
        assert [(await f).timing.batch for f in futures] == [3, 3, 3]
        assert (await futures[0]).timing.queue > 40e6

    run(body, max_wait_ms=20_000, max_batch=3)


def test_one_bad_packet_fails_alone():
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        # a payload that the header's length covers and the codec does not: the request is parsed, and not decoded
        x = CODEC.encode(ones(1))[0]
        short = fc.Packet(x.shape, x.dtype, x.kind, x.config_crc, x.payload[:-4])
        bad = edge_pb2.Request(id=5, session=caller.hello.session, body=caller.agreed.to_bytes([(short,)]))
        futures = [
            caller.begin(ones(2), 1),
            edge.begin(bad, client="a", peer="p"),
            caller.begin(ones(3), 2),
        ]
        tail.go.set()
        assert [total(await f) for f in (first, futures[0], futures[2])] == [[6], [12], [18]]
        refusal = (await futures[1]).refusal
        assert refusal.cause == "damaged"
        assert "cannot be decoded" in refusal.message
        await asyncio.sleep(0)
        assert edge.metrics.refusals() == {"damaged": 1}

    run(body)


def test_a_tail_that_fails_on_a_batch_is_run_one_by_one():
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        futures = [caller.begin(ones(v), n) for n, v in enumerate((2, 666, 3), 1)]
        tail.go.set()
        await first
        assert [total(await f) for f in (futures[0], futures[2])] == [[12], [18]]
        refusal = (await futures[1]).refusal
        assert (refusal.cause, refusal.message) == ("tail failed", "the tail failed with RuntimeError")

    run(body)


def test_an_output_that_does_not_follow_the_batch_is_never_taken_apart():
    # four samples give four numbers, as do any: nothing in the shape of one batch tells
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        futures = [caller.begin(ones(i), i) for i in range(1, 5)]
        tail.go.set()
        await first
        got = [unpack_output((await f).output, tensor).tolist() for f in futures]
        assert got == [[6.0 * i] * 4 for i in range(1, 5)]

    class Fours(Tail):
        def __call__(self, x):
            return super().__call__(x)["sum"].mean().repeat(4)

    run(body, tail=Fours())


def test_the_same_request_again_joins_it_and_is_then_replayed():
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        again = caller.begin(ones(1), 0)
        tail.go.set()
        answer = await first
        assert await again is answer
        assert total(await caller.begin(ones(1), 0)) == total(answer)
        assert tail.batches == [1]
        assert cause(caller.begin, ones(2), 0) == "reused id"
        assert total(await Caller(edge).begin(ones(2), 0)) == [12], "another session has ids of its own"

    run(body)


def test_replays_are_bounded_in_number_bytes_and_time(clock):
    async def body(edge, tail):
        caller = Caller(edge)
        for number in range(5):
            await caller.begin(ones(1), number)
        await caller.begin(ones(1), 4)
        assert len(tail.batches) == 5
        await caller.begin(ones(1), 1)
        assert len(tail.batches) == 6, "the oldest ones are forgotten"
        clock[0] += 31
        edge.expire()
        await caller.begin(ones(1), 4)
        assert len(tail.batches) == 7

    run(body, limits=Limits(answers=2, answer_s=30))

    async def bytes_body(edge, tail):
        caller = Caller(edge)
        await caller.begin(ones(1), 1)
        await caller.begin(ones(1), 1)
        assert len(tail.batches) == 2

    run(bytes_body, limits=Limits(answer_bytes=10))


def test_an_unknown_session_is_opened_by_its_hello():
    async def body(edge, tail):
        caller = Caller(edge)
        edge.close(caller.hello.session)
        assert cause(caller.begin, ones(1), 1) == "unknown session"
        hello = caller.hello.SerializeToString()
        assert total(await caller.begin(ones(1), 1, hello=hello, hello_name=hello_name(caller.hello))) == [6]
        assert total(await caller.begin(ones(1), 2)) == [6]
        assert cause(caller.begin, ones(1), 3, hello_name=bytes(16)) == "other hello"
        edge.close(caller.hello.session)
        assert cause(caller.begin, ones(1), 4, hello=b"\xff\xff") == "malformed hello"
        other = hello_of_feature(CODEC, (2, 3)).SerializeToString()
        assert cause(caller.begin, ones(1), 4, hello=other) == "malformed hello"

    run(body)


def test_requests_in_flight_are_bounded_for_a_client_and_in_all():
    async def body(edge, tail):
        caller, other = Caller(edge), Caller(edge, client="b")
        futures = [await blocked(caller, tail), caller.begin(ones(1), 1)]
        with pytest.raises(RefusedError, match="2 requests of this client are in flight") as e:
            caller.begin(ones(1), 2)
        assert e.value.cause.word == "client full"
        assert e.value.message().retry_after_ms > 0
        futures.append(other.begin(ones(1), 1))
        assert cause(other.begin, ones(1), 2) == "server full"
        tail.go.set()
        await asyncio.gather(*futures)
        assert total(await caller.begin(ones(1), 2)) == [6]

    run(body, limits=Limits(in_flight=3, in_flight_per_client=2))


def test_bodies_in_flight_are_bounded_together():
    async def body(edge, tail):
        caller = Caller(edge)
        size = len(caller.request(ones(1), 0).body)
        assert 40 > size > 24
        first = await blocked(caller, tail)
        assert cause(caller.begin, ones(1), 1) == "server full"
        tail.go.set()
        await first

    run(body, limits=Limits(in_flight_bytes=50))


def test_a_request_that_is_too_large_is_not_taken():
    async def body(edge, tail):
        caller = Caller(edge, shape=(2, -1))
        assert cause(caller.begin, torch.ones(1, 2, 50), 1) == "too large"
        assert cause(caller.begin, torch.ones(6, 2, 3), 1) == "damaged"
        assert total(await caller.begin(torch.ones(5, 2, 3), 1)) == [6] * 5

    run(body, limits=Limits(elements=30, message_bytes=300))


def test_work_whose_deadline_has_passed_is_not_done():
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        late, timely = caller.begin(ones(2), 1, seconds_left=0.01), caller.begin(ones(3), 2, seconds_left=20)
        await asyncio.sleep(0.05)
        tail.go.set()
        assert total(await timely) == [18]
        await first
        assert (await late).refusal.cause == "deadline"
        assert tail.batches == [1, 1]

    run(body)


def test_work_that_nobody_waits_for_is_not_done():
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        forsaken, joined = caller.begin(ones(2), 1), caller.begin(ones(3), 2)
        again = caller.begin(ones(3), 2)
        for future in (forsaken, joined):
            future.cancel()
        tail.go.set()
        await first
        assert total(await again) == [18], "one of two still waits"
        await asyncio.sleep(0)
        assert edge.metrics.refusals() == {"cancelled": 1}
        assert tail.batches == [1, 1]

    run(body)


def test_sessions_are_bounded_for_an_address_and_idle_ones_make_room():
    async def body(edge, tail):
        first = Caller(edge)
        for _ in range(2):
            Caller(edge)
        assert cause(Caller, edge) == "too many sessions"
        assert len(edge.sessions) == 3
        for i in range(7):
            Caller(edge, peer=f"ipv4:{i}")
        assert len(edge.sessions) == 5
        assert cause(first.begin, ones(1), 1) == "unknown session"
        last = Caller(edge)
        edge.close(last.hello.session)
        assert len(edge.sessions) == 4

    run(body, limits=Limits(sessions=5, sessions_per_peer=3))


def test_a_session_at_work_is_not_forgotten(clock):
    async def body(edge, tail):
        caller = Caller(edge)
        first = await blocked(caller, tail)
        assert cause(Caller, edge, peer="b") == "too many sessions"
        clock[0] += 61
        edge.expire()
        assert len(edge.sessions) == 1
        tail.go.set()
        await first
        edge.expire()
        assert len(edge.sessions) == 1, "its last request counts from its end"
        clock[0] += 61
        edge.expire()
        assert len(edge.sessions) == 0

    run(body, limits=Limits(sessions=1, session_s=60))


def test_who_leaves_answers_what_was_accepted_and_takes_nothing_more():
    async def body(edge, tail):
        caller = Caller(edge)
        waiting = caller.begin(ones(1), 1)
        edge.leave()
        assert cause(caller.begin, ones(1), 2) == "draining"
        assert cause(Caller, edge) == "draining"
        assert total(await waiting) == [6]

    run(body, max_wait_ms=60_000)
