"""A user who flushes subnormals to zero (torch.set_flush_denormal) gets the same packets, and the same values out of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

import featcodec as fc
from featcodec import _core
from tests.test_conformance import CASES, IDS

# a codec of one number of maps takes its own features alone
BOUND = [case for case in CASES if fc.codec_class(case[0]).wants_gradients(case[1])]
CLASSICAL = [case for case in CASES if case not in BOUND and not fc.get_codec(case[0], **case[1]).learned]
NAMES = [name for case, name in zip(CASES, IDS, strict=True) if case in CLASSICAL]
pytestmark = pytest.mark.usefixtures("one_thread")


@contextmanager
def flushing() -> Iterator[None]:
    assert torch.set_flush_denormal(True), "x86-64 and AArch64 can"
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def subnormal(shape: tuple[int, ...]) -> Tensor:
    """A batch (B, *shape) of values and ranges below 2^-126, alone and beside others."""
    g = torch.Generator().manual_seed(1)
    normal = torch.randn(2, *shape, generator=g)
    scales = torch.tensor([1e-41, 1e-38, 1e-36, 1.0])[torch.arange(normal[0].numel()) % 4].reshape(shape)
    smallest = (normal[:1] > 0).float() * 1e-45
    return torch.cat([normal * 1e-41, normal * scales, smallest, -smallest, torch.full_like(smallest, 3e-42), 1 + smallest])


def bits_of(x: Tensor) -> bytes:
    return x.contiguous().view(torch.uint8).numpy().tobytes() if x.ndim else bytes(x.numpy())


@pytest.mark.parametrize(("codec_id", "example"), CLASSICAL, ids=NAMES)
@pytest.mark.parametrize("tokens", [False, True], ids=["maps", "tokens"])
def test_every_classical_codec_sends_and_reads_the_same(codec_id, example, tokens):
    codec = fc.get_codec(codec_id, **example).eval()
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = subnormal((6, 10) if tokens else codec.example_shape).to(dtype)
        packets = codec.encode(x)
        values = codec.decode(packets)
        with flushing():
            found, back = codec.encode(x), codec.decode(packets)
        assert [packet.to_bytes() for packet in found] == [packet.to_bytes() for packet in packets]
        assert bits_of(back) == bits_of(values)


@pytest.mark.parametrize("axis", ["sample", "map", "token"])
def test_bits_that_were_lost_cost_the_same(axis):
    codec = fc.get_codec("bitpack", bits=4, axis=axis)
    x = subnormal((6, 10))
    soft = [fc.get_channel("bec:p=0.0")(packet) for packet in codec.encode(x)[:4]]
    for packet in soft:
        packet.payload[-5:] = 0
    wanted = codec.decode(soft)
    with flushing():
        found = codec.decode(soft)
    assert bits_of(found) == bits_of(wanted)


def test_the_mode_is_the_user_s_again_afterwards():
    def flushes() -> bool:
        return bool(np.float32(1e-41) * np.float32(1) == 0)

    codec = fc.get_codec("ans")
    with flushing():
        assert flushes()
        codec.decode(codec.encode(torch.rand(2, 3, 4)))
        with pytest.raises(fc.BitstreamError):
            codec.decode([fc.Packet((3, 4), "float32", fc.PayloadKind.BYTES, codec.config_crc(), np.zeros(9, np.uint8))])
        assert flushes()
        with _core.DefaultFloats():
            assert not flushes()
        assert flushes()
    assert not flushes()
