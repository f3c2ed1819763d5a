"""One codec, one model, many threads: the same bytes and figures as in one, and nobody's settings changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import featcodec as fc

LARGE = [
    "bitpack:bits=4",
    "huffman:bits=3",
    "rans:bits=8",
    "context:bits=4",
    "auto:bits=8",
    "auto:step=0.1",
    "context:axis=map",
]


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(i)` returns in each of several threads that begin together; an error of any is raised."""
    results: list[Any] = [None] * count
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(i: int) -> None:
        try:
            barrier.wait()
            results[i] = work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def threads_of_a_new_thread() -> int:
    return in_threads(1, lambda _: torch.get_num_threads())[0]


@pytest.fixture
def settings():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("settings")
def test_overlapping_uses_of_learned_codecs_change_no_thread_s_setting():
    codec = fc.get_codec("dsc:maps=16,reduced=8").eval()
    x = torch.relu(torch.randn(8, 16, 24, 24))
    packets = codec.encode(x)
    value = codec.decode(packets)
    torch.set_num_threads(3)
    assert threads_of_a_new_thread() == 3

    def work(i: int) -> tuple[int, bool]:
        own = 2 + i
        torch.get_num_threads()  # a thread's own number counts from its first use of it
        torch.set_num_threads(own)
        same = all(torch.equal(codec.decode(packets), value) for _ in range(6))
        return own - torch.get_num_threads(), same

    assert in_threads(3, work) == [(0, True)] * 3
    assert torch.get_num_threads() == 3
    torch.set_num_threads(3)  # what threads to come begin with is the last that anybody set: here, ours
    codec.decode(packets)
    assert threads_of_a_new_thread() == 3


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("spec", LARGE)
def test_threads_that_share_one_large_sample_change_no_byte_and_no_value(spec):
    codec = fc.get_codec(spec).eval()
    torch.manual_seed(0)
    random = torch.randn(1, 64, 66, 65)
    for x in (torch.relu(random), torch.cumsum(random, -1), random.half()):
        results = []
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            packets = codec.encode(x)
            results.append((packets[0].to_bytes(), codec.decode(packets)))
        sent, value = results[0]
        assert all(others == sent and torch.equal(decoded, value) for others, decoded in results[1:])


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("count", [1, 3])
def test_the_value_that_is_named_is_the_first_bad_one_whatever_the_threads(count):
    x = torch.randn(3, 64, 66, 65)
    x[1, -1, -1, -1] = float("nan")
    x[2, 0] = float("inf")
    torch.set_num_threads(count)
    with pytest.raises(fc.FeatureError, match=r"nan at index \(1, 63, 65, 64\)"):
        fc.get_codec("huffman:bits=8").encode(x)
    with pytest.raises(fc.FeatureError, match=r"nan at index \(0, 63, 65, 64\)"):
        fc.get_codec("huffman:bits=8").encode(x[1:2])


@pytest.mark.usefixtures("settings")
def test_an_error_in_a_network_leaves_the_settings_too():
    torch.set_num_threads(2)
    codec = fc.get_codec("dsc:maps=8").eval()
    codec.analysis.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        codec.encode(torch.ones(1, 8, 4, 4))
    assert torch.get_num_threads() == 2
    assert threads_of_a_new_thread() == 2


def test_a_codec_in_training_mode_encodes_the_same_in_several_threads():
    torch.manual_seed(0)
    codec = fc.get_codec("dsc:maps=8,reduced=4,step=0.1")
    x = torch.relu(torch.randn(4, 8, 9, 9))
    wanted = [p.to_bytes() for p in codec.eval().encode(x)]
    codec.train()
    state = {k: v.clone() for k, v in codec.state_dict().items()}

    def work(_: int) -> bool:
        return all([p.to_bytes() for p in codec.encode(x)] == wanted for _ in range(15))

    assert in_threads(3, work) == [True] * 3
    assert all(torch.equal(v, state[k]) for k, v in codec.state_dict().items())
    assert all(m.training for m in codec.modules())


@pytest.mark.parametrize("codec_id", ["bottlenet++", "vfe"])
def test_every_thread_s_encoder_is_told_of_its_own_channel(codec_id):
    if codec_id == "vfe":
        codec = fc.get_codec("vfe:maps=8,height=6,width=6,symbols=16,adaptive=true").eval()
        with torch.no_grad():
            codec.gains.onset.copy_(torch.linspace(-1, 1, 16))
        channels = [fc.get_channel(f"awgn:psnr_db={db}") for db in (0, 10, 20, 30)]
    else:
        codec = fc.get_codec("bottlenet++:maps=8,reduced=3,csi=true").eval()
        channels = [fc.get_channel(f"bec:p={p}") for p in (0.0, 0.3, 0.6, 0.9)]
    x = torch.relu(torch.randn(2, 8, 6, 6))

    def sent(i: int) -> list[bytes]:
        return [p.to_bytes() for p in codec.transmit(x, channels[i]).packets]

    with torch.no_grad():
        wanted = [sent(i) for i in range(4)]
        assert len({tuple(w) for w in wanted}) > 1
        for got, want in zip(in_threads(4, lambda i: [sent(i) for _ in range(20)]), wanted, strict=True):
            assert got == [want] * 20


def test_a_level_that_changes_meanwhile_makes_no_packet_of_two_levels():
    codec = fc.get_codec(
        "variable-rate", levels="bottlenet++:maps=8,reduced=1,bits=8;bottlenet++:maps=8,reduced=4,bits=8"
    ).eval()
    x = torch.relu(torch.randn(1, 8, 8, 8))
    wanted = []
    for level in (0, 1):
        codec.level = level
        wanted.append(codec.encode(x)[0].to_bytes())

    def work(i: int) -> bool:
        for k in range(60):
            if i == 0:
                codec.level = k % 2
            elif codec.encode(x)[0].to_bytes() not in wanted:
                return False
        return True

    assert in_threads(3, work) == [True] * 3
    before = codec.level
    assert codec.fit(budget_bits=10_000, features=x) == 1
    codec.level = before


class Net(nn.Module):
    """A convolution whose output crosses twice, at the two sizes of a pyramid."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.shared(x), self.shared(x[..., ::2, ::2])


def test_figures_of_several_threads_are_those_of_one():
    torch.manual_seed(0)
    model = Net().eval()
    images = [torch.randn(1 + i, 3, 8 + 4 * i, 8) for i in range(3)]
    with torch.no_grad(), fc.insert(model, "shared", "huffman:bits=4") as cut:
        for x in images:
            for _ in range(10):
                model(x)
        wanted = cut.stats.to_dict()
        cut.stats.reset()
        in_threads(3, lambda i: [_run(model, images[i]) for _ in range(10)])
        found = cut.stats.to_dict()
    timed = {name for name in wanted if "_ms" in name}
    assert {k: v for k, v in found.items() if k not in timed} == {k: v for k, v in wanted.items() if k not in timed}
    assert found["samples"] == 10 * (1 + 2 + 3)


def _run(model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        model(x)
