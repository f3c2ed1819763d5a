"""The states of a session, driven at random against a plain model of what must come of each request."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import featcodec as fc
from featcodec.runtime import Limits, Served, edge_pb2
from featcodec.runtime.edge import Edge
from featcodec.runtime.refusals import RefusedError
from featcodec.runtime.wire import agreed_on, hello_name, unpack_output
from tests.runtime.stub import hello_of_feature, tensor

CODEC = fc.get_codec("raw").eval()
KIND = {"feature": (CODEC.payload_kind, CODEC.config_crc())}
SESSIONS, NUMBERS, VALUES, SHAPES = st.integers(0, 3), st.integers(0, 3), st.integers(0, 1), st.integers(0, 1)
MOST_OPEN, MOST_FLYING, MOST_KEPT = 3, 2, 3
# no deadline: the machine that runs the tests may stand still
SETTINGS = settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


def hello_of(session: int, shape: int) -> edge_pb2.Hello:
    """A hello of one of two shapes: the second one is another hello's for the same session."""
    hello = hello_of_feature(CODEC, (2, 3 + shape))
    hello.session = bytes([session]) * 16
    return hello


HELLOS = {(session, shape): hello_of(session, shape) for session in range(4) for shape in range(2)}
NAMES = {key: hello_name(hello) for key, hello in HELLOS.items()}


def body_of(session: int, shape: int, value: int) -> bytes:
    x = torch.full((1, 2, 3 + shape), float(value))
    return agreed_on(HELLOS[session, shape], KIND).to_bytes([tuple(CODEC.encode(x))])


def number_of(answer) -> float:
    return unpack_output(answer.output, tensor).item()


class Base(RuleBasedStateMachine):
    """An edge in a loop of its own."""

    def begin_with(self, served: Served, limits: Limits) -> None:
        self.loop = asyncio.new_event_loop()
        self.edge = self.within(lambda: Edge(served, limits=limits))

    def within(self, do):
        async def run():
            return do()

        return self.loop.run_until_complete(run())

    def outcome(self, do):
        """What comes back, or the cause of a refusal."""
        try:
            return self.within(do)
        except RefusedError as e:
            return e.cause.word

    def wait(self, future):
        return self.loop.run_until_complete(asyncio.wait_for(asyncio.shield(future), 20))

    def teardown(self):
        self.edge.stop()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


