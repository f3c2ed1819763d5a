"""learned_scalar and vq: the paper's example, rates, losses, warm-up, soft bits, training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.payloads.words import word_probabilities

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"maps": 8, "height": 7, "width": 5}


def test_the_example_of_the_paper_s_figure_2():
    codec = fc.get_codec("learned_scalar", **SIZES, hidden=4, bits=2)
    codec.codebook.data = torch.tensor([-0.73, -0.05, 0.55, 0.94]).reshape(1, 4, 1)
    z = torch.tensor([[-0.14, -0.78, 0.93, 0.99], [-0.03, 0.56, 0.01, -0.92]])
    wanted = torch.tensor([[-0.05, -0.73, 0.94, 0.94], [-0.05, 0.55, -0.05, -0.73]])
    assert torch.equal(codec.pass_latents(z), wanted)
    payloads = codec.encode_latents(z.numpy())
    assert [p.tobytes() for p in payloads] == [bytes([0b01_00_11_11]), bytes([0b01_10_01_00])]
    assert np.array_equal(codec.decode_latents(payloads, (4,)), wanted.numpy())


@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        ({"id": "learned_scalar", "hidden": 32, "bits": 4}, 128),
        ({"id": "learned_scalar", "hidden": 10, "bits": 3}, 30),
        ({"id": "vq", "hidden": 32, "groups": 1, "bits": 8}, 8),
        ({"id": "vq", "hidden": 32, "groups": 8, "bits": 8}, 64),
        ({"id": "vq", "hidden": 12, "groups": 3, "bits": 5}, 15),
    ],
)
def test_the_rate_is_that_of_the_indices(spec, bits):
    codec = fc.get_codec({**spec, **SIZES}).eval()
    assert codec.encode(torch.randn(1, 8, 7, 5))[0].payload_bits == 8 * math.ceil(bits / 8)


def test_groups_have_codebooks_of_their_own_and_scalars_share_one():
    assert fc.get_codec("vq", **SIZES, hidden=12, groups=3, bits=5).codebook.shape == (3, 32, 4)
    assert fc.get_codec("learned_scalar", **SIZES, hidden=12, bits=3).codebook.shape == (1, 8, 1)
    with pytest.raises(fc.ConfigError, match="hidden must be a multiple of groups, got 12 and 5"):
        fc.get_codec("vq", **SIZES, hidden=12, groups=5)


@pytest.mark.parametrize("codec_id", ["learned_scalar", "vq"])
def test_sizes_come_from_a_feature_and_others_are_refused(codec_id):
    codec = fc.get_codec(fc.fit_spec(codec_id, (8, 7, 5))).eval()
    assert (codec.maps, codec.height, codec.width, codec.reduced) == (8, 7, 5, 1)
    with pytest.raises(fc.FeatureError, match="built for maps of 7 x 5, got 5 x 7"):
        codec.encode(torch.zeros(1, 8, 5, 7))
    tokens = fc.get_codec(fc.fit_spec(codec_id, (9, 8))).eval()
    assert tokens(torch.randn(2, 9, 8)).shape == (2, 9, 8)


@pytest.mark.parametrize("spec", [{"id": "learned_scalar", "bits": 2}, {"id": "vq", "groups": 4, "bits": 3}], ids=str)
def test_losses_and_warm_up(spec):
    codec = fc.get_codec({**spec, **SIZES, "hidden": 8}).train()
    z = torch.rand(5, 8).requires_grad_(True)
    arrived = codec.pass_latents(z)
    e = codec.codewords(codec.nearest(z))
    assert torch.equal(arrived, e)
    loss = codec.losses()["vq"]
    assert torch.isclose(loss, 1.5 * nn.functional.mse_loss(e, z))
    loss.backward()
    assert torch.allclose(z.grad, (z - e).detach() / z.numel(), atol=1e-7)
    assert codec.codebook.grad.any()
    codec.warm_up = True
    z = torch.rand(5, 8).requires_grad_(True)
    assert codec.pass_latents(z) is z
    loss = codec.losses()["vq"]
    loss.backward()
    assert z.grad is None


@pytest.mark.parametrize("spec", [{"id": "learned_scalar", "bits": 3}, {"id": "vq", "groups": 2, "bits": 4}], ids=str)
def test_soft_bits_decode_to_the_mean_codeword(spec):
    torch.manual_seed(0)
    codec = fc.get_codec({**spec, **SIZES, "hidden": 8}).eval()
    x = torch.randn(3, 8, 7, 5)
    packet = codec.encode(x)[0]
    sure = np.array([127, -127], np.int8)[np.unpackbits(packet.payload)]
    whole = codec.decode_latents([packet.payload], (8,))
    assert np.array_equal(codec.decode_latents([sure], (8,)), whole)
    erased = sure.copy()
    erased[0] = 0
    other = sure.copy()
    other[0] = -sure[0]
    mean = (whole + codec.decode_latents([other], (8,))) / 2
    assert np.allclose(codec.decode_latents([erased], (8,)), mean, atol=1e-6)
    assert word_probabilities(erased, 8 if "learned" in spec["id"] else 2, codec.bits)[0, 0] == 0.5
    assert np.array_equal(codec.decode_soft(erased, (8, 7, 5)), codec.decode_payloads([erased], (8, 7, 5))[0])
    for channel in ("bec:p=0.5", "bsc:p=0.5", "awgn:snr_db=3"):
        assert torch.isfinite(codec(x, fc.get_channel(channel))).all()


@pytest.mark.parametrize("spec", [{"id": "learned_scalar", "bits": 4}, {"id": "vq", "groups": 4, "bits": 5}], ids=str)
def test_they_learn(spec):
    torch.manual_seed(0)
    x = torch.rand(16, 1, 1, 1) * torch.rand(1, 8, 7, 5)
    codec = fc.get_codec({**spec, **SIZES, "hidden": 8, "reduced": 2}).train()
    optimizer = torch.optim.Adam(codec.parameters(), 1e-2)
    first = None
    for step in range(100):
        codec.warm_up = step < 20
        y = codec(x)
        error = nn.functional.mse_loss(y, x)
        first = error.item() if first is None else first
        optimizer.zero_grad()
        (error + 0.1 * codec.losses()["vq"]).backward()
        optimizer.step()
    assert error.item() < 0.3 * first
