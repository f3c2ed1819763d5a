"""The transform's benchmark: rivals, curves at equal loss, rows on disk, goals, and a small run."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import featcodec as fc
from benchmarks import cut_networks, efficientnet, photographs, transform_goals, transform_report
from benchmarks.cut_jobs import Place, cut_of, job, right, run_job
from benchmarks.cuts import Cut, kl_divergence
from benchmarks.equal_loss import KL, TOP1, Curve, best, cell, crossing, draws, monotone
from benchmarks.row_store import Row, RowStore, name_of
from benchmarks.suites import transform
from benchmarks.transform_rivals import ClipCodec, FcmCodec, TopCodec, clipping_range
from benchmarks.transform_series import Series
from featcodec.bench.data import Images, embedded


@pytest.fixture
def pictures(monkeypatch):
    """The embedded pictures in the place of CIFAR-10's: what is chosen on and what is measured are not the same ones."""

    def few(name: str, count: int | None) -> tuple[torch.Tensor, np.ndarray]:
        first = {"calibration": 0, "train": 100, "test": 200}[name]
        part: Images = embedded().part(first, first + (count or 40))
        return cut_networks.inputs_of(part)

    network = cut_networks.NETWORKS["resnet20"]
    small = cut_networks.Network(network.model, network.layers, few, 16)
    monkeypatch.setitem(cut_networks.NETWORKS, "resnet20", small)
    cut_of.cache_clear()
    yield few
    cut_of.cache_clear()


# ---- rivals
FEATURE = torch.from_numpy(np.maximum(np.random.default_rng(0).normal(0, 2, (2, 6, 8, 8)), 0).astype(np.float32))


def test_clip_sends_levels_of_its_range_and_nothing_beyond():
    codec = ClipCodec(levels=4, low=0.0, high=3.0)
    value = codec.decode(codec.encode(FEATURE))
    assert torch.equal(value, FEATURE.clamp(0, 3).round())
    assert set(value.unique().tolist()) == {0.0, 1.0, 2.0, 3.0}


def test_the_clipping_range_is_the_best_of_the_grid():
    low, high = clipping_range(FEATURE, 4)
    top = float(FEATURE.max())

    def error(high: float) -> float:
        step = (high - low) / 3
        return float(((FEATURE.clamp(low, high) / step).round() * step - FEATURE).square().mean())

    assert low == 0.0
    assert error(high) == min(error(top * i / 64) for i in range(1, 65))
    assert high < 0.9 * top


def test_top_keeps_the_share_with_the_largest_magnitudes():
    codec = TopCodec(share=0.1)
    value = codec.decode(codec.encode(FEATURE))
    for sent, x in zip(value, FEATURE, strict=True):
        least = x.flatten().sort(descending=True).values[round(0.1 * x.numel()) - 1]
        assert not sent[x < least].any()
        assert (sent[x >= least] - x[x >= least]).abs().max() <= float(x.max()) / 30 + 1e-6


@pytest.mark.parametrize("maps", [6, 7])
def test_fcm_rebuilds_the_file_s_boxes(maps):
    x = torch.cat([FEATURE, FEATURE], 1)[:, :maps].repeat_interleave(2, 2).repeat_interleave(2, 3)
    codec = FcmCodec(quality=80)
    packets = codec.encode(x)
    value = codec.decode(packets)
    assert (value - x).square().mean() < 0.02 * x.square().mean()
    assert all(b"mdat" not in packet.payload.tobytes() for packet in packets)
    coarse = FcmCodec(quality=10).encode(x)
    assert sum(p.payload_bits for p in coarse) < 0.5 * sum(p.payload_bits for p in packets)


# ---- equal loss
def test_the_bytes_at_a_loss_lie_between_the_rows_around_it():
    sizes, losses = np.array([100.0, 200.0, 400.0]), np.array([3.0, 1.5, 0.25])
    assert crossing(sizes, losses, 1.5) == pytest.approx(200)
    assert crossing(sizes, losses, 2.0) == pytest.approx(100 * 2 ** (2 / 3))
    assert crossing(sizes, losses, 3.5) is None
    assert crossing(sizes, losses, 0.1) is None
    assert crossing(sizes[::-1], losses[::-1], 2.0) == crossing(sizes, losses, 2.0)


