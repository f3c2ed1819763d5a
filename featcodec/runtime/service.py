"""Service: the gRPC face of an `Edge`. Calls, streams, metadata, tokens and deadlines."""

from __future__ import annotations

import asyncio
import hmac
from asyncio import Future, Task
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from featcodec.runtime import edge_pb2
from featcodec.runtime.edge import Edge
from featcodec.runtime.edge_pb2 import Answer
from featcodec.runtime.refusals import Cause, RefusedError
from featcodec.runtime.wire import CAUSE_KEY, HELLO_BYTES_KEY, HELLO_KEY, RETRY_KEY, TOKEN_KEY

NAME = "featcodec.v1.Edge"


class Service:
    """The handlers of one server."""

    def __init__(self, edge: Edge, token: str | None = None) -> None:
        self.edge = edge
        self._token = None if token is None else f"Bearer {token}".encode()
        self._leaving = asyncio.Event()
        self._streams = 0

    def leave(self) -> None:
        """Take nothing more; streams end once what they brought is answered."""
        self.edge.leave()
        self._leaving.set()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server serves.

        Calls of one message are read as streams of one, so that who sends slowly can be told to go.
        """
        one: dict[str, tuple[Callable[[Any, Any], Awaitable[Any]], Any, Any]] = {
            "Open": (self._open, edge_pb2.Hello, edge_pb2.Welcome),
            "Infer": (self._infer, edge_pb2.Request, Answer),
            "Close": (self._close, edge_pb2.Goodbye, edge_pb2.Closed),
        }
        found = {
            name: grpc.stream_unary_rpc_method_handler(self._one(do), asked.FromString, given.SerializeToString)
            for name, (do, asked, given) in one.items()
        }
        found["Stream"] = grpc.stream_stream_rpc_method_handler(
            self._guarded(self._stream), edge_pb2.Request.FromString, Answer.SerializeToString
        )
        return grpc.method_handlers_generic_handler(NAME, found)

    async def call(self, name: str, context: Any) -> Any:
        """Do the call Open, Infer or Close, whose message the context gives; what refuses it aborts the context."""
        calls: dict[str, Callable[[Any, Any], Awaitable[Any]]]
        calls = {"Open": self._open, "Infer": self._infer, "Close": self._close}
        return await self._one(calls[name])(None, context)

    # ---- what all calls have in common ----------------------------------------------------------------------------------

    def _one(self, do: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def first(messages: Any, context: Any) -> Any:
            return await do(await self._received(context), context)

        return self._guarded(first)

    def _guarded(self, do: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def guarded(messages: Any, context: Any) -> Any:
            try:
                self._check_token(context)
                return await do(messages, context)
            except RefusedError as refused:
                self.edge.refuse(refused, peer=context.peer())
                await _abort(context, refused.message())

        return guarded

    async def _received(self, context: Any) -> Any:
        wait_s = self.edge.limits.receive_s
        message = await _within(wait_s, context.read(), RefusedError(Cause.SLOW_SENDER, f"no whole message came in {wait_s} s"))
        if message is aio.EOF:
            raise RefusedError(Cause.NO_MESSAGE, "the call brought no message, or one that is too large or none of its kind")
        return message

    def _check_token(self, context: Any) -> None:
        if self._token is None:
            return
        given = dict(context.invocation_metadata()).get(TOKEN_KEY, "")
        if not hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._token):
            raise RefusedError(Cause.TOKEN, "the call has no token, or another one than the server's")

    # ---- calls ----------------------------------------------------------------------------------------------------------

    async def _open(self, hello: edge_pb2.Hello, context: Any) -> edge_pb2.Welcome:
        return self.edge.open(hello, _peer(context))

    async def _close(self, goodbye: edge_pb2.Goodbye, context: Any) -> edge_pb2.Closed:
        self.edge.close(goodbye.session)
        return edge_pb2.Closed()

    async def _infer(self, request: edge_pb2.Request, context: Any) -> Answer:
        metadata = dict(context.invocation_metadata())
        future = self.edge.begin(
            request,
            client=context.peer(),
            peer=_peer(context),
            hello_name=_hello_name(metadata.get(HELLO_KEY)),
            hello=metadata.get(HELLO_BYTES_KEY),
            seconds_left=context.time_remaining(),
            single=True,
        )
        answer = await future  # a call that is cancelled cancels its future
        if answer.HasField("refusal"):
            await _abort(context, answer.refusal)
        return answer

    async def _stream(self, messages: AsyncIterator[Any], context: Any) -> None:
        if self._streams >= self.edge.limits.streams:
            raise RefusedError(Cause.SERVER_FULL, f"{self._streams} streams are open, no more are", retry_after_ms=1000)
        self._streams += 1
        stream = _Stream(self.edge, context)
        try:
            stream.greet()
            await stream.run(self._leaving)
        finally:
            self._streams -= 1
            stream.end()


class _Stream:
    """One stream: requests are read while fewer than the limit are on their way, answers written as they come."""

    def __init__(self, edge: Edge, context: Any) -> None:
        self._edge, self._context = edge, context
        self._client, self._peer = context.peer(), _peer(context)
        self._ready: deque[Answer] = deque()
        self._flying: set[Future[Answer]] = set()
        self._changed = asyncio.Event()  # an answer is ready, or reading has ended
        self._room = asyncio.Event()
        self._ended = False

    def greet(self) -> None:
        """Open the sessions whose hellos came with the call."""
        for key, value in self._context.invocation_metadata():
            if key == HELLO_BYTES_KEY:
                self._edge.open(_parsed(value), self._peer)

    async def run(self, leaving: asyncio.Event) -> None:
        """Serve until the client has sent its last request, or the server leaves, and all is answered."""
        reading = asyncio.ensure_future(self._read())
        left = asyncio.ensure_future(leaving.wait())
        writing = asyncio.ensure_future(self._write())
        try:
            await asyncio.wait((reading, left, writing), return_when=asyncio.FIRST_COMPLETED)
            self._ended = True
            self._changed.set()
            if reading.done():
                reading.result()
            await writing
        finally:
            for task in (reading, left, writing):
                await _cancelled(task)

    def end(self) -> None:
        """Wait for nothing any more."""
        for future in tuple(self._flying):
            future.cancel()

    @property
    def _outstanding(self) -> int:
        return len(self._flying) + len(self._ready)

    async def _read(self) -> None:
        most = self._edge.limits.in_flight_per_client
        while True:
            while self._outstanding >= most:
                self._room.clear()
                await self._room.wait()
            request = await self._context.read()
            if request is aio.EOF:
                return
            self._begin(request)
            if self._ready:
                await asyncio.sleep(0)  # what is answered already is written before the next is waited for

    def _begin(self, request: edge_pb2.Request) -> None:
        seconds = request.timeout_ms / 1e3 if request.timeout_ms else None
        try:
            future = self._edge.begin(request, client=self._client, peer=self._peer, seconds_left=seconds, single=request.alone)
        except RefusedError as refused:
            self._edge.refuse(refused, peer=self._peer)
            self._put(Answer(id=request.id, refusal=refused.message()))
            return
        if future.done():
            self._put(future.result())
            return
        self._flying.add(future)
        future.add_done_callback(self._answered)

    def _answered(self, done: Future[Answer]) -> None:
        self._flying.discard(done)
        if not done.cancelled():
            self._put(done.result())

    def _put(self, answer: Answer) -> None:
        self._ready.append(answer)
        self._changed.set()

    async def _write(self) -> None:
        wait_s = self._edge.limits.send_s
        slow = RefusedError(Cause.SLOW_READER, f"an answer was not taken in {wait_s} s")
        while True:
            while self._ready:
                await _within(wait_s, self._context.write(self._ready[0]), slow)
                self._ready.popleft()
                self._room.set()
            if self._ended and not self._flying:
                return
            self._changed.clear()
            await self._changed.wait()


async def _within(seconds: float, wanted: Awaitable[Any], refused: RefusedError) -> Any:
    """What is awaited, or the refusal where it takes longer; `wait_for` without its task for each call."""
    task = asyncio.current_task()
    late = False

    def cancel() -> None:
        nonlocal late
        late = True
        if task is not None:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, cancel)
    try:
        return await wanted
    except asyncio.CancelledError:
        if late:
            raise refused from None
        raise
    finally:
        timer.cancel()


async def _cancelled(task: Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _abort(context: Any, refusal: edge_pb2.Refusal) -> None:
    trailing = [(CAUSE_KEY, refusal.cause)]
    if refusal.retry_after_ms:
        trailing.append((RETRY_KEY, str(refusal.retry_after_ms)))
    status = next(code for code in grpc.StatusCode if code.value[0] == refusal.code)
    await context.abort(status, refusal.message, tuple(trailing))


def _peer(context: Any) -> str:
    """The address behind a connection, without its port."""
    peer: str = context.peer()
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


def _hello_name(text: Any) -> bytes | None:
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError) as e:
        raise RefusedError(Cause.HELLO, "a hello's name in the metadata is hexadecimal digits") from e


def _parsed(hello: Any) -> edge_pb2.Hello:
    try:
        parsed: edge_pb2.Hello = edge_pb2.Hello.FromString(hello)
    except Exception as e:  # protobuf's own class
        raise RefusedError(Cause.HELLO, "the hello in the metadata is none") from e
    return parsed
