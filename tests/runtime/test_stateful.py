"""Decoders that generate: the tail's cache stays at the server, a step sends one token's feature."""

from __future__ import annotations

import copy
import time
from itertools import count

import grpc
import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

import featcodec as fc
from featcodec.runtime import Limits, Served, Server
from featcodec.runtime.state import state_bytes
from featcodec.runtime.wire import CAUSE_KEY, unpack_output
from tests.runtime.stub import Stub, hello_of_feature, hello_of_ports, tensor

CODEC = fc.get_codec("raw").eval()
WIDTH = 32


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


class Half(nn.Module):
    """Some of a Llama's layers, with a cache of their own."""

    def __init__(self, model: LlamaForCausalLM, layers: slice) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for layer in model.model.layers[layers])
        for at, layer in enumerate(self.layers):
            layer.self_attn.layer_idx = at
        self.rotary = model.model.rotary_emb

    def run(self, x: Tensor, cache: DynamicCache) -> Tensor:
        seen = cache.get_seq_length()
        positions = torch.arange(seen, seen + x.shape[1])[None]
        around = self.rotary(x, positions)
        mask = torch.full((x.shape[1], seen + x.shape[1]), float("-inf")).triu(seen + 1)[None, None]
        for layer in self.layers:
            out = layer(x, attention_mask=mask, position_embeddings=around, past_key_values=cache, use_cache=True)
            x = out[0] if isinstance(out, tuple) else out
        return x


class HeadOf(Half):
    def __init__(self, model):
        super().__init__(model, slice(0, 2))
        self.embed = model.model.embed_tokens

    def forward(self, ids, cache):
        return self.run(self.embed(ids), cache)


class TailOf(Half):
    def __init__(self, model):
        super().__init__(model, slice(2, 4))
        self.norm, self.lm_head = model.model.norm, model.lm_head

    def forward(self, x: Tensor, state: DynamicCache | None) -> tuple[Tensor, DynamicCache]:
        cache = DynamicCache() if state is None else state
        return self.lm_head(self.norm(self.run(x, cache)))[:, -1], cache


def generated(step, prompt: Tensor, tokens: int) -> list[int]:
    """Greedy: `step` takes new ids and gives the last logits."""
    ids, found = prompt, []
    for _ in range(tokens):
        ids = step(ids).argmax(-1)[None]
        found.append(int(ids))
    return found


def whole(model, prompt, tokens):
    cache = DynamicCache()
    return generated(lambda ids: model(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1], prompt, tokens)


@torch.no_grad()
def test_tokens_are_those_of_the_whole_model():
    model = llama()
    prompts = [torch.tensor([[1, 5, 9]]), torch.tensor([[7, 3, 2, 8, 8]])]
    wanted = [whole(model, prompt, 12) for prompt in prompts]
    assert wanted[0] != wanted[1]
    with Server(Served(TailOf(model).eval(), CODEC, stateful=True)) as server:
        steps = []
        for _ in prompts:
            stub = Stub(server.address, hello_of_feature(CODEC, (-1, WIDTH)), {"feature": CODEC})
            assert stub.open().stateful
            head, cache, at = HeadOf(model).eval(), DynamicCache(), count()
            steps.append(
                lambda ids, stub=stub, head=head, cache=cache, at=at: stub(
                    [tuple(CODEC.encode(head(ids, cache)))], position=next(at)
                )
            )
        # both sessions generate by turns
        ids, found = list(prompts), [[], []]
        for _ in range(12):
            for i, step in enumerate(steps):
                ids[i] = step(ids[i]).argmax(-1)[None]
                found[i].append(int(ids[i]))
    assert found == wanted


