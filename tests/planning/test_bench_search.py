"""The search benchmark, made small: points are measured once, and goals judged by all of them."""

from __future__ import annotations

import json

import pytest

from benchmarks.planning_report import least_bytes, search_goals, search_table
from benchmarks.suites import planning_search
from featcodec.bench.data import Images, embedded


def test_it_runs_goes_on_and_measures_a_point_once(tmp_path, monkeypatch, capsys):
    images = embedded()
    monkeypatch.setattr(
        planning_search, "cifar10", lambda names, root: Images(names[0], images.images[:48], images.labels[:48])
    )
    monkeypatch.setattr(planning_search, "data_root", lambda: tmp_path)
    monkeypatch.setattr(planning_search, "SPACE", ("layer=layer2", "codec=dsc", "reduced=2", "stride=2", "step=1,2,4"))
    given = [
        "--trials",
        "2",
        "--train-samples",
        "16",
        "--held-out",
        "16",
        "--epochs",
        "1",
        "1",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert planning_search.main(given) == 0
    result = json.loads((tmp_path / "search.json").read_text())
    assert len(list((tmp_path / "points").iterdir())) == 3
    by_step = {trial["point"]["step"]: trial["figures"] for trial in result["studies"]["grid"]["trials"]}
    assert all(trial["figures"] == by_step[trial["point"]["step"]] for trial in result["studies"]["tpe"]["trials"])
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "points").iterdir()}
    assert planning_search.main(given) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "points").iterdir()}
    assert "base -1 points" in capsys.readouterr().out


def study(*points, seconds=60.0):
    rows = [{"state": "done", "repeats": None, "figures": {"accuracy": a, "bytes": b}} for a, b in points]
    return {"trials": [*rows, {"state": "failed", "repeats": None, "figures": {}}], "seconds": seconds}


@pytest.mark.parametrize(
    ("points", "met"),
    [
        ([(0.93, 100.0), (0.921, 50.0)], [True, True, True]),
        ([(0.9275, 109.0), (0.9175, 55.0)], [True, True, True]),
        ([(0.93, 111.0), (0.9165, 50.0)], [False, False, True]),
    ],
)
def test_goals_allow_a_tenth_more_bytes_and_a_third_of_a_point(points, met):
    result = {"base": 0.94, "studies": {"tpe": study(*points), "grid": study((0.93, 100.0), (0.92, 50.0), (0.91, 10.0))}}
    assert [goal["met"] for goal in search_goals(result)] == met
    assert all(len(line) <= 100 for line in search_table({**result, "goals": search_goals(result)}).splitlines())


def test_what_no_point_reaches_is_not_judged():
    result = {"base": 0.99, "studies": {"tpe": study((0.9, 1.0), seconds=1801.0), "grid": study((0.9, 1.0))}}
    assert [goal["met"] for goal in search_goals(result)] == [None, None, False]
    assert least_bytes(result["studies"]["grid"]["trials"], 0.9) == 1.0