def test_a_divergence_is_interpolated_in_its_logarithm():
    rows = [row("a", size, lost(0), kl=kl) for size, kl in ((100, 0.1), (400, 0.001))]
    rows = [Row(r.figures, {**r.arrays, "kl": np.full(1000, r.figures["kl"])}) for r in rows]
    assert Curve("a", rows, KL, draws(1000)).at(0.01) == pytest.approx(200, rel=1e-4)


def test_rows_in_the_wrong_order_are_pooled():
    logs, losses = monotone(np.array([100.0, 200.0, 400.0, 800.0]), np.array([3.0, 1.0, 2.0, 0.5]))
    assert losses == [3.0, 1.5, 0.5]
    assert [math.exp(log) for log in logs] == pytest.approx([100, 200 * math.sqrt(2), 800])


def row(series: str, payload: float, lost: np.ndarray, **more) -> Row:
    figures = {
        "network": "resnet20",
        "layer": "layer2",
        "series": series,
        "quality": None,
        "config": {"id": "jpeg", "quality": 9},
        "payload_bytes": payload,
        "wire_bytes": payload + 16,
        "samples": len(lost),
        "gained": int((lost < 0).sum()),
        "lost": int((lost > 0).sum()),
        "top1": 0.9,
        "kl": 0.02,
        "commit": "abc",
        **more,
    }
    return Row(figures, {"payload": np.full(len(lost), payload, np.uint32), "lost": lost, "kl": np.full(len(lost), 0.02)})


def lost(points: float, pictures: int = 1000) -> np.ndarray:
    """So many points of pictures lost, the same ones in every row."""
    return (np.arange(pictures) < round(points * pictures / 100)).astype(np.int8)


def curve(series: str, scale: float) -> list[Row]:
    return [row(series, scale * size, lost(points)) for size, points in ((100, 4.0), (200, 1.0), (400, 0.2))]


def test_a_ratio_s_interval_is_of_pairs():
    weights = draws(1000)
    one, other = (Curve(name, curve(name, scale), TOP1, weights) for name, scale in (("a", 1.0), ("b", 4.0)))
    found = cell([one], [other], 1.0)
    # the same pictures are lost by both: whatever is drawn, one takes a quarter
    assert found["ratio"] == pytest.approx(0.25)
    assert found["interval"] == pytest.approx([0.25, 0.25], abs=1e-6)
    assert found["best"] == "b"
    assert best([one, other], 1.0) == (pytest.approx(200, rel=1e-5), "a")
    assert cell([one], [other], 9.0)["ratio"] is None


def test_an_interval_grows_where_other_pictures_are_lost():
    mine, theirs = curve("a", 1.0), curve("b", 4.0)
    others = [Row(r.figures, {**r.arrays, "lost": r.arrays["lost"][::-1]}) for r in theirs]
    weights = draws(1000)
    low, high = cell([Curve("a", mine, TOP1, weights)], [Curve("b", others, TOP1, weights)], 1.0)["interval"]
    assert low < 0.24 < 0.26 < high


# ---- choices, rows, goals
def test_settings_are_chosen_where_the_sweep_s_divergence_lies_in_reach():
    series = Series("x", tuple(range(21)), lambda where, setting: job(where, "x", {"id": "raw", "n": setting}), 10, 4)
    assert series.swept() == [0, 10, 20]
    # 1 at 0, .01 at 10, .0001 at 20: a fifth of a decade a setting
    chosen = series.chosen([1.0, 0.01, 0.0001], (0.0011, 0.11))
    assert chosen[0] == 5
    assert chosen[-1] == 14
    assert len(chosen) == 4
    assert series.chosen([1.0, 0.9, 0.8], (0.001, 0.1)) == []
    assert Series("x", (1, 2, 3), series.make, 0, 3).chosen([], (0.1, 0.2)) == [1, 2, 3]


