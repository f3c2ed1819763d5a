"""The search benchmark, made small: points are measured once, and goals judged by all of them."""

from __future__ import annotations

import json

import pytest

from benchmarks.planning_report import least_bytes, points_table, search_goals, search_summary
from benchmarks.suites import planning_search
from featcodec.bench.data import Images, embedded
from featcodec.planning.findings import Findings


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
        "1",
        "--threads",
        "1",
        "--replays",
        "3",
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
    assert [len(searches) for searches in (result["replays"]["tpe"], result["replays"]["random"])] == [3, 3]
    assert all(len(trials) == 2 for trials in result["replays"]["tpe"])
    lines = points_table(result).splitlines()[2:]
    assert len(lines) == 3
    assert sum(line.split(" | ")[5] == "x" for line in lines) == 2
    own = result["studies"]["tpe"]
    assert Findings.from_dict(own).to_dict() == {name: value for name, value in own.items() if name != "seconds"}


def test_images_and_each_from_right_to_left():
    images = embedded().head(3)
    both = planning_search.with_mirrored(images)
    assert both.labels.tolist() == 2 * images.labels.tolist()
    assert (both.images[:3] == images.images).all()
    assert (both.images[3:, :, 5] == images.images[:, :, -6]).all()


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
    result["replays"] = {"seeds": 2, "tpe": [[[0.9275, 109.0]], [[0.9, 10.0], [0.93, 111.0]]]}
    text = search_summary(result)
    assert "| base -1 points | 100.0 | 1 of 2 |" in text
    assert "| tpe | 2 | 1.0 | " in text
    assert "| grid | 3 | 1.0 | 100.0 | 50.0 | 10.0 | 10.0 |" in text


def test_what_no_point_reaches_is_not_met():
    result = {"base": 0.99, "studies": {"tpe": study((0.9, 1.0), seconds=1801.0), "grid": study((0.9, 1.0))}}
    assert [goal["met"] for goal in search_goals(result)] == [False, False, False]
    result["replays"] = {"seeds": 0, "tpe": []}
    assert "no point of the space is as accurate | not met |" in search_summary(result)
    assert least_bytes(result["studies"]["grid"]["trials"], 0.9) == 1.0
