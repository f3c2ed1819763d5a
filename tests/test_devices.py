"""What happens where features lie on a GPU, shown without one: which copies wait, what lies where, what replicas hold."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec import cli, inputs
from featcodec.errors import EdgeError
from featcodec.ops import blocks, clock, host, quantizer
from featcodec.ops.algorithms import repeatable_algorithms
from featcodec.ops.crushed import _crushed_of_samples, crushed_in
from featcodec.parts import Crossing
from featcodec.planning import profile, profile_lines
from featcodec.runtime.exchange import Exchange
from featcodec.runtime.pending import Pending
from featcodec.training import Batches
from tests.features import smooth, taken_batch
from tests.test_threads import in_threads


class Asked(Tensor):
    """A tensor that is only asked where to go."""

    waits: list[tuple[str, bool]]

    def to(self, device, non_blocking=False):
        self.waits.append((str(device), not non_blocking))
        return self


@pytest.mark.parametrize(("device", "waits"), [("cpu", True), (torch.device("cpu"), True), ("cuda:1", False), ("xpu", False)])
def test_what_comes_to_the_cpu_is_waited_for(device, waits):
    """Torch returns at once with memory that the values are still on their way to."""
    x = torch.zeros(2).as_subclass(Asked)
    x.waits = []
    inputs.to_device([x], device)
    assert x.waits == [(str(device), waits)]


def test_a_copy_to_the_host_goes_to_page_locked_memory_and_is_waited_for(monkeypatch):
    said = []
    stream = SimpleNamespace(synchronize=lambda: said.append("waited"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: said.append(f"stream of {device}") or stream)
    x = SimpleNamespace(is_cuda=True, nbytes=8, device="cuda:1")
    x.to = lambda device, non_blocking: said.append(f"to {device}, {non_blocking}") or "copy"
    x.cpu = lambda: "plain copy"
    assert host.to_host(x) == "copy"
    assert said == ["to cpu, True", "stream of cuda:1", "waited"]
    x.nbytes = (1 << 28) + 1
    assert host.to_host(x) == "plain copy"
    here = torch.zeros(2)
    assert host.to_host(here) is here


@pytest.mark.parametrize("spec", ["context:bits=4,tables=static", "auto:bits=4,tables=static", "huffman:bits=4,tables=static"])
def test_tables_are_calibrated_where_they_lie(spec):
    """A tensor of the CPU that met one of the meta device would raise."""
    codec = fc.get_codec(spec).to("meta")
    codec.calibrate(torch.cat([smooth((8, 7, 5), seed) for seed in range(3)]))
    assert all(buffer.is_meta for buffer in codec.buffers())


def test_batches_are_drawn_on_the_cpu_whatever_the_default_device():
    x = torch.arange(7.0)
    wanted = [batch.tolist() for batch in Batches(x, size=3)]
    with torch.device("meta"):
        assert [batch.tolist() for batch in Batches(x, size=3)] == wanted
        assert [batch.tolist() for batch in Batches(x, size=3).in_order()] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("elements", [1, 700, 10**6])
def test_large_batches_are_worked_on_in_blocks(monkeypatch, elements, layout):
    """In double a whole batch would take nine times its memory on the device."""
    x = torch.cat([smooth((8, 7, 5), seed) for seed in range(5)]).to(memory_format=layout)
    y = torch.relu(x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    wanted = quantizer.minmax_reconstruct(x, 4, "map"), quantizer.step_reconstruct(x, 0.25)
    monkeypatch.setattr(blocks, "_BLOCK", elements)
    sizes = []
    found = blocks.in_blocks(lambda part: sizes.append(len(part)) or part.clone(), x)
    assert torch.equal(found, x)
    assert sizes == {1: [1] * 5, 700: [2, 2, 1], 10**6: [5]}[elements]
    for a, b in zip(wanted, (quantizer.minmax_reconstruct(x, 4, "map"), quantizer.step_reconstruct(x, 0.25)), strict=True):
        assert torch.equal(a, b)
        assert a.stride() == b.stride() == x.stride()
    assert crushed_in(x, y).total == int(_crushed_of_samples(x, y, 1).sum())


def test_an_empty_batch_is_one_block():
    assert quantizer.minmax_reconstruct(torch.zeros(0, 3, 2), 4, "map").shape == (0, 3, 2)


@pytest.fixture
def cudnn(monkeypatch):
    """The switches, set otherwise than codecs need them."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    return torch.backends.cudnn


