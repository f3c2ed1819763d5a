"""The training benchmark: step costs, the trained codecs that ship, their table and goals."""

from __future__ import annotations

import json

import pytest

import featcodec as fc
from benchmarks import training_report
from benchmarks.suites import training
from featcodec.bench import data, measure, pretrained
from featcodec.spec import format_spec

TRAINED = pretrained.trained_codecs()
CODECS = [found for found in TRAINED if not found.is_control]


def test_there_are_trained_codecs():
    assert len(CODECS) >= 8
    assert {found.layer for found in CODECS} >= {"layer2", "layer3"}


@pytest.mark.parametrize("found", CODECS, ids=lambda found: found.name)
def test_a_trained_codec_is_small_and_does_what_its_record_says(found, resnet20):
    assert (pretrained.CODECS / f"{found.name}.safetensors").stat().st_size < 1 << 20
    codec, row = found.codec(), found.record["row"]
    assert codec.config() == row["codec"]
    assert found.record["command"].startswith("featcodec train ")
    assert row["samples"] == 10_000
    assert row["metric"] >= found.record["backbone"]["metric"] - 0.02
    images = data.embedded().head(60)
    report = fc.evaluate(resnet20, images.batches(60, "cifar10"), layer=found.layer, codec=codec)
    assert report.metric > 0.8
    assert report.stats["bits_per_sample"] == pytest.approx(row["stats"]["bits_per_sample"], rel=0.1)


def test_records_name_no_machine():
    for path in pretrained.CODECS.glob("*.json"):
        assert "/tmp/" not in path.read_text()
        assert "/home/" not in path.read_text()


def test_the_benchmark_shows_them_where_no_codecs_are_named():
    args = measure.parser().parse_args([])
    assert measure.choose_trained(args, "layer3") == [found for found in CODECS if found.layer == "layer3"]
    args = measure.parser().parse_args(["--codec", "raw"])
    assert measure.choose_trained(args, "layer3") == []


def test_the_suite_writes_results_and_curves(tmp_path, capsys):
    args = ["--rounds", "1", "--batch-size", "4", "--layers", "layer3", "--codec", "dsc", "bottlenet", "--out", str(tmp_path)]
    args += ["--more", str(tmp_path / "none")]
    assert training.main(args) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert [row["codec"] for row in result["steps"]] == ["dsc", "bottlenet"]
    assert all(row["ratio"] > 0 and row["bare_ms"] > 0 for row in result["steps"])
    assert {row["name"] for row in result["trained"]} == {found.name for found in TRAINED}
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert "| dsc |" in capsys.readouterr().out
    assert training.main(["--rounds", "0", "--out", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


def test_every_learned_codec_has_its_step_timed():
    timed = {spec.partition(" @ ")[0].partition(":")[0] for spec in training.SPECS}
    assert timed == {c for c in fc.list_codecs() if fc.codec_class(c).learned}


def row(layer: str, spec: str, accuracy: float, bits: float, **more) -> dict:
    codec = fc.get_codec(spec).config()
    figures = {"layer": layer, "id": codec["id"], "codec": format_spec(codec), "accuracy": accuracy, "payload_bits": bits}
    fixed = {
        "control": False,
        "trains": ["bottleneck"],
        "backbone": 0.91,
        "channel": None,
        "parameters": 9,
        "symbols": None,
        "elements": 4096,
        "samples": 10_000,
    }
    return {**fixed, "wire_bits": bits + 8, **figures, **more}


def test_goals_are_met_or_not():
    steps = [{"codec": c, "layer": "layer3", "ratio": r} for c, r in (("dsc", 1.1), ("entropic", 1.2), ("bottlenet:x", 1.4))]
    rows = [row("layer3", "dsc:maps=64", 0.90, 100), row("layer3", "entropic:maps=64", 0.898, 60)]
    rows.append(row("layer2", "vq:maps=8,height=2,width=2", 0.88, 5))
    found = {goal["what"]: goal["met"] for goal in training_report.goals(steps, rows)}
    assert found == {
        "training step with a learned codec": False,
        "training step with JPEG in the loop": True,
        "dsc, trained": True,
        "entropic, trained": True,
        "vq, trained": False,
        "layer3: entropic or dsc with context against dsc with Huffman": True,
    }
    rows[1]["accuracy"] = 0.89
    assert [goal["met"] for goal in training_report.goals([], rows)][-1] is False


def test_the_control_of_a_codec_whose_tail_was_tuned_is_the_tuned_tail_s():
    control = row("layer3", "raw", 0.92, 0, control=True, trains=["tail"])
    alone = row("layer3", "dsc:maps=64", 0.90, 100)
    tuned = row("layer3", "dsc:maps=64", 0.90, 100, trains=["bottleneck", "tail"])
    assert training_report.control_of(alone, [control]) == 0.91
    assert training_report.control_of(tuned, [control]) == 0.92
    assert training_report.control_of(tuned, []) is None
    table = training_report.trained_table({"trained": [control, alone]})
    assert "| none, the tail trained alike | | 92.00 [91.45, 92.52] | +1.00 [+0.23, +1.77] |" in table


def air(spec: str, accuracy: float, symbols: float) -> dict:
    more = {"channel": "awgn:psnr_db=20", "symbols": symbols, "over": {"awgn:psnr_db=20": accuracy}, "ships": False}
    return row("layer3", spec, accuracy, 0, **more)


def test_vfe_is_held_against_every_jscc():
    rows = [air("jscc:maps=8,height=2,width=2", 0.90, 8), air("jscc:maps=8,height=2,width=2", 0.92, 32)]
    rows += [air("vfe:maps=8,height=2,width=2", 0.905, 4), air("vfe:maps=8,height=2,width=2", 0.92, 9)]
    (goal,) = (goal for goal in training_report.goals([], rows) if "symbols of vfe" in goal["what"])
    assert goal["met"]
    assert goal["measured"] == "90.00 %: 4 against 8; 92.00 %: 9 against 32"
    rows[2]["accuracy"] = rows[3]["accuracy"] = 0.91
    (goal,) = (goal for goal in training_report.goals([], rows) if "symbols of vfe" in goal["what"])
    assert not goal["met"]
    assert goal["measured"].endswith("92.00 %: none against 32")
    table = training_report.symbols_table({"trained": rows})
    assert "| layer3 | jscc | 32 | 92.00 [91.45, 92.52] |" in table
