"""featcodec profile and featcodec plan, and the guide: what it says is run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from featcodec import cli
from featcodec.bench import infer, measure, plan, profile, search, train
from featcodec.bench.models import resnet20
from featcodec.planning import changes, choice_lines, choice_map, draw_map, map_lines, select
from featcodec.planning import profile as profile_of
from featcodec.planning.candidates import Candidate
from featcodec.planning.choices import ChoiceMap
from featcodec.planning.links import get_link
from featcodec.planning.pictures import _colors
from featcodec.planning.text import broken, columns, count, duration, rate, size

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guide/where_to_cut.md").read_text()
COMMANDS = [line.strip() for line in re.findall(r"^    (featcodec .*)$", GUIDE, re.MULTILINE)]
QUICK = {
    "profile": ["--calls", "2"],
    "plan": ["--samples", "20", "--layer", "layer2", "--codec", "bitpack:bits=8", "context:bits=4"],
}


def run(argv, out, capsys):
    status = cli.main([*argv, "--out", str(out)])
    return status, capsys.readouterr()


def test_the_guide_names_both_commands_on_the_embedded_network_and_on_one_s_own():
    kinds = [(shlex.split(line)[1], "--model" in line) for line in COMMANDS]
    assert {("profile", False), ("profile", True), ("plan", False)} <= set(kinds)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "device.json" not in line])
def test_the_guide_s_commands_run_and_fit_100_columns(line, tmp_path, capsys):
    _, command, *options = shlex.split(line)
    status, said = run([command, *options, *QUICK[command]], tmp_path, capsys)
    assert status == 0, said.err
    *lines, written = said.out.splitlines()
    assert [text for text in lines if len(text) > 100] == []
    assert written == f"written: {tmp_path / command}.json, {tmp_path / command}.png"
    assert (tmp_path / f"{command}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / f"{command}.json").read_text())


def test_the_guide_s_python_runs():
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "best by latency: " in done.stdout
    assert "What would change it:" in done.stdout


def test_the_guide_s_options_are_those_of_the_commands():
    parsers = (profile.parser(), plan.parser(), infer.parser())
    known = {option for p in parsers for action in p._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z-]+", GUIDE)) - {"--out"} <= known


def test_the_example_of_a_changing_link_goes_all_its_ways():
    done = subprocess.run([sys.executable, "examples/changing_link.py"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    about, *phases = done.stdout.split("\n\n")
    assert "wanted: the most accurate within" in about
    links = ["20 Mbit/s", "0.3 Mbit/s", "0.02 Mbit/s", "no link", "20 Mbit/s"]
    assert [phase.splitlines()[0] for phase in phases] == links
    answered = [set(re.findall(r" x (.+?)  ", phase)) for phase in phases]
    assert answered[3] == {"all on the device"}
    wanted = ("layer1, quality 80", "layer1, quality 50", "all on the device", "all on the device", "layer1, quality 80")
    assert all(name in names for name, names in zip(wanted, answered, strict=True)), done.stdout


def test_a_plan_for_a_network_of_one_s_own_measures_its_narrow_cuts(tmp_path, capsys):
    argv = ["plan", "--model", "featcodec.bench.reference_models:resnet18", "--samples", "4", "--codec", "bitpack:bits=8"]
    status, said = run([*argv, "--link", "1Mbit/s", "--max-share", "0.9"], tmp_path, capsys)
    assert status == 0, said.err
    found = json.loads((tmp_path / "plan.json").read_text())
    layers = {row["layer"] for row in found["ranking"]} - {None}
    assert {"relu", "layer2.0", "layer3.0"} <= layers
    assert "all on the device" in found["left_out"]
    assert found["best"] == found["ranking"][0]["name"]
    assert found["link"]["rate_bps"] == 1e6
    assert len(found["map"]["best"]) == len(found["map"]["loads"])


def test_a_plan_from_rows_measures_no_codec(tmp_path, capsys):
    rows = ROOT / "benchmarks/results/default/results.json"
    argv = ["plan", "--rows", str(rows), "--link", "3g", "--slowdown", "40", "--max-drop", "2", "--load", "3", "--rtt", "20ms"]
    status, said = run(argv, tmp_path, capsys)
    assert status == 0, said.err
    assert "round trip 20.00 ms" in said.out
    assert "server 3 times as slow as idle" in said.out
    assert "candidates do not keep the limits" in said.out
    names = {row["name"] for row in json.loads((tmp_path / "plan.json").read_text())["ranking"]}
    assert {"all on the device", "the picture to the server"} <= names
    assert any(name.endswith("(trained)") for name in names)


def run_of(path, layer, codec, size, network, wall):
    """As the last lines of featcodec infer --json."""
    said = {"layer": layer, "codecs": [codec], "bytes": size, "ms": {"network": {"median": network}, "wall": {"median": wall}}}
    path.write_text('{"name": "an input"}\n' + json.dumps(said) + "\n")
    return str(path)


CONTEXT = {"id": "context", "bits": 4, "axis": "sample"}


def test_measured_runs_stand_beside_what_is_predicted_and_tell_the_link(tmp_path, capsys):
    few = run_of(tmp_path / "few.jsonl", "layer2", CONTEXT, 2000, 21.0, 30.0)
    many = run_of(tmp_path / "many.jsonl", "layer1", {"id": "raw"}, 66000, 277.0, 300.0)
    argv = [
        "plan",
        "--layer",
        "layer1",
        "layer2",
        "--codec",
        "raw",
        "context:bits=4",
        "--samples",
        "20",
        "--measured",
        few,
        many,
    ]
    status, said = run(argv, tmp_path / "out", capsys)
    assert status == 0, said.err
    assert said.out.startswith("measured: 2 Mbit/s, round trip 13.00 ms\n")
    found = json.loads((tmp_path / "out/plan.json").read_text())
    names = {row["name"]: row["cost"] for row in found["ranking"]}
    assert [(row["name"], row["measured_ms"], row["bytes"]) for row in found["measured"]] == [
        ("layer2 context:bits=4", 30.0, 2000),
        ("layer1 raw", 300.0, 66000),
    ]
    assert [row["predicted_ms"] for row in found["measured"]] == [names["layer2 context:bits=4"], names["layer1 raw"]]
    assert re.search(r"^layer1 raw +\d+ +300 +-\d+% +66,000$", said.out, re.MULTILINE)
    status, said = run([*argv, "--link", "3g"], tmp_path / "out", capsys)
    assert (status, said.out.splitlines()[0][:4]) == (0, "3G: ")


@pytest.mark.parametrize(
    ("layer", "codec", "message"),
    [
        (
            "layer1",
            CONTEXT,
            "a run is of layer1 context:bits=4,axis=sample, which is no candidate: name it by --layer and --codec",
        ),
        ("layer2", None, "run.jsonl is no answered run of featcodec infer --json with one codec"),
    ],
)
def test_a_run_of_nothing_that_was_planned_is_refused(layer, codec, message, tmp_path, capsys):
    path = run_of(tmp_path / "run.jsonl", layer, codec, 2000, 21.0, 30.0)
    argv = ["plan", "--layer", "layer2", "--codec", "context:bits=4", "--samples", "5", "--measured", path]
    status, said = run(argv, tmp_path / "out", capsys)
    assert (status, said.out) == (2, "")
    assert message in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["plan", "--measured", "README.md"], "featcodec plan: README.md is no answered run of featcodec infer --json"),
        (["plan", "--measured", "/no/run.jsonl"], "featcodec plan: [Errno 2] No such file"),
        (["plan", "--link", "wifi:bps=0"], "featcodec plan: a link's rate_bps is a number above 0, got 0"),
        (["plan", "--link", "6g"], "featcodec plan: no link '6g'"),
        (["plan", "--rtt", "soon"], "featcodec plan: a duration is written 5ms"),
        (["plan", "--rows", "/no/such.json"], "featcodec plan: [Errno 2] No such file"),
        (["plan", "--layer", "layer9"], "featcodec plan: no layer of CifarResNet matches 'layer9'"),
        (["profile", "--input", "3,32,32"], "featcodec profile: --input is a shape such as 3x224x224, got '3,32,32'"),
        (["profile", "--input", "3x0x32"], "featcodec profile: --input is a shape of 1..268,435,456 elements, got 3x0x32"),
        (["profile", "--input", "3x999999x999999"], "featcodec profile: --input is a shape of 1..268,435,456 elements"),
        (["profile", "--input", "4x32x32"], "featcodec profile: CifarResNet cannot be traced"),
        (["profile", "--model", "nonsense"], "featcodec profile: --model is written package.module:function, got 'nonsense'"),
        (["profile", "--max-tensors", "0"], "featcodec profile: max_tensors must be an integer of at least 1, got 0"),
    ],
)
def test_what_goes_wrong_is_one_line_and_leaves_nothing(argv, message, tmp_path, capsys):
    status, said = run(argv, tmp_path / "out", capsys)
    assert (status, said.out) == (2, "")
    assert said.err.startswith(message)
    assert not (tmp_path / "out").exists()


def test_a_profile_of_a_u_net_from_the_command_line(tmp_path, capsys):
    argv = ["profile", "--model", "benchmarks.part_models:UNet", "--max-tensors", "3", "--calls", "2", "--all"]
    status, said = run(argv, tmp_path, capsys)
    assert status == 0, said.err
    assert re.search(r"^mid +8.7 k in 3 ", said.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-drop", "nan"], "max_drop is a number of points from 0, got nan"),
        (["--max-share", "2"], "max_share is a share of the network, 0..1, got 2.0"),
        (["--max-memory", "-1"], "max_memory_bytes is a number of bytes from 0, got -1000000.0"),
        (["--load", "nan"], "a server's load is a number from 0"),
        (["--slowdown", "0"], "slowdown is a number above 0, got 0.0"),
        (["--objective", "energy"], "energy needs the device's power while it computes: 'every split' has no device_mw"),
        (["--objective", "energy", "--device-mw", "5", "--link", "1Mbit/s"], "energy needs the power of sending"),
        (["--codec", "raw", "huffmann"], "no codec 'huffmann'"),
        (["--samples", "0"], "--samples must be at least 1, got 0"),
    ],
)
def test_a_plan_says_what_is_wrong_before_it_measures(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan, "load_model", lambda name: pytest.fail("a model was loaded"))
    status, said = run(["plan", *options], tmp_path / "out", capsys)
    assert (status, said.out) == (2, "")
    assert said.err.startswith(f"featcodec plan: {message}")


def test_a_training_says_of_a_channel_what_is_wrong_before_it_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda name: pytest.fail("a model was loaded"))
    status, said = run(["train", "--over", "bec:p=0.1", "bec:p=2"], tmp_path, capsys)
    assert (status, said.out) == (2, "")
    assert said.err.startswith("featcodec train: ")


@pytest.mark.parametrize("command", ["bench", "plan", "profile", "search", "train"])
def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(command, tmp_path, capsys, monkeypatch):
    for module in (measure, plan, profile, search, train):
        monkeypatch.setattr(module, "load_model", lambda name: pytest.fail("a model was loaded"))
    (tmp_path / "file").write_text("")
    for out, message in ((tmp_path / "file" / "out", "is a file"), (tmp_path / ("x" * 300), "File name too long")):
        status, said = run([command], out, capsys)
        assert (status, said.out) == (2, "")
        assert said.err.startswith(f"featcodec {command}: --out {out} cannot be a folder: ")
        assert said.err.endswith(f"{message}\n")


def averages():
    return Averages()


class Averages(nn.Module):
    """One operation: there is nothing before it that could be sent."""

    def forward(self, x):
        return x.mean((2, 3))


def test_a_model_without_a_cut_says_so(tmp_path, capsys):
    status, said = run(["profile", "--model", f"{__name__}:averages", "--calls", "2"], tmp_path, capsys)
    assert status == 0, said.err
    assert "No cut has at most 1 tensor(s) crossing; --max-tensors allows more." in said.out.splitlines()
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [3, 11, 53])
def test_on_a_map_each_has_a_letter_and_a_colour_of_its_own(count, tmp_path):
    cells = tuple(Candidate(f"way {i}", 10.0, 1.0, 1.0, head_macs=i) for i in range(count))
    rates = tuple(1e6 * (1 + i) for i in range(count))
    found = ChoiceMap(get_link("wifi"), "latency", rates, (1.0,), (cells,))
    legend = [line.split() for line in map_lines(found) if "  way " in line]
    assert len({letters for letters, *_ in legend}) == len(legend) == count
    assert len({tuple(color) for color in _colors(count)}) == count
    draw_map(found, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_tables_of_long_names_fit():
    long = "a.very.long.dotted.name.of.a.layer.somewhere.in.a.model context:bits=4,axis=sample,tables=static"
    split = Candidate(long, 12345678.0, 1234.5, 2345.6, 12.3, 45.6, accuracy=0.12345, head_macs=1, total_macs=2, device_mw=1.0)
    local = Candidate("local", 0, 99999.0, 0.0, kind="local", accuracy=0.1, device_mw=1.0)
    choice = select([split, local], get_link("wifi:rtt=5ms,loss=0.1"), objective="energy", load=2.0)
    lines = choice_lines(choice, changes(choice))
    assert max(map(len, lines)) <= 100
    assert "10.0% lost, 5,479 mW to send, server 2 times as slow as idle" in lines[0]
    assert max(map(len, map_lines(choice_map([split, local], choice.link)))) <= 100


def test_numbers_are_written_for_people():
    assert [count(v) for v in (0, 999, 1000, 1.77e6, 677_100_000, 1.298e9)] == ["0", "999", "1 k", "1.77 M", "677 M", "1.3 G"]
    assert [size(v) for v in (12, 12_345, 1.5e6)] == ["12 B", "12.3 kB", "1.5 MB"]
    assert [duration(v) for v in (0, 0.0123, 1.5, 123.4, 12345)] == ["0", "0.012", "1.50", "123", "12,345"]
    assert [rate(v) for v in (500, 18.88e6)] == ["500 bit/s", "18.9 Mbit/s"]


def test_names_are_broken_where_they_may_be_and_nothing_is_lost():
    for text in ("layer1.0.conv1 huffman:bits=4,axis=map", "x" * 70, "short", "a " * 30):
        for width in (16, 25, 40):
            lines = broken(text, width)
            assert max(map(len, lines)) <= width
            assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    with pytest.raises(ValueError, match="a table of 3 columns does not fit 30"):
        columns(["name", "a", "b"], [["n" * 40, "1" * 12, "2" * 12]], width=30)


def test_noise_of_the_given_shape_is_what_is_profiled():
    example = profile.example(profile.parser().parse_args(["--input", "3x40x24"]))
    assert example.shape == (1, 3, 40, 24)
    assert profile_of(resnet20(), example, calls=1).inputs[0].shape == (3, 40, 24)
    assert torch.equal(example, profile.example(profile.parser().parse_args(["--input", "3x40x24"])))
