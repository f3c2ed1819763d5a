"""The transport's twin in memory: a server of a few lines that a test can lose, fill, delay and make lie."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np

from featcodec.errors import EdgeDeadlineError, EdgeError
from featcodec.message import PlainTensor
from featcodec.runtime.edge_pb2 import Answer, Hello, Timing, Welcome
from featcodec.runtime.wire import HELLO_BYTES_KEY, HELLO_KEY, UNKNOWN_SESSION, describe, hello_name, pack_output
from featcodec.session import AgreedTensor, Session

LOST = EdgeError("twin: nobody listens")


class TwinTransport:
    """Answers a plain float32 tensor (B, n) with its double, in the calling thread, or in its own for flights.

    `faults` are taken one for each request before it is answered: an error is raised, an integer is added to the answer's id,
    None does nothing. `lost` refuses everything. Requests of flights wait for the gate: `opens_at` of them open it.
    """

    def __init__(self, *, streams: bool = False, max_in_flight: int = 64, most: int = 0) -> None:
        self.welcome = {"streams": streams, "max_in_flight": max_in_flight, "max_message_bytes": most}
        self.faults: list[EdgeError | int | None] = []
        self.lost = self.closed = False
        self.hellos: list[Hello] = []
        self.known: set[bytes] = set()
        self.asked: Counter[int] = Counter()
        self.bodies: dict[int, bytes] = {}
        self.forgotten: list[bytes] = []
        self.flights: list[TwinFlight] = []
        self.gate = threading.Event()  # flights answer while it is set
        self.gate.set()
        self.opens_at = 0
        self.most_in_flight = 0
        self.steps = 0

    def open(self, hello, timeout_s):
        if self.lost:
            raise LOST
        self.hellos.append(hello)
        self.known.add(hello_name(hello))
        return Welcome(session=hello.session, entry=hello.entry, **self.welcome)

    def infer(self, request, metadata, timeout_s):
        said = dict(metadata)
        self.asked[request.id] += 1
        assert self.bodies.setdefault(request.id, request.body) == request.body
        if self.lost:
            raise LOST
        shift = self._fault()
        if HELLO_BYTES_KEY in said:
            self.known.add(hello_name(Hello.FromString(said[HELLO_BYTES_KEY])))
        name = bytes.fromhex(said[HELLO_KEY])
        if name not in self.known:
            raise EdgeError("twin: who are you?", UNKNOWN_SESSION)
        return self._answer(request, name, shift)

    def _fault(self):
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, EdgeError):
            raise fault
        return fault or 0

    def _answer(self, request, name, shift):
        shape = tuple(self.hellos[0].ports[0].shape)
        (item,) = Session(name, (AgreedTensor("float32", shape),)).from_bytes(request.body)
        doubled = 2 * item.data.view("<f4").reshape(item.shape)
        text, tensors = describe({"double": doubled}, lambda x: isinstance(x, np.ndarray))
        self.steps += 1
        timing = Timing(total=3000, queue=1000, decode=500, tail=1200, batch=1)
        return Answer(id=request.id + shift, output=pack_output(text, [PlainTensor.of(x) for x in tensors]), timing=timing)

    def flight(self, metadata, streams, done):
        self.flights.append(TwinFlight(self, metadata, streams, done))
        return self.flights[-1]

    def forget(self, session):
        self.forgotten.append(session)

    def close(self):
        self.closed = True


class TwinFlight:
    """Answers in a thread of each request."""

    def __init__(self, transport, metadata, streams, done):
        self.transport, self.metadata, self.streams, self.done = transport, metadata, streams, done
        self.closed = False
        self.on_way: set[int] = set()
        if streams:
            transport.known.add(hello_name(Hello.FromString(dict(metadata)[HELLO_BYTES_KEY])))

    def send(self, request, metadata, timeout_s):
        self.on_way.add(request.id)
        self.transport.most_in_flight = max(self.transport.most_in_flight, len(self.on_way))
        if len(self.on_way) == self.transport.opens_at:
            self.transport.gate.set()
        threading.Thread(target=self._answer, args=(request, metadata, timeout_s)).start()

    def _answer(self, request, metadata, timeout_s):
        try:
            if not self.transport.gate.wait(timeout_s):
                raise EdgeDeadlineError("twin: too late")
            outcome = self.transport.infer(request, metadata, timeout_s)
        except EdgeError as e:
            outcome = e
        self.on_way.discard(request.id)
        self.done(outcome.id if isinstance(outcome, Answer) else request.id, outcome)

    def close(self):
        self.closed = True


class Rows:
    """A head without torch: arrays (B, 3) as they are; what it knows is a name."""

    fingerprint = "ab" * 16
    sizes = ()

    def __call__(self, x):
        return np.asarray(x, np.float32)

    def outlines(self, crossing=None):
        from featcodec.outline import Outline

        return (Outline("x", "float32", (-1, 3)),)

    def items(self, crossing):
        return (PlainTensor.of(crossing),)

    def known(self, crossing):
        return {"double": None, "name": "rows"}

    def array(self, tensor):
        return tensor.data.view("<f4").reshape(tensor.shape)
