"""The step quantiser's limits: what has no integer escapes; where it is refused, the step that the message names does."""

from __future__ import annotations

import math
import re
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import featcodec as fc
from featcodec import _core
from featcodec.ops.quantizer import step_reconstruct
from featcodec.ops.steps import smallest_step
from tests import format_readers
from tests.features import features, packet_of

IDS = ("auto", "context", "huffman", "rans")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def spiked(value: float) -> torch.Tensor:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    x[1, 2, 3, 4] = value
    return x


def named_step(error: pytest.ExceptionInfo[fc.FeatureError]) -> float:
    return float(str(error.value).rpartition("would do is ")[2])


def escaped(x: torch.Tensor, step: float) -> torch.Tensor:
    """Where rint(x / Q) has more than 16 bits."""
    q = np.rint(x.double().numpy() / np.float32(step).astype(np.float64))
    return torch.from_numpy((q < -32768) | (q > 32767))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tables", ["adaptive", "static"])
@pytest.mark.parametrize("codec_id", IDS)
def test_a_value_without_an_integer_arrives_as_it_is_and_the_others_as_ever(codec_id, tables, dtype):
    codec = fc.get_codec(codec_id, step=0.25, tables=tables).calibrate(spiked(1.0))
    for values in ((9000.0,), (-9000.0, 12345.6), (3e38, -3e38, 65504.0)):
        x = spiked(0.0)
        x.view(3, -1)[1, [7 * i for i in range(len(values))]] = torch.tensor(values)
        x = x.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max).to(dtype)
        beyond = escaped(x, 0.25)
        assert beyond[1].sum() == len(values)
        packets = codec.encode(x)
        y = codec.decode(packets)
        assert torch.equal(y[beyond], x[beyond])
        inside = x.masked_fill(beyond, 0.0)
        assert torch.equal(y.masked_fill(beyond, 0.0), codec(inside))
        assert torch.equal(codec.reconstruct(x), y)
        assert [p.to_bytes() for p in packets[::2]] == [p.to_bytes() for p in codec.encode(inside)[::2]]
        payload = packets[1].payload.tobytes()
        escapes, begins = format_readers.escapes(payload)
        assert escapes == {i: float(x[1].reshape(-1)[i]) for i in beyond[1].reshape(-1).nonzero().flatten().tolist()}
        assert codec.payload_parts(packets[1].payload, (4, 5, 6))["side"] == 8 * begins
        assert codec.encode(inside)[1].payload.tobytes()[1:] == payload[begins:]  # the symbols, zeros for the escapes


def test_the_ends_of_the_integers_are_coded_and_one_further_escapes():
    codec = fc.get_codec("rans", step=0.5)
    x = torch.tensor([[32767 * 0.5, -32768 * 0.5, 16383.7]])
    assert codec(x).tolist() == [[16383.5, -16384.0, 16383.5]]
    assert not codec.encode(x)[0].payload[0] & 0x40
    for beyond in (16383.75, -16384.26):
        for other in (0.0, 1.0, -1.0):
            x = torch.tensor([[beyond, other]])
            assert codec.encode(x)[0].payload[0] & 0x40
            assert torch.equal(codec(x), x)


def test_features_of_escapes_alone_and_every_instruction_set():
    x = torch.randn(1, 5, 9, 11, generator=torch.Generator().manual_seed(2)) * 1e3
    for spec in ("auto:step=1e-6", "huffman:step=0.03", "context:step=0.0001"):
        codec = fc.get_codec(spec)
        sent = set()
        for level in _core.isas():
            _core.set_isa(level)
            sent.add(codec.encode(x)[0].to_bytes())
            assert torch.equal(codec.decode(list(sent)[:1]), codec.reconstruct(x))
        assert len(sent) == 1
        large = torch.zeros(9, 40, 30, 30)  # coded on threads
        large[[3, 7, 8], 1] = 1e6
        assert torch.equal(codec(large), large)


def test_escapes_that_no_encoder_writes_are_refused():
    codec = fc.get_codec("huffman", step=0.5)

    def payload(more: int, gaps: list[int], values: list[float], symbols: bytes = bytes([0, 0])) -> bytes:
        lists = [_core.golomb_encode(np.array(v, np.uint32)).tobytes() for v in ([more], gaps)]
        return bytes([0x41]) + lists[0] + lists[1] + struct.pack(f"<{len(values)}f", *values) + symbols

    def decode(data: bytes) -> torch.Tensor:
        return codec.decode([packet_of(codec, (3,), data)])

    assert decode(payload(1, [0, 1], [2e4, -3e38])).tolist() == [[2e4, 0.0, float(np.float32(-3e38))]]
    ones = bytes([0, 0b01000000])
    for bad, match in (
        (payload(0, [3], [2e4]), "code"),  # behind the last value
        (payload(1, [2, 0], [2e4, 2e4]), "code"),
        (payload(0, [1], [2e4], ones), "code"),  # has a symbol
        (payload(0, [0], [16383.5]), "range"),  # has an integer
        (payload(0, [0], [math.nan]), "range"),
        (payload(0, [0], [-math.inf]), "range"),
        (payload(2**31, [0], [2e4]), "ends"),
        (payload(0, [0], []), "mode|ends"),
        (payload(0, [0], [2e4], b""), "ends"),
        (bytes([0x40]) + payload(0, [0], [2e4])[1:], "range"),  # no bits
        (bytes([0x61]) + payload(0, [0], [2e4])[1:], "range"),
        (bytes([0x41]), "ends"),
    ):
        with pytest.raises(fc.BitstreamError, match=match):
            decode(bad)


@settings(deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_after_an_escaped_head_decode_or_raise(data, zigzag):
    codec = fc.get_codec("auto", step=0.5)
    try:
        y = codec.decode([packet_of(codec, (4, 5), bytes([0xC4 if zigzag else 0x44]) + data)])
    except fc.BitstreamError:
        return
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("codec_id", IDS)
def test_training_has_the_values_and_the_gradient_of_the_identity(codec_id):
    codec = fc.get_codec(codec_id, step=0.25).train()
    x = spiked(9000.3).requires_grad_()
    y = codec(x)
    assert torch.equal(y, codec.eval()(x.detach()))
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_the_device_and_in_the_core_the_same_values_escape(dtype):
    for value in (16383.5, 16383.74, 16383.75, 16383.76, -16384.2, -16384.25, -16384.3, 65000.0):
        x = spiked(value).to(dtype)
        assert torch.equal(step_reconstruct(x, 0.5), fc.get_codec("rans", step=0.5)(x))


@settings(deadline=None)
@given(
    st.floats(-(2.0**111), 2.0**111, width=32),
    st.floats(-(2.0**111), 2.0**111, width=32),
    st.sampled_from([(-32768, 32767), (-32767, 32767), (-128, 127)]),
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


@pytest.mark.parametrize("coder", ["huffman", "rans,tables=adaptive"])
def test_latents_without_an_integer_are_sent_all_the_same(coder):
    codec = fc.get_codec(f"dsc:maps=8,reduced=4,step=0.01,coder={coder}").eval()
    x = features((8, 7, 5))["signed"] * 1e5
    assert codec.encode(x)[0].payload[0] & 0x40
    assert torch.isfinite(codec(x)).all()


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
    with pytest.raises(fc.FeatureError, match="not constant"):
        codec.calibrate([])
