"""docs/guide/two_machines.md, block by block as a reader types it; and the example with the camera."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcodec import cli
from featcodec.bench.frames import embedded_pixels
from tests.runtime.processes import ROOT, ServerProcess, free_port
from tests.test_readme import packages

GUIDE = (ROOT / "docs" / "guide" / "two_machines.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the guide is followed."""
    return tmp_path_factory.mktemp("guide")


@pytest.fixture(scope="module")
def servers():
    """The servers that the guide has started, by their ports on the page."""
    started: dict[str, ServerProcess] = {}
    yield started
    for server in started.values():
        server.kill()


def serve(words, servers):
    (address,) = (word for word in words if word.startswith("127.0.0.1:"))
    words[words.index(address)] = f"127.0.0.1:{free_port()}"
    servers[address] = ServerProcess(*words[2:])
    assert servers[address].address


def here(text: str, servers) -> str:
    """The page's addresses, as they are in this test."""
    for address, server in servers.items():
        text = text.replace(address, server.address)
    return text


def run_line(line: str, servers, capsys) -> None:
    words = shlex.split(line, comments=True)
    if words[:2] == ["pip", "install"]:
        extras = re.search(r"\[(.*)\]", words[-1]).group(1).split(",")
        assert set().union(*(packages(extra) for extra in extras)) >= {"grpcio", "protobuf"}
    elif words[:2] == ["featcodec", "serve"]:
        serve(words, servers)
    elif words[:2] == ["featcodec", "infer"]:
        assert cli.main(shlex.split(here(line, servers))[1:]) == 0
        check_predictions(capsys.readouterr().out, "--json" in words, int(words[words.index("--samples") + 1]))
    else:
        command = line.replace("python ", f"{shlex.quote(sys.executable)} ", 1) if words[0] == "python" else line
        subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60)


def check_predictions(out: str, as_json: bool, count: int) -> None:
    lines = out.splitlines()
    if as_json:
        *rows, summary = map(json.loads, lines)
        assert summary["answered"] == summary["inputs"] == len(rows) == count
        assert summary["ms"]["tail"]["median"] > 0
        assert (summary["layer"], summary["codecs"]) == ("layer2", [{"id": "context", "bits": 4, "axis": "sample"}])
        assert sum(row["prediction"] == row["label"] for row in rows) == round(summary["accuracy"] * count) > 0.8 * count
    else:
        assert sum(line.startswith("embedded/") and line.endswith(", edge") for line in lines) == count
        assert [line.split()[0] for line in lines[-11:-2]] == [
            "ms", "head", "encode", "network", "queue", "decode", "tail", "uncovered", "wall",
        ]  # fmt: skip
        assert f"{count} of {count} inputs answered" in lines[-2]


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_guide_s_blocks_run_one_after_another(number, folder, servers, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    language, text = BLOCKS[number]
    if language == "python":
        exec(compile(here(text, servers), f"block {number}", "exec"), {})  # as a reader pastes it
        assert (folder / "model" / "tail.fcz").is_file()
    else:
        for line in text.splitlines():
            run_line(line, servers, capsys)


def test_a_wrong_token_and_a_server_without_tls_are_refused(folder, servers, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    Path("other").write_text("another-token-of-a-stranger")
    options = ["infer", "model/head.fcz", "--data", "embedded", "--samples", "1", "--deadline", "1"]
    secure = ["--server", servers["127.0.0.1:7401"].address, "--ca", "server.pem"]
    assert cli.main([*options, *secure, "--token-file", "other"]) == 2
    assert "the call has no token, or another one than the server's" in capsys.readouterr().err
    assert cli.main([*options, *secure]) == 2
    assert "the call has no token" in capsys.readouterr().err
    assert cli.main([*options, "--server", servers["127.0.0.1:7400"].address, "--ca", "server.pem"]) == 2
    assert servers["127.0.0.1:7400"].address in capsys.readouterr().err


def test_what_the_command_is_given_is_checked(folder, servers, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    server = ["--server", servers["127.0.0.1:7400"].address]
    for words, said in (
        (["model/tail.fcz", "--data", "embedded"], "is a tail, not a head: it goes to featcodec serve"),
        (["model/head.fcz", "--data", "nowhere"], "no data at 'nowhere'"),
        (["model/head.fcz", "--data", "model/head.fcz"], "is no picture"),
        (["model/none.fcz", "--data", "embedded"], "none.fcz"),
    ):
        assert cli.main(["infer", *words, *server]) == 2
        assert said in capsys.readouterr().err


def test_a_device_without_torch_infers(folder, servers):
    """Arrays, in a process in which torch cannot be imported."""
    pixels, _ = embedded_pixels()
    np.save(folder / "inputs.npy", (pixels[:3].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32))
    code = "import sys; sys.modules['torch'] = None; from featcodec.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["infer", "model/head.onnx", "--server", servers["127.0.0.1:7400"].address, "--data", "inputs.npy", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *rows, summary = map(json.loads, done.stdout.splitlines())
    assert [row["name"] for row in rows] == ["inputs.npy/0", "inputs.npy/1", "inputs.npy/2"]
    assert summary["answered"] == 3


def test_the_camera_s_loop_draws_where_the_time_went(folder, servers):
    pictures = folder / "pictures"
    pictures.mkdir()
    for i, pixels in enumerate(embedded_pixels()[0][:4]):
        Image.fromarray(pixels).resize((48, 40)).save(pictures / f"{i}.png")
    words = [folder / "model/head.fcz", "--server", servers["127.0.0.1:7400"].address, "--pictures", pictures]
    done = subprocess.run(
        [sys.executable, ROOT / "examples/camera_loop.py", *words, "--count", "20", "--fps", "60", "--deadline", "20"],
        cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "20 pictures, 0 without an answer" in done.stdout
    with Image.open(folder / "latency.png") as plot:
        assert plot.size == (900, 400)
