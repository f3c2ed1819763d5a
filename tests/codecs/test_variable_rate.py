"""variable-rate: the level in the packet, switching, fitting a budget, training one level, the rest of the model untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.bitstream import Packet

pytestmark = pytest.mark.usefixtures("one_thread")

LEVELS = [f"dsc:maps=8,reduced={r},stride=1,step={q}" for r, q in ((1, 1.0), (2, 0.5), (4, 0.25), (8, 0.1), (8, 0.02))]


@pytest.fixture
def x():
    return torch.relu(torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def codec(x):
    torch.manual_seed(0)
    return fc.get_codec("variable-rate", levels=LEVELS).eval().calibrate(x)


@pytest.mark.parametrize(("count", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_the_level_takes_ceil_log2_k_bits(count, bits, x):
    codec = fc.get_codec("variable-rate", levels=LEVELS[:count]).eval()
    assert codec.level_bits == bits
    for level in range(count):
        codec.level = level
        packet, alone = codec.encode(x)[0], codec.bottleneck.encode(x)[0]
        assert packet.payload_bits == alone.payload_bits + (8 if bits else 0)
        if bits:
            assert packet.payload[0] >> (8 - bits) == level
            assert packet.payload[0] & ((1 << (8 - bits)) - 1) == 0


def test_a_decoder_follows_the_packet_whatever_its_own_level(codec, x):
    packets, values = [], []
    for level in (4, 0, 2, 3):
        codec.level = level
        packets.append(codec.encode(x[:1])[0])
        values.append(codec.bottleneck(x[:1]))
        assert torch.equal(codec(x[:1]), values[-1])
    codec.level = 1
    assert torch.equal(codec.decode(packets), torch.cat(values))


@pytest.mark.parametrize("spec", ["list", "string"])
def test_levels_by_list_or_string_are_one_config(spec, codec):
    levels = LEVELS if spec == "list" else ";".join(LEVELS)
    assert fc.get_codec("variable-rate", levels=levels).config() == codec.config()
    text = f"variable-rate:levels=({';'.join(LEVELS)})"
    assert fc.get_codec(text).config() == codec.config()


def test_sizes_are_filled_in_at_every_level():
    config = fc.fit_spec("variable-rate:levels=(dsc:reduced=2;bottlenet++:reduced=1;vq)", (8, 7, 5))
    codec = fc.get_codec(config).eval()
    assert [b.maps for b in codec.bottlenecks] == [8, 8, 8]
    assert codec(torch.randn(1, 8, 7, 5)).shape == (1, 8, 7, 5)


def test_fit_takes_the_most_that_a_budget_allows(codec, x):
    spent = []
    for level in range(5):
        codec.level = level
        spent.append(sum(p.num_bits for p in codec.encode(x)) / len(x))
    assert spent == sorted(spent)
    for level, bits in enumerate(spent):
        assert codec.fit(budget_bits=bits, features=x) == codec.level == level
    assert codec.fit(budget_bits=1e9, features=x) == 4
    codec.level = 3
    with pytest.raises(fc.ConfigError, match="the cheapest, level 0, takes"):
        codec.fit(budget_bits=spent[0] - 1, features=x)
    assert codec.level == 3


def test_wrong_levels_are_refused(codec, x):
    for level in (-1, 5, "1", 1.0):
        with pytest.raises(fc.ConfigError, match=r"level must be an integer 0\.\.4"):
            codec.level = level
    packet = codec.encode(x)[0]
    for byte in (5 << 5, 7 << 5, 1):
        payload = packet.payload.copy()
        payload[0] = byte
        with pytest.raises(fc.BitstreamError, match="no level of 5"):
            codec.decode([Packet(packet.shape, packet.dtype, packet.kind, packet.config_crc, payload)])
    for levels in ("", "raw", "variable-rate:levels=(dsc:maps=8)", 3):
        with pytest.raises(fc.ConfigError, match="level"):
            fc.get_codec("variable-rate", levels=levels)


def test_training_trains_the_level_and_leaves_head_and_tail_alone(x):
    head, tail = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 36, 3)
    model = nn.Sequential(head, nn.Flatten(), tail)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with fc.insert(model, "0", fc.get_codec("variable-rate", levels=LEVELS[:3])) as cut:
        model.requires_grad_(False)
        cut.codec.requires_grad_(True).train()
        cut.codec.level = 1
        optimizer = torch.optim.SGD(cut.codec.parameters(), 0.1)
        before = {k: v.clone() for k, v in cut.codec.state_dict().items()}
        loss = model(torch.randn(4, 3, 6, 6)).square().mean() + cut.codec.losses()["rate"]
        loss.backward()
        optimizer.step()
        changed = {k.split(".")[1] for k, v in cut.codec.state_dict().items() if not torch.equal(v, before[k])}
        assert changed == {"1"}
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_ledger_counts_the_level_and_the_inner_codec_s_ranges(x):
    from featcodec.accounting import ledger

    spec = {"id": "variable-rate", "levels": ["bottlenet:maps=8,reduced=2,inner=(bitpack:bits=4)", "dsc:maps=8"]}
    codec = fc.get_codec(spec).eval()
    packet = codec.encode(x)[0]
    counted = ledger(packet, codec)
    assert counted.side_bits == 64 + 8
    assert counted.wire_bits == packet.num_bits


def test_over_channels():
    spec = {"id": "variable-rate", "levels": ["bottlenet++:maps=8,reduced=2,csi=true", "dsc:maps=8"]}
    codec = fc.get_codec(spec).eval()
    x = torch.relu(torch.randn(3, 8, 7, 5)).requires_grad_(True)
    packet = codec.encode(x)[0]
    llr = np.array([100, -100], np.int8)[np.unpackbits(packet.payload)]

    def arrives(soft: np.ndarray) -> torch.Tensor:
        return codec.decode([Packet(packet.shape, packet.dtype, fc.PayloadKind.LLR, packet.config_crc, soft)])

    whole = arrives(llr)
    llr[9] = 0
    assert not torch.equal(arrives(llr), whole)
    llr[0] = 0
    with pytest.raises(fc.BitstreamError, match="level was erased"):
        arrives(llr)
    with pytest.raises(fc.BitstreamError, match="begins with its level"):
        arrives(llr[:3])
    seen = []
    codec.bottlenecks[0].analysis.register_forward_pre_hook(lambda m, args: seen.append(args[0][0, -1, 0, 0].item()))
    codec(x, fc.get_channel("bsc:p=0.0")).sum().backward()
    codec.train()(x, fc.channel.BEC(0.25))
    assert set(seen) == {0.0, 0.25}
    assert x.grad.any()
    codec.eval().level = 1
    packet = codec.encode(x)[0]
    sure = np.array([127, -127], np.int8)[np.unpackbits(packet.payload)]
    assert torch.equal(arrives(sure), codec.decode([packet]))
