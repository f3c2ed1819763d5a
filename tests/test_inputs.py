"""What models are called with: tensors, tuples, keyword inputs, lists of pictures."""

from __future__ import annotations

from collections import UserDict

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec import inputs


class Takes(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


X, MASK = torch.zeros(2, 3, 8, 6), torch.ones(2, 5)


def test_a_tensor_a_tuple_a_mapping_and_a_list_are_passed_as_they_are_meant():
    model = Takes()
    assert inputs.call(model, X) == ((X,), {})
    assert inputs.call(model, (X, MASK)) == ((X, MASK), {})
    assert inputs.call(model, UserDict(x=X, mask=MASK)) == ((), {"x": X, "mask": MASK})
    assert inputs.call(model, [X, MASK]) == (([X, MASK],), {})


@pytest.mark.parametrize(
    ("given", "samples", "pixels"),
    [
        (X, 2, 96),
        ((X, MASK), 2, 96),
        ({"pixel_values": X, "mask": MASK}, 2, 96),
        ({"input_ids": MASK.long(), "image": X}, 2, None),
        ([X[0], X[1][:, :4]], 2, 48 + 24),
        (([X[0]],), 1, 48),
        (torch.zeros(2, 4, 8, 8), 2, None),
        (torch.zeros(2, 1, 8, 8, dtype=torch.bool), 2, None),
        (torch.tensor(3.0), None, None),
        ({}, None, None),
    ],
)
def test_samples_and_pixels(given, samples, pixels):
    assert inputs.batch_size(given) == samples
    assert inputs.pixels(given) == pixels


def test_the_first_samples_of_everything_that_has_them():
    first = inputs.head_of({"x": X, "scale": torch.ones(7), "n": 3, "pair": (MASK, None)}, 1)
    assert (len(first["x"]), len(first["scale"]), first["n"], len(first["pair"][0])) == (1, 7, 3, 1)
    for given in ([X[0], X[1]], ([X[0], X[1]], 3), {"images": [X[0], X[1]], "n": 3}):
        found = inputs.head_of(given, 1)
        first = found["images"] if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found
        assert [x.shape for x in first] == [X[0].shape]


def test_batches_of_loaders():
    assert inputs.unpack(X) == (X, None)
    assert inputs.unpack((X, 1)) == (X, 1)
    assert inputs.unpack([X, 1]) == (X, 1)
    assert inputs.unpack([X]) == (X, None)
    assert inputs.unpack({"x": X, "labels": 1}) == ({"x": X}, 1)
    assert inputs.unpack({"x": X}) == ({"x": X}, None)
    with pytest.raises(fc.FeatureError, match=r"inputs or \(inputs, targets\), got 3 items: put several inputs into a tuple"):
        inputs.unpack((X, MASK, 1))


def test_the_device_is_the_one_asked_for_else_the_model_s():
    there = torch.nn.Linear(2, 2, device="meta")
    assert inputs.device_for(there, None) == torch.device("meta")
    assert inputs.device_for(there, "cpu") == torch.device("cpu")
    assert inputs.device_for(torch.nn.ReLU(), None) == torch.device("cpu")


def test_every_tensor_goes_to_the_device():
    moved = inputs.to_device({"x": (X, [MASK]), "n": 3}, "meta")
    assert all(x.is_meta for x in inputs.tensors(moved))
    assert moved["n"] == 3
    assert inputs.to_device(X, None) is X
