"""TLS, clients' certificates, tokens, and the health service."""

from __future__ import annotations

import subprocess
import threading

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

import featcodec as fc
from featcodec.runtime import Served, Server, Tls
from tests.runtime.stub import Stub, hello_of_feature

CODEC = fc.get_codec("raw").eval()


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two authorities, of each a certificate for localhost."""
    folder = tmp_path_factory.mktemp("keys")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for ca in ("ours", "theirs"):
        openssl(folder, "req", "-x509", *new, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "30")
        for name in (f"{ca}-server", f"{ca}-client"):
            openssl(folder, "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            signed = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-extfile", "names", "-days", "30")
            openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


def channel(keys, address, ca="ours", client=None):
    read = [(keys / f"{client}.{kind}").read_bytes() for kind in ("key", "pem")] if client else [None, None]
    credentials = grpc.ssl_channel_credentials((keys / f"{ca}.pem").read_bytes(), *read)
    return grpc.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)])


def answers(opened) -> bool:
    x = torch.randn(1, 2, 3)
    stub = Stub(None, hello_of_feature(CODEC, (2, 3)), {"feature": CODEC}, channel=opened)
    try:
        stub.open()
        return torch.equal(stub([tuple(CODEC.encode(x))]), x)
    except grpc.RpcError as e:
        if e.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    finally:
        opened.close()


def test_tls_and_who_is_not_the_server(keys):
    with Server(Served(lambda x: x, CODEC), tls=Tls(keys / "ours-server.pem", keys / "ours-server.key")) as server:
        assert answers(channel(keys, server.address))
        assert not answers(channel(keys, server.address, ca="theirs"))
        assert not answers(grpc.insecure_channel(server.address))


def test_clients_without_a_certificate_of_the_authority_are_not_served(keys):
    tls = Tls(keys / "ours-server.pem", keys / "ours-server.key", client_ca=keys / "ours.pem")
    with Server(Served(lambda x: x, CODEC), tls=tls) as server:
        assert answers(channel(keys, server.address, client="ours-client"))
        assert not answers(channel(keys, server.address, client="theirs-client"))
        assert not answers(channel(keys, server.address))


@pytest.mark.parametrize("token", ["short", "a b c d e f g h i j k", "x" * 20 + "\n", "ü" * 20])
def test_a_token_that_keeps_nobody_out(token):
    with pytest.raises(ValueError, match="a token has at least 16 printable ASCII characters"):
        Server(Served(lambda x: x, CODEC), token=token)


def test_health_says_when_the_server_leaves():
    go = threading.Event()

    def tail(x):
        assert go.wait(20)
        return x

    server = Server(Served(tail, CODEC)).start()
    stub = Stub(server.address, hello_of_feature(CODEC, (2,)), {"feature": CODEC})
    stub.open()
    health = health_pb2_grpc.HealthStub(stub.channel)
    names = ("", "featcodec.v1.Edge")
    serving, leaving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert [health.Check(health_pb2.HealthCheckRequest(service=name)).status for name in names] == [serving] * 2
    seen = health.Watch(health_pb2.HealthCheckRequest(service="featcodec.v1.Edge"))
    assert next(seen).status == serving
    waiting = stub.edge.Infer.future(stub.request([tuple(CODEC.encode(torch.ones(1, 2)))]), timeout=20)
    while server.metrics.in_flight._value.get() < 1:
        pass
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert next(seen).status == leaving
    seen.cancel()
    go.set()
    assert waiting.result().HasField("output"), "what was accepted is answered"
    stopping.join(timeout=20)
    assert not stopping.is_alive()
    stub.close()


def test_a_stream_ends_with_what_it_brought_when_the_server_leaves():
    server = Server(Served(lambda x: x, CODEC)).start()
    stub = Stub(server.address, hello_of_feature(CODEC, (2,)), {"feature": CODEC})
    stub.open()
    more, left = threading.Event(), threading.Event()

    def requests():
        yield stub.request([tuple(CODEC.encode(torch.ones(1, 2)))])
        more.set()
        left.wait(20)

    answers = stub.edge.Stream(requests(), timeout=20)
    assert next(answers).HasField("output")
    assert more.wait(20)
    server.stop()
    assert list(answers) == []
    left.set()
    stub.close()


def test_a_port_that_is_taken():
    with Server(Served(lambda x: x, CODEC)) as server:
        assert server.address.startswith("127.0.0.1:")
        with pytest.raises(OSError, match="cannot listen at"):
            Server(Served(lambda x: x, CODEC), listen=server.address).start()