def test_algorithms_are_repeatable_until_the_last_thread_has_left(cudnn):
    seen = []

    def work(i):
        for _ in range(50):
            with repeatable_algorithms(), repeatable_algorithms():
                seen.append((cudnn.deterministic, cudnn.benchmark))

    in_threads(3, work)
    assert seen == [(True, False)] * 150
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
    with pytest.raises(KeyError), repeatable_algorithms():
        raise KeyError
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


class Elsewhere(Tensor):
    """A tensor that says it is not the CPU's."""

    is_cpu = False


@pytest.mark.parametrize("spec", ["jscc:maps=8,height=7,width=5,symbols=5", "dsc:maps=8,reduced=2"])
def test_on_a_device_networks_see_each_sample_in_memory_of_its_own_by_repeatable_algorithms(spec, monkeypatch, cudnn):
    codec = fc.get_codec(spec).eval()
    x, weight = taken_batch(codec), codec._weight()
    wanted = [packet.to_bytes() for packet in codec.encode(x)]
    monkeypatch.setattr(codec, "_weight", lambda: weight.detach().as_subclass(Elsewhere))
    seen = []
    codec.analysis.register_forward_pre_hook(
        lambda _, args: seen.append((len(args[0]), args[0].storage_offset(), cudnn.deterministic, cudnn.benchmark))
    )
    assert [packet.to_bytes() for packet in codec.encode(x)] == wanted
    assert seen == [(1, 0, True, False)] * len(x)
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def replica_of(model: nn.Module) -> nn.Module:
    """What nn.DataParallel makes of a model for each of its GPUs: parameters are plain tensors there, and no parameters."""
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        replica._former_parameters = {}
        replica._modules.update({name: replicas[child] for name, child in module._modules.items() if child is not None})
        for name, parameter in module._parameters.items():
            replica._parameters[name] = None
            if parameter is not None:
                del replica._parameters[name]
                replica._former_parameters[name] = parameter.clone()
                setattr(replica, name, replica._former_parameters[name])
    return replicas[model]


@pytest.mark.parametrize(
    "spec", ["dsc:reduced=2", "entropic:reduced=2", "jscc:symbols=5", "vq:hidden=6,groups=2", "huffman:bits=3"]
)
def test_replicas_of_data_parallel_send_and_train(spec):
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()).requires_grad_(False)
    model, x = nn.Sequential(head, nn.Flatten(), nn.Linear(8 * 7 * 5, 2)).eval(), torch.rand(4, 3, 7, 5)
    with fc.insert(model, "0", spec, example=x) as cut:
        assert torch.equal(replica_of(model)(x), model(x))
        model.train()
        replica_of(model)(x).sum().backward()
        assert any(p.grad is not None and p.grad.any() for p in cut.codec.parameters()) == cut.codec.learned


@pytest.mark.parametrize("spec", ["huffman:bits=4", "dsc:maps=8,reduced=2"])
def test_a_codec_that_is_compiled_by_itself_trains(spec):
    torch.manual_seed(0)
    codec, x = fc.get_codec(spec).train(), torch.rand(4, 8, 7, 5)
    found, wanted = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    y = torch.compile(codec, backend="eager")(found)
    y.sum().backward()
    value = codec(wanted)
    assert torch.allclose(y, value)
    value.sum().backward()
    assert torch.allclose(found.grad, wanted.grad)


