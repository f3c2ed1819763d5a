"""A server with one entry, with several; calls and streams; batches and one by one."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.runtime import Served, Server
from featcodec.runtime.wire import unpack_output
from tests.runtime.stub import Stub, hello_of_feature, hello_of_ports, tensor


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    return fc.export(model, "1", torch.randn(2, 3, 8, 8), codec="huffman:bits=4")


def stub_of(parts, address, **about) -> Stub:
    ports = parts.head.ports
    hello = hello_of_ports(ports, parts.head.fingerprint, parts.head.about.sizes, **about)
    return Stub(address, hello, {p.name: p.codec for p in ports if p.codec})


def items_of(parts, x):
    crossing = parts.head(x)
    return [*(p.packed(crossing[p.name]) for p in parts.head.ports), *crossing.sizes.values()]


@pytest.mark.parametrize("samples", [1, 3])
def test_an_answer_is_what_the_tail_gives(parts, samples):
    x = torch.randn(samples, 3, 8, 8)
    with Server(Served(parts.tail)) as server:
        stub = stub_of(parts, server.address)
        welcome = stub.open()
        assert (welcome.entry, welcome.stateful, welcome.streams) == ("", False, True)
        got = stub(items_of(parts, x))
        stub.close()
    assert torch.equal(got, parts.tail.run(parts.head.encode(x)))


def test_a_stream_answers_each_request_by_its_id(parts):
    inputs = [torch.randn(1 + i % 2, 3, 8, 8) for i in range(40)]
    with Server(Served(parts.tail), max_batch=8, max_wait_ms=100) as server:
        stub = stub_of(parts, server.address)
        stub.open()
        requests = [stub.request(items_of(parts, x), number=100 + i) for i, x in enumerate(inputs)]
        answers = list(stub.edge.Stream(iter(requests), timeout=60))
        stub.close()
    assert sorted(answer.id for answer in answers) == [100 + i for i in range(40)]
    for answer in answers:
        wanted = parts.tail.run(parts.head.encode(inputs[answer.id - 100]))
        torch.testing.assert_close(unpack_output(answer.output, tensor), wanted)
        stages = answer.timing.queue + answer.timing.decode + answer.timing.tail
        assert 0 < stages <= answer.timing.total
    assert max(answer.timing.batch for answer in answers) > 1


def test_entries_are_served_by_their_names(parts):
    codec = fc.get_codec("raw").eval()
    with Server({"cut": Served(parts.tail), "sum": Served(lambda x: x.sum((1, 2)), codec)}) as server:
        cut = stub_of(parts, server.address, entry="cut")
        cut.open()
        feature = torch.randn(2, 4, 3)
        total = Stub(server.address, hello_of_feature(codec, (4, 3), entry="sum"), {"feature": codec}, channel=cut.channel)
        total.open()
        x = torch.randn(1, 3, 8, 8)
        assert torch.equal(total([tuple(codec.encode(feature))]), feature.sum((1, 2)))
        assert torch.equal(cut(items_of(parts, x)), parts.tail.run(parts.head.encode(x)))
        cut.close()


def test_a_quick_call_that_comes_alone_is_run_in_the_loop_a_slow_one_never():
    codec, threads = fc.get_codec("raw").eval(), []

    def tail(x):
        threads.append(threading.current_thread().name)
        time.sleep(0.01 if len(x) > 1 else 0)
        return x

    with Server(Served(tail, codec)) as server:
        stub = Stub(server.address, hello_of_feature(codec, (3,)), {"feature": codec})
        stub.open()
        one, two = [tuple(codec.encode(torch.ones(1, 3)))], [tuple(codec.encode(torch.ones(2, 3)))]
        for _ in range(5):
            stub(two)
        assert set(threads) == {"featcodec-batcher"}
        # the machine may stand still: a call that took long is not quick
        for _ in range(500):
            stub(one)
            if threads[-1] == "featcodec-server":
                break
        assert threads[-1] == "featcodec-server"
        list(stub.edge.Stream(iter([stub.request(one)]), timeout=60))
        assert threads[-1] == "featcodec-batcher"
        for _ in range(500):
            alone = stub.request(one)
            alone.alone = True
            (answer,) = stub.edge.Stream(iter([alone]), timeout=60)
            assert answer.id == alone.id
            if threads[-1] == "featcodec-server":
                break
        assert threads[-1] == "featcodec-server"
        stub.close()


class Masked(nn.Module):
    """Takes a mask and a length beside the picture: tensors cross that no codec encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x, mask):
        y = self.last(torch.relu(self.first(x))) * mask[..., None]
        return {"sum": y.sum(1), "shown": mask.sum(1), "rows": (y, "as they are")}


@pytest.mark.parametrize("codec", [{"feature": "half"}, "raw"])
def test_several_tensors_cross_and_are_joined_by_their_batch_axes(codec):
    torch.manual_seed(0)
    model = Masked().eval()
    parts = fc.export(model, "first", (torch.randn(2, 5, 4), torch.ones(2, 5) > 0), codec=codec)
    assert len(parts.head.ports) > 1
    assert Served(parts.tail).axes == {port.name: 0 for port in parts.head.ports}
    inputs = [(torch.randn(n, 5 + n % 2, 4), torch.rand(n, 5 + n % 2) > 0.3) for n in (1, 2, 3, 1, 1, 3, 2)]
    with Server(Served(parts.tail), max_wait_ms=500) as server:
        stub = stub_of(parts, server.address)
        stub.open()
        requests = []
        for number, given in enumerate(inputs):
            crossing = parts.head(*given)
            items = [*(p.packed(crossing[p.name]) for p in parts.head.ports), *crossing.sizes.values()]
            requests.append(stub.request(items, number=number))
        answers = {answer.id: answer for answer in stub.edge.Stream(iter(requests), timeout=60)}
        stub.close()
    assert max(answer.timing.batch for answer in answers.values()) > 3, "more than any one of them has"
    for number, given in enumerate(inputs):
        got, wanted = unpack_output(answers[number].output, tensor), parts.tail.run(parts.head.encode(*given))
        assert got["rows"][1] == "as they are"
        assert torch.equal(got["shown"], wanted["shown"])
        torch.testing.assert_close((got["sum"], got["rows"][0]), (wanted["sum"], wanted["rows"][0]))
