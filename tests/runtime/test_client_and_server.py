"""The client against a real server in this process: features of a head of one's own, deadlines, limits, state, certificates."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest
import torch

import featcodec as fc
from featcodec.runtime import Client, Limits, Served, Server, Tls
from featcodec.runtime.grpc_transport import GrpcTransport, Security

CODEC = "huffman:bits=6"


def tail(x):
    """Slow where an input says so, broken where one says so."""
    if x.max() > 90:
        raise OSError("the tail has had enough")
    if x.max() > 40:
        time.sleep(1.0)
    return {"double": 2 * x.flatten(1), "what": "double"}


def codec():
    return fc.get_codec(CODEC).eval()


def features(value, count=1):
    return torch.full((count, 2, 3, 3), float(value)) + torch.arange(9).reshape(3, 3) / 9


@pytest.fixture(scope="module")
def server():
    with Server(Served(tail, codec()), max_batch=1) as running:
        yield running


class OneByOne(GrpcTransport):
    """A transport that finds no streams, as in front of Ray Serve."""

    def open(self, hello, timeout_s):
        welcome = super().open(hello, timeout_s)
        welcome.streams = False
        return welcome


@pytest.fixture(params=[GrpcTransport, OneByOne], ids=["stream", "calls"])
def transport(request, server):
    return request.param(server.address, Security(), 1 << 20)


def wanted(x):
    return 2 * codec().decode(codec().encode(x)).flatten(1)


def test_a_head_of_one_s_own_and_a_codec(server):
    with Client(server.address, codec(), head=lambda x: x + 1, shape=(2, 3, 3)) as client:
        assert client.welcome.max_in_flight == 64
        output = client.infer(features(1, count=3)).output
    assert torch.equal(output["double"], wanted(features(1, count=3) + 1))
    assert output["what"] == "double"


def test_without_a_shape_the_session_opens_with_the_first_input(server):
    with Client(server.address, codec()) as client:
        assert client.welcome is None
        assert torch.equal(client.infer(features(1)).output["double"], wanted(features(1)))
        with pytest.raises(fc.FeatureError, match=r"the session sends shapes \(2, 3, 3\) here"):
            client.infer(torch.ones(1, 2, 4, 3))
        with client.session(codec(), shape=(2, -1, 3)) as other:
            assert other.infer(torch.ones(1, 2, 4, 3)).output["double"].shape == (1, 24)
            assert other.infer(torch.ones(1, 2, 7, 3)).output["double"].shape == (1, 42)


def test_inputs_that_are_no_features(server):
    with Client(server.address, codec()) as client:
        for x, error in (
            (3, fc.FeatureTypeError),
            ((features(1), 2), fc.FeatureTypeError),
            (features(1).long(), fc.FeatureTypeError),
        ):
            with pytest.raises(error):
                client.infer(x)
        with pytest.raises(fc.FeatureError, match="nan at index"):
            client.infer(features(float("nan")))
    with pytest.raises(fc.ConfigError, match="a codec in eval mode"):
        Client(server.address, fc.get_codec(CODEC).train())


def test_other_codecs_are_refused(server):
    with pytest.raises(fc.EdgeError, match=r'the client.s codec is .*"bits": 5.*the server.s .*"bits": 6') as caught:
        Client(server.address, fc.get_codec("huffman:bits=5").eval(), shape=(2, 3, 3))
    assert caught.value.cause == "codec"


def test_many_on_their_way(server, transport):
    inputs = [features(i % 30, count=1 + i % 2) for i in range(60)]
    with Client(server.address, codec(), shape=(2, 3, 3), transport=transport) as client:
        results = list(client.map(inputs, in_flight=16))
        assert (client.link.round_trips, client.link.strays, client.link.resent) == (60, 0, 0)
        assert client.link.bytes_sent == sum(result.size_bytes for result in results)
    for x, result in zip(inputs, results, strict=True):
        assert torch.equal(result.output["double"], wanted(x))


def test_a_tail_that_fails_on_one_input_fails_it_alone(server, transport):
    inputs = [features(1), features(95), features(2)]
    with Client(server.address, codec(), shape=(2, 3, 3), transport=transport, fallback=lambda x: x) as client:
        results = list(client.map(inputs))
    assert [result.failed for result in results] == [False, True, False]
    assert results[1].error.cause == "tail failed"


def test_deadlines_hold_and_late_answers_are_nobody_s(server, transport):
    with Client(server.address, codec(), shape=(2, 3, 3), transport=transport) as client:
        begun = time.monotonic()
        with pytest.raises(fc.EdgeDeadlineError):
            client.infer(features(50), deadline_s=0.2)
        results = list(client.map([features(50), features(3)], deadline_s=0.3, in_flight=1))
        assert time.monotonic() - begun < 15
        assert isinstance(results[0].error, fc.EdgeDeadlineError)
        time.sleep(1.2)  # until the tail is done with what nobody wants any more
        assert torch.equal(client.infer(features(4)).output["double"], wanted(features(4)))


def test_a_full_server_is_asked_until_it_has_room():
    with Server(Served(tail, codec()), limits=Limits(in_flight=1), max_batch=1) as server:
        address = server.address
        transport = OneByOne(address, Security(), 1 << 20)
        with Client(address, codec(), shape=(2, 3, 3), transport=transport, deadline_s=60) as client:
            results = list(client.map([features(45), *(features(i) for i in range(5))], in_flight=6))
            assert client.link.resent > 0
    assert [result.failed for result in results] == [False] * 6


def test_messages_above_grpc_s_own_limit():
    big = torch.randn(1, 3 << 20)
    with (
        Server(Served(lambda x: x, fc.get_codec("raw").eval()), max_batch=1) as server,
        Client(server.address, fc.get_codec("raw").eval()) as client,
    ):
        result = client.infer(big)
        assert result.size_bytes > 12 << 20
        assert torch.equal(result.output, big)
        with pytest.raises(fc.EdgeError, match="the server takes messages of at most") as caught:
            client.session(fc.get_codec("raw").eval()).infer(torch.zeros(1, 9 << 20))
        assert caught.value.cause == "too large"


def summing(x, state):
    """What came so far."""
    state = x if state is None else state + x
    return state.flatten(1), state


def test_steps_see_those_before_them_and_a_lost_state_is_an_error():
    raw = fc.get_codec("raw").eval()
    with Server(Served(summing, raw, stateful=True)) as server, Client(server.address, raw, shape=(2, 3, 3)) as client:
        other = client.session(raw, shape=(2, 3, 3))
        assert [client.step(features(1)).output[0, 0].item() for _ in range(3)] == [1, 2, 3]
        assert other.step(features(10)).output[0, 0] == 10
        assert client.step(features(1)).output[0, 0] == 4
        assert (client.position, other.position) == (4, 1)
        other.close()  # as a server that was restarted: it does not know the session
        with pytest.raises(fc.EdgeError, match="the server keeps no state of this session") as caught:
            other.step(features(1))
        assert caught.value.cause == "state"
        with pytest.raises(fc.EdgeError, match="the session's state is gone"):
            other.step(features(1))
        again = client.session(raw, shape=(2, 3, 3))
        assert again.step(features(7)).output[0, 0] == 7


def test_threads_share_a_session(server):
    found: dict[int, torch.Tensor] = {}
    with Client(server.address, codec(), shape=(2, 3, 3)) as client:

        def ask(i):
            found[i] = client.infer(features(i)).output["double"]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i in range(20):
        assert torch.equal(found[i], wanted(features(i)))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """server and client, each its own authority."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client", "stranger"):
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -addext subjectAltName=IP:127.0.0.1"
        files = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(["openssl", *words.split(), *files], cwd=folder, check=True, capture_output=True)
    return folder


def test_a_client_shows_its_certificate_and_token(certificates):
    folder = certificates
    tls = Tls(folder / "server.pem", folder / "server.key", folder / "client.pem")
    with Server(Served(tail, codec()), tls=tls, token="a-token-of-some-length") as server:
        shown = {"ca": folder / "server.pem", "token": "a-token-of-some-length", "shape": (2, 3, 3), "deadline_s": 0.5}
        mine = {"cert": folder / "client.pem", "key": folder / "client.key", "deadline_s": 10}
        with Client(server.address, codec(), **{**shown, **mine}) as client:
            assert torch.equal(client.infer(features(1)).output["double"], wanted(features(1)))
        theirs = {"cert": folder / "stranger.pem", "key": folder / "stranger.key"}
        for wrong, cause in (({}, "lost"), (theirs, "lost"), ({**mine, "token": "another"}, "token")):
            with pytest.raises(fc.EdgeError) as caught:
                Client(server.address, codec(), **{**shown, **wrong})
            assert caught.value.cause == cause
        with pytest.raises(fc.EdgeError, match=server.address):
            Client(server.address, codec(), **{**shown, **mine, "ca": folder / "client.pem", "deadline_s": 0.5})
