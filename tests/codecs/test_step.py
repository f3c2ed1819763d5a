"""The step quantiser's limits: what has no integer is refused and never clipped, and the step that the message names does."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec.ops.quantizer import step_reconstruct
from featcodec.ops.steps import INTEGERS, smallest_step
from tests.features import features

IDS = ("auto", "context", "huffman", "rans")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def spiked(value: float) -> torch.Tensor:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    x[1, 2, 3, 4] = value
    return x


def named_step(error: pytest.ExceptionInfo[fc.FeatureError]) -> float:
    return float(str(error.value).rpartition("would do is ")[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [9000.0, -9000.0])
@pytest.mark.parametrize("codec_id", IDS)
def test_a_value_without_an_integer_is_refused_and_the_step_that_is_named_does(codec_id, value, dtype):
    codec = fc.get_codec(codec_id, step=0.25)
    x = spiked(value).to(dtype)
    shown = f"{x[1, 2, 3, 4].item():g}"
    wanted = (
        rf"a step of 0\.25 codes values from -8192 to 8191\.75, got {shown} at index \(1, 2, 3, 4\) of shape \(3, 4, 5, 6\)"
    )
    for _ in range(2):  # a shape seen for the first time, and one that is known
        with pytest.raises(fc.FeatureError, match=wanted) as error:
            codec.encode(x)
        codec.encode(spiked(1.0).to(dtype))
    step = named_step(error)
    assert step == pytest.approx(9000 / 32768, rel=3e-3)
    better = fc.get_codec(codec_id, step=step)
    half = step / 2 * 1.001 + float(torch.finfo(dtype).eps) * 9024
    assert (better(x).double() - x.double()).abs().max() <= half
    with pytest.raises(fc.FeatureError, match="would do is"):
        fc.get_codec(codec_id, step=step * (1 - 1.2e-5)).encode(x)


def test_the_ends_of_the_integers_are_coded_and_one_further_is_not():
    codec = fc.get_codec("rans", step=0.5)
    ends = torch.tensor([[32767 * 0.5, -32768 * 0.5, 16383.7]])
    assert codec(ends).tolist() == [[16383.5, -16384.0, 16383.5]]
    for beyond in (16383.75, -16384.26):
        with pytest.raises(fc.FeatureError, match=re.escape(f"got {beyond:.7g} at index (0, 0)")):
            codec.encode(torch.tensor([[beyond, 0.0]]))
    positive = torch.tensor([[16383.75, 1.0]])
    with pytest.raises(fc.FeatureError, match=r"codes values from -16384 to 16383\.5"):
        codec.encode(positive)


def test_the_first_bad_sample_is_named_and_the_step_does_for_the_whole_batch():
    x = torch.cat([spiked(0.0), spiked(9000.0), spiked(-12345.0)])
    codec = fc.get_codec("huffman", step=0.25)
    with pytest.raises(fc.FeatureError, match=r"got 9000 at index \(4, 2, 3, 4\)") as error:
        codec.encode(x)
    fc.get_codec("huffman", step=named_step(error)).encode(x)
    large = torch.zeros(9, 40, 30, 30)  # coded on threads
    large[[3, 7, 8], 1] = 1e6
    with pytest.raises(fc.FeatureError, match=r"got 1000000 at index \(3, 1, 0, 0\)"):
        codec.encode(large)


def test_values_that_no_step_codes_are_said_to_be():
    with pytest.raises(
        fc.FeatureError, match=r"got -3e\+38 .*: it would take a step of 9\.15514e\+33, and steps end at 1e\+30"
    ):
        fc.get_codec("huffman", step=0.25).encode(spiked(-3e38))


@pytest.mark.parametrize("codec_id", IDS)
def test_training_refuses_what_encoding_refuses(codec_id):
    codec = fc.get_codec(codec_id, step=0.25).train()
    with pytest.raises(fc.FeatureError, match=r"got 9000 at index \(1, 2, 3, 4\) .* would do is 0\.274663"):
        codec(spiked(9000.0).requires_grad_())
    x = spiked(8191.0).requires_grad_()
    codec(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_the_device_and_in_the_core_the_same_values_are_refused(dtype):
    for value in (16383.5, 16383.74, 16383.75, 16383.76, -16384.2, -16384.25, -16384.3, 65000.0):
        x = spiked(value).to(dtype)
        try:
            wanted = fc.get_codec("rans", step=0.5)(x)
        except fc.FeatureError as e:
            with pytest.raises(fc.FeatureError, match=re.escape(str(e))):
                step_reconstruct(x, 0.5)
        else:
            assert torch.equal(step_reconstruct(x, 0.5), wanted)


@settings(deadline=None)
@given(
    st.floats(-(2.0**111), 2.0**111, width=32),
    st.floats(-(2.0**111), 2.0**111, width=32),
    st.sampled_from([INTEGERS, (-32767, 32767), (-128, 127)]),
)
def test_the_smallest_step_is_the_smallest_that_does(a, b, integers):
    low, high = min(a, b), max(a, b)
    if max(abs(low), abs(high)) < 1e-30:
        return
    step = smallest_step(low, high, integers)

    def codes(q: float) -> bool:
        return integers[0] <= round(low / q) and round(high / q) <= integers[1]

    assert codes(step)
    assert codes(float(np.float32(step)))
    assert not codes(step * (1 - 1.2e-5))
    assert float(f"{step:g}") == step


def test_steps_that_float32_takes_for_zero_are_refused():
    for bad in (1e-46, 1e30):
        with pytest.raises(fc.ConfigError, match=r"step must be a number above 0 and below 1e\+30"):
            fc.get_codec("rans", step=bad)


@pytest.mark.parametrize(
    "spec", ["dsc:maps=8,reduced=4,step=0.01", "dsc:maps=8,reduced=4,step=0.01,coder=rans,tables=adaptive"]
)
def test_latents_without_an_integer_are_refused_as_such(spec):
    codec = fc.get_codec(spec).eval()
    x = features((8, 7, 5))["signed"] * 1e5
    with pytest.raises(
        fc.FeatureError, match=r"the latents of 'dsc': a step of 0\.01 codes .* at index \(0, \d, \d, \d\) .* would do is"
    ) as e:
        codec.encode(x)
    better = fc.get_codec(f"{spec.replace('step=0.01', f'step={named_step(e)}')}").eval()
    better.load_state_dict(codec.state_dict())
    assert torch.isfinite(better(x)).all()
    with pytest.raises(
        fc.FeatureError, match="the latents of 'dsc': a step of 1e-05 codes"
    ):  # batch norm keeps them small there
        fc.get_codec(spec.replace("0.01", "1e-5")).train()(x)


def test_entropic_refuses_latents_beyond_its_integers():
    codec = fc.get_codec("entropic:maps=8,reduced=4,step=0.01").eval()
    x = features((8, 7, 5))["signed"] * 1e5
    wanted = r"the latents of 'entropic': a step of 0\.01 codes values from -327\.67 to 327\.67, got .* would do is"
    with pytest.raises(fc.FeatureError, match=wanted) as e:
        codec.encode(x)
    better = fc.get_codec("entropic", maps=8, reduced=4, step=named_step(e)).eval()
    better.load_state_dict(codec.state_dict())
    z = better.latents(x)
    sent = torch.from_numpy(better.decode_latents([p.payload for p in better.encode(x)], tuple(z.shape[1:])))
    assert (sent - z).abs().max() <= better.step * 0.501
    with pytest.raises(fc.FeatureError, match="the latents of 'entropic': a step of 1e-05 codes"):
        fc.get_codec("entropic:maps=8,reduced=4,step=1e-5").train()(x)


@pytest.mark.parametrize("codec_id", IDS)
def test_calibration_says_that_symbols_are_wider_than_static_tables(codec_id):
    codec = fc.get_codec(codec_id, step=0.001, tables="static")
    before = {k: v.clone() for k, v in codec.state_dict().items()}
    for x, integers in ((torch.randn(5, 3, 4, 4), 128), (torch.rand(5, 3, 4, 4) + 1, 255)):
        text = r"at step 0\.001 even the narrowest of 5 samples has symbol \d{4}: a step of (\S+) or more"
        with pytest.raises(fc.FeatureError, match=text) as error:
            codec.calibrate([x[:2], x[2:]])
        step = float(re.search(text, str(error.value)).group(1))
        assert step == pytest.approx(float(x.abs().max()) / integers, rel=0.01)
        fc.get_codec(codec_id, step=step, tables="static").calibrate(x)
    assert all(torch.equal(before[k], v) for k, v in codec.state_dict().items())
    with pytest.raises(fc.FeatureError, match=r"a step of 0\.001 codes values from"):
        codec.calibrate(torch.full((1, 3, 4, 4), 40.0))
    with pytest.raises(fc.FeatureError, match="not constant"):
        codec.calibrate([])
