"""Edge: the service without its transport. Hellos and requests go in, welcomes and answers come out, in one event loop."""

from __future__ import annotations

import asyncio
import hashlib
from asyncio import AbstractEventLoop, Future
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic, perf_counter_ns

from featcodec.errors import BitstreamError
from featcodec.runtime import edge_pb2
from featcodec.runtime.answers import Answers
from featcodec.runtime.batching import Batcher, Batching, Deliver, answers_of
from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.jobs import Job
from featcodec.runtime.limits import Limits
from featcodec.runtime.logs import Log
from featcodec.runtime.metrics import Metrics
from featcodec.runtime.refusals import Cause, RefusedError
from featcodec.runtime.served import Served
from featcodec.runtime.sessions import Entry, Session, Sessions
from featcodec.runtime.wire import UNKNOWN_SESSION

_RETRY_MS = 50  # the hint of a full server: about what some batches take
_QUICK_NS = 3e6  # what may be run in the loop itself, which stands still meanwhile
_MOST_KEYS = 64  # of which it is remembered how long they take


class Edge:
    """Tails behind sessions, whatever carries the messages.

    Its methods are called in one event loop; tails run in a thread of their own.

    Parameters
    ----------
    tails
        By the names of their entries; or the only one.
    limits, max_batch, max_wait_ms
        As for `Server`.
    streams
        Whether the transport offers Stream.
    batching
        What runs requests, in place of a `Batcher`; `max_batch` and `max_wait_ms` are its own then.
    """

    def __init__(
        self,
        tails: Mapping[str, Served] | Served,
        *,
        limits: Limits | None = None,
        max_batch: int = 32,
        max_wait_ms: float = 0.0,
        streams: bool = True,
        batching: Callable[[Deliver, Limits], Batching] | None = None,
    ) -> None:
        entries = {"": tails} if isinstance(tails, Served) else dict(tails)
        if not entries:
            raise ValueError("a server has at least one tail")
        self.limits = limits or Limits()
        self.metrics, self.log = Metrics(), Log()
        self.entries = {name: Entry(name, served) for name, served in entries.items()}
        self.sessions = Sessions(self.entries, self.limits)
        self.draining = False
        self._streams = streams
        self._answers = Answers(self.limits)
        self._flying: dict[tuple[bytes, int], Job] = {}
        self._clients: Counter[str] = Counter()
        self._bytes = 0
        self._loop: AbstractEventLoop | None = None
        # two hops between threads cost as much as a small tail; who wants to wait for others wants no hurry
        self._hurries = batching is None and max_wait_ms == 0
        make = batching or partial(Batcher, max_batch=max_batch, max_wait_ms=max_wait_ms)
        self._batcher: Batching = make(self._finished, self.limits)

    # ---- sessions -------------------------------------------------------------------------------------------------------

    def open(self, hello: edge_pb2.Hello, peer: str) -> edge_pb2.Welcome:
        """Open a session, or find it again.

        Parameters
        ----------
        peer
            The address of who asks, by which sessions are counted.

        Raises
        ------
        RefusedError
            What both sides hold differs, or there are too many sessions.
        """
        self._check_open()
        known = len(self.sessions)
        session = self.sessions.open(hello, peer)
        if len(self.sessions) != known:
            self.log.event("session opened", entry=session.entry.name, peer=peer, hello=session.hello.hex())
        self.metrics.sessions.set(len(self.sessions))
        return edge_pb2.Welcome(
            session=session.name,
            entry=session.entry.name,
            max_message_bytes=self.limits.message_bytes,
            max_elements=self.limits.elements,
            max_in_flight=self.limits.in_flight_per_client,
            stateful=session.state is not None,
            streams=self._streams,
        )

    def close(self, name: bytes) -> None:
        """Forget a session."""
        self.sessions.close(name)
        self.metrics.sessions.set(len(self.sessions))

    def expire(self) -> None:
        """Forget what is too old; called every few seconds."""
        self.sessions.expire()
        self._answers.expire()
        self.metrics.sessions.set(len(self.sessions))

    # ---- requests -------------------------------------------------------------------------------------------------------

    def begin(
        self,
        request: edge_pb2.Request,
        *,
        client: str,
        peer: str,
        hello_name: bytes | None = None,
        hello: bytes | None = None,
        seconds_left: float | None = None,
        single: bool = False,
    ) -> Future[Answer]:
        """Take a request; its answer, a refusal perhaps, comes with the future.

        Who does not want it any more cancels it.

        Parameters
        ----------
        client, peer
            The connection, and the address behind it.
        hello_name, hello
            What came in the metadata: the hello's name, and the hello, by which an unknown session is opened.
        seconds_left
            Until the deadline; None without one.
        single
            Whether its client sends no other before this one is answered: where nothing else is in flight and its like was
            quick, it is run in the loop.

        Raises
        ------
        RefusedError
            It is not taken.
        """
        arrived = perf_counter_ns()
        self._check_open()
        size = len(request.body)
        if size > self.limits.message_bytes:
            raise RefusedError(Cause.TOO_LARGE, f"the body has {size} bytes, at most {self.limits.message_bytes} are taken")
        session = self._session(request.session, peer, hello_name, hello)
        digest = hashlib.blake2b(request.body, digest_size=16).digest()
        self.metrics.received(session.entry.name, size)
        deadline = None if seconds_left is None else arrived + int(seconds_left * 1e9)
        known = self._known(session, request.id, digest, deadline)
        if known is not None:
            return known
        if session.state is not None:
            self._check_step(session, request.position)
        self._check_room(client, size)
        loop = self._loop = self._loop or asyncio.get_running_loop()
        try:
            items = session.agreed.from_bytes(request.body, max_elements=self.limits.elements)
        except BitstreamError as e:
            raise RefusedError(Cause.DAMAGED, f"the request's body is none of its session: {e}") from e
        job = Job(session, request.id, digest, items, size, arrived, deadline, client, single and not self._flying)
        future = job.wait(loop)
        self._accept(job)
        return future

    def refuse(self, refused: RefusedError, **about: object) -> None:
        """Count and log a refusal."""
        self.metrics.refused(refused.cause.word)
        self.log.refusal(refused.cause.word, refused.text, about)

    def leave(self) -> None:
        """Take nothing more; what was accepted is answered."""
        if not self.draining:
            self.draining = True
            self._batcher.finish()

    def stop(self) -> None:
        """Leave, and return once the last request has been run."""
        self.leave()
        self._batcher.join()

    def _check_open(self) -> None:
        if self.draining:
            raise RefusedError(Cause.DRAINING, "the server is leaving")

    def _session(self, name: bytes, peer: str, hello_name: bytes | None, hello: bytes | None) -> Session:
        session = self.sessions.find(name, hello_name)
        if session is not None:
            return session
        if hello is None:
            raise RefusedError(Cause.UNKNOWN_SESSION, f"{UNKNOWN_SESSION} {name[:16].hex()}: send its hello along")
        try:
            parsed = edge_pb2.Hello.FromString(hello)
        except Exception as e:  # protobuf's own class
            raise RefusedError(Cause.HELLO, "the hello in the metadata is none") from e
        if parsed.session != name:
            raise RefusedError(Cause.HELLO, "the hello in the metadata is of another session than the request")
        self.open(parsed, peer)
        return self._session(name, peer, hello_name, None)

    def _known(self, session: Session, number: int, digest: bytes, deadline: int | None) -> Future[Answer] | None:
        """The answer of a request that came before."""
        loop = asyncio.get_running_loop()
        job = self._flying.get((session.name, number))
        if job is not None:
            self._check_same(number, digest, job.digest)
            job.deadline_ns = None if deadline is None or job.deadline_ns is None else max(deadline, job.deadline_ns)
            return job.wait(loop)
        kept = self._answers.get(session.name, number)
        if kept is None and session.state is not None:
            kept = session.state.last(number)
        if kept is None:
            return None
        self._check_same(number, digest, kept[0])
        done: Future[Answer] = loop.create_future()
        done.set_result(kept[1])
        return done

    def _check_same(self, number: int, digest: bytes, known: bytes) -> None:
        if digest != known:
            raise RefusedError(Cause.REUSED_ID, f"request {number} came before, with another body")
        self.metrics.repeated.inc()

    def _check_step(self, session: Session, position: int) -> None:
        if session.state is None:
            return
        if session.in_flight:
            raise RefusedError(Cause.POSITION, f"a step of this session is under way, the request is for position {position}")
        session.state.check(position)
        self.sessions.check_states(session)

    def _check_room(self, client: str, size: int) -> None:
        limits = self.limits
        if self._clients[client] >= limits.in_flight_per_client:
            mine = self._clients[client]
            raise RefusedError(Cause.CLIENT_FULL, f"{mine} requests of this client are in flight, no more are taken", _RETRY_MS)
        if len(self._flying) >= limits.in_flight or self._bytes + size > limits.in_flight_bytes:
            raise RefusedError(
                Cause.SERVER_FULL,
                f"{len(self._flying)} requests of {self._bytes} bytes are in flight, "
                f"at most {limits.in_flight} of {limits.in_flight_bytes} bytes are taken",
                _RETRY_MS,
            )

    def _accept(self, job: Job) -> None:
        self._flying[job.session.name, job.number] = job
        self._clients[job.client] += 1
        self._bytes += job.size_bytes
        job.session.in_flight += 1
        self.metrics.in_flight.inc()
        sample_ns = job.session.entry.sample_ns.get(job.key)
        if job.alone and self._hurries and sample_ns is not None and sample_ns * job.samples < _QUICK_NS:
            self._deliver(answers_of([job], self.limits))
        else:
            self._batcher.submit(job)

    def _finished(self, answers: list[tuple[Job, Answer]]) -> None:
        """In the batcher's thread: hand answers to the loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, answers)

    def _deliver(self, answers: Sequence[tuple[Job, Answer]]) -> None:
        for job, answer in answers:
            self._forget(job)
            if answer.HasField("refusal"):
                self.log.refusal(answer.refusal.cause, answer.refusal.message, {"entry": job.session.entry.name})
            elif job.session.state is None:  # a state keeps its last step's answer itself
                self._answers.keep(job.session.name, job.number, job.digest, answer)
            for future in job.waiting:
                if not future.done():
                    future.set_result(answer)
        # behind the calls that now go on: nobody waits for a count
        asyncio.get_running_loop().call_soon(self._count, answers)

    def _forget(self, job: Job) -> None:
        del self._flying[job.session.name, job.number]
        self._clients[job.client] -= 1
        if self._clients[job.client] <= 0:
            del self._clients[job.client]
        self._bytes -= job.size_bytes
        job.session.in_flight -= 1
        job.session.last_s = monotonic()

    def _count(self, answers: Sequence[tuple[Job, Answer]]) -> None:
        self.metrics.ran(answers)
        if len(answers) == 1:
            ((job, answer),) = answers
            known = job.session.entry.sample_ns
            if len(known) >= _MOST_KEYS:
                known.clear()
            if answer.HasField("output") and job.session.state is None:
                known[job.key] = (answer.timing.decode + answer.timing.tail) / job.samples
