"""raw and half."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import featcodec as fc
from featcodec.bitstream import Packet
from tests.features import batch


def test_raw_keeps_every_bit():
    x = batch((8, 7, 5))
    assert torch.equal(fc.get_codec("raw")(x), x)
    assert fc.get_codec("raw").encode(x)[0].payload.tobytes() == x[0].numpy().tobytes()


@pytest.mark.parametrize("codec_id", ["raw", "half"])
def test_packets_stay_what_they_were_when_the_feature_is_written_to(codec_id):
    x = torch.ones(2, 3, 4)
    packets = fc.get_codec(codec_id).encode(x)
    x.zero_()
    assert torch.equal(fc.get_codec(codec_id).decode(packets), torch.ones(2, 3, 4))


def test_half_rounds_as_torch_does_and_saturates():
    x = torch.tensor([[1.0, 1.0 + 2**-11, 3e-8, 65519.0, 1e30, -1e30]])
    y = fc.get_codec("half")(x)
    assert y[0, :4].tolist() == x[0, :4].half().float().tolist()
    assert y[0, 4:].tolist() == [65504.0, -65504.0]
    largest = torch.finfo(torch.float32).max
    assert torch.isfinite(fc.get_codec("half:format=bfloat16")(torch.tensor([[largest]]))).all()


@pytest.mark.parametrize(("codec_id", "size"), [("raw", 4), ("half", 2)])
def test_payloads_of_a_wrong_length_are_refused(codec_id, size):
    codec = fc.get_codec(codec_id)
    data = np.zeros(3 * size - 1, np.uint8)
    with pytest.raises(fc.BitstreamError, match=f"has {3 * size} bytes, got {3 * size - 1}"):
        codec.decode([Packet((3,), "float32", fc.PayloadKind.BYTES, codec.config_crc(), data)])


def test_raw_bytes_that_are_no_numbers_are_refused():
    codec = fc.get_codec("raw")
    data = np.frombuffer(np.array([np.nan], "<f4").tobytes(), np.uint8)
    with pytest.raises(fc.BitstreamError, match="not finite"):
        codec.decode([Packet((1,), "float32", fc.PayloadKind.BYTES, codec.config_crc(), data)])


def test_bad_values_are_found_whatever_they_add_up_to_and_large_ones_are_none():
    codec = fc.get_codec("raw")
    x = torch.zeros(1, 2, 3)
    x[0, 0, 1], x[0, 1, 2] = float("inf"), -float("inf")
    with pytest.raises(fc.FeatureError, match=r"finite, got inf at index \(0, 0, 1\)"):
        codec.encode(x)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        large = torch.full((1, 4, 100), torch.finfo(dtype).max, dtype=dtype)
        assert torch.equal(codec(large), large)
