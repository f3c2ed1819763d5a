"""Steps by maps: their values, who finds them, the same on the device, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec import device
from featcodec.ops.crushed import crushed_in
from featcodec.payloads.quantizer import map_steps
from tests.features import features, smooth
from tests.test_flushing import flushing, subnormal

IDS = ("auto", "context", "huffman", "rans")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPE = (8, 7, 5)


def built(codec_id: str = "context", step: float = 0.25, maps: int = 8, **more) -> fc.Codec:
    codec = fc.get_codec(codec_id, step=step, axis="map", maps=maps, **more).eval()
    codec.map_exponents.copy_((torch.arange(maps) * 9) % 65)
    return codec


def by_hand(x: Tensor, step: float, exponents: Tensor) -> Tensor:
    """x^ of maps (B, C, h, w), value by value."""
    y = x.clone()
    for index in np.ndindex(*x.shape):
        e = int(exponents[index[1]])
        power = round(2 ** (e % 8 / 8) * 65536) / 65536 * 2 ** (e // 8)
        q = np.rint(float(x[index]) / (float(np.float32(step)) * power))
        if -32768 <= q < 32768:
            y[index] = float(q * (float(np.float32(step)) * power))
    return y


@pytest.mark.parametrize("codec_id", IDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_those_of_each_map_s_step_and_what_has_no_integer_stays(codec_id, dtype):
    codec = built(codec_id)
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1)) * 20
    largest = torch.finfo(dtype).max
    x[1, 0, 2, 3], x[1, 7, 0, 0], x[2, 3, 1, 1] = 9000.3, -3e38, 50_000.0
    x = x.clamp(-largest, largest).to(dtype)
    wanted = by_hand(x.float(), 0.25, codec.map_exponents).clamp(-largest, largest).to(dtype)
    packets = codec.encode(x)
    assert packets[1].payload[0] & 0x40
    for y in (codec.decode(packets), codec.reconstruct(x), codec(x), codec.transmit(x).output):
        assert torch.equal(y, wanted)
    assert torch.equal(wanted[1, 0, 2, 3], x[1, 0, 2, 3])


def test_the_powers_are_eighths_of_octaves():
    steps = map_steps(0.3, np.arange(65, dtype=np.uint8))
    assert np.allclose(steps, np.float32(0.3) * 2 ** (np.arange(65) / 8), rtol=1e-5)
    assert (steps[8:] == 2 * steps[:-8]).all()


def test_equal_steps_send_what_one_step_sends():
    # of values whose symbols are all 0 the plain encoder says whether any was negative
    x = torch.cat([each for name, each in features(SHAPE).items() if name != "tiny"])
    for codec_id in IDS:
        ours = fc.get_codec(codec_id, step=0.25, axis="map", maps=8).encode(x)
        plain = fc.get_codec(codec_id, step=0.25).encode(x)
        assert [packet.payload.tobytes() for packet in ours] == [packet.payload.tobytes() for packet in plain]


@pytest.mark.parametrize("tables", ["adaptive", "static"])
@pytest.mark.parametrize("shape", [SHAPE, (9, 8), (8, 2, 3, 4)])
def test_the_device_has_the_bytes_and_values(shape, tables):
    codec = fc.get_codec("auto", step=0.1, axis="map", maps=8, tables=tables)
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(2))
    codec.calibrate_for(x, x + 1)
    assert codec.map_exponents.any()
    twin = device.codec(codec.config(), codec.device_state())
    packets = codec.encode(x)
    assert [packet.to_bytes() for packet in twin.encode(x.numpy())] == [packet.to_bytes() for packet in packets]
    assert np.array_equal(twin.decode(packets), codec.reconstruct(x).numpy())


def test_flushed_subnormals_change_nothing():
    codec = built(step=2e-38)
    x = subnormal(SHAPE)
    packets, values = codec.encode(x), codec(x)
    assert ((values != 0) & (values.abs() < 1e-37)).any()
    with flushing():
        assert [packet.to_bytes() for packet in codec.encode(x)] == [packet.to_bytes() for packet in packets]
        found = codec.decode(packets)
    assert torch.equal(found.view(torch.int32), codec.decode(packets).view(torch.int32))


def test_a_feature_may_lie_anyhow_and_stays_what_it_was():
    codec = built(maps=6)
    x = torch.randn(2, 5, 6, 4).transpose(1, 2)
    before = x.clone()
    assert torch.equal(codec.decode(codec.encode(x)), codec.reconstruct(x.contiguous()))
    assert torch.equal(x, before)
    values = x.contiguous().numpy()
    device.codec(codec.config(), codec.device_state()).encode(values)
    assert np.array_equal(values, before.numpy())


# ---- calibration --------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A head of 6 maps, of which the tail reads the first with weight 1, then 1/2, 1/4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Conv2d(3, 6, 3, 1, 1)
        self.tail = nn.Linear(6 * 8 * 8, 4)
        self.weights = 0.5 ** torch.arange(6)[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.tail((self.head(x) * self.weights).flatten(1))


def pictures(count: int) -> list[Tensor]:
    return list(torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)).split(24))


@pytest.mark.parametrize("tables", ["adaptive", "static"])
def test_calibrate_finds_the_maps_and_steps_that_grow_as_the_tail_reads_less(tables):
    spec = f"context:step=0.1,axis=map,tables={tables}"
    codec = fc.calibrate(Net().eval(), "head", spec, pictures(96), report=None)
    exponents = codec.map_exponents.tolist()
    assert codec.maps == 6
    assert exponents[0] == 0
    assert exponents == sorted(exponents)
    assert 6 <= exponents[1] <= 10  # an octave, and what is smoothed
    x = Net().eval().head(pictures(24)[0]).detach()
    assert crushed_in(x, codec(x)).total == 0
    equal = fc.get_codec("context:step=0.1,axis=map,maps=6").calibrate(x)
    assert sum(p.payload_bits for p in codec.encode(x)) < 0.9 * sum(p.payload_bits for p in equal.encode(x))


def test_features_alone_make_steps_equal_again():
    codec = built(tables="static")
    before = codec.config_crc()
    x = smooth(SHAPE, 1)
    assert codec.calibrate(x) is codec
    assert not codec.map_exponents.any()
    assert codec.config_crc() != before


def test_tables_are_of_the_symbols_that_the_steps_give():
    x = smooth(SHAPE, 1).repeat(8, 1, 1, 1)
    gradients = torch.ones_like(x) * 0.25 ** torch.arange(8)[:, None, None]
    codec = fc.get_codec("rans:step=0.01,axis=map,maps=8,tables=static").calibrate_for(x, gradients, 0.0)
    other = fc.get_codec("rans:step=0.01,axis=map,maps=8,tables=static").calibrate(x)
    other.map_exponents.copy_(codec.map_exponents)
    assert sum(p.payload_bits for p in codec.encode(x)) < sum(p.payload_bits for p in other.encode(x))


# ---- what is refused ----------------------------------------------------------------------------------------------------


def test_configs_that_say_half_of_it_are_refused():
    for spec, match in (
        ("rans:step=0.5,axis=map", "takes no bits and no axis .but axis=map with maps"),
        ("rans:step=0.5,maps=4", "maps go with axis=map and a step"),
        ("rans:axis=map,maps=4", "maps go with axis=map and a step"),
        ("rans:step=0.5,axis=token,maps=4", "maps go with axis=map and a step"),
        ("rans:step=0.5,axis=map,maps=4,bits=4", "takes no bits"),
        ("rans:step=0.5,axis=map,maps=0", r"maps must be .*1\.\.65536"),
        ("rans:step=4e27,axis=map,maps=4", "step must be a number above 0 and below 3.9"),
    ):
        with pytest.raises(fc.ConfigError, match=match):
            fc.get_codec(spec)


def test_other_maps_are_refused_on_every_way():
    codec = built(maps=8)
    x = torch.randn(2, 6, 4, 4)
    for call in (codec.encode, codec.reconstruct, codec, codec.calibrate):
        with pytest.raises(fc.FeatureError, match="has steps for 8 maps, got 6"):
            call(x)
    packet = codec.encode(torch.randn(1, 8, 4, 4))[0]
    for shape in ((4, 8, 4), (8, 16), (128,)):
        wrong = fc.Packet(shape, "float32", packet.kind, packet.config_crc, packet.payload)
        with pytest.raises(fc.BitstreamError, match="has steps for 8 maps"):
            codec.decode([wrong])


def test_gradients_that_say_nothing_leave_the_state():
    codec = built(tables="static")
    x = smooth(SHAPE, 1)
    before = codec.fingerprint()
    for gradients, match in (
        (torch.zeros_like(x), "every gradient is 0"),
        (torch.ones(1, 6, 4, 4), "gradients are of 8 maps, got 6"),
        (torch.full_like(x, float("nan")), "finite"),
    ):
        with pytest.raises(fc.FeatureError, match=match):
            codec.calibrate_for(x, gradients)
    assert codec.fingerprint() == before


def test_a_state_of_other_maps_or_of_other_steps_is_refused():
    codec = built()
    config, state = codec.config(), codec.device_state()
    for bad in ({}, {"map_exponents": np.zeros(7, np.uint8)}, {"map_exponents": np.zeros(8, np.int32)}):
        with pytest.raises(fc.ConfigError, match="need map_exponents, uint8"):
            device.codec(config, {**bad})
    with pytest.raises(fc.ConfigError, match=r"0\.\.64, got 65"):
        device.codec(config, {**state, "map_exponents": np.full(8, 65, np.uint8)})
    codec.map_exponents.fill_(65)
    with pytest.raises(fc.ConfigError, match=r"0\.\.64, got 65"):
        codec.encode(torch.randn(1, *SHAPE))
