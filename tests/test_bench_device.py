"""The device suite runs on a few pictures, and says what it measured beside its goals."""

from __future__ import annotations

import json

from benchmarks.suites import device


def test_lite0_is_told_or_said_to_be_missing():
    row = {"head_ms": {"median": 7.3}, "encode_ms": {"median": 0.15}, "peak_memory_mb": 581.8}
    assert device.lite0_line(row).endswith("head 7.3 ms, codec 0.15 ms, peak memory 581.8 MB")
    assert "not measured" in device.lite0_line(None)


def test_a_share_of_the_disk_is_counted_without_byte_code(tmp_path):
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "module.py").write_bytes(bytes(2_000_000))
    (tmp_path / "__pycache__" / "module.pyc").write_bytes(bytes(3_000_000))
    assert device.megabytes(tmp_path.rglob("*")) == 2.0


def test_the_suite_measures_and_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(device, "lite0_profile", lambda *_: None)  # its packages are the benchmark's
    assert device.main(["--rounds", "2", "--samples", "50", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    us = result["times"]["us"]
    assert result["times"]["ratio"] == us["device"]["packets"] / us["torch"]["packets"]
    assert result["predictions"]["pictures"] == 50
    assert result["predictions"]["relative_error"] < 0.01
    assert result["install_mb"].keys() >= {"featcodec", "numpy", "onnxruntime"}
    assert 1 < result["install_mb"]["featcodec"] < 5
    assert result["profile"]["crossing"] == {"feature": [1, 32, 16, 16]}
    printed = capsys.readouterr().out
    assert "0 of 50 predictions differ" in printed
    assert "of it (goal: at most 1.0)" in printed
