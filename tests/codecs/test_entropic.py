"""entropic: rate in bits, tables made by themselves, outliers, and fewer bits than dsc with Huffman at one error."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import featcodec as fc

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = "entropic:maps=8,reduced=4,stride=1,step=0.25"


def test_the_rate_is_what_is_sent():
    codec = fc.get_codec(SPEC)
    x = torch.relu(torch.randn(8, 8, 12, 12))
    codec.eval()
    sent = torch.tensor([float(p.payload_bits) for p in codec.encode(x)])
    assert torch.allclose(sent, codec.estimated_bits(x), rtol=0.02, atol=16)
    for module in codec.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    codec.train()(x)
    rate = codec.losses()["rate"]
    assert rate.item() == pytest.approx(codec.eval().estimated_bits(x).mean().item(), rel=0.5)


def test_training_changes_tables_and_name_without_a_step_to_remember():
    codec = fc.get_codec(SPEC).train()
    x = torch.relu(torch.randn(4, 8, 6, 6))
    sender = copy.deepcopy(codec)
    before = codec.config_crc()
    with torch.no_grad():
        codec.prior.means += 1.5
    packets = codec.encode(x)  # still in training mode
    assert packets[0].config_crc != before
    assert torch.isfinite(codec.eval().decode(packets)).all()
    with pytest.raises(fc.BitstreamError, match="config"):
        sender.decode(packets)
    sender.load_state_dict(codec.state_dict())
    assert torch.equal(sender.eval().decode(packets), codec.decode(packets))


def test_it_costs_more_latents_than_a_decoder_will_work_through():
    codec = fc.get_codec("entropic:maps=1,reduced=1,stride=1").eval()
    with pytest.raises(fc.FeatureError, match="at most 1048576 latents"):
        codec.encode(torch.zeros(1, 1, 1025, 1024))


def test_it_spends_fewer_bits_than_huffman_where_both_learn_the_same():
    torch.manual_seed(0)
    basis = torch.relu(torch.randn(2, 8, 1, 1))
    x = (torch.rand(16, 2, 6, 6).unsqueeze(2) * basis).sum(1)

    def trained(spec: str, weight: float) -> tuple[float, float]:
        torch.manual_seed(0)
        codec = fc.get_codec(spec).train()
        optimizer = torch.optim.Adam(codec.parameters(), 2e-2)
        for _ in range(120):
            loss = nn.functional.mse_loss(codec(x), x) + weight * codec.losses()["rate"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        codec.eval()
        if hasattr(codec, "calibrate"):
            codec.calibrate(x)
        with torch.no_grad():
            return float(nn.functional.mse_loss(codec(x), x)), sum(p.payload_bits for p in codec.encode(x)) / len(x)

    error, bits = trained("entropic:maps=8,reduced=4,stride=1,step=0.5", 1e-4)
    huffman_error, huffman_bits = trained("dsc:maps=8,reduced=4,stride=1,step=0.5", 0.02)
    print(error, bits, huffman_error, huffman_bits)
    assert bits < huffman_bits
    assert error < 1.1 * huffman_error
