"""bottlenet: orders, inner codecs, the real coder in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featcodec as fc

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("order", ["channel-first", "spatial-first"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 7), (7, 5), (1, 1), (8, 6)])
def test_every_order_stride_and_size(order, stride, size):
    codec = fc.get_codec("bottlenet", maps=6, reduced=2, stride=stride, order=order).eval()
    x = torch.relu(torch.randn(2, 6, *size))
    assert codec(x).shape == x.shape
    assert tuple(codec.latents(x).shape[1:]) == codec.latent_shape(*size)
    assert codec.latent_shape(7, 7) == {1: (2, 7, 7), 2: (2, 4, 4), 3: (2, 3, 3)}[stride]


def test_the_order_decides_how_wide_the_spatial_units_are():
    def widest(order: str) -> int:
        codec = fc.get_codec("bottlenet", maps=32, reduced=2, order=order)
        return max(m.in_channels for m in codec.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))

    assert widest("channel-first") == 2
    assert widest("spatial-first") == 32


def test_training_meets_the_very_values_that_jpeg_gives():
    codec = fc.get_codec("bottlenet:maps=8,reduced=2,inner=(jpeg:quality=5)").train()
    x = torch.relu(torch.randn(4, 8, 12, 12))
    z, arrived = [], []
    codec.analysis.register_forward_hook(lambda m, args, out: z.append(out))
    codec.synthesis.register_forward_pre_hook(lambda m, args: arrived.append(args[0]))
    y = codec(x)
    jpeg = fc.get_codec("jpeg:quality=5")
    assert torch.equal(arrived[0], jpeg.decode(jpeg.encode(z[0])))
    assert not torch.equal(arrived[0], z[0])
    gradient = torch.randn(y.shape)
    z[0].retain_grad()
    arrived[0].retain_grad()
    y.backward(gradient)
    assert torch.equal(z[0].grad, arrived[0].grad)
    assert codec.losses() == {}


def test_the_payload_is_the_inner_codec_s():
    codec = fc.get_codec("bottlenet:maps=8,reduced=2,inner=(huffman:bits=4)").eval()
    x = torch.relu(torch.randn(3, 8, 7, 5))
    inner = fc.get_codec("huffman:bits=4").encode(codec.latents(x))
    assert [p.payload.tobytes() for p in codec.encode(x)] == [p.payload.tobytes() for p in inner]


def test_static_tables_of_the_inner_codec_are_made_from_features():
    x = torch.relu(torch.randn(20, 8, 14, 14))
    codec = fc.get_codec("bottlenet:maps=8,reduced=4,inner=(context:bits=4,tables=static)").eval()
    flat = sum(p.payload_bits for p in codec.encode(x[:4]))
    before = codec.config_crc()
    codec.calibrate(x[4:])
    assert codec.config_crc() != before
    assert sum(p.payload_bits for p in codec.encode(x[:4])) < flat
    around_jpeg = fc.get_codec("bottlenet:maps=8")
    assert not around_jpeg.needs_calibration
    assert around_jpeg.calibrate(x) is around_jpeg


def test_a_learned_inner_codec_is_refused():
    with pytest.raises(fc.ConfigError, match="no weights of its own"):
        fc.get_codec("bottlenet:maps=8,inner=(dsc:maps=1)")
    with pytest.raises(fc.UnknownCodecError, match="jpeg"):
        fc.get_codec("bottlenet:maps=8,inner=jpg")


def test_it_learns_through_jpeg():
    torch.manual_seed(0)
    basis = torch.relu(torch.randn(2, 8, 1, 1))
    x = (torch.rand(8, 2, 1, 1).expand(8, 2, 8, 8).unsqueeze(2) * basis).sum(1)
    codec = fc.get_codec("bottlenet:maps=8,reduced=2,stride=2,inner=(jpeg:quality=50)").train()
    optimizer = torch.optim.Adam(codec.parameters(), 3e-2)
    first = None
    for _ in range(60):
        loss = nn.functional.mse_loss(codec(x), x)
        first = loss.item() if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
