"""The accelerator benchmark: what it measures is added up right, and without a GPU it says so."""

from __future__ import annotations

import json

import torch

from benchmarks import accelerator_report, pages
from benchmarks.suites import accelerator

ROW = {
    "network": "ResNet-50",
    "layer": "layer3",
    "shape": [1024, 14, 14],
    "batch": 8,
    "codec": "raw",
    "wire_bytes": 802835.0,
    "bare_ms": 5.0,
    "with_ms": 9.5,
    "to_host_ms": 0.5,
    "encode_ms": 1.0,
    "decode_ms": 1.25,
    "to_device_ms": 0.25,
}


def test_parts_and_rest_are_what_a_codec_adds():
    table = accelerator_report.crossing_table({"rows": [ROW]})
    figures = "802,835 | 5.00 | 9.50 | 4.50 | 0.50 | 1.00 | 1.25 | 0.25 | 1.50"
    assert f"| ResNet-50 layer3 | 1024 x 14 x 14 | 8 | raw | {figures} |" in table
    assert "| to host | encode | decode | to device | rest |" in table


def test_the_suite_measures_and_its_page_has_every_row(tmp_path, capsys):
    options = ["--network", "ResNet-20", "--batch", "2", "--codec", "raw", "huffman:bits=4,tables=static", "--rounds", "1"]
    assert accelerator.main(["--device", "cpu", *options, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert [row["codec"] for row in result["rows"]] == ["raw", "huffman:bits=4,tables=static"]
    assert all(row[f"{part}_ms"] > 0 for row in result["rows"] for part in ("bare", "with", *accelerator_report.PARTS))
    assert result["rows"][0]["wire_bytes"] > 4 * 16 * 32 * 32 > 8 * result["rows"][1]["wire_bytes"]
    assert accelerator_report.crossing_table(result) in pages.accelerator_page(result)
    assert accelerator_report.crossing_table(result) in capsys.readouterr().out


def test_the_wide_network_has_resnet_50_s_shapes():
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        model = accelerator.resnet50(images)
        head = model[:4](images)
    assert head.shape == (2, 1024, 2, 2)
    assert 25.5e6 < sum(p.numel() for p in model.parameters()) < 25.6e6


def test_without_a_gpu_it_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert accelerator.main(["--out", str(tmp_path / "x")]) == 2
    assert "no GPU here" in capsys.readouterr().err
    assert accelerator.main(["--device", "cpu", "--rounds", "0", "--out", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()
