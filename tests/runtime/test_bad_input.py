"""Strangers: each is refused or bounded, and counted by its cause, while another client goes on working."""

from __future__ import annotations

import itertools
import os
import random
import socket
import struct
import threading
import time

import grpc
import pytest
import torch

import featcodec as fc
from featcodec.runtime import Limits, Served, Server, edge_pb2
from featcodec.runtime.wire import CAUSE_KEY, HELLO_BYTES_KEY, RETRY_KEY
from tests.runtime.stub import Stub, hello_of_feature

CODEC = fc.get_codec("raw").eval()
LIMITS = Limits(message_bytes=1 << 20, elements=1 << 16, sessions_per_peer=50, in_flight_per_client=8, receive_s=3, send_s=2)
TOKEN = "a-token-of-some-length"
CARRIED = (("authorization", f"Bearer {TOKEN}"),)


def stub_of(server, shape=(4, 5), **about) -> Stub:
    return Stub(server.address, hello_of_feature(CODEC, shape), {"feature": CODEC}, metadata=CARRIED, **about)


@pytest.fixture(scope="module")
def server():
    def tail(x):
        time.sleep(0.02 * float(x.max() > 100))  # what is large takes long
        return x.repeat(1, 4, 4)

    with Server(Served(tail, CODEC), limits=LIMITS, token=TOKEN) as server:
        yield server


@pytest.fixture(autouse=True)
def worker(server):
    """Another client, which goes on working whatever happens."""
    stub, stop, done, errors = stub_of(server), threading.Event(), itertools.count(), []
    stub.open()

    def work():
        generator = torch.Generator().manual_seed(0)
        while not stop.is_set():
            x = torch.randn(1, 4, 5, generator=generator)
            try:
                if not torch.equal(stub([tuple(CODEC.encode(x))]), x.repeat(1, 4, 4)):
                    errors.append("another answer")
                next(done)
            except grpc.RpcError as e:
                errors.append(e)
            time.sleep(0.002)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    before = next(done)
    deadline = time.monotonic() + 20
    while next(done) < before + 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join(timeout=20)
    goodbye = edge_pb2.Goodbye(session=stub.hello.session)
    stub.edge.Close(goodbye, metadata=CARRIED)
    stub.close()
    assert errors == []
    assert next(done) > before + 8, "the other client stands still"


def counted(server, cause: str) -> int:
    return server.metrics.refusals().get(cause, 0)


def refused(call, *args, **kwargs) -> tuple[str, grpc.RpcError]:
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **kwargs)
    return dict(e.value.trailing_metadata() or ()).get(CAUSE_KEY, ""), e.value


def test_a_hello_that_does_not_match(server):
    before = counted(server, "codec")
    stub = stub_of(server)
    stub.hello.ports[0].codec = '{"id": "half"}'
    cause, error = refused(stub.open)
    assert cause == "codec"
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "half" in error.details()
    assert "raw" in error.details()
    assert counted(server, "codec") == before + 1
    stub.close()


@pytest.mark.parametrize("given", [(), (("authorization", "Bearer another token!!"),), (("authorization", TOKEN),)])
def test_a_wrong_token(server, given):
    before = counted(server, "token")
    stub = stub_of(server)
    stub.metadata = given
    cause, error = refused(stub.open)
    assert (cause, error.code()) == ("token", grpc.StatusCode.UNAUTHENTICATED)
    assert refused(stub.infer, edge_pb2.Request(id=1))[0] == "token"
    assert refused(list, stub.edge.Stream(iter([]), metadata=given))[0] == "token"
    assert counted(server, "token") == before + 3
    stub.close()


def test_bodies_that_are_none(server):
    stub = stub_of(server)
    stub.open()
    good = stub.request([tuple(CODEC.encode(torch.randn(2, 4, 5)))]).body
    before, wrong = counted(server, "damaged"), random.Random(0)
    bodies = [good[:n] for n in range(0, len(good), 7)]
    bodies += [bytes([*good[:i], good[i] ^ 1 << wrong.randrange(8), *good[i + 1 :]]) for i in range(0, len(good), 5)]
    bodies += [wrong.randbytes(wrong.randrange(200)) for _ in range(60)]
    for number, body in enumerate(bodies):
        request = edge_pb2.Request(id=1000 + number, session=stub.hello.session, body=body)
        assert refused(stub.infer, request)[0] == "damaged"
    assert counted(server, "damaged") == before + len(bodies)
    stub.close()


