"""GrpcTransport: requests over gRPC, with TLS, client certificates and a token."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from featcodec.errors import EdgeDeadlineError, EdgeError
from featcodec.runtime.edge_pb2 import Answer, Goodbye, Hello, Request, Welcome
from featcodec.runtime.edge_pb2_grpc import EdgeStub
from featcodec.runtime.transport import Done, Flight, Metadata
from featcodec.runtime.wire import CAUSE_KEY, RETRY_KEY, TOKEN_KEY, UNKNOWN_SESSION

_FORGETTING_S = 1.0
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Security:
    """What a client shows and asks for.

    Attributes
    ----------
    ca
        A file of the certificates that sign the server's: asks for TLS.
    cert, key
        Files of the client's own certificate and its key, where the server wants one.
    token
        A secret that the server shares; without TLS it can be read on the way.
    """

    ca: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        """Refuse half a certificate."""
        if (self.cert is None) != (self.key is None) or (self.cert is not None and self.ca is None):
            raise ValueError("a client certificate is cert= and key=, beside ca=")

    def channel(self, address: str, options: list[tuple[str, Any]]) -> grpc.Channel:
        """Return a channel."""
        if self.ca is None:
            return grpc.insecure_channel(address, options)
        ca, key, cert = (None if path is None else Path(path).read_bytes() for path in (self.ca, self.key, self.cert))
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options)

    @property
    def metadata(self) -> Metadata:
        """What every call says."""
        return () if self.token is None else ((TOKEN_KEY, f"Bearer {self.token}"),)


class GrpcTransport:
    """A gRPC channel.

    Parameters
    ----------
    address
        HOST:PORT.
    max_message_bytes
        The largest answer that is taken.
    """

    def __init__(self, address: str, security: Security, max_message_bytes: int) -> None:
        options = [
            ("grpc.max_send_message_length", -1),  # the server's limit is known from its welcome
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),  # how long an attempt to connect may take
            ("grpc.max_reconnect_backoff_ms", 2000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._address, self._said = address, security.metadata
        self._channel = security.channel(address, options)
        self._stub = EdgeStub(self._channel)  # type: ignore[no-untyped-call]

    def open(self, hello: Hello, timeout_s: float) -> Welcome:
        """Say hello."""
        try:
            welcome: Welcome = self._stub.Open(hello, timeout=timeout_s, metadata=self._said)
        except grpc.RpcError as e:
            raise self._error(e) from None
        return welcome

    def infer(self, request: Request, metadata: Metadata, timeout_s: float) -> Answer:
        """Send a request and wait for the answer."""
        try:
            answer: Answer = self._stub.Infer(request, timeout=timeout_s, metadata=metadata + self._said)
        except grpc.RpcError as e:
            raise self._error(e) from None
        return answer

    def flight(self, metadata: Metadata, streams: bool, done: Done) -> Flight:
        """Return a stream, or calls."""
        return _Stream(self, metadata, done) if streams else _Calls(self, done)

    def forget(self, session: bytes) -> None:
        """Say goodbye."""
        try:
            self._stub.Close(Goodbye(session=session), timeout=_FORGETTING_S, metadata=self._said)
        except grpc.RpcError:
            return  # the session expires

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _error(self, error: Any) -> EdgeError:
        """What a failed call says."""
        trailing: dict[str, str] = dict(error.trailing_metadata() or ())
        retry = trailing.get(RETRY_KEY)
        return refusal(
            error.code(),
            trailing.get(CAUSE_KEY, ""),
            f"{self._address}: {error.details()}",
            int(retry) if retry is not None and retry.isascii() and retry.isdigit() else 0,
        )


def refusal(code: grpc.StatusCode, cause: str, message: str, retry_after_ms: int) -> EdgeError:
    """Return the error of a status, with the server's word for it where it gave one."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return EdgeDeadlineError(message)
    if not cause:
        cause = "lost" if code in _LOST else code.name.lower().replace("_", " ")
    elif code is grpc.StatusCode.UNAVAILABLE:
        cause = "lost"  # a server that leaves: another one may come
    return EdgeError(message, cause, retry_after_ms / 1000 if retry_after_ms else None)


class _Calls:
    """A call for each request."""

    def __init__(self, transport: GrpcTransport, done: Done) -> None:
        self._transport, self._done = transport, done
        self._calls: set[Any] = set()

    def send(self, request: Request, metadata: Metadata, timeout_s: float) -> None:
        said = metadata + self._transport._said
        call = self._transport._stub.Infer.future(request, timeout=timeout_s, metadata=said)
        self._calls.add(call)
        call.add_done_callback(lambda call: self._finished(request.id, call))

    def _finished(self, request_id: int, call: Any) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            error = call.exception()
            self._done(request_id, call.result() if error is None else self._transport._error(error))

    def close(self) -> None:
        for call in list(self._calls):
            call.cancel()


class _Stream:
    """One stream, opened with the first request, and again after it broke or its session was forgotten."""

    def __init__(self, transport: GrpcTransport, metadata: Metadata, done: Done) -> None:
        self._transport, self._metadata, self._done = transport, metadata + transport._said, done
        self._wires: list[_Wire] = []
        self._lock = threading.Lock()

    def send(self, request: Request, metadata: Metadata, timeout_s: float) -> None:
        with self._lock:
            if self._wires and self._wires[-1].send(request):
                return
            self._wires = [wire for wire in self._wires if not wire.broken]
            self._wires.append(wire := _Wire(self._transport, self._metadata, self._done))
            sent = wire.send(request)
        if not sent:
            self._done(request.id, wire.error)  # it broke before it carried anything

    def close(self) -> None:
        for wire in self._wires:
            wire.close()


class _Wire:
    """An open stream, the thread that reads its answers, and the requests that it has not answered."""

    def __init__(self, transport: GrpcTransport, metadata: Metadata, done: Done) -> None:
        self.broken = self.stale = False
        self.error = EdgeError("the stream was given up")
        self._transport, self._done = transport, done
        self._outgoing: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._waiting: set[int] = set()
        self._lock = threading.Lock()
        self._call = transport._stub.Stream(iter(self._outgoing.get, None), metadata=metadata)
        threading.Thread(target=self._read, name="featcodec-answers", daemon=True).start()

    def send(self, request: Request) -> bool:
        """Send, or return False: another wire is wanted."""
        with self._lock:
            if self.broken or self.stale:
                return False
            self._waiting.add(request.id)
        self._outgoing.put(request)
        return True

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._arrived(answer)
            self.error = EdgeError("the server ended the stream")
        except grpc.RpcError as e:
            # whatever ended the stream, its requests may be sent again: they have deadlines of their own
            error = self._transport._error(e)
            self.error = EdgeError(str(error)) if error.cause == "deadline" else error
        self.close()
        for request_id in self._waiting:
            self._done(request_id, self.error)

    def _arrived(self, answer: Answer) -> None:
        with self._lock:
            self._waiting.discard(answer.id)
        if answer.WhichOneof("outcome") != "refusal":
            self._done(answer.id, answer)
            return
        said = answer.refusal
        code = _CODES.get(said.code, grpc.StatusCode.UNKNOWN)
        error = refusal(code, said.cause, said.message, said.retry_after_ms)
        self.stale |= error.cause == UNKNOWN_SESSION
        self._done(answer.id, error)

    def close(self) -> None:
        """Give it up; its unanswered requests are told so by the thread that reads."""
        with self._lock:
            self.broken = True
        self._outgoing.put(None)
        self._call.cancel()
