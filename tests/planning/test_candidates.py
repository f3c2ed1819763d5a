"""Candidates from what was evaluated: figures where they belong, local and picture always among them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.bench.models import resnet20
from featcodec.errors import PlanError
from featcodec.planning import Candidate, candidates_of, profile

ROW = {
    "metric": 0.85,
    "layer": "0",
    "codec": {"id": "huffman", "bits": 4},
    "head_ms": 2.0,
    "tail_ms": 3.0,
    "head_macs": 40,
    "total_macs": 100,
    "stats": {"bits_per_sample": 800.0, "encode_ms": 0.5, "decode_ms": 0.25, "real_symbols_per_sample": 0.0},
}
BASE = {"metric": 0.9, "head_ms": 6.0, "total_macs": 100, "stats": None, "layer": None, "codec": None}


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()


def test_local_and_picture_come_first_and_rows_behind_them():
    local, picture, split = candidates_of([ROW], BASE, picture_bytes=2000, picture_encode_ms=1.0, picture_decode_ms=0.5)
    assert (local.kind, local.device_ms, local.server_ms, local.size_bytes, local.share) == ("local", 6.0, 0.0, 0.0, 1.0)
    assert (picture.kind, picture.device_ms, picture.server_ms, picture.size_bytes) == ("picture", 1.0, 6.5, 2000)
    assert picture.share == 0.0
    assert (split.device_ms, split.server_ms, split.size_bytes, split.share) == (2.5, 3.25, 100.0, 0.4)
    assert (local.accuracy, picture.accuracy, split.accuracy) == (0.9, 0.9, 0.85)
    assert split.name == "0 huffman:bits=4"


def test_a_slow_device_takes_longer_and_the_server_does_not():
    local, picture, split = candidates_of([ROW], BASE, picture_bytes=1, picture_encode_ms=1.0, slowdown=10.0, device_mw=500.0)
    assert (local.device_ms, picture.device_ms, split.device_ms) == (60.0, 10.0, 25.0)
    assert (picture.server_ms, split.server_ms) == (6.0, 3.25)
    assert {c.device_mw for c in (local, picture, split)} == {500.0}


def test_rows_of_one_name_are_told_apart_and_symbols_of_a_radio_left_out():
    analog = {**ROW, "stats": {**ROW["stats"], "real_symbols_per_sample": 64.0}}
    named = {**ROW, "name": "my codec"}
    found = candidates_of([ROW, analog, ROW, named], BASE, picture_bytes=1)
    assert [c.name for c in found[2:]] == ["0 huffman:bits=4", "0 huffman:bits=4 (2)", "0 my codec"]


def test_reports_and_a_profile_give_candidates_with_memory_and_times_of_the_same_runs():
    model, x = small_model(), torch.randn(4, 3, 8, 8)
    loader = [(x, torch.tensor([0, 1, 2, 3]))]
    report = fc.evaluate(model, loader, layer="1", codec="bitpack:bits=4")
    found = profile(model, x, calls=3)
    local, picture, split = candidates_of([report], fc.evaluate(model, loader), picture_bytes=192, profile=found)
    cut = found.at("1")
    assert (split.memory_bytes, split.head_ms, split.tail_ms) == (cut.memory_bytes, cut.head_ms, cut.tail_ms)
    assert (local.memory_bytes, local.head_ms) == (found.weight_bytes + found.peak_bytes, found.total_ms)
    assert (picture.memory_bytes, picture.tail_ms) == (0, found.total_ms)
    assert split.size_bytes == report.stats["bits_per_sample"] / 8
    assert split.head_macs == cut.head_macs == 4 * 36 * 27


def test_a_device_s_own_times_win_over_the_slowdown():
    model, x = small_model(), torch.randn(1, 3, 8, 8)
    found = profile(model, x, calls=3)
    cuts = [dataclasses.replace(c, device_ms=7 * c.head_ms) if c.layer == "0" else c for c in found.cuts]
    told = dataclasses.replace(found, cuts=tuple(cuts))
    assert told.slowdown() == pytest.approx(7)
    rows = [ROW, {**ROW, "layer": "1"}]
    local, _, first, second = candidates_of(rows, BASE, picture_bytes=1, profile=told)
    assert first.head_ms == told.at("0").device_ms
    assert second.head_ms == pytest.approx(7 * told.at("1").head_ms)
    assert local.head_ms == pytest.approx(7 * told.total_ms)
    assert candidates_of(rows, BASE, picture_bytes=1, profile=told, slowdown=2.0)[2].head_ms == told.at("0").device_ms


def test_bytes_that_are_not_all_that_must_cross_are_refused():
    model, x = resnet20(), torch.randn(1, 3, 32, 32)
    one, two = (profile(model, x, max_tensors=n, calls=1) for n in (1, 2))
    inside = {**ROW, "layer": "layer1.0.conv1"}
    with pytest.raises(PlanError, match=r"no cut behind 'layer1.0.conv1' at which 1 tensor\(s\) cross"):
        candidates_of([inside], BASE, picture_bytes=1, profile=one)
    with pytest.raises(
        PlanError, match=r"behind 'layer1\.0\.conv1' 2 tensors cross, a row has the bytes of the layer's output"
    ):
        candidates_of([inside], BASE, picture_bytes=1, profile=two)


@pytest.mark.parametrize(
    ("rows", "base", "more", "message"),
    [
        ([], BASE, {}, "there are no rows: evaluate a codec that sends bytes at a layer at least"),
        ([{**ROW, "stats": None}], BASE, {}, "a row is no evaluation of a codec at a layer: TypeError"),
        ([{"metric": 0.3}], BASE, {}, "a row is no evaluation of a codec at a layer: KeyError: 'stats'"),
        ([3], BASE, {}, "a row is a Report or a mapping, got int"),
        ([{**ROW, "metric": {"iou": 0.3}}], BASE, {}, r"this row's metric is {'iou': 0.3}: choose one of them"),
        ([ROW], {**BASE, "metric": None}, {}, "this row's metric is None"),
        ([ROW], BASE, {"slowdown": 0.0}, "slowdown is a number above 0, got 0.0"),
        ([{**ROW, "tail_ms": -1.0}], BASE, {}, "candidate '0 huffman:bits=4': tail_ms is a number from 0, got -1.0"),
    ],
)
def test_rows_without_figures_are_refused(rows, base, more, message):
    with pytest.raises(PlanError, match=message):
        candidates_of(rows, base, picture_bytes=1, **more)


def test_a_candidate_is_of_one_of_three_kinds():
    with pytest.raises(PlanError, match="a candidate is of the kind split, local or picture, got 'cloud'"):
        Candidate("x", 1, 1.0, 1.0, kind="cloud")
