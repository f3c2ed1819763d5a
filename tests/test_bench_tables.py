"""The benchmark's tables and plot: fronts, short specs, lines that fit, names that do not lie on each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import featcodec as fc
from featcodec.bench import pictures, pretrained, tables
from featcodec.registry import builtin_codecs

ALL = [fc.get_codec(c, **example).config() for c in builtin_codecs() for example in fc.codec_class(c).examples]


def row(config, metric, bytes_=100.0, symbols=0.0, **more):
    stats = {
        "bits_per_sample": 8 * bytes_,
        "payload_bits_per_sample": 8 * bytes_ - 8,
        "real_symbols_per_sample": symbols,
        "compression_ratio": None if symbols else 812.3,
        "bpp": None if symbols else 512.141,
        "encode_ms": 1.25,
        "decode_ms": 0.5,
    }
    fixed = {"samples": 500, "gained": 2, "lost": 12, "feature_shape": [64, 8, 8], "head_macs": 10, "total_macs": 20}
    return {"layer": "layer3", "codec": fc.get_codec(config).config(), "metric": metric, "stats": stats, **fixed, **more}


def result(rows):
    baseline = {"metric": 0.918, "samples": 500, "total_macs": 40_813_184}
    setting = {"model": "ResNet-20 (embedded)", "data": "CIFAR-10 test, first 1,000", "samples": 500}
    return {"setting": setting, "baseline": baseline, "rows": rows, "left_out": {"ldpc": "codec 'ldpc' " + "protects " * 20}}


def test_the_front_is_what_nothing_beats():
    rows = [
        row("raw", 0.9, 100),
        row("half", 0.9, 50),
        row("png", 0.8, 60),
        row("ans", 0.8, 40),
        row("rans", 0.8, 40),
        row("bitpack", 0.7, 40),
        row("huffman", 0.95, 99),
    ]
    assert [r["codec"]["id"] for r in tables.pareto_front(rows)] == ["ans", "rans", "half", "huffman"]
    air = [row("jscc:maps=8,height=2,width=2", 0.5, 1, symbols=8), row("jscc:maps=8,height=2,width=2", 0.4, 1, symbols=9)]
    assert [r["metric"] for r in tables.pareto_front([*rows, *air])] == [0.8, 0.8, 0.9, 0.95, 0.5]


@pytest.mark.parametrize("config", ALL, ids=lambda config: config["id"])
def test_a_short_spec_builds_the_same_codec(config):
    short = tables.short_spec(config)
    assert fc.get_codec(short).config() == config
    assert len(short) <= len(fc.spec.format_spec(config))


def test_short_specs_leave_defaults_out():
    assert tables.short_spec(fc.get_codec("huffman:bits=4").config()) == "huffman:bits=4"
    assert tables.short_spec(fc.get_codec("huffman").config()) == "huffman"


def test_specs_break_where_they_should_and_lose_nothing():
    spec = "variable-rate:levels=(dsc:maps=64,step=2.0;entropic:maps=64)"
    assert tables.wrap_spec(spec, 20) == ["variable-rate:", "  levels=(dsc:", "  maps=64,step=2.0;", "  entropic:maps=64)"]
    assert tables.wrap_spec("learned_scalar (trained)", 16) == ["learned_scalar", "  (trained)"]
    assert tables.wrap_spec("a" * 40, 16) == ["a" * 16, "  " + "a" * 14, "  " + "a" * 10]


@pytest.mark.parametrize("width", [80, 100])
def test_lines_fit_and_cut_nothing(width):
    names = [found.name for found in pretrained.trained_codecs()]
    rows = [row(config, 0.9 + i / 1e4, 12_450_123 + i) for i, config in enumerate(ALL)]
    rows += [row("raw", 1.0, 99, trained=name) for name in names]
    rows += [row("jscc:maps=8,height=2,width=2", 0.001, 1, symbols=1_234_567)]
    lines = tables.table_lines(result(rows), width, everything=True)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    assert "..." not in text
    whole = "".join(text.split())
    assert all(tables.short_spec(config) in _first_column(lines) for config in ALL)
    assert all(f"{name}(trained)" in _first_column(lines) for name in names)
    assert all(f"{12_450_123 + i:,}" in whole for i in range(len(ALL)))
    assert "1,234,567sym." in whole


def _first_column(lines: list[str]) -> str:
    """What stands in the first column, without breaks: rows begin at the edge, what is left of a name two in."""
    width = next(line.index("top-1") for line in lines if line.startswith("codec"))
    start = next(i for i, line in enumerate(lines) if line.startswith("codec"))
    return "".join(line[: width - 2].replace(" ", "") for line in lines[start:])


def test_the_front_alone_then_the_rest():
    rows = [row("raw", 0.9, 100), row("half", 0.9, 50)]
    alone, everything = (tables.table_lines(result(rows), 100, everything=flag) for flag in (False, True))
    assert not any(line.startswith("raw") for line in alone)
    assert any("--all adds the other 1 rows" in line for line in alone)
    first = [line.split()[0] for line in everything if line.startswith(("raw", "half"))]
    assert first == ["half", "raw"]


def test_rates_and_changes_come_with_their_intervals():
    assert tables.rate_cell(0.918, 500) == "91.8 [89.1, 93.9]"
    cells = dict(zip(tables.HEADINGS, tables.row_cells(row("raw", 0.898), {"metric": 0.918}), strict=True))
    assert cells["change [95 %]"] == "-2.0 [-3.8, -0.6]"
    assert (
        tables.markdown_table([row("raw", 0.898)], {"metric": 0.918})
        .splitlines()[2]
        .startswith("| raw | 89.8 [86.8, 92.2] | -2.0 [-3.8, -0.6] | 100 |")
    )


def test_a_picture_holds_ten_series_at_most_ours_in_colour():
    rows = [row(config, 0.9, 10 + i) for i, config in enumerate(ALL)]
    rows.append(row("raw", 0.9, 1, trained="layer3-x"))
    series = pictures.series_of(rows)
    assert len(series) == pictures.MOST_SERIES
    assert list(series)[:8] == list(pictures.FIRST)
    assert not set(series) & set(pictures.LEFT_OUT)
    assert set(pictures.series_of([row("raw", 0.9), row("auto", 0.9)])) == {"raw", "auto"}
    looks = pictures._looks(list(series))
    assert {look["color"] == pictures.PEER for name, look in looks.items() if name in pictures.PEERS} == {True}
    assert {look["color"] == pictures.PEER for name, look in looks.items() if name not in pictures.PEERS} == {False}


def test_names_keep_off_each_other_and_within_the_axes():
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    names = [pictures.Name(f"name {i}", 0.5 + 0.01 * i, 0.5, "black") for i in range(6)] + [
        pictures.Name("edge", 1, 1, "black")
    ]
    pictures.write_names(axes, names, [np.array([(0.0, 0.5), (1.0, 0.5)])])
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not [1 for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]
    frame = axes.get_window_extent()
    assert all(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1 for box in boxes)
    line = axes.transData.transform((0.5, 0.5))[1]
    assert all(box.y0 > line or box.y1 < line for box in boxes)
    plt.close(figure)
