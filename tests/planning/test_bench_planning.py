"""The suite of planning: its exact parts on fewer instances, its goals on results that miss them."""

from __future__ import annotations

import json

from benchmarks.pages import planning_page
from benchmarks.planning_exact import algorithm1, brute_force, rising_load
from benchmarks.planning_goals import JUDGES, goals
from benchmarks.suites import planning


def test_the_exact_parts_hold():
    result = {"algorithm1": algorithm1(), "brute_force": brute_force(300), "rising_load": rising_load(300)}
    assert [goal["met"] for goal in goals(result)] == [True] * 6


def test_what_misses_a_goal_is_said_to():
    result = {
        "algorithm1": {"chosen": {"3G": "RB2"}, "changed": {"3G": "RB1"}, "formula_off_ms": 0.1, "3g_off_ms": [-1.0, 1.0]},
        "brute_force": {"instances": 10, "equal": 9},
        "rising_load": {"instances": 10, "earlier": 1, "later": 9},
        "profiles": {"slow": PROFILE | {"seconds": 11.0}, "other": PROFILE | {"equal": False}, "none": None},
    }
    assert set(result) == set(JUDGES) == set(planning.PARTS)
    assert [goal["met"] for goal in goals(result)] == [False] * 8 + [None]


PROFILE = {"seconds": 1.0, "cpu_seconds": 1.0, "cuts": 3, "legal": 3, "equal": True, "layers": 2, "macs": 5, "total_ms": 1.0}


def test_parts_are_measured_one_by_one_and_the_others_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "PARTS", {**planning.PARTS, "profiles": lambda: {"model": PROFILE}})
    assert planning.main(["--parts", "algorithm1", "--out", str(tmp_path)]) == 0
    assert planning.main(["--parts", "profiles", "--keep", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert {"algorithm1", "profiles"} <= set(result)
    assert "| profile of model | every legal cut, under 10 s | 3 of 3 cuts, 1.0 s | met |" in capsys.readouterr().out
    assert "| model | 3 | 2 | 5 | 1.00 | 1.0 | 1.0 |" in planning_page(result)