def test_rows_are_kept_whole_under_what_they_depend_on(tmp_path):
    store = RowStore(tmp_path / "rows")
    name = name_of({"a": 1}, b"packets")
    assert len({name, name_of({"a": 2}, b"packets"), name_of({"a": 1}, b"packet", b"s")}) == 3
    assert store.find(name) is None
    store.keep(name, row("x", 5, lost(3)))
    found = store.find(name)
    assert found is not None
    assert found.figures == row("x", 5, lost(3)).figures
    assert np.array_equal(found.arrays["lost"], lost(3))


def result_of(rows: list[Row]) -> dict:
    measured = {"rows": [r.figures for r in rows], "cells": transform_goals.cells_of(rows), "speed": None}
    return {**measured, "sizes": transform_goals.sizes_of(rows), "goals": transform_goals.goals(measured)}


def test_goals_are_met_or_not_or_not_measured():
    rows = [*curve("transform", 1.0), *curve("jpeg", 4.0), *curve("heif", 9.0), *curve("clip", 0.9), *curve("PCA", 2.0)]
    rows += [r for name in ("context", "context, map") for r in curve(name, 8.0)]
    rows += [Row({**r.figures, "layer": "layer1"}, r.arrays) for r in rows if r.figures["series"] != "clip"]
    rows.append(row("transform", 15.0, lost(0.2), layer="layer3"))
    found = {goal["what"]: goal for goal in result_of(rows)["goals"]}
    standard = found["tables up to 2^18, against the same"]
    assert standard["met"] is None  # a rival was not measured
    assert standard["measured"] == "0.250, at most 0.250, 6 of 6 cells, without webp"
    webp = [r for r in curve("webp", 9.0) for r in (r, Row({**r.figures, "layer": "layer1"}, r.arrays))]
    standard = {goal["what"]: goal for goal in result_of([*rows, *webp])["goals"]}["tables up to 2^18, against the same"]
    assert standard["met"]
    assert standard["measured"] == "0.250, at most 0.250, 6 of 6 cells"
    one_layer = [r for r in [*rows, *webp] if r.figures["layer"] != "layer1"]
    assert {goal["what"]: goal for goal in result_of(one_layer)["goals"]}["tables up to 2^18, against the same"]["met"] is None
    assert found["tables up to 2^22, against the best of jpeg, webp, heif, context"]["met"] is None
    assert found["against plain PCA with the same coder, ResNet-20"]["met"]
    assert found["layer3 at no more than .3 points, tables up to 2^18"]["met"]
    assert found["clip at 1 point"]["met"] is None  # measured at one of two layers
    rows += [Row({**r.figures, "layer": "layer1"}, r.arrays) for r in curve("clip", 0.9)]
    assert {goal["what"]: goal for goal in result_of(rows)["goals"]}["clip at 1 point"]["met"] is False


