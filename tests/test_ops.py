"""Building blocks: quantiser, mosaic, layouts, straight-through, casts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featcodec.ops.cast import saturating_cast
from featcodec.ops.quantizer import minmax_reconstruct
from featcodec.ops.straight_through import straight_through
from featcodec.payloads.layout import AXES, from_groups, from_maps, num_maps, to_groups, to_maps
from featcodec.payloads.quantizer import minmax_dequantize, minmax_quantize, minmax_ranges, zero_level_ranges
from featcodec.payloads.tiling import mosaic_grid, mosaic_shape, tile, untile
from tests import reference

floats = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
shapes = st.lists(st.integers(1, 7), min_size=0, max_size=4).map(tuple)


@settings(deadline=None)
@given(floats, st.integers(1, 16))
def test_quantiser_is_the_seed_equation(x, bits):
    groups = x.reshape(1, -1)
    ranges = minmax_ranges(groups)
    q = minmax_quantize(groups, ranges, bits)
    assert np.array_equal(q, reference.minmax_quantize(groups, bits))
    low, high = map(float, ranges[0])
    assert np.array_equal(minmax_dequantize(q, ranges, bits), reference.minmax_dequantize(q, low, high, bits))


@settings(deadline=None)
@given(floats, st.integers(1, 16))
def test_quantiser_error_is_at_most_half_a_step(x, bits):
    groups = x.reshape(1, -1)
    ranges = minmax_ranges(groups)
    back = minmax_dequantize(minmax_quantize(groups, ranges, bits), ranges, bits).astype(np.float64)
    span = float(ranges[0, 1]) - float(ranges[0, 0])
    # half a step, and the rounding of the result to float32
    bound = span / (2 * (2**bits - 1)) * (1 + 1e-9) + np.abs(back) * 2.0**-24 + 2.0**-149
    assert (np.abs(back - groups) <= bound).all()
    assert back.min() == ranges[0, 0] or span == 0


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.integers(1, 16),
    st.sampled_from(AXES),
)
def test_torch_quantiser_gives_the_values_of_numpy(x, bits, axis):
    bits = max(bits, 2) if axis == "token" else bits
    values = []
    for sample in x:
        groups = to_groups(sample, axis)
        ranges = minmax_ranges(groups)
        if axis == "token":
            ranges = zero_level_ranges(ranges, bits)
        back = minmax_dequantize(minmax_quantize(groups, ranges, bits), ranges, bits)
        values.append(from_groups(back, sample.shape, axis))
    assert np.array_equal(minmax_reconstruct(torch.from_numpy(x), bits, axis).numpy(), np.stack(values))


@given(shapes, st.randoms(use_true_random=False))
def test_maps_round_trip(shape, random):
    x = np.random.default_rng(random.randrange(10**6)).random(shape)
    maps = to_maps(x)
    assert maps.shape[0] == num_maps(shape)
    assert np.array_equal(from_maps(maps, shape), x)
    if len(shape) == 2:
        assert np.array_equal(maps[0], x[:, 0])  # tokens: a map is one embedding dimension over all tokens


@pytest.mark.parametrize("maps", range(1, 70))
def test_mosaic_is_the_paper_s_with_enough_rows(maps):
    x = np.arange(maps * 6, dtype=np.float32).reshape(maps, 2, 3) + 1
    assert np.array_equal(tile(x), reference.mosaic(x))
    assert np.array_equal(untile(tile(x), x.shape), x)
    rows, columns = mosaic_grid(maps)
    assert rows * columns >= maps > (rows - 1) * columns


@pytest.mark.parametrize(
    ("maps", "grid"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (5, (2, 4)), (10, (3, 4)), (64, (8, 8)), (512, (16, 32))]
)
def test_mosaic_grids_of_the_seed(maps, grid):
    assert mosaic_grid(maps) == grid


@given(shapes)
def test_any_sample_survives_the_mosaic(shape):
    x = np.arange(int(np.prod(shape)), dtype=np.uint8).reshape(shape) + np.uint8(1)
    picture = tile(x)
    assert picture.shape == mosaic_shape(shape)
    assert np.array_equal(untile(picture, shape), x)


def test_tokens_keep_the_patch_grid_and_put_the_class_token_last():
    tokens = np.arange(10, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)  # class token 0, patches 1..9
    first_tile = tile(tokens)[:4, :3]
    assert first_tile.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]]


def test_straight_through_has_the_value_and_the_identity_s_gradient():
    x = torch.tensor([0.1, 1e8], requires_grad=True)
    value = torch.tensor([0.3, 1e-8])
    y = straight_through(x, value)
    assert torch.equal(y.detach(), value)
    (y * torch.tensor([2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [2.0, 3.0]
    with torch.no_grad():
        assert straight_through(x, value) is value
    with pytest.raises(ValueError, match="shape"):
        straight_through(x, torch.zeros(3))


def test_saturating_cast_makes_no_infinity():
    x = torch.tensor([65504.0, 65520.0, 3e38, -3e38, 1.0])
    assert saturating_cast(x, torch.float16).tolist() == [65504.0, 65504.0, 65504.0, -65504.0, 1.0]
    assert torch.isfinite(saturating_cast(torch.tensor([3.4e38]), torch.bfloat16)).all()
    assert saturating_cast(x, torch.float32) is x
    assert saturating_cast(torch.tensor([65504.0], dtype=torch.float16), torch.bfloat16).item() == 65536.0
