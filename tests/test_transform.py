"""The transform codec: the core against docs/transform.md in NumPy, what calibration makes, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import featcodec as fc
from featcodec import _core, device
from featcodec.families.transform_layouts import layouts
from featcodec.payloads.transform import Layout, zones_of
from tests.transform_reference import Reference, fresh, varint

LAYOUTS = [
    Layout(8, 7, 5, 35, 8, 0),
    Layout(8, 4, 4, 1, 4, 10),
    Layout(6, 8, 8, 20, 3, 100),
    Layout(8, 1, 1, 1, 8, 0),
    Layout(3, 16, 2, 3, 3, 40),
]
GRIDS = [(7, 5), (7, 5), (9, 17), (5, 3), (20, 5)]


def any_state(layout: Layout, seed: int = 0) -> dict[str, NDArray[Any]]:
    """A state that no calibration makes, of every range."""
    rng = np.random.default_rng(seed)
    state = layout.fresh_state()
    for name in ("analysis", "synthesis", "joint_analysis", "joint_synthesis"):
        rows = rng.normal(0, 9000 / max(1, state[name].shape[-1]) ** 0.5, state[name].shape)
        sums = np.abs(rows).sum(-1, keepdims=True)
        state[name] = (rows * np.minimum(1, 61000 / np.maximum(sums, 1))).astype(np.int16)
        state[f"{name}_shift"] = rng.integers(8, 14, state[f"{name}_shift"].shape).astype(np.uint8)
    state["scale"] = np.array([8], np.int32)
    state["mean"] = rng.integers(-500, 500, state["mean"].shape).astype(np.int16)
    state["chosen"] = np.sort(rng.choice(layout.places, layout.joint, replace=False)).astype(np.int32)
    state["offset"] = rng.integers(0, 20, layout.places).astype(np.uint8)
    state["scale_class"] = rng.integers(60, 200, layout.places).astype(np.uint8)
    tables = 1 + rng.integers(0, 4000, (33, 16))
    tables[:, 0] += (1 << 16) - tables.sum(1)
    state["tables"] = tables.astype(np.int32)
    state["drift"] = rng.integers(-2048, 2048, (33, 16)).astype(np.int16)
    return state


def reference(layout: Layout, state: dict[str, NDArray[Any]]) -> Reference:
    return Reference(layout.maps, layout.block_height, layout.block_width, layout.group, state)


def core(layout: Layout, state: dict[str, NDArray[Any]]) -> _core.TransformCoder:
    return _core.TransformCoder(layout.maps, layout.block_height, layout.block_width, layout.group, state)


def smooth_features(samples: int, maps: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Maps that have to do with each other, smooth in space."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(maps, maps, generator=g) / torch.arange(1, maps + 1)
    x = torch.randn(samples, maps, height, width, generator=g)
    return torch.einsum("ck,nkhw->nchw", mix, torch.nn.functional.avg_pool2d(x, 3, 1, 1)) + 0.5


# ---- the format -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "grid"), list(zip(LAYOUTS, GRIDS, strict=True)))
def test_the_core_is_the_page(layout, grid):
    state = any_state(layout)
    ours, page = core(layout, state), reference(layout, state)
    x = np.random.default_rng(1).normal(0, 2, (2, layout.maps, *grid)).astype(np.float32)
    x[0, 0, 0, 0], x[1, -1, -1, -1] = 3e38, -90
    assert np.array_equal(ours.analyse(x), np.stack([page.transform(page.blocks(page.differences(v)[0])) for v in x]))
    for quality in (0, 35, 60, 100):
        payloads = ours.encode(x, quality)
        assert [payload.tobytes() for payload in payloads] == [page.encode(v, quality) for v in x]
        values = ours.decode(payloads, *grid)
        assert np.array_equal(values, np.stack([page.decode(payload.tobytes(), *grid) for payload in payloads]))
        assert (values[0, 0, 0, 0], values[1, -1, -1, -1]) == (np.float32(3e38), -90)


def test_the_fresh_state_is_the_page_s():
    for layout in LAYOUTS:
        wanted = fresh(*layout[:3], layout.group, zones=layout.zones, joint=layout.joint)
        ours = layout.fresh_state()
        assert list(ours) == list(wanted)
        for name, array in wanted.items():
            assert array.dtype == ours[name].dtype, name
            assert np.array_equal(array, ours[name]), name


def test_damaged_payloads_are_refused_as_the_page_says():
    layout = LAYOUTS[1]
    state = any_state(layout)
    ours, page = core(layout, state), reference(layout, state)
    rng = np.random.default_rng(5)
    x = rng.normal(0, 2, (1, 8, 7, 5)).astype(np.float32)
    x[0, 3, 2, 1] = 1e6
    good = ours.encode(x, 60)[0]
    damaged = [good[:k] for k in range(len(good))] + [np.append(good, np.uint8(0)), np.append(good, np.uint8(7))]
    for _ in range(200):
        flipped = good.copy()
        flipped[rng.integers(0, len(good))] ^= np.uint8(1 << rng.integers(0, 8))
        damaged.append(flipped)
    refused = 0
    for payload in damaged:
        try:
            wanted = page.decode(payload.tobytes(), 7, 5)
        except fc.BitstreamError:
            refused += 1
            with pytest.raises(fc.BitstreamError):
                ours.decode([payload], 7, 5)
        else:
            assert np.array_equal(ours.decode([payload], 7, 5)[0], wanted)
    assert 0 < refused < len(damaged)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes([101]),
        bytes([128 + 50]),
        bytes([128 + 50]) + varint(0),
        bytes([128 + 50]) + varint(281) + bytes(5 * 281),
        bytes([128 + 50]) + varint(1) + varint(280) + bytes(4),
        bytes([128 + 50]) + varint(1) + varint(0) + np.float32(np.inf).tobytes(),
        bytes([128 + 50, 0x81, 0x00]) + varint(0) + bytes(4),
        bytes([50, 0]),
    ],
    ids=["empty", "quality", "cut off", "no escapes", "too many", "outside", "infinite", "varint", "zero at the end"],
)
def test_what_no_encoder_writes_is_refused(payload):
    with pytest.raises(fc.BitstreamError):
        core(LAYOUTS[0], LAYOUTS[0].fresh_state()).decode([np.frombuffer(payload, np.uint8)], 7, 5)


def test_a_feature_that_is_the_mean_is_one_byte():
    codec = fc.get_codec("transform:maps=8")
    assert [packet.payload.tolist() for packet in codec.encode(torch.zeros(2, 8, 9, 9))] == [[50], [50]]


# ---- the codec ------------------------------------------------------------------------------------------------------------


def test_quality_is_set_at_any_time_and_travels_with_the_payload():
    codec = fc.get_codec("transform:maps=8").calibrate(smooth_features(64, 8, 16, 16))
    other = copy.deepcopy(codec)
    x = smooth_features(4, 8, 16, 16, seed=1)
    sizes, errors = [], []
    for quality in (20, 40, 60, 80, 100):
        codec.quality = quality
        packets = codec.encode(x)
        value = other.decode(packets)
        assert torch.equal(value, codec(x))
        sizes.append(sum(packet.payload.size for packet in packets))
        errors.append(float((value - x).square().mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4 * float(x.var())
    assert codec.config() == other.config()
    assert codec.fingerprint() == other.fingerprint()
    for bad in (-1, 101, 2.5, True):
        with pytest.raises(fc.ConfigError, match=r"quality must be an integer 0\.\.100"):
            codec.quality = bad


def test_codecs_without_a_quality_at_run_time_say_so():
    with pytest.raises(fc.ConfigError, match="'huffman' has no quality to choose at run time"):
        fc.get_codec("huffman").set_quality(3)


def mean_size(codec: fc.Codec, x: torch.Tensor, error: float) -> float:
    """The mean payload at the coarsest quality whose error is no larger."""
    for quality in range(0, 101, 2):
        codec.set_quality(quality)
        packets = codec.encode(x)
        if float((codec.decode(packets) - x).square().mean()) <= error:
            return sum(packet.payload.size for packet in packets) / len(packets)
    raise AssertionError("no quality is fine enough")


def test_calibration_pays():
    x = smooth_features(16, 8, 16, 16, seed=1)
    error = 0.01 * float(x.var())
    fresh_codec = fc.get_codec("transform:maps=8")
    calibrated = fc.get_codec("transform:maps=8").calibrate(smooth_features(96, 8, 16, 16))
    assert mean_size(calibrated, x, error) < 0.7 * mean_size(fresh_codec, x, error)


def test_drift_pays_where_blocks_differ():
    loudness = torch.tensor([1.0, 0.1]).repeat_interleave(8)
    x = smooth_features(96, 8, 16, 16) * loudness * (1 + torch.arange(96) % 7)[:, None, None, None]
    codec = fc.get_codec("transform:maps=8").calibrate(x)
    still = copy.deepcopy(codec)
    still.drift.zero_()
    sizes = [sum(packet.payload.size for packet in each.encode(x[:16])) for each in (codec, still)]
    assert sizes[0] < 0.9 * sizes[1]


def test_gradients_put_the_error_where_the_output_does_not_look():
    features = smooth_features(96, 8, 8, 8)
    g = torch.zeros(96, 8, 8, 8)
    g[:, :2] = torch.randn(96, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    plain = fc.get_codec("transform:maps=8").calibrate(features)
    sighted = fc.get_codec("transform:maps=8").calibrate_for(features, g, 0.01)
    x = smooth_features(16, 8, 8, 8, seed=1)
    sizes = {}
    for name, codec in (("plain", plain), ("sighted", sighted)):
        sizes[name] = next(
            sum(packet.payload.size for packet in packets)
            for quality in range(101)
            for packets in [(codec.set_quality(quality), codec.encode(x))[1]]
            if float((codec.decode(packets) - x)[:, :2].square().mean()) <= 0.01 * float(x[:, :2].var())
        )
    assert sizes["sighted"] < 0.7 * sizes["plain"]


@pytest.mark.parametrize("shape", [(12,), (9, 12), (12, 5, 7), (12, 3, 4, 5)])
def test_samples_of_any_rank(shape):
    maps = 12
    spec = fc.fit_spec("transform", shape)
    assert spec["maps"] == maps
    x = torch.randn(40, *shape, generator=torch.Generator().manual_seed(0))
    codec = fc.get_codec(spec).calibrate(x).eval()
    codec.quality = 90
    assert (codec(x) - x).abs().max() < 0.1
    twin = device.codec(codec.config(), codec.device_state())
    twin.set_quality(90)
    assert [p.to_bytes() for p in twin.encode(x.numpy())] == [p.to_bytes() for p in codec.encode(x)]
    assert np.array_equal(twin.decode(codec.encode(x)), codec(x).numpy())


def test_a_map_of_another_size_is_filled_up():
    codec = fc.get_codec("transform:maps=4,block_height=4,block_width=4,joint=30").calibrate(smooth_features(64, 4, 8, 8))
    codec.quality = 100
    x = smooth_features(2, 4, 11, 6, seed=3)
    assert (codec(x) - x).abs().max() < 0.1


def test_what_lies_far_outside_is_sent_as_it_is():
    codec = fc.get_codec("transform:maps=4").calibrate(smooth_features(32, 4, 8, 8))
    codec.quality = 30
    x = smooth_features(1, 4, 8, 8, seed=1)
    x[0, 2, 3, 4], x[0, 0, 0, 0] = 1e9, -12345.678
    y = codec(x)
    assert (y[0, 2, 3, 4], y[0, 0, 0, 0]) == (x[0, 2, 3, 4], x[0, 0, 0, 0])
    y[0, 2, 3, 4] = y[0, 0, 0, 0] = 0
    assert y.abs().max() < 10


# ---- what is refused --------------------------------------------------------------------------------------------------------


def test_parameters_that_do_not_fit_are_refused():
    for spec, words in [
        ("transform:maps=8,group=3", "group must divide maps"),
        ("transform:maps=8,joint=513", r"joint must be an integer 0\.\.512"),
        ("transform:maps=8,block_height=33", r"block_height must be an integer 1\.\.32"),
        ("transform:maps=8,zones=65", "zones must be"),
        ("transform:maps=4096", "numbers"),
    ]:
        with pytest.raises(fc.ConfigError, match=words):
            fc.get_codec(spec)


def test_features_of_other_maps_are_refused():
    codec = fc.get_codec("transform:maps=8")
    with pytest.raises(fc.FeatureError, match="8 maps"):
        codec.encode(torch.zeros(1, 7, 4, 4))


def test_features_to_calibrate_with_that_are_refused():
    codec = fc.get_codec("transform:maps=4")
    before = codec.fingerprint()
    x = torch.rand(3, 4, 8, 8)
    for bad, words in [
        ([], "at least one"),
        ([x, x[:, :, :4]], "one shape"),
        (torch.full((5, 4, 8, 8), 2.0), "of one value"),
        (x[:, :3], "4 maps"),
    ]:
        with pytest.raises(fc.FeatureError, match=words):
            codec.calibrate(bad)
    with pytest.raises(fc.FeatureError, match="every gradient is 0"):
        codec.calibrate_for(x, torch.zeros(3, 4, 8, 8))
    assert codec.fingerprint() == before


def test_a_state_of_another_shape_or_range_is_refused():
    codec = fc.get_codec("transform:maps=4")
    with pytest.raises(RuntimeError, match="size mismatch for mean"):
        codec.load_state_dict(fc.get_codec("transform:maps=4,block_width=4").state_dict())
    state = codec.device_state()
    for name, value in [("scale", 101), ("analysis_shift", 25), ("analysis", 32767), ("tables", 0), ("offset", 97)]:
        broken = {**state, name: np.full_like(state[name], value)}
        with pytest.raises(fc.ConfigError):
            device.codec(codec.config(), broken)
    with pytest.raises(fc.ConfigError, match="mean of this transform is int16"):
        device.codec(codec.config(), {**state, "mean": state["mean"][:, :4]})
    with pytest.raises(fc.ConfigError, match="got none"):
        device.codec(codec.config(), {name: array for name, array in state.items() if name != "tables"})


# ---- layouts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(16, 32, 32), (24, 56, 56), (112, 14, 14), (196, 768), (512,), (3, 37, 41)])
@pytest.mark.parametrize("max_table", [1 << 16, 1 << 18, 1 << 22])
def test_layouts_keep_to_the_memory_and_to_what_is_given(shape, max_table):
    found = layouts({}, shape, 1024, max_table)
    assert all(layout.numbers <= max_table and layout.joint <= 1024 for layout in found)
    assert len(found) == len(set(found)) <= 6
    assert all((layout.block_height, layout.block_width) == (1, 1) for layout in found) == (len(shape) < 3)
    given = layouts({"block_height": 4, "block_width": 2, "zones": 3, "joint": 0}, shape, 1024, max_table)
    assert {layout[1:4] + layout[5:] for layout in given} == {(4, 2, 3, 0)}


def test_there_are_as_many_zones_as_the_memory_holds():
    found = layouts({}, (112, 14, 14), 300, 1 << 18)
    assert found[:2] == [Layout(112, 14, 14, 20, 112, 0), Layout(112, 14, 14, 5, 112, 288)]
    assert Layout(112, 7, 7, 20, 112, 0) in found
    assert layouts({"joint": 300}, (112, 14, 14), 300, 1 << 18)[0] == Layout(112, 14, 14, 13, 112, 300)
    assert layouts({}, (32, 16, 16), 1024, 1 << 18)[:2] == [Layout(32, 16, 16, 256, 32, 0), Layout(32, 16, 16, 64, 32, 432)]
    sizes = np.bincount(zones_of(14, 14, 20)).tolist()
    assert sizes == [1] * 14 + [2, 5, 11, 23, 47, 94]


def test_a_zone_has_the_steps_of_its_frequencies():
    g = torch.nn.functional.avg_pool2d(torch.randn(96, 8, 8, 8, generator=torch.Generator().manual_seed(2)), 3, 1, 1)
    x = smooth_features(96, 8, 8, 8)
    offsets = {}
    for zones in (1, 12, 64):
        codec = fc.get_codec("transform", maps=8, zones=zones).calibrate_for(x, g)
        offsets[zones] = codec.offset.reshape(64, 8)
        sizes = np.bincount(codec.zone.numpy())
        alone = torch.from_numpy(sizes == 1)[codec.zone.long()]
        assert not offsets[zones][alone].any()
        assert codec.zone[0] == 0
    assert offsets[1][-1].min() > 8 > offsets[1][0].float().mean()  # the tail looks at what is smooth
    assert offsets[12].float().mean() < offsets[1].float().mean()


def test_no_layout_is_small_enough():
    with pytest.raises(fc.ConfigError, match="no transform of 64 maps keeps to 100 numbers"):
        layouts({"group": 64}, (64, 8, 8), 1024, 100)
