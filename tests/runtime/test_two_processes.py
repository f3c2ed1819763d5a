"""A client here and a server in another process, on loopback: the same predictions as in one process, whatever happens."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import featcodec as fc
from featcodec import device
from featcodec.runtime import Client
from tests.runtime.processes import ROOT, ServerProcess, free_port
from tests.runtime.served_parts import write_all

CODECS = fc.list_codecs()


@pytest.fixture(scope="module")
def pictures(images):
    return images[0][:12]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="module")
def pairs(folder, resnet20, pictures):
    return write_all(folder, resnet20, pictures, CODECS)


@pytest.fixture(scope="module")
def address(folder, pairs):
    """All tails, one by one: batches would round otherwise."""
    server = ServerProcess(*(folder / f"{codec_id}.tail.fcz" for codec_id in CODECS), "--max-batch", 1)
    yield server.address
    server.kill()


def one_process(pair, x):
    head, tail = pair
    return tail.run(head.encode(x))


def same(output, wanted):
    torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(output.argmax(1), wanted.argmax(1))


@pytest.mark.parametrize("codec_id", CODECS)
def test_predictions_are_those_of_one_process(codec_id, pairs, folder, address, pictures):
    head = fc.load_part(folder / f"{codec_id}.head.fcz")
    with Client(address, head=head, entry=f"{codec_id}.tail") as client:
        result = client.infer(pictures[:3])
        mapped = list(client.map(pictures[3:6].split(1)))
    same(result.output, one_process(pairs[codec_id], pictures[:3]))
    for x, one in zip(pictures[3:6].split(1), mapped, strict=True):
        same(one.output, one_process(pairs[codec_id], x))
    # both sides hold what the message would say: it is smaller than the message
    assert result.size_bytes < len(head.encode(pictures[:3]))


@pytest.fixture(scope="module")
def onnx(folder, pairs):
    pairs["context"][0].to_onnx(folder / "head.onnx")
    return folder / "head.onnx"


def test_a_device_without_torch_follows_a_selector(onnx, address):
    code = """if True:
        import sys; sys.modules["torch"] = None
        import numpy as np
        from featcodec.device import Head
        from featcodec.planning import Selector
        from featcodec.runtime import Client, Follower, measure_candidates
        inputs = np.random.default_rng(0).standard_normal((6, 1, 3, 32, 32)).astype(np.float32)
        with Client(sys.argv[2], head=Head(sys.argv[1], threads=1), entry="context.tail", fallback=lambda x: 0) as client:
            found = measure_candidates(client, {"edge": client}, inputs)
            follower = Follower(client, Selector(found[:1]), {"edge": client})
            results = [follower.infer(x) for x in inputs]
            print(results[-1].candidate, results[-1].output.shape)
    """
    done = subprocess.run([sys.executable, "-c", code, onnx, address], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("edge (1, 10)", "")


def test_a_device_s_head_is_answered_by_the_same_server(onnx, pairs, address, pictures):
    head, tail = device.Head(onnx, threads=1), pairs["context"][1]
    with Client(address, head=head, entry="context.tail") as client:
        results = list(client.map(x.numpy() for x in pictures.split(1)))
        assert client.link.strays == 0
    for x, result in zip(pictures.split(1), results, strict=True):
        same(torch.from_numpy(result.output), tail.run(head.encode(x.numpy())))


def test_sessions_of_several_threads_and_codecs_never_mix(pairs, address, pictures):
    codec_ids = ("context", "huffman", "raw", "dsc")

    def run(client, codec_id):
        with client.session(head=pairs[codec_id][0], entry=f"{codec_id}.tail") as session:
            return list(session.map(pictures.split(1), ordered=True, in_flight=4))

    with Client(address, head=pairs["half"][0], entry="half.tail") as client, ThreadPoolExecutor(4) as pool:
        found = dict(zip(codec_ids, pool.map(lambda codec_id: run(client, codec_id), codec_ids), strict=True))
        assert client.link.strays == 0
        assert client.link.round_trips == 4 * len(pictures)
    for codec_id, results in found.items():
        for x, result in zip(pictures.split(1), results, strict=True):
            same(result.output, one_process(pairs[codec_id], x))
    assert len({result.id for results in found.values() for result in results}) == 4 * len(pictures)


@pytest.mark.parametrize(
    ("entry", "cause", "match"),
    [
        ("huffman.tail", "codec", "the client's codec is .*context.* the server's .*huffman"),
        ("nowhere", "entry", "asks for the entry 'nowhere', this server has"),
    ],
)
def test_what_does_not_match_is_refused_with_what_differs(entry, cause, match, pairs, address):
    with pytest.raises(fc.EdgeError, match=match) as caught:
        Client(address, head=pairs["context"][0], entry=entry)
    assert caught.value.cause == cause


def test_a_server_killed_in_the_middle_of_map_loses_nothing(folder, pairs, pictures, resnet20):
    port = free_port()
    server = ServerProcess(folder / "context.tail.fcz", "--max-batch", 1, "--listen", f"127.0.0.1:{port}")
    inputs = [pictures[i % 12 : i % 12 + 1] for i in range(60)]

    def source():
        for i, x in enumerate(inputs):
            if i == 20:
                server.kill()
                threading.Thread(target=server.start).start()
            yield x

    try:
        with Client(server.address, head=pairs["context"][0], deadline_s=120) as client:
            results = list(client.map(source(), in_flight=6))
            assert client.link.losses > 0
        check_fallback(server, pairs["context"][0], pictures, resnet20)
    finally:
        server.kill()
    assert len({result.id for result in results}) == len(results) == 60
    for x, result in zip(inputs, results, strict=True):
        same(result.output, one_process(pairs["context"], x))
    assert max(result.timing.attempts for result in results) > 1


def check_fallback(server, head, pictures, model):
    """Another client, whose server is killed for good."""
    with Client(server.address, head=head, fallback=model, patience_s=0.05) as client:
        assert client.infer(pictures[:1]).source == "edge"
        server.kill()
        result = client.infer(pictures[:1], deadline_s=1000)
        assert [r.source for r in client.map(pictures[:3].split(1), deadline_s=1000)] == ["fallback"] * 3
    assert (result.source, result.error.cause) == ("fallback", "lost")
    assert torch.equal(result.output, model(pictures[:1]))
