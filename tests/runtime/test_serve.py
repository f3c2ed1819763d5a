"""`featcodec serve` as a process: its line, its signals, its refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
import torch
from torch import nn

import featcodec as fc
from tests.runtime.stub import Stub, hello_of_ports
from tests.runtime.test_server import items_of, stub_of

MAIN = "import sys; from featcodec.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    parts = fc.export(model, "1", torch.randn(2, 3, 8, 8), codec="huffman:bits=4")
    folder = tmp_path_factory.mktemp("parts")
    parts.save(folder)
    return parts, folder


def serve(*args):
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "serve", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_what_was_accepted_is_answered_before_sigterm_ends_the_server(parts):
    parts, folder = parts
    process = serve(folder / "tail.fcz", "--metrics", "127.0.0.1:0", "--threads", "1", "--max-wait-ms", "60000")
    try:
        line = process.stdout.readline()
        address, metrics = line.removeprefix("listening at ").split(", metrics at ")
        assert address.startswith("127.0.0.1:")
        stub = stub_of(parts, address)
        stub.open()
        assert "featcodec_sessions 1.0" in urllib.request.urlopen(metrics.strip(), timeout=10).read().decode()
        x = torch.randn(1, 3, 8, 8)
        answers = []
        request = stub.request(items_of(parts, x))
        thread = threading.Thread(target=lambda: answers.append(stub.infer(request)))
        thread.start()
        while "featcodec_in_flight_requests 1.0" not in urllib.request.urlopen(metrics.strip(), timeout=10).read().decode():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        thread.join(timeout=20)
        assert process.wait(timeout=20) == 0
        assert answers[0].HasField("output")
        events = [json.loads(line)["event"] for line in process.stderr.read().splitlines()]
        assert events == ["listening", "session opened", "leaving", "left"]
    finally:
        process.kill()
        process.communicate()
        stub.close()


def test_files_are_entries(parts):
    parts, folder = parts
    process = serve(folder / "tail.fcz", "--entry", f"again={folder / 'tail.fcz'}", "--limit", "sessions=7")
    try:
        address = process.stdout.readline().removeprefix("listening at ").strip()
        hello = hello_of_ports(parts.head.ports, parts.head.fingerprint, entry="again")
        stub = Stub(address, hello, {p.name: p.codec for p in parts.head.ports})
        assert stub.open().entry == "again"
        stub.close()
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
        process.communicate()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "give the file of a tail"),
        (("{}/head.fcz",), "is a head: a server runs tails"),
        (("{}/nothing.fcz",), "No such file"),
        (("{0}/tail.fcz", "{0}/tail.fcz"), "entries have names of their own, got tail, tail"),
        (("{}/tail.fcz", "--limit", "speed=1"), "a limit is NAME=VALUE with one of message_bytes"),
        (("{}/tail.fcz", "--limit", "sessions=0"), "sessions must be an integer of at least 1, got 0"),
        (("{}/tail.fcz", "--tls-cert", "{}/tail.fcz"), "--tls-cert and --tls-key come together"),
        (("{}/tail.fcz", "--client-ca", "{}/tail.fcz"), "--client-ca wants --tls-cert and --tls-key"),
        (("{}/tail.fcz", "--listen", "nowhere"), "an address is HOST:PORT, got 'nowhere'"),
        (("--entry", "={}/tail.fcz"), "an entry is NAME=FILE"),
    ],
)
def test_what_cannot_be_served_is_said(parts, args, said, capsys):
    from featcodec.runtime.serve import main

    assert main([arg.format(parts[1]) for arg in args]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_grpc_is_named_with_what_brings_it(tmp_path):
    code = "import sys; sys.modules['grpc'] = None; from featcodec.cli import main; sys.exit(main(['serve', 'tail.fcz']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.returncode == 2
    assert "featcodec serve needs grpc: pip install 'featcodec[runtime,torch]'" in done.stderr
