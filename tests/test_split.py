"""split: head and tail as modules, and cuts that are none."""

from __future__ import annotations

from collections import UserDict

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.outputs import same


@pytest.mark.parametrize("layer", ["conv1", "layer1", "layer2.0", "layer3", "avgpool", "fc"])
def test_tail_of_head_is_the_model_bit_for_bit(layer, resnet20, images):
    x, _ = images
    head, tail = fc.split(resnet20, layer, x[:2])
    with torch.no_grad():
        assert torch.equal(tail(head(x)), resnet20(x))
    assert {id(p) for p in [*head.parameters(), *tail.parameters()]} <= {id(p) for p in resnet20.parameters()}


def test_the_parts_hold_only_what_they_run(resnet20, images):
    head, tail = fc.split(resnet20, resnet20.layer2, images[0][:1])
    assert "fc.weight" not in head.state_dict()
    assert "conv1.weight" not in tail.state_dict()
    assert not head.training


def test_a_codec_between_head_and_tail_is_what_insert_does(resnet20, images):
    x, _ = images
    head, tail = fc.split(resnet20, "layer3", x[:1])
    codec = fc.get_codec("huffman:bits=3")
    with torch.no_grad():
        by_hand = tail(codec(head(x)))
        with fc.insert(resnet20, "layer3", codec):
            assert torch.equal(resnet20(x), by_hand)


@pytest.mark.parametrize("layer", ["layer2.1.conv1", "layer2.0.downsample.0"])
def test_inside_a_residual_branch_the_other_branch_crosses_too(layer, resnet20, images):
    x, _ = images
    head, tail = fc.split(resnet20, layer, x[:1])
    with torch.no_grad():
        feature, other = head(x)
        assert torch.equal(feature, fc.split(resnet20, layer, x[:1])[0](x)[0])
        assert other.shape[0] == len(x)
        assert torch.equal(tail((feature, other)), resnet20(x))


def test_a_layer_called_twice_is_no_split_point(resnet20, images):
    with pytest.raises(fc.LayerError, match="called 2 times"):
        fc.split(resnet20, "layer2.1.relu", images[0][:1])


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)

    def forward(self, x):
        return self.a(x) if x.sum() > 0 else x


class _Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)

    def forward(self, x):
        return self.b(self.a(x)) + torch.rand(3)


class _Idle(_Random):
    def forward(self, x):
        self.a(x)
        return self.b(x)


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.bias = nn.Parameter(torch.ones(3))

    def forward(self, x, y):
        z = self.a(x + y) + self.bias
        return {"out": self.b(z) + self.bias}


def test_what_cannot_be_split_says_why():
    reason = r"_Branching cannot be traced \(line \d+ of .*test_split.py reads the values of a tensor.*insert works.*export may"
    with pytest.raises(fc.LayerError, match=reason):
        fc.split(_Branching(), "a", torch.rand(1, 3))
    with pytest.raises(fc.LayerError, match=r"_Two fails at the example: .*'y'"):
        fc.split(_Two(), "a", torch.rand(1, 3))
    with pytest.raises(fc.LayerError, match="'a' is no cut: nothing that the model gives depends on its output"):
        fc.split(_Idle(), "a", torch.rand(1, 3))
    with pytest.raises(fc.LayerError, match="not deterministic"):
        fc.split(_Random(), "a", torch.rand(1, 3))
    with pytest.raises(fc.LayerError, match="no layer of _Random"):
        fc.split(_Random(), "c", torch.rand(1, 3))
    model = _Random()
    with pytest.raises(fc.LayerError, match="whole model"):
        fc.split(model, model, torch.rand(1, 3))


def test_several_inputs_shared_parameters_and_modes():
    model = _Two().train()
    x, y = torch.rand(2, 3), torch.rand(2, 3)
    head, tail = fc.split(model, "a", (x, y))
    assert model.training
    assert torch.equal(tail(head(x, y))["out"], model(x, y)["out"])


def test_modules_beside_the_layer_stay_whole_with_their_hooks(resnet20, images):
    seen = []
    handle = resnet20.layer3.register_forward_hook(lambda *_: seen.append(1))
    try:
        _, tail = fc.split(resnet20, "layer2", images[0][:1])
        seen.clear()
        with torch.no_grad():
            tail(torch.zeros(1, 32, 16, 16))
    finally:
        handle.remove()
    assert seen == [1]
    assert tail.layer3 is resnet20.layer3


class _Keywords(nn.Module):
    """Keyword inputs with defaults, as Hugging Face's models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x=None, mask=None, scale=2.0, is_short=False):
        if mask is not None:
            x = x * mask
        y = self.b(self.a(x) * scale)
        return (y,) if is_short else {"out": y, "both": [y[:, :1], None, scale]}


X, MASK = torch.rand(2, 3), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
EXAMPLES = {
    "tensor": (X, (X,), {}),
    "tuple": ((X, MASK), (X, MASK), {}),
    "dict": ({"x": X}, (), {"x": X}),
    "masked": ({"x": X, "mask": MASK}, (), {"x": X, "mask": MASK}),
    "mapping": (UserDict(mask=MASK, x=X), (), {"x": X, "mask": MASK}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_any_kind(name):
    model, (example, args, kwargs) = _Keywords().eval(), EXAMPLES[name]
    head, tail = fc.split(model, "a", example)
    with torch.no_grad():
        assert same(tail(head(*args, **kwargs)), model(*args, **kwargs))


def test_an_input_that_the_tail_needs_crosses():
    model = _Keywords().eval()
    head, tail = fc.split(model, "a", (X, MASK, 3.0))
    with torch.no_grad():
        assert head(X, MASK, 0.5)[1] == 0.5
        assert same(tail(head(X, MASK, 0.5)), model(X, MASK, 0.5))


def test_flags_are_those_of_the_example():
    head, tail = fc.split(_Keywords(), "a", (X, None, 3.0, True))
    assert isinstance(tail(head(X, None, 3.0, True)), tuple)
    with pytest.raises(fc.LayerError, match="split for inputs where its code meets True, it meets False now"):
        head(X, None, 3.0, False)
    with pytest.raises(fc.LayerError, match="meets None, it meets tensor"):
        head(X, MASK, 3.0, True)


class _FarNoise(_Random):
    """Random in the midst of a large output, which is no single tensor."""

    def forward(self, x):
        return {"out": self.b(self.a(x)).repeat(1, 700) + torch.cat([torch.zeros(1000), torch.rand(50), torch.zeros(1050)])}


def test_outputs_are_compared_to_their_last_element():
    """str() of a tensor of more than 1,000 elements shows its ends only."""
    with pytest.raises(fc.LayerError, match="not deterministic"):
        fc.split(_FarNoise(), "a", torch.rand(2, 3))
