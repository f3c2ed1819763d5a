"""The pages of results: those committed are what the committed results say, and results come from commits."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import featcodec as fc
from benchmarks import committed, entropy_goals, entropy_report, pages
from benchmarks.feature_sets import RESNET_SETS
from featcodec.bench import measure, tables
from featcodec.registry import builtin_codecs

RESULTS = pages.ROOT / pages.RESULTS


@pytest.mark.parametrize("name", pages.SECTIONS)
def test_the_pages_are_those_of_the_committed_results(name):
    text = (pages.ROOT / pages.PAGES / f"{name}.md").read_text()
    assert text == pages.render(name, RESULTS)
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert {Path(picture).parent.name for picture in pictures} <= {name}
    for picture in pictures:
        path = pages.ROOT / pages.PAGES / picture
        assert path.stat().st_size < 200_000


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A result of two codecs, fresh."""
    out = tmp_path_factory.mktemp("small")
    specs = ["huffman:bits=4", "bitpack:bits=1", "raw"]
    assert measure.main(["--samples", "30", "--codec", *specs, "--layer", "layer2", "--out", str(out)]) == 0
    return out


def test_the_default_page_has_machine_commit_intervals_and_every_row(small):
    result = json.loads((small / "results.json").read_text())
    text = pages.default_page(result)
    machine = result["machine"]
    assert f"{machine['cpu']}, {machine['threads']} threads, torch {machine['versions']['torch']}, " in text
    assert f"commit {machine['commit']}" in text
    for row in result["rows"]:
        cells = tables.row_cells(row, result["baseline"])
        rate = tables.rate_cell(row["metric"], row["samples"])
        assert f"| {cells[0]} | {rate} | {cells[2]} | {cells[3]} |" in text
    # a front comes first, the rest folded
    front, _, folded = text.partition("<details>")
    assert "| huffman:bits=4 |" in front
    assert "| raw |" in folded


def test_the_committed_default_results_are_a_clean_commit_s_and_complete():
    result = json.loads((RESULTS / "default/results.json").read_text())
    assert not result["machine"]["commit"].endswith("-dirty")
    classes = {codec_id: fc.codec_class(codec_id) for codec_id in builtin_codecs()}
    classical = [row for row in result["rows"] if not row.get("trained")]
    assert {row["codec"]["id"] for row in classical} == {
        c for c, k in classes.items() if not (k.learned or k.protects or k.wants_sensitivity)
    }
    assert {row["layer"] for row in result["rows"]} == {"layer1", "layer2", "layer3"}
    assert all(row["lost"] - row["gained"] == pytest.approx(_fewer(row, result["baseline"])) for row in result["rows"])


def _fewer(row, baseline):
    return (baseline["metric"] - row["metric"]) * row["samples"]


def test_the_curves_bend_where_they_should():
    """On the committed results: 8 bits lose nothing, few bits and low qualities lose visibly."""
    result = json.loads((RESULTS / "default/results.json").read_text())
    base = result["baseline"]["metric"]
    rows = [(r["layer"], r["codec"], r["metric"]) for r in result["rows"] if not r.get("trained")]
    top1 = {(layer, c["id"], c.get("bits"), c.get("quality")): metric for layer, c, metric in rows}
    for layer in ("layer1", "layer2", "layer3"):
        for codec_id in ("huffman", "bitpack", "ans"):
            assert abs(top1[layer, codec_id, 8, None] - base) <= 0.004
    assert top1["layer1", "huffman", 2, None] < base - 0.05
    assert top1["layer1", "jpeg", None, 5] < base - 0.02


def test_features_that_nobody_has_are_not_shown_and_the_page_says_what_they_change():
    result = json.loads((RESULTS / "entropy/results.json").read_text())
    shown = entropy_report.of_embedded_network(result)
    for kind in ("bits", "speed", "batch", "packets"):
        assert {row["layer"] for row in shown[kind]} == set(RESNET_SETS)
    assert not [name for name in shown["left_out"] if name.startswith("resnet20_")]
    text = pages.entropy_page(result)
    assert "effnet" not in re.sub(r"`FEATURES=folder`:[^)]*", "", text)
    assert all(name in text for name in RESNET_SETS)
    # where a goal was judged otherwise over all sets of the run, the page says so
    over = {goal["what"]: goal for goal in entropy_goals.goals(shown)}
    others = [goal for goal in entropy_goals.goals(result) if goal["met"] != over[goal["what"]]["met"]]
    assert all(f"{goal['what']}: {goal['measured']}, " in text for goal in others)
    assert all(f"| {goal['goal']} | {goal['measured']} |" in text for goal in over.values())


@pytest.fixture
def repository(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=root, check=True, capture_output=True)

    root = tmp_path / "tree"
    root.mkdir()
    (root / "a.py").write_text("a = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "a")
    return root


def measuring(root=None):
    """A benchmark that writes a result, and changes the tree while it runs where one is given."""

    def run(argv):
        (Path(argv[1]) / "results.json").write_text("{}")
        if root is not None:
            (root / "a.py").write_text("a = 2\n")
        return 0

    return run


def test_a_clean_tree_is_measured(repository):
    committed.measure_default(repository, repository / pages.RESULTS, measuring())
    assert committed.changed_files(repository) == ["?? benchmarks/"]
    assert (repository / "benchmarks/results/default/results.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["a.py", "new.py", "benchmarks/results/default/results.json"])
def test_a_tree_with_changes_is_refused_and_nothing_is_written(repository, name, monkeypatch, capsys):
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("a = 3\n")
    before = committed.changed_files(repository)
    monkeypatch.setattr(pages, "ROOT", repository)
    monkeypatch.setattr(measure, "main", lambda argv: pytest.fail("measured"))
    assert pages.main(["--measure"]) == 2
    assert "this tree has changes" in capsys.readouterr().err
    assert committed.changed_files(repository) == before


def test_changes_during_the_measurement_are_refused(repository):
    with pytest.raises(ValueError, match="this tree has changes"):
        committed.measure_default(repository, repository / pages.RESULTS, measuring(repository))
    assert not (repository / "benchmarks").exists()


def test_a_failed_measurement_and_a_folder_without_git_are_refused(repository, tmp_path):
    with pytest.raises(ValueError, match="status 2"):
        committed.measure_default(repository, repository / pages.RESULTS, lambda argv: 2)
    with pytest.raises(ValueError, match="measured on a commit"):
        committed.measure_default(tmp_path, tmp_path / pages.RESULTS, measuring())
