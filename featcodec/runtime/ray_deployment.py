"""The same service on Ray Serve: its gRPC ingress, replicas, autoscaling and batches. ``featcodec serve --ray``.

A replica is an `Edge` behind the `Service` of the local server; what a call asks and how it is refused is said there. Requests
bring their hello's name, and the hello where a replica asks for it, so that any replica can answer.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import ray
from ray import serve
from ray.serve.config import gRPCOptions

from featcodec.errors import ConfigError
from featcodec.runtime.batching import Deliver, answers_of
from featcodec.runtime.edge import Edge
from featcodec.runtime.edge_pb2 import Answer, Closed, Goodbye, Hello, Request, Welcome
from featcodec.runtime.jobs import Job
from featcodec.runtime.limits import Limits
from featcodec.runtime.served import Served
from featcodec.runtime.service import Service

APPLICATION = "featcodec"
SERVICER = "featcodec.runtime.edge_pb2_grpc.add_EdgeServicer_to_server"
_CALLS_S = 60.0  # a call without a deadline of its own

Tails = Callable[[], "Mapping[str, Served] | Served"]
_Answer = TypeVar("_Answer", Welcome, Answer, Closed)


def deploy(
    tails: Tails,
    *,
    port: int,
    replicas: int = 1,
    max_replicas: int | None = None,
    limits: Limits | None = None,
    max_batch: int = 32,
    max_wait_ms: float = 0.0,
    token: str | None = None,
) -> None:
    """Serve on the cluster of RAY_ADDRESS, or on a local one that is started; return once it answers.

    Ray's ingress listens on every address of its machines. TLS, health, limits of sessions and tails that keep a state stand
    before it or in a server of their own.

    Parameters
    ----------
    tails
        Gives what is served, in each replica: a function of a module, or a partial of one, with what it reads at every node.
    port
        Of the ingress.
    replicas, max_replicas
        How many; with a maximum Ray scales between the two by the requests that are under way.
    limits, max_batch, max_wait_ms, token
        As for `Server`, of each replica.
    """
    limits = limits or Limits()
    if not ray.is_initialized():
        start_cluster()
    # Ray opens a port for HTTP too: any of loopback
    serve.start(http_options={"port": 0}, grpc_options=gRPCOptions(port=port, grpc_servicer_functions=[SERVICER]))
    scale: dict[str, Any] = {"num_replicas": replicas}
    if max_replicas is not None:
        scale = {"autoscaling_config": {"min_replicas": replicas, "max_replicas": max_replicas}}
    deployment = serve.deployment(Replica, name="edge", max_ongoing_requests=limits.in_flight, **scale)
    bound = deployment.bind(tails, limits, max_batch, max_wait_ms, token)
    serve.run(bound, name=APPLICATION, logging_config={"enable_access_log": False})


def start_cluster() -> None:
    """Join the cluster of RAY_ADDRESS, or start a local one, which tells nobody."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(**({} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}))


def withdraw() -> None:
    """End the service; a cluster that was started for it ends with the process."""
    serve.delete(APPLICATION)


class Replica:
    """One replica: what Ray calls, by the names of the service's calls."""

    def __init__(self, tails: Tails, limits: Limits, max_batch: int, max_wait_ms: float, token: str | None) -> None:
        served = tails()
        check_stateless(served)
        # sessions are the ingress's matter: here the oldest make room
        limits = replace(limits, sessions_per_peer=limits.sessions, in_flight_per_client=limits.in_flight)
        batching = partial(RayBatches, max_batch=max_batch, max_wait_ms=max_wait_ms)
        self._service = Service(Edge(served, limits=limits, streams=False, batching=batching), token)

    async def Open(self, hello: Hello, grpc_context: Any) -> Welcome:
        """Say whether both sides match."""
        return await self._call("Open", hello, grpc_context, Welcome)

    async def Infer(self, request: Request, grpc_context: Any) -> Answer:
        """Answer a request."""
        return await self._call("Infer", request, grpc_context, Answer)

    async def Close(self, goodbye: Goodbye, grpc_context: Any) -> Closed:
        """Forget a session, where this replica knows it."""
        return await self._call("Close", goodbye, grpc_context, Closed)

    async def _call(self, name: str, message: Any, context: Any, answer: type[_Answer]) -> _Answer:
        try:
            given: _Answer = await self._service.call(name, _Context(message, context))
            return given
        except _AbortedError:
            return answer()  # Ray loses the trailing metadata of calls that raise; those that return keep status and all


def check_stateless(served: Mapping[str, Served] | Served) -> None:
    """Raise ConfigError where a tail keeps a state: the next step may go to another replica."""
    entries = {"": served} if isinstance(served, Served) else served
    stateful = [name for name, entry in entries.items() if entry.stateful]
    if stateful:
        names = ", ".join(map(repr, stateful))
        raise ConfigError(f"{names} keeps a state, which Ray's replicas do not share: serve it by a local server")


class _AbortedError(Exception):
    """A call was refused; its context says how."""


class _Context:
    """One call, as `Service` sees calls: its one message, and Ray's context."""

    def __init__(self, message: Any, context: Any) -> None:
        self._message, self._context = message, context
        self.peer, self.invocation_metadata = context.peer, context.invocation_metadata

    async def read(self) -> Any:
        """Return the message."""
        return self._message

    def time_remaining(self) -> float:
        """Return the seconds that the client says are left: Ray does not hand on a call's deadline."""
        return getattr(self._message, "timeout_ms", 0) / 1e3 or _CALLS_S

    async def abort(self, code: Any, text: str, trailing: Iterable[tuple[str, str]]) -> None:
        """End the call with a status."""
        self._context.set_code(code)
        self._context.set_details(text)
        self._context.set_trailing_metadata(list(trailing))
        raise _AbortedError


class RayBatches:
    """Requests that `serve.batch` gathers; those that can be run together are.

    Parameters
    ----------
    deliver, limits, max_batch, max_wait_ms
        As for `Batcher`; Ray counts requests.
    """

    def __init__(self, deliver: Deliver, limits: Limits, *, max_batch: int, max_wait_ms: float) -> None:
        self._deliver, self._limits, self._max_batch = deliver, limits, max_batch
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered = serve.batch(max_batch_size=max_batch, batch_wait_timeout_s=max_wait_ms / 1e3)(self._run)

    def submit(self, job: Job) -> None:
        """Hand a request to Ray's queue."""
        task = asyncio.ensure_future(self._gathered(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def finish(self) -> None:
        """Nothing has to be said: Ray lets a replica's calls return before it goes."""

    def join(self) -> None:
        """Nothing has to be waited for."""

    async def _run(self, jobs: list[Job]) -> list[None]:
        for alike in together(jobs, self._max_batch, self._limits.elements):
            self._deliver(await asyncio.to_thread(answers_of, alike, self._limits))
        return [None] * len(jobs)


def together(jobs: Iterable[Job], max_batch: int, max_elements: int) -> list[list[Job]]:
    """Return requests in groups that can be run together: of one key, within the limits."""
    groups: defaultdict[tuple[object, ...], list[list[Job]]] = defaultdict(lambda: [[]])
    for job in jobs:
        last = groups[job.key][-1]
        samples, elements = sum(j.samples for j in last) + job.samples, sum(j.elements for j in last) + job.elements
        if last and (samples > max_batch or elements > max_elements):
            groups[job.key].append([job])
        else:
            last.append(job)
    return [group for found in groups.values() for group in found]
