"""Job: one request from its arrival to its answer."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

from featcodec.bitstream import Packet
from featcodec.message import Item, PlainTensor
from featcodec.parts import Port
from featcodec.runtime.edge_pb2 import Answer, Timing
from featcodec.runtime.refusals import RefusedError
from featcodec.runtime.sessions import Session


@dataclass(eq=False)
class Job:
    """One request.

    Attributes
    ----------
    session, number
        Whose, and its id.
    digest
        Of its body: the same id with another body is refused.
    items
        Its body, parsed.
    size_bytes
        Of its body.
    arrived_ns, deadline_ns
        On `perf_counter_ns`; no deadline where it is None.
    client
        The connection that sent it.
    waiting
        Futures of the loop's, one for each call that waits for its answer; who does not any more has cancelled its own.
    key
        Requests of one key can be run together.
    samples, elements
        Of its tensors.
    """

    session: Session
    number: int
    digest: bytes
    items: tuple[Item, ...]
    size_bytes: int
    arrived_ns: int
    deadline_ns: int | None
    client: str
    waiting: list[Future[Answer]] = field(default_factory=list)
    key: tuple[object, ...] = field(init=False)
    samples: int = field(init=False)
    elements: int = field(init=False)

    def __post_init__(self) -> None:
        """See what can be run together with it."""
        session = self.session
        shapes = [_shape(item, port) for item, port in zip(self.items, session.ports, strict=False)]
        axes = session.entry.served.axes
        batches = [] if axes is None else [axes[port.name] for port in session.ports]
        self.samples = shapes[0][batches[0]] if batches else 1
        self.elements = sum(_elements(item) for item in self.items)
        rests = tuple(shape[:axis] + shape[axis + 1 :] for shape, axis in zip(shapes, batches, strict=False))
        alone = axes is None or any(shape[axis] != self.samples for shape, axis in zip(shapes, batches, strict=True))
        self.key = (self,) if alone else (session.entry, *(p.dtype for p in session.ports), *rests, *self.items[len(shapes) :])

    def wait(self, loop: AbstractEventLoop) -> Future[Answer]:
        """Return a future of its own for another call."""
        future: Future[Answer] = loop.create_future()
        self.waiting.append(future)
        return future

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not all(future.cancelled() for future in self.waiting)

    def answer(self, output: bytes, taken_ns: int, decode_ns: int, tail_ns: int, samples: int) -> Answer:
        """Return the answer with its timing."""
        timing = Timing(
            total=perf_counter_ns() - self.arrived_ns,
            queue=taken_ns - self.arrived_ns,
            decode=decode_ns,
            tail=tail_ns,
            batch=samples,
        )
        return Answer(id=self.number, output=output, timing=timing)

    def refusal(self, refused: RefusedError) -> Answer:
        """Return the refusal in place of an answer."""
        return Answer(id=self.number, refusal=refused.message())


def _shape(item: Item, port: Port) -> tuple[int, ...]:
    """The shape of the tensor that an item will be."""
    if isinstance(item, tuple):
        first: Packet = item[0]
        axis = port.axis or 0
        return (*first.shape[:axis], len(item), *first.shape[axis:])
    return item.shape if isinstance(item, PlainTensor) else ()


def _elements(item: Item) -> int:
    if isinstance(item, tuple):
        return sum(packet.num_elements for packet in item)
    return item.data.size if isinstance(item, PlainTensor) else 0


def elements_of(jobs: Sequence[Job]) -> int:
    """Return the elements of several requests."""
    return sum(job.elements for job in jobs)
