"""`featcodec serve --ray`: the client's tests pass against Ray Serve with two replicas. Run by `make test-ray`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

import featcodec as fc
from featcodec.runtime import Client, Served
from featcodec.runtime.ray_deployment import check_stateless, together
from tests.runtime import test_two_processes as two_processes
from tests.runtime.processes import ONE_THREAD, free_port
from tests.runtime.served_parts import write_all

pytestmark = pytest.mark.ray
CODECS = ("context", "dsc", "half", "huffman", "raw")  # those of the tests that are taken over: each replica loads all

folder, pictures, onnx = two_processes.folder, two_processes.pictures, two_processes.onnx
test_a_device_s_head_is_answered_by_the_same_server = two_processes.test_a_device_s_head_is_answered_by_the_same_server
test_sessions_of_several_threads_never_mix = two_processes.test_sessions_of_several_threads_and_codecs_never_mix
test_what_does_not_match_is_refused_with_what_differs = two_processes.test_what_does_not_match_is_refused_with_what_differs


def serve(*options, **about):
    command = [sys.executable, "-m", "featcodec.cli", "serve", *map(str, options), "--threads", "1", "--log", "error"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}, **about)


@pytest.fixture(scope="module")
def pairs(folder, resnet20, pictures):
    return write_all(folder, resnet20, pictures, CODECS)


@pytest.fixture(scope="module")
def address(folder, pairs):
    port = free_port()
    tails = [folder / f"{codec_id}.tail.fcz" for codec_id in CODECS]
    process = serve(*tails, "--ray", "--replicas", 2, "--listen", f"0.0.0.0:{port}", "--max-batch", 1)
    for line in process.stdout:
        if line.startswith("listening at "):
            break
    yield f"127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.parametrize("codec_id", CODECS)
def test_predictions_are_those_of_one_process(codec_id, pairs, folder, address, pictures):
    two_processes.test_predictions_are_those_of_one_process(codec_id, pairs, folder, address, pictures)


def test_requests_go_one_by_one_to_any_replica(address, pairs, pictures):
    with Client(address, head=pairs["context"][0], entry="context.tail") as client:
        assert not client.welcome.streams
        results = list(client.map([pictures[:1]] * 40, in_flight=16))
        assert [result.failed for result in results] == [False] * 40
        # a replica that did not know the session was sent the hello along
        assert Counter(result.timing.attempts for result in results).keys() <= {1, 2}
    for result in results:
        two_processes.same(result.output, two_processes.one_process(pairs["context"], pictures[:1]))


def test_what_the_tail_does_not_take_is_refused_by_its_cause(address, pairs):
    head = pairs["context"][0]
    with Client(address, head=head, entry="context.tail") as client:
        exchange = client._first._exchange
        pending = exchange.began(torch.zeros(1, 3, 32, 32), 10.0)
        pending.introduced = True  # whichever replica gets it knows the session
        request, metadata = exchange.request(pending)
        request.body = b"x" * len(request.body)
        with pytest.raises(fc.EdgeError) as caught:
            exchange.line.transport.infer(request, metadata, 10.0)
    assert caught.value.cause == "damaged"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--listen", "127.0.0.1:9000"], "every address: say so by --listen 0.0.0.0:PORT"),
        (["--listen", "0.0.0.0:9000", "--tls-cert", "a"], "--tls-cert does not go with --ray"),
        (["--listen", "0.0.0.0:9000", "--metrics", "127.0.0.1:0"], "--metrics does not go with --ray"),
        (["--listen", "0.0.0.0:9000", "--limit", "sessions=3"], "limits of sessions stand before Ray's ingress"),
    ],
)
def test_what_stands_before_the_ingress_is_refused(options, match):
    process = serve("tail.fcz", "--ray", *options, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert match in said


def test_tails_that_keep_a_state_are_refused():
    codec = fc.get_codec("raw").eval()
    served = {"a": Served(torch.relu, codec), "b": Served(lambda x, state: (x, state), codec, stateful=True)}
    check_stateless(served["a"])
    with pytest.raises(fc.ConfigError, match="'b' keeps a state"):
        check_stateless(served)


def test_requests_that_can_be_run_together_are():
    asked = (("a", 1), ("b", 1), ("a", 2), ("a", 2), ("a", 9))
    jobs = [SimpleNamespace(key=(key,), samples=samples, elements=10 * samples) for key, samples in asked]
    sizes = [[job.samples for job in group] for group in together(jobs, max_batch=4, max_elements=1000)]
    assert sizes == [[1, 2], [2], [9], [1]]
    assert [len(group) for group in together(jobs[2:4], max_batch=4, max_elements=30)] == [1, 1]
