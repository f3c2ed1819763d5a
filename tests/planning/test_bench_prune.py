"""The pruning benchmark, made small: it goes on from what is there, and says what is met."""

from __future__ import annotations

import json

import pytest

from benchmarks.planning_report import prune_goals, prune_summary
from benchmarks.suites import planning_prune
from featcodec.bench.data import Images, embedded


@pytest.fixture
def _small(monkeypatch, tmp_path):
    images = embedded()
    monkeypatch.setattr(planning_prune, "cifar10", lambda names, root: Images(names[0], images.images[:64], images.labels[:64]))
    monkeypatch.setattr(planning_prune, "data_root", lambda: tmp_path)
    monkeypatch.setattr(planning_prune, "HELD_OUT", 32)


@pytest.mark.usefixtures("_small")
def test_it_runs_and_goes_on(tmp_path, capsys):
    given = ["--rounds", "1", "--epochs", "1", "--round-samples", "32", "--test-samples", "32", "--out", str(tmp_path)]
    given += ["--macs", "0.3", "--methods", "incremental"]
    assert planning_prune.main(given) == 0
    result = json.loads((tmp_path / "prune.json").read_text())
    assert [row["wanted"] for row in result["rows"]] == [0.0, 0.3]
    assert result["rows"][1]["saved"] >= 0.3
    assert "30 % fewer MACs" in capsys.readouterr().out
    row = tmp_path / "prune-incremental-0.3.json"
    row.write_text(json.dumps({**json.loads(row.read_text()), "accuracy": 0.0625}))
    assert planning_prune.main(given) == 0
    again = json.loads((tmp_path / "prune.json").read_text())
    assert again["rows"][1]["accuracy"] == 0.0625, "a row that is there is not made again"


def test_goals_compare_with_fine_tuning_alone():
    rows = [{"method": "fine-tuning alone", "wanted": 0, "accuracy": 0.91}]
    rows += [{"method": "incremental", "wanted": 0.3, "saved": 0.31, "accuracy": accuracy} for accuracy in (0.901, 0.899)]
    rows += [{"method": "two-step", "wanted": 0.3, "saved": 0.31, "accuracy": 0.5}]
    rows += [{"method": "incremental", "wanted": 0.3, "saved": 0.29, "accuracy": 0.91}]
    goals = prune_goals(rows)
    assert [goal["met"] for goal in goals] == [True, False, False]
    assert goals[0]["measured"] == "0.90 points at 31.0%"
    shown = [
        {**row, "saved": 0.3, "unpruned_head_macs": 10, "dropped_macs": 8, "accuracy_dropped": 0.9, "parameters": 5}
        for row in rows
    ]
    text = prune_summary({"base": 0.91, "rows": shown})
    assert "| two-step | 30.0% | 20.0% | 50.00 | -41.00 | 90.00 | 5 |" in text