class Sessions(Base):
    """Stateless sessions: open, ask, ask again, close, be forgotten."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.runs = 0
        limits = Limits(sessions_per_peer=MOST_OPEN, in_flight_per_client=MOST_FLYING, answers=MOST_KEPT)
        self.begin_with(Served(self.tail, CODEC), limits)
        self.open: dict[int, int] = {}
        self.flying: dict[tuple[int, int], tuple] = {}
        self.kept: OrderedDict[tuple[int, int], tuple[int, int]] = OrderedDict()
        self.left = False

    def tail(self, x):
        assert self.go.wait(20)
        self.runs += 1
        return x.sum((1, 2))

    @rule(session=SESSIONS, shape=SHAPES)
    def open_session(self, session, shape):
        wanted = self.opened(session, shape)
        got = self.outcome(lambda: self.edge.open(HELLOS[session, shape], "peer"))
        assert (got if isinstance(got, str) else None) == wanted

    def opened(self, session, shape) -> str | None:
        """The cause of a refusal to open, by the model."""
        if self.left:
            return "draining"
        if session in self.open:
            return None if self.open[session] == shape else "other hello"
        if len(self.open) >= MOST_OPEN:
            return "too many sessions"
        self.open[session] = shape
        return None

    @rule(session=SESSIONS)
    def close_session(self, session):
        self.edge.close(bytes([session]) * 16)
        self.open.pop(session, None)

    @rule(session=SESSIONS, shape=SHAPES, number=NUMBERS, value=VALUES, along=st.booleans())
    def ask(self, session, shape, number, value, along):
        key, said = (session, number), (shape, value)
        wanted = self.wanted(session, shape, key, said, along)
        request = edge_pb2.Request(id=number, session=bytes([session]) * 16, body=body_of(session, shape, value))
        runs = self.runs
        got = self.outcome(
            lambda: self.edge.begin(
                request,
                client="client",
                peer="peer",
                hello_name=NAMES[session, shape],
                hello=HELLOS[session, shape].SerializeToString() if along else None,
            )
        )
        if isinstance(got, str):
            assert got == wanted
            return
        assert wanted in ("run", "join", "replay")
        if wanted == "replay" or self.go.is_set():
            assert number_of(self.wait(got)) == value * 2 * (3 + shape)
            assert self.runs == runs + (wanted == "run")
        else:
            self.flying[key] = (said, got)
            return
        if wanted == "run":
            self.keep(key, said)

    def wanted(self, session, shape, key, said, along) -> str:
        """What must come of a request, by the model."""
        if self.left:
            return "draining"
        if session not in self.open and not along:
            return "unknown session"
        refused = self.opened(session, shape)
        if refused:
            return refused
        before = self.flying[key][0] if key in self.flying else self.kept.get(key)
        if before is not None:
            return "reused id" if before != said else "join" if key in self.flying else "replay"
        return "client full" if len(self.flying) >= MOST_FLYING else "run"

    def keep(self, key, said):
        self.kept[key] = said
        while len(self.kept) > MOST_KEPT:
            self.kept.popitem(last=False)

    @rule()
    def hold(self):
        self.go.clear()

    @rule()
    def let_go(self):
        self.go.set()
        for key, ((shape, value), future) in self.flying.items():
            assert number_of(self.wait(future)) == value * 2 * (3 + shape)
            self.keep(key, (shape, value))
        self.flying.clear()

    @precondition(lambda self: len(self.kept) == MOST_KEPT)
    @rule()
    def leave(self):
        self.edge.leave()
        self.left = True

    @invariant()
    def counts_hold(self):
        assert len(self.edge.sessions) == len(self.open)
        assert self.edge.metrics.registry.get_sample_value("featcodec_in_flight_requests") == len(self.flying)

    def teardown(self):
        self.let_go()
        super().teardown()


class Steps(Base):
    """A session that keeps a state: steps in order, again, out of order, and after one that failed."""

    def __init__(self):
        super().__init__()
        self.begin_with(Served(self.tail, CODEC, stateful=True), Limits())
        self.within(lambda: self.edge.open(HELLOS[0, 0], "peer"))
        self.seen, self.last, self.lost = [], None, False

    @staticmethod
    def tail(x, state):
        state = [*(state or []), float(x.sum())]
        if len(state) == 4 and state[-1] == 0:
            raise RuntimeError("the fourth step must bring something")
        return torch.tensor([sum(state)]), state

    @rule(number=NUMBERS, value=VALUES, off=st.sampled_from([0, 0, 0, 0, -1, 1]))
    def step(self, number, value, off):
        position = max(0, len(self.seen) + off)
        request = edge_pb2.Request(id=number, session=bytes(16), body=body_of(0, 0, value), position=position)
        got = self.outcome(lambda: self.edge.begin(request, client="c", peer="p"))
        if not isinstance(got, str):
            answer = self.wait(got)
            got = answer.refusal.cause or number_of(answer)
        assert got == self.wanted(number, value, position)

    def wanted(self, number, value, position):
        if self.last and self.last[0] == number:
            return "reused id" if self.last[1] != value else sum(self.seen)
        if self.lost:
            return "state lost"
        if position != len(self.seen):
            return "position"
        self.seen.append(6.0 * value)
        if len(self.seen) == 4 and value == 0:
            self.lost, self.last = True, None
            return "tail failed"
        self.last = (number, value)
        return sum(self.seen)


TestSessions, TestSteps = Sessions.TestCase, Steps.TestCase
TestSessions.settings = TestSteps.settings = SETTINGS
