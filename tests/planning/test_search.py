"""Searching a space whose figures are known: no training."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest

import featcodec as fc
from featcodec.planning import study as study_module
from featcodec.planning.findings import Findings, StoppedError, Trial
from featcodec.planning.searching import read_findings, search
from featcodec.planning.space import Choices, Range, Space, codec_spec, point_name, read_space

GRID = ["layer=layer2", "codec=dsc", "reduced=2,4,8", "stride=1,2", "step=.5,1,2,4"]


def known(point, report=None):
    """More latents cost more and tell more, coarser steps less of both."""
    fine = point["reduced"] / point["stride"] ** 2 / point["step"] ** 0.5
    return {"accuracy": 1 - 0.1 / (fine + 0.2) - 0.01 * point["stride"], "bytes": 40 * fine + 10 * point["reduced"]}


def run(tmp_path, measure=known, items=GRID, **options):
    return search(read_space(items), measure, **{"trials": 6, "storage": tmp_path / "s.journal", **options})


# ---- the space ------------------------------------------------------------------------------------------------------------


def test_a_space_is_read_and_has_its_points():
    space = read_space(
        ["layer=layer1,layer2", "codec=huffman,(dsc:stride=2,coder=rans),raw", "bits=1..3", "reduced=2,4", "sparsity=0,.3"]
    )
    points = list(space.points())
    assert len(points) == 2 * 2 * (3 + 2 + 1)
    assert all(("bits" in p) == (p["codec"] == "huffman") and ("reduced" in p) == p["codec"].startswith("dsc") for p in points)
    chosen = next(p for p in points if p["codec"].startswith("dsc"))
    assert codec_spec(chosen) == {"id": "dsc", "stride": 2, "coder": "rans", "reduced": 2}
    assert point_name(chosen) == "layer1 dsc:stride=2,coder=rans reduced=2 sparsity=0"
    weighed = read_space(["layer=a", "codec=dsc,raw", "rate_weight=.1,.2"])
    assert [point.get("rate_weight") for point in weighed.points()] == [0.1, 0.2, None]
    assert read_space([*GRID[:2], "step=.5..4:log"]).points() is None
    assert read_space([*GRID[:2], "step=.5..4:log"]).dimensions["step"] == Range(0.5, 4, log=True)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "chooses a layer"),
        (["layer=layer2"], "chooses a codec"),
        (["layer=layer2", "codec="], "codec has nothing to choose from"),
        (["layer=layer2", "codec=dsc", "reduced="], "reduced has nothing"),
        (["layer=layer2", "codec=dsc", "bitz=1,2"], "no codec of this space takes 'bitz'"),
        (["layer=layer2", "codec=(dsc:stride=2)", "stride=1,2"], "no codec of this space takes 'stride'"),
        (["layer=layer2", "codec=dsk"], "dsk"),
        (["layer=layer2", "codec=dsc", "step=4..1"], "upwards"),
        (["layer=layer2", "codec=dsc", "step=0..1:log"], "above 0"),
        (["layer=layer2", "codec=dsc", "step=a..b"], "from a number to a number"),
        (["layer=layer2", "codec=dsc", "step"], "name=a,b"),
        (["layer=layer2", "codec=dsc", "step=1", "step=2"], "given twice"),
    ],
)
def test_a_space_that_is_none_is_refused(items, said):
    with pytest.raises((fc.ConfigError, fc.UnknownCodecError), match=said):
        read_space(items)


# ---- drawing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "grid"])
def test_no_point_is_measured_twice(tmp_path, sampler):
    tried = []
    found = run(tmp_path, lambda point, report: tried.append(point) or known(point), trials=24, sampler=sampler)
    assert len(tried) == 24 == len({json.dumps(point) for point in tried}) == len(found.done())
    again = run(tmp_path, lambda point, report: tried.append(point) or known(point), trials=30, sampler=sampler)
    assert len(tried) == 24, "all of the space has been tried"
    best = min((known(p)["bytes"] for p in tried if known(p)["accuracy"] > 0.9), default=None)
    assert min(t.figures["bytes"] for t in again.front() if t.figures["accuracy"] > 0.9) == best


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_study_that_goes_on_draws_as_one_that_was_never_left(tmp_path, sampler):
    def points(found):
        return [trial.point for trial in found.trials]

    items = [*GRID[:4], "step=.25..8:log"]
    whole = run(tmp_path, items=items, trials=9, sampler=sampler, storage=tmp_path / "whole")
    for trials in (4, 9):
        parts = run(tmp_path, items=items, trials=trials, sampler=sampler, storage=tmp_path / "parts")
    assert points(parts) == points(whole)
    other = run(tmp_path, items=items, trials=9, sampler=sampler, storage=tmp_path / "other", seed=1)
    assert points(other) != points(whole)


def test_tpe_looks_where_it_is_better(tmp_path):
    space = Space({"layer": Choices(("a",)), "codec": Choices(("dsc",)), "step": Range(0.01, 1.0)})

    def measure(point, report):
        return {"accuracy": 1 - abs(point["step"] - 0.3)}

    off = {}
    for sampler in ("tpe", "random"):
        found = search(space, measure, trials=24, objectives=["accuracy"], storage=tmp_path / sampler, sampler=sampler)
        off[sampler] = sum(abs(trial.point["step"] - 0.3) for trial in found.trials[12:]) / 12
    assert off["tpe"] < 0.7 * off["random"]


# ---- trials that go wrong ---------------------------------------------------------------------------------------------------


def test_a_trial_that_fails_is_recorded_and_the_study_goes_on(tmp_path):
    def measure(point, report):
        if point["stride"] == 2:
            raise RuntimeError("no memory\nfor this")
        return {**known(point), "bytes": float("nan") if point["reduced"] == 8 else 5.0}

    seen = []
    found = run(
        tmp_path, measure, trials=24, sampler="grid", progress=lambda trial, done, of: seen.append((trial.number, done, of))
    )
    states = [trial.state for trial in found.trials]
    assert (states.count("failed"), states.count("done")) == (16, 8)
    errors = {trial.error for trial in found.trials if trial.state == "failed"}
    assert errors == {"RuntimeError: no memory\nfor this", "bytes is nan"}
    assert [done for _, done, _ in seen] == list(range(1, 25))
    assert "16 failed" in "\n".join(found.table_lines())


def test_an_interrupted_trial_is_tried_again(tmp_path):
    class Interrupt(KeyboardInterrupt):
        pass

    tried = []

    def measure(point, report):
        tried.append(point)
        if len(tried) == 3:
            raise Interrupt
        return known(point)

    with pytest.raises(Interrupt):
        run(tmp_path, measure)
    found = run(tmp_path, measure)
    assert tried[2] == tried[3]
    assert len(found.done()) == 6


def test_what_a_dead_worker_had_begun_is_tried_again(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, '')\n"
        "from tests.planning.test_search import run, known\n"
        "import pathlib; where = pathlib.Path(sys.argv[1]); left = [2]\n"
        "def measure(point, report):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: os._exit(9)\n"
        "    return known(point)\n"
        "run(where, measure)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=120)
    assert done.returncode == 9, done.stderr
    assert [trial.state for trial in read_findings(tmp_path / "s.journal", "search").trials] == ["done", "done", "running"]
    begun = read_findings(tmp_path / "s.journal", "search").trials[2].point
    tried = []
    found = run(tmp_path, lambda point, report: tried.append(point) or known(point))
    assert tried[0] == begun
    assert len(found.done()) == 6


def test_two_workers_share_a_study(tmp_path):
    code = (
        "import sys, time; sys.path.insert(0, '')\n"
        "from tests.planning.test_search import run, known\n"
        "import pathlib\n"
        "run(pathlib.Path(sys.argv[1]), lambda point, report: time.sleep(.05) or known(point), trials=12)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    found = read_findings(tmp_path / "s.journal", "search")
    points = [json.dumps(trial.point) for trial in found.done()]
    assert len(set(points)) == len(points)
    assert 12 <= len(points) <= 13, "the last two may have begun at once"


# ---- stopping early ---------------------------------------------------------------------------------------------------------


def test_with_one_objective_the_worse_half_is_stopped(tmp_path):
    epochs = []

    def measure(point, report):
        for epoch in range(1, 5):
            epochs.append(point["step"])
            report(epoch, 1 - abs(point["step"] - 1) / 10)
        return {"accuracy": 1 - abs(point["step"] - 1) / 10}

    items = [*GRID[:2], "step=.1..4"]
    found = run(tmp_path, measure, items, trials=20, objectives=["accuracy"], sampler="random")
    states = [trial.state for trial in found.trials]
    assert states[:5] == ["done"] * 5
    assert 3 <= states.count("stopped") < 15
    assert len(epochs) == 4 * states.count("done") + states.count("stopped")
    assert all("below the median" in trial.error for trial in found.trials if trial.state == "stopped")


def test_with_several_objectives_only_a_floor_stops(tmp_path):
    def measure(point, report):
        for epoch in (1, 2):
            report(epoch, known(point)["accuracy"])
        return known(point)

    found = run(tmp_path, measure, trials=24, sampler="grid", least_accuracy=0.85, warm_up=2)
    assert {trial.state for trial in found.trials} == {"done", "stopped"}
    for trial in found.trials:
        assert (trial.state == "stopped") == (known(trial.point)["accuracy"] < 0.85)
        assert trial.state == "done" or "after epoch 2, wanted 0.8500" in trial.error


@pytest.mark.parametrize(("sampler", "stops"), [("tpe", False), ("tpe", True), ("nsga2", False)])
def test_a_floor_draws_the_search_to_points_above_it(tmp_path, sampler, stops):
    def measure(point, report):
        if stops:
            report(1, known(point)["accuracy"])
        return known(point)

    # wide, so that nothing is drawn twice
    items = [*GRID[:2], "reduced=1..64", "stride=1..4", "step=.1..8:log"]

    def above(folder, least):
        folder.mkdir()
        counts = []
        for seed in range(4):
            options = {"sampler": sampler, "seed": seed, "least_accuracy": least, "trials": 40}
            found = run(tmp_path, measure, items, storage=folder / f"{seed}.journal", **options)
            counts.append(sum(known(trial.point)["accuracy"] >= 0.97 for trial in found.trials))
        return sum(counts)

    assert above(tmp_path / "with", 0.97) > 1.3 * above(tmp_path / "without", None)


def test_a_measure_may_stop_itself(tmp_path):
    def measure(point, report):
        raise StoppedError("enough")

    assert [t.error for t in run(tmp_path, measure, trials=2).trials] == ["enough", "enough"]


# ---- storage ----------------------------------------------------------------------------------------------------------------


def test_a_database_is_a_storage_too(tmp_path):
    url = f"sqlite:///{tmp_path / 's.db'}"
    run(tmp_path, storage=url, trials=3)
    found = run(tmp_path, storage=url)
    assert len(found.done()) == 6
    assert read_findings(url, "search").to_dict() == found.to_dict()


def test_a_study_of_something_else_is_refused(tmp_path):
    run(tmp_path, about={"model": "a"})
    before = (tmp_path / "s.journal").read_bytes()
    for options, said in (
        ({"about": {"model": "b"}}, "model is 'a' there, 'b' here"),
        ({"items": [*GRID[:2], "step=1,2"], "about": {"model": "a"}}, "space is"),
        ({"objectives": ["bytes", "accuracy"], "about": {"model": "a"}}, "objectives"),
    ):
        with pytest.raises(fc.ConfigError, match=said):
            run(tmp_path, **options)
    assert (tmp_path / "s.journal").read_bytes() == before


def test_a_locked_database_is_a_clear_error(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 's.db'}"
    run(tmp_path, storage=url, trials=1)
    monkeypatch.setattr(study_module, "LOCK_S", 0.1)
    holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(fc.ConfigError, match=r"storage sqlite:.* cannot be used: .*locked"):
        run(tmp_path, storage=url)
    holder.execute("ROLLBACK")
    holder.close()
    assert len(run(tmp_path, storage=url, trials=2).done()) == 2


def test_a_storage_that_goes_is_a_clear_error_and_is_not_made_anew(tmp_path):
    def measure(point, report):
        (tmp_path / "s.journal").unlink()
        return known(point)

    with pytest.raises(fc.ConfigError, match=r"s\.journal cannot be used: .*No such file"):
        run(tmp_path, measure)
    assert not (tmp_path / "s.journal").exists()


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path):
    for text in (b"hello\nworld\n", b"{}\n{}\n"):
        (tmp_path / "s.journal").write_bytes(text)
        with pytest.raises(fc.ConfigError, match="cannot be used"):
            run(tmp_path)
        assert (tmp_path / "s.journal").read_bytes() == text


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(fc.ConfigError, match="cannot be used"):
        run(tmp_path, storage=tmp_path / "file" / "s.journal")
    with pytest.raises(fc.ConfigError, match="cannot be used"):
        run(tmp_path, storage="nosuch://server/db")


def test_a_line_that_was_never_finished_is_mended(tmp_path):
    run(tmp_path, trials=3)
    with open(tmp_path / "s.journal", "ab") as file:
        file.write(b'{"op_code":5,"worker')
    assert len(run(tmp_path, trials=5).done()) == 5
    assert all(json.loads(line) for line in (tmp_path / "s.journal").read_text().splitlines())


def test_findings_of_no_study(tmp_path):
    with pytest.raises(fc.ConfigError, match="no such file"):
        read_findings(tmp_path / "none", "search")
    assert not (tmp_path / "none").exists()
    run(tmp_path, trials=1)
    with pytest.raises(fc.ConfigError, match="cannot be used"):
        read_findings(tmp_path / "s.journal", "other")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler": "annealing"}, "sampler must be one of"),
        ({"objectives": ["speed"]}, "no objective 'speed'"),
        ({"objectives": []}, "one or more"),
        ({"objectives": ["bytes", "bytes"]}, "each once"),
        ({"trials": 0}, "trials"),
        ({"least_accuracy": 2.0}, "least_accuracy"),
        ({"sampler": "grid", "items": [*GRID[:2], "step=1..2.5"]}, "has an end"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path, options, said):
    with pytest.raises(fc.ConfigError, match=said):
        run(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "featcodec.planning.study")
    with pytest.raises(fc.MissingDependencyError, match=r"pip install 'featcodec\[search\]'"):
        read_findings("x", "y")


def test_planning_does_not_need_optuna_to_be_imported():
    code = "import sys; sys.modules['optuna'] = None; import featcodec.planning.searching, featcodec.planning.findings"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.returncode == 0, done.stderr


# ---- the front --------------------------------------------------------------------------------------------------------------


def trial(number, accuracy, size, **fields):
    point = {"layer": "layer2", "codec": "dsc", "reduced": number}
    return Trial(number, "done", point, {"accuracy": accuracy, "bytes": size}, **fields)


def test_the_front_is_what_nobody_beats():
    trials = (
        trial(0, 0.9, 100),
        trial(1, 0.8, 50),
        trial(2, 0.8, 60),
        trial(3, 0.9, 100),
        trial(4, 0.7, 50),
        trial(5, 0.95, 300),
    )
    found = Findings("s", ("accuracy", "bytes"), (*trials, Trial(6, "failed", {}, {}, "no")), {})
    assert [t.number for t in found.front()] == [1, 0, 5]
    only = Findings("s", ("accuracy",), trials, {})
    assert [t.number for t in only.front()] == [5]


def test_the_table_fits():
    point = {
        "layer": "features.denseblock4.denselayer16.conv2",
        "codec": "dsc:coder=context,tables=adaptive",
        "reduced": 128,
        "x": "y" * 80,
    }
    figures = {"accuracy": 0.91234, "bytes": 123456.7, "device_macs": 1e10, "latency_ms": 1234.5}
    trials = (Trial(10, "done", point, figures), Trial(11, "failed", point, {}, "RuntimeError: " + "x" * 300))
    lines = Findings("s", ("accuracy", "bytes"), trials, {}).table_lines()
    assert max(map(len, lines)) <= 100
    assert "91.23" in lines[2]
    assert "10,000.00" in lines[2]
    assert Findings("s", ("accuracy",), (), {}).table_lines()[-1].startswith("s: no trials")