class Remembers(nn.Module):
    """Takes and returns its cache."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, cache: list[Tensor]) -> dict:
        seen = torch.cat([cache[0], self.first(x)], 1)
        return {"y": self.last(seen.cumsum(1)[:, -1]), "cache": [seen]}


def start(crossing):
    return {"cache": [torch.zeros(len(crossing["feature"]), 0, 4)]}


def test_an_exported_tail_keeps_its_own_inputs():
    torch.manual_seed(0)
    model = Remembers().eval()
    parts = fc.export(model, "first", (torch.randn(2, 5, 3), [torch.randn(2, 3, 4)]), own=("cache",))
    with Server(Served(parts.tail, stateful=True, start=start)) as server, torch.no_grad():
        ports = parts.head.ports
        hello = hello_of_ports(ports, parts.head.fingerprint, parts.head.about.sizes)
        stub = Stub(server.address, hello, {p.name: p.codec for p in ports if p.codec})
        stub.open()
        cache = [torch.zeros(2, 0, 4)]
        for position in range(4):
            x = torch.randn(2, 1 + position % 2, 3)
            wanted = model(x, cache)
            cache, crossing = wanted["cache"], parts.head(x, None)
            got = stub([*(p.packed(crossing[p.name]) for p in ports), *crossing.sizes.values()], position=position)
            assert list(got) == ["y"], "the cache stays at the server"
            assert torch.equal(got["y"], wanted["y"])
        stub.close()


class Adds:
    """A tail that remembers the sum, in place."""

    def __call__(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = torch.zeros(100) if state is None else state
        state += x.sum()
        if x.sum() < 0:
            raise RuntimeError("half done")
        return state[:1].clone(), state


@pytest.fixture
def stub(request):
    limits = Limits(**getattr(request, "param", {}))
    with Server(Served(Adds(), CODEC, stateful=True), limits=limits) as server:
        stub = Stub(server.address, hello_of_feature(CODEC, (2,)), {"feature": CODEC})
        stub.server = server
        stub.open()
        yield stub
        stub.close()


def items(value: float):
    return [tuple(CODEC.encode(torch.full((1, 2), value)))]


def cause(stub, request) -> str:
    with pytest.raises(grpc.RpcError) as e:
        stub.infer(request)
    return dict(e.value.trailing_metadata())[CAUSE_KEY]


def value(answer) -> float:
    return unpack_output(answer.output, tensor).item()


def test_a_repeated_step_replays_its_answer_and_other_positions_are_refused(stub):
    steps = [stub.request(items(v), number=n, position=n) for n, v in enumerate((1.0, 2.0))]
    assert [value(stub.infer(step)) for step in steps] == [2.0, 6.0]
    assert value(stub.infer(steps[1])) == 6.0
    assert cause(stub, stub.request(items(2.0), number=9, position=1)) == "position"
    assert cause(stub, stub.request(items(2.0), number=9, position=3)) == "position"
    assert cause(stub, stub.request(items(3.0), number=1, position=1)) == "reused id"
    assert value(stub.infer(stub.request(items(1.0), number=2, position=2))) == 8.0


def test_a_server_that_has_forgotten_never_answers_from_an_empty_state(stub):
    stub.infer(stub.request(items(1.0), position=0))
    hello = (("featcodec-hello-bin", stub.hello.SerializeToString()),)
    with Server(Served(Adds(), CODEC, stateful=True)) as fresh:
        other = Stub(fresh.address, stub.hello, {"feature": CODEC})
        with pytest.raises(grpc.RpcError, match="that has seen 1 steps, this one has seen 0"):
            other.infer(other.request(items(1.0), position=1), extra=hello)


def test_a_step_that_fails_loses_the_state(stub):
    stub.infer(stub.request(items(1.0), position=0))
    assert cause(stub, stub.request(items(-1.0), position=1)) == "tail failed"
    assert cause(stub, stub.request(items(1.0), position=1)) == "state lost"
    assert cause(stub, stub.request(items(1.0), position=0)) == "state lost"


@pytest.mark.parametrize("stub", [{"state_bytes": 399}], indirect=True)
def test_a_state_has_a_most(stub):
    assert cause(stub, stub.request(items(1.0), position=0)) == "state too large"


@pytest.mark.parametrize("stub", [{"states": 1, "state_s": 0.3, "session_s": 60}], indirect=True)
def test_states_are_bounded_and_expire(stub):
    stub.infer(stub.request(items(1.0), position=0))
    other = Stub(None, hello_of_feature(CODEC, (2,)), {"feature": CODEC}, channel=stub.channel)
    other.open()
    assert cause(other, other.request(items(1.0), position=0)) == "too many states"
    until = time.monotonic() + 20
    while not may_step(other) and time.monotonic() < until:
        time.sleep(0.05)
    assert may_step(other) is False, "its first step was taken, and is not the next one"
    assert cause(stub, stub.request(items(1.0), position=1)) == "state lost"


def may_step(stub) -> bool:
    try:
        stub.infer(stub.request(items(1.0), position=0))
    except grpc.RpcError:
        return False
    return True


def test_bytes_of_a_state_are_counted_in_whatever_holds_them():
    cache = DynamicCache()
    cache.update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), 0)
    assert state_bytes(cache) == 2 * 96
    x = torch.zeros(5)
    assert state_bytes([x, {"a": (x, torch.zeros(2, dtype=torch.int64))}]) == 36
