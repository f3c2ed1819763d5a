"""What does not match is refused with what differs, by its cause."""

from __future__ import annotations

import re

import grpc
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.runtime import Limits, Served, edge_pb2
from featcodec.runtime.edge import Edge
from featcodec.runtime.refusals import RefusedError
from tests.runtime.stub import hello_of_feature, hello_of_ports


def tail(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(5, 2).eval()


CODEC = fc.get_codec("huffman", bits=4).eval()


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    return fc.export(model, "1", torch.randn(2, 3, 6), codec="bitpack")


@pytest.fixture
def edge(parts):
    entries = {
        "module": Served(tail(0), CODEC),
        "fixed": Served(tail(0), CODEC, shape=(3, -1), dtype="float16"),
        "parts": Served(parts.tail),
    }
    edge = Edge(entries, limits=Limits(elements=1000))
    yield edge
    edge.stop()


def refused(edge, hello) -> RefusedError:
    with pytest.raises(RefusedError) as e:
        edge.open(hello, "ipv4:1.2.3.4")
    assert len(edge.sessions) == 0
    return e.value


def feature(shape=(3, 5), entry="module", codec=CODEC, **about):
    return hello_of_feature(codec, shape, entry=entry, **about)


@pytest.mark.parametrize(
    ("change", "cause", "said"),
    [
        ({"protocol": 7}, "protocol", r"of protocol 7, this server speaks 1"),
        ({"session": b"short"}, "malformed hello", r"named by 16 bytes, got 5"),
        ({"entry": "layer9"}, "entry", r"asks for the entry 'layer9', this server has 'module', 'fixed', 'parts'"),
        ({"entry": ""}, "entry", r"asks for no entry, this server has"),
        ({"fingerprint": "ab" * 16}, "tail fingerprint", r"with the fingerprint (ab)+, the server's tail has [0-9a-f]{32}"),
        ({"sizes": ["n"]}, "ports", r"what crosses is feature, n for the client, feature for the server"),
    ],
)
def test_a_hello_that_differs(edge, change, cause, said):
    hello = feature()
    for name, value in change.items():
        if isinstance(value, list):
            hello.sizes.extend(value)
        else:
            setattr(hello, name, value)
    error = refused(edge, hello)
    assert error.cause.word == cause
    assert re.search(said, error.text), error.text


@pytest.mark.parametrize(
    ("change", "cause", "said"),
    [
        ({"name": "x"}, "ports", "what crosses is x for the client, feature for the server"),
        ({"codec": '{"id": "raw"}'}, "codec", """the client's codec is {"id": "raw"}, the server's {"""),
        ({"codec": ""}, "codec", "the client's codec is null, the server's {"),
        ({"codec": "{"}, "malformed hello", "a codec is the JSON of its config, got '{'"),
        ({"codec_fingerprint": "ab"}, "codec fingerprint", "the client's codec has the fingerprint 'ab', the server's"),
        ({"dtype": "int8"}, "dtype", "the client sends 'int8', the server takes float32 or float16 or bfloat16"),
        ({"shape": [-2]}, "shape", "no shape is (-2,)"),
        ({"shape": [1] * 9}, "shape", "no shape is"),
        ({"shape": [1001]}, "too large", "(1001,) has 1001 elements, at most 1000 are taken"),
    ],
)
def test_a_port_that_differs(edge, change, cause, said):
    hello = feature()
    for name, value in change.items():
        if isinstance(value, list):
            del hello.ports[0].shape[:]
            hello.ports[0].shape.extend(value)
        else:
            setattr(hello.ports[0], name, value)
    error = refused(edge, hello)
    assert error.cause.word == cause
    assert said in error.text


@pytest.mark.parametrize(
    ("shape", "dtype", "cause"),
    [((3, 4), "float32", "dtype"), ((4, 4), "float16", "shape"), ((3,), "float16", "shape"), ((-1, 4), "float16", "shape")],
)
def test_sizes_and_dtypes_that_the_server_fixes(edge, shape, dtype, cause):
    assert refused(edge, feature(shape, "fixed", dtype=dtype)).cause.word == cause


def test_what_the_server_leaves_open_is_taken(edge):
    assert edge.open(feature((-1, 7)), "a").entry == "module"
    assert edge.open(feature((3, 9), "fixed", dtype="float16"), "a").entry == "fixed"


def test_the_fingerprint_of_a_pair_must_be_said(edge, parts):
    hello = hello_of_ports(parts.head.ports, "", parts.head.about.sizes, entry="parts")
    assert "tail with the fingerprint not said, the server's tail has" in refused(edge, hello).text
    hello.fingerprint = parts.head.fingerprint
    assert edge.open(hello, "a").session == hello.session


def test_trained_differently_is_told_by_both_fingerprints(edge):
    hello = feature(fingerprint=Served(tail(1), CODEC).behind.fingerprint)
    error = refused(edge, hello)
    assert error.cause.word == "tail fingerprint"
    assert Served(tail(0), CODEC).behind.fingerprint in error.text
    assert hello.fingerprint in error.text


def test_all_that_differs_is_said_at_once(edge):
    hello = feature((4, 4), "fixed", fingerprint="00" * 16)
    text = refused(edge, hello).text
    assert "float32" in text
    assert "0000" in text


def test_the_same_hello_again_is_the_same_session(edge):
    hello = feature()
    assert edge.open(hello, "a") == edge.open(hello, "a")
    assert len(edge.sessions) == 1
    other = edge_pb2.Hello.FromString(hello.SerializeToString())
    other.ports[0].shape[0] = 4
    with pytest.raises(RefusedError, match="was opened by the hello") as e:
        edge.open(other, "a")
    assert e.value.cause.word == "other hello"


def test_a_refusal_is_short_whatever_the_stranger_says(edge):
    hello = feature()
    hello.entry = "x" * 100_000
    assert len(refused(edge, hello).text) < 1600


def test_what_cannot_be_served_is_said_when_it_is_made():
    with pytest.raises(fc.ConfigError, match="in eval mode"):
        Served(nn.Linear(2, 2), CODEC)
    with pytest.raises(fc.ConfigError, match="needs the codec"):
        Served(tail(0))
    with pytest.raises(ValueError, match="at least one tail"):
        Edge({})


def test_statuses_fit_their_causes(edge):
    hello = feature()
    hello.protocol = 2
    assert refused(edge, hello).message().code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
