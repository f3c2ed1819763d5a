"""A codec that destroys what it is given says so: tokens beside one large value, and never a real network's features."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.ops.crushed import crushed_in

pytestmark = pytest.mark.filterwarnings("default:codec .* crushes:RuntimeWarning")
CLASSICAL = [
    {"id": codec_id, **example}
    for codec_id in fc.list_codecs()
    for example in fc.codec_class(codec_id).examples
    if not fc.codec_class(codec_id).learned and not fc.codec_class(codec_id).wants_gradients(example)  # of one layer
]


def language() -> torch.Tensor:
    """Tokens as language models have them: values around 2, and one of thousands in a channel of its own."""
    x = torch.randn(2, 64, 128, generator=torch.Generator().manual_seed(0)) * 2
    x[0, 3, 5] = 22_500
    return x


def by_hand(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lost = ((x - y) ** 2).sum(-1)
    return lost > 0.5 * ((x - x.mean(-1, keepdims=True)) ** 2).sum(-1)


@pytest.mark.parametrize("shape", [(3, 7, 5), (3, 4, 7, 5), (3, 9), (3, 2, 3, 4, 5)])
def test_counts_are_those_of_the_formula(shape):
    x = torch.randn(shape)
    y = x + torch.randn(shape) * torch.linspace(0.3, 1.2, 3).reshape(3, *[1] * (len(shape) - 1))
    rows = x.double().numpy().reshape(3, *((7, 5) if len(shape) == 3 else (1, -1)))
    wanted = by_hand(rows, y.double().numpy().reshape(rows.shape)).sum(1)
    for dtype in (torch.float32, torch.float64):
        assert crushed_in(x.to(dtype), y.to(dtype)) == (rows.shape[1], wanted.sum(), wanted.max())
    assert 0 < wanted.sum() < 3 * rows.shape[1]


@pytest.mark.parametrize("codec_id", ["bitpack", "huffman", "rans", "context", "auto", "ans"])
def test_encode_warns_once_and_names_the_way_out(codec_id):
    x, codec = language(), fc.get_codec(codec_id, bits=8)
    with pytest.warns(RuntimeWarning, match=rf"codec '{codec_id}:bits=8.*' crushes 63 of a sample's 64 tokens: .*axis=token"):
        codec.encode(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codec.encode(x)
        codec(x)
        token = fc.get_codec(codec_id, bits=8, axis="token")
        y = token.decode(token.encode(x))
    crushed = crushed_in(x, y)
    assert crushed.total <= 1  # the token with the large value has but that
    rest = torch.ones(2, 64, dtype=torch.bool)
    rest[0, 3] = False
    assert float((x - y)[rest].square().sum() / x[rest].square().sum()) < 1e-4


def test_a_step_that_is_too_coarse_warns_too():
    with pytest.warns(RuntimeWarning, match=r"codec 'huffman:step=40.0' crushes .* a finer step"):
        fc.get_codec("huffman:step=40").encode(language()[1:])


def test_an_insertion_counts_and_warns():
    model = nn.Sequential(nn.Identity(), nn.Linear(128, 4)).eval()
    x = language()
    with torch.no_grad():
        with fc.insert(model, "0", "huffman:bits=8") as cut:
            with pytest.warns(RuntimeWarning, match="crushes 63 of a sample's 64 tokens"):
                model(x)
            y = cut.codec(x)
            assert (cut.stats.tokens, cut.stats.crushed_tokens) == (128, int(by_hand(x.numpy(), y.numpy()).sum()))
            model(x)
            assert cut.stats.tokens == 256
            assert cut.stats.to_dict()["crushed_tokens"] == cut.stats.crushed_tokens
        with fc.insert(model, "0", "raw") as cut:
            model(x)
            assert (cut.stats.tokens, cut.stats.crushed_tokens) == (128, 0)


@pytest.mark.parametrize("config", CLASSICAL, ids=lambda c: "-".join(map(str, c.values())))
def test_no_example_sets_it_off_on_the_embedded_network(config, resnet20, images):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        for layer in ("layer1", "layer2", "layer3"):
            codec = fc.get_codec(config)
            with fc.insert(resnet20, layer, codec) as cut:
                resnet20(images[0])
            assert cut.stats.tokens == len(images[0])


def test_learned_codecs_and_channels_do_not_warn():
    x = torch.randn(2, 8, 7, 5)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        fc.get_codec("dsc:maps=8").eval().encode(x)
        fc.get_codec("bitpack:bits=4")(x, fc.get_channel("bsc:p=0.4"))