def test_messages_that_are_none_or_too_large(server):
    stub = stub_of(server)
    stub.open()
    raw = stub.channel.stream_unary("/featcodec.v1.Edge/Infer")
    before = counted(server, "no message")
    for message in (b"\xff" * 40, os.urandom(100)):
        with pytest.raises(grpc.RpcError):
            raw(iter([message]), timeout=10, metadata=CARRIED)
    _, error = refused(stub.infer, edge_pb2.Request(id=1, session=stub.hello.session, body=bytes(3 << 20)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    request = edge_pb2.Request(id=1, session=stub.hello.session, body=bytes((1 << 20) + 100))
    assert refused(stub.infer, request)[0] == "too large"
    cause, _ = refused(raw, iter([]), timeout=10, metadata=CARRIED)
    assert cause == "no message"
    assert counted(server, "no message") > before
    stub.close()


def test_metadata_that_are_none(server):
    stub = stub_of(server)
    request = stub.request([tuple(CODEC.encode(torch.randn(1, 4, 5)))])
    assert refused(stub.infer, request, extra=((HELLO_BYTES_KEY, b"\xff\xff\xff"),))[0] == "malformed hello"
    assert refused(stub.infer, request)[0] == "unknown session"
    assert refused(stub.edge.Infer, request, metadata=(*CARRIED, ("featcodec-hello", "no hex")))[0] == "malformed hello"
    assert stub.infer(request, extra=((HELLO_BYTES_KEY, stub.hello.SerializeToString()),)).HasField("output")
    stub.close()


def test_a_thousand_sessions(server):
    before = counted(server, "too many sessions")
    stub, opened, errors = stub_of(server), [], []
    for _ in range(1000):
        stub.hello.session = os.urandom(16)
        try:
            opened.append(stub.open().session)
        except grpc.RpcError as e:
            errors.append(e)
    for session in opened:
        stub.edge.Close(edge_pb2.Goodbye(session=session), metadata=CARRIED)
    assert {e.code() for e in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    trailing = [dict(e.trailing_metadata()) for e in errors]
    assert {t[CAUSE_KEY] for t in trailing} == {"too many sessions"}
    assert min(int(t[RETRY_KEY]) for t in trailing) > 0
    assert 0 < len(opened) < LIMITS.sessions_per_peer
    assert counted(server, "too many sessions") == before + 1000 - len(opened)
    stub.hello.session = os.urandom(16)
    session = stub.open().session
    stub.edge.Close(edge_pb2.Goodbye(session=session), metadata=CARRIED)
    stub.close()


def test_more_calls_at_once_than_are_taken(server):
    stub = stub_of(server)
    stub.open()
    large = [tuple(CODEC.encode(torch.full((1, 4, 5), 200.0)))]
    requests = [stub.request(large) for _ in range(300)]
    calls = [stub.edge.Infer.future(request, timeout=20, metadata=CARRIED) for request in requests]
    codes = {call.exception() and call.exception().code() for call in calls}
    # UNAVAILABLE: more calls on one connection than gRPC itself lets in
    assert codes <= {None, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    assert None in codes
    assert len(codes) > 1
    stub.close()


def test_a_reader_that_never_reads(server):
    # answers of 512 kB each, which nobody takes: the stream is not read on, then ended
    before = counted(server, "slow reader")
    stub = stub_of(server, shape=(4, 250))
    stub.open()
    body = [tuple(CODEC.encode(torch.randn(8, 4, 250)))]
    sent = itertools.count()

    def requests():
        for _ in range(2000):
            next(sent)
            yield stub.request(body)

    call = stub.edge.Stream(requests(), metadata=CARRIED)
    deadline = time.monotonic() + 20
    while counted(server, "slow reader") == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counted(server, "slow reader") == before + 1
    assert next(sent) < 1000, "requests are not taken without end"
    call.cancel()
    stub.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header that no table holds."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def test_a_sender_that_is_slow_for_ever(server):
    before = counted(server, "slow sender")
    host, _, port = server.address.rpartition(":")
    headers = {":method": "POST", ":scheme": "http", ":path": "/featcodec.v1.Edge/Infer", ":authority": "x"}
    headers |= {"content-type": "application/grpc", "te": "trailers", **dict(CARRIED)}
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        connection.sendall(frame(1, 4, 1, b"".join(literal(k, v) for k, v in headers.items())))
        connection.sendall(frame(0, 0, 1, b"\x00" + struct.pack(">I", 1000)))
        deadline = time.monotonic() + 20
        while counted(server, "slow sender") == before and time.monotonic() < deadline:
            connection.sendall(frame(0, 0, 1, b"x"))
            time.sleep(0.05)
    assert counted(server, "slow sender") == before + 1


def test_bytes_that_are_no_http(server):
    host, _, port = server.address.rpartition(":")
    for seed in range(20):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(random.Random(seed).randbytes(500))