class Queue:
    """A device that computes a millisecond for every event, on a clock of its own, when it is waited for."""

    def __init__(self, monkeypatch):
        self.waits, self.events = 0, 0
        monkeypatch.setattr(clock, "has_queue", lambda device: True)
        monkeypatch.setattr(torch, "get_device_module", lambda device: self)
        monkeypatch.setattr(torch, "Event", lambda device, enable_timing: Event(self))

    def synchronize(self, device):
        self.waits += 1


class Event:
    def __init__(self, queue):
        self.queue, self.at = queue, None

    def record(self):
        self.queue.events += 1
        self.at = self.queue.events

    def elapsed_time(self, other):
        assert self.queue.waits, "read before it was computed"
        return float(other.at - self.at)


def test_a_device_s_operations_are_timed_by_its_own_clock(monkeypatch):
    """The host's says how long it takes to ask for them."""
    queue = Queue(monkeypatch)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    found = profile(model, torch.zeros(1, 3, 4, 4), calls=2)
    assert [(cut.head_ms, cut.tail_ms) for cut in found.cuts] == [(1.0, 2.0), (2.0, 1.0)]
    assert queue.waits == 3  # once a call, warming up too
    assert found.machine["device"] == "cpu"


@pytest.mark.parametrize("fallback", [False, True])
def test_who_asked_for_what_a_device_computes_waits_for_it_in_the_stage_that_computes(monkeypatch, fallback):
    """A head's time does not count to its codec, nor the whole model's to nobody."""
    pending = Pending(torch.zeros(1), 1.0, lambda x: {"logits": [x]})
    waited = Queue(monkeypatch)
    if fallback:
        assert pending.fall_back(EdgeError("gone", "lost")).output == {"logits": [pending.x]}
    else:
        exchange = SimpleNamespace(manners=SimpleNamespace(deadline_s=1.0, fallback=None), sender=lambda x: Crossing({"x": x}))
        assert Exchange.began(exchange, torch.zeros(1), None).stages["head"] > 0
    assert waited.waits == 1


def test_a_profile_of_a_gpu_names_it():
    model = nn.Linear(2, 2).eval()
    found = profile(model, torch.zeros(1, 2), calls=1)
    there = dataclasses.replace(found, machine={**found.machine, "device": "Some GPU"})
    before = dataclasses.replace(found, machine={name: x for name, x in found.machine.items() if name != "device"})
    lines = [profile_lines(one)[1] for one in (found, there, before)]
    assert lines[1] == f"Some GPU, {lines[0]}"
    assert lines[2] == lines[0]


@pytest.mark.parametrize("name", ["nope", "cuda:99", "meta", ""])
def test_a_device_that_is_not_here_is_an_error_that_says_so(name):
    with pytest.raises(fc.ConfigError, match=re.escape(repr(name)) + " is no device to compute on here: "):
        host.usable_device(name)


def test_a_device_by_its_name(monkeypatch):
    assert host.usable_device("cpu") == host.usable_device(torch.device("cpu")) == torch.device("cpu")
    for there, wanted in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert host.usable_device("auto") == torch.device(wanted)


@pytest.mark.parametrize("command", ["bench", "profile", "search", "train", "serve"])
def test_commands_refuse_a_device_that_is_not_here(command, tmp_path, capsys):
    head, tail = tmp_path / "head.fcz", tmp_path / "tail.fcz"
    fc.export(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval(), "0", torch.zeros(1, 2)).save(head, tail)
    given = {
        "bench": ["--samples", "1", "--out", str(tmp_path / "out")],
        "profile": ["--out", str(tmp_path / "out")],
        "search": ["--out", str(tmp_path / "out")],
        "train": ["--layer", "layer3", "--codec", "dsc", "--data", "embedded", "--out", str(tmp_path / "out")],
        "serve": [str(tail), "--listen", "127.0.0.1:0"],
    }
    assert cli.main([command, *given[command], "--device", "cuda:99"]) == 2
    assert f"featcodec {command}: 'cuda:99' is no device to compute on here: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
