"""A hello's name, and an output as bytes and back."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec.message import PlainTensor
from featcodec.runtime.refusals import Cause
from featcodec.runtime.wire import describe, hello_name, pack_output, unpack_output
from tests.runtime.stub import hello_of_feature, tensor


def packed(value) -> bytes:
    text, tensors = describe(value, lambda leaf: isinstance(leaf, torch.Tensor))
    return pack_output(text, [PlainTensor.of(x.numpy()) for x in tensors])


def test_a_hello_s_name_does_not_depend_on_its_session():
    codec = fc.get_codec("raw").eval()
    a, b = hello_of_feature(codec, (3, 4)), hello_of_feature(codec, (3, 4))
    assert a.session != b.session
    assert hello_name(a) == hello_name(b)
    assert hello_name(a) != hello_name(hello_of_feature(codec, (3, 5)))
    assert hello_name(hello_of_feature(codec, (2,), fingerprint="ab")).hex() == NAME


NAME = "68250687507db3a1753831c59e014969"


@dataclass
class Scores:
    logits: torch.Tensor
    labels: tuple[str, ...]


Pair = namedtuple("Pair", "a b")


def test_whatever_a_tail_gives_comes_back_plain():
    x = torch.arange(6, dtype=torch.int16).reshape(2, 3)
    value = {"scores": Scores(x, ("cat", "dog")), "pair": Pair(None, [1, 2.5]), 7: (torch.tensor(True),)}
    got = unpack_output(packed(value), tensor)
    assert torch.equal(got["scores"].pop("logits"), x)
    assert got.pop(7)[0].item() is True
    assert got == {"scores": {"labels": ("cat", "dog")}, "pair": (None, [1, 2.5])}
    assert torch.equal(unpack_output(packed(x), tensor), x)


@pytest.mark.parametrize(
    ("value", "said"), [({"a": [object()]}, r"output\.a\.0 is object"), (float("nan"), "JSON"), ({(1, 2): 3}, "keys")]
)
def test_what_no_answer_carries_is_said(value, said):
    with pytest.raises(fc.FeatureTypeError, match=said):
        packed(value)


def test_what_is_no_output_is_refused():
    good = packed({"a": torch.zeros(3), "b": 1})
    for size in range(len(good)):
        with pytest.raises(fc.BitstreamError):
            unpack_output(good[:size], tensor)
    for at in range(len(good)):
        with pytest.raises(fc.BitstreamError):
            unpack_output(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :], tensor)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"layout":{"leaf":0},"leaves":[{"tensor":1}]}',
        b'{"layout":{"leaf":1},"leaves":[{"tensor":0}]}',
        b'{"layout":{"leaf":0},"leaves":[3]}',
        b"[" * 10_000,
        b'{"leaves":[]}',
    ],
)
def test_layouts_that_are_none_are_refused(text):
    with pytest.raises(fc.BitstreamError):
        unpack_output(pack_output(text, [PlainTensor.of(np.zeros(2))]), tensor)


def test_tensors_that_are_too_many_are_refused():
    with pytest.raises(fc.BitstreamError, match="max_elements"):
        unpack_output(packed(torch.zeros(11)), tensor, max_elements=10)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_an_output_or_refused(data):
    try:
        unpack_output(data, tensor)
    except fc.BitstreamError:
        return


def test_causes_have_words_of_their_own():
    words = [cause.word for cause in Cause]
    assert len(set(words)) == len(words) == len(Cause.__members__)
