"""Transport: how requests reach a server. gRPC is one (`featcodec.runtime.grpc_transport`); tests have a twin in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from featcodec.errors import EdgeError
from featcodec.runtime.edge_pb2 import Answer, Hello, Request, Welcome

Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"
Outcome: TypeAlias = "Answer | EdgeError"
Done: TypeAlias = "Callable[[int, Outcome], None]"


class Flight(Protocol):
    """Requests on their way, many at a time."""

    def send(self, request: Request, metadata: Metadata, timeout_s: float) -> None:
        """Send a request without waiting: its answer, or what went wrong, goes to `done` with its id, from another thread."""

    def close(self) -> None:
        """Give up what is on its way; `done` may still be called for it."""


class Transport(Protocol):
    """A channel to a server; any number of sessions and threads may use it. Every error is an `EdgeError`."""

    def open(self, hello: Hello, timeout_s: float) -> Welcome:
        """Say hello."""

    def infer(self, request: Request, metadata: Metadata, timeout_s: float) -> Answer:
        """Send a request and wait for the answer."""

    def flight(self, metadata: Metadata, streams: bool, done: Done) -> Flight:
        """Return a way for many requests at a time: one stream, opened with this metadata, or a call each."""

    def forget(self, session: bytes) -> None:
        """Tell the server that a session is over; a server that is gone need not know."""

    def close(self) -> None:
        """Close the channel."""