# ---- networks and runs
def test_kl_is_torch_s():
    one, other = (torch.randn(5, 7, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    logs = [x.double().log_softmax(1) for x in (one, other)]
    wanted = torch.nn.functional.kl_div(*logs, log_target=True, reduction="none").sum(1)
    assert kl_divergence(one.numpy(), other.numpy()) == pytest.approx(wanted.numpy(), rel=1e-5)


def test_any_of_a_picture_s_labels_is_right():
    outputs = np.eye(4, dtype=np.float32)
    assert right(outputs, np.array([[0, -1], [0, 1], [3, 1], [2, 3]])).tolist() == [True, True, False, True]


def test_a_cut_measures_real_packets(tmp_path, pictures, resnet20):
    inputs, _ = pictures("test", 20)
    cut = Cut(resnet20, "layer3", inputs, tmp_path / "f" / "x.npy", batch=8)
    codec = fc.get_codec("raw")
    found = cut.measure(codec)
    assert np.array_equal(found.outputs, cut.outputs)
    assert set(found.payload) == {4 * 64 * 8 * 8}
    assert list(found.wire) == [len(packet.to_bytes()) for packet in codec.encode(torch.from_numpy(cut.features.copy()))]
    with pytest.raises(ValueError, match="features of 20 pictures, wanted 19"):
        Cut(resnet20, "layer3", inputs[:19], tmp_path / "f" / "x.npy")


def test_a_row_is_measured_once_for_a_codec_that_does_the_same(tmp_path, pictures):
    place = Place(tmp_path, tmp_path / "rows", (("train", 16), ("test", 30)))
    wanted = job(("resnet20", "layer3", "test"), "context", {"id": "context", "bits": 1})
    first = run_job(place, wanted)
    assert first.figures["samples"] == 30
    assert len(list((tmp_path / "rows").iterdir())) == 1
    assert run_job(place, wanted).figures == first.figures
    run_job(place, job(("resnet20", "layer3", "test"), "context", {"id": "context", "bits": 2}))
    assert len(list((tmp_path / "rows").iterdir())) == 2


def test_a_small_run_writes_goals_tables_and_the_figure(tmp_path, pictures, capsys):
    series = ["jpeg", "context", "clip", "learned_scalar (trained)"]
    args = ["--networks", "resnet20", "--layers", "layer3", "--series", *series, "--samples", "30", "--sweep", "16"]
    args += ["--rows", "4", "--workers", "1", "--rounds", "1", "--scratch", str(tmp_path / "s"), "--out", str(tmp_path)]
    assert transform.main(args) == 0
    result = json.loads((tmp_path / "results.json").read_text())
    assert {r["series"] for r in result["rows"]} == set(series)
    trained = next(r for r in result["rows"] if r["series"] == series[-1])
    assert trained["payload_bytes"] == 12
    assert (tmp_path / "change.png").stat().st_size > 5000
    out = capsys.readouterr().out
    assert "| encode and decode at 1 point" in out
    assert "| context | bits 3 |" in transform_report.summary(result)
    assert transform.main([*args, "--layers", "layer9"]) == 2


def test_stamps_stand_on_white_in_the_middle(tmp_path, monkeypatch):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"pictures": {"a/b": [7, 8], "c": [3]}}))
    monkeypatch.setattr(photographs, "LABELS", labels)
    with pytest.raises(FileNotFoundError, match=r"lacks 2 of 2 stamps, a/b.png"):
        photographs.stamps_of(tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("a/b", "c"):
        Image.new("RGBA", (100, 50), (255, 0, 0, 255)).save(tmp_path / f"{name}.png")
    images, classes = photographs.stamps_of(tmp_path)
    assert classes.tolist() == [[7, 8], [3, -1]]
    assert images.shape == (2, 224, 224, 3)
    assert (images[0, 112, 112] == [255, 0, 0]).all()
    assert (images[0, 10, 10] == 255).all()
    reds = (images[0, :, :, 1] < 128).sum()
    assert reds == pytest.approx((224 / 1.1) ** 2 / 2, rel=0.02)


def test_crops_are_the_same_every_time_and_within_the_photograph():
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))
    first = photographs.crops([photograph])
    assert first.shape == (8, 224, 224, 3)
    assert np.array_equal(first, photographs.crops([photograph]))


def test_the_other_network_s_inputs_are_scaled_as_it_was_trained(tmp_path, monkeypatch):
    images = np.array([0, 127, 255], np.uint8).repeat(224 * 224 * 3).reshape(3, 224, 224, 3)
    np.savez(tmp_path / "p.npz", test=images, test_labels=np.zeros((3, 2), int))
    monkeypatch.setenv(efficientnet.PICTURES, str(tmp_path / "p.npz"))
    x, labels = efficientnet.pictures("test", 3)
    assert x[:, 0, 0, 0].tolist() == [-127 / 128, 0, 1]
    assert labels.shape == (3, 2)


def test_the_committed_labels_name_their_source():
    labels = json.loads(photographs.LABELS.read_text())
    assert "tuxpaint-stamps-default" in labels["source"]
    assert len(labels["pictures"]) == 153
    assert all(0 <= k < 1000 for found in labels["pictures"].values() for k in found)
