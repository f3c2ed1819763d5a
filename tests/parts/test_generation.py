"""A decoder that generates, cut: keys and values as plain tensors, each half keeping those of its own layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

import featcodec as fc
from benchmarks.part_models import built


class Plain(nn.Module):
    """A causal language model that takes and returns its cache as pairs of tensors, one a layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, cache: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        past = DynamicCache()
        for layer, (keys, values) in enumerate(cache):
            past.update(keys, values, layer)
        out = self.model(input_ids=ids, past_key_values=past, use_cache=True)
        return {"logits": out.logits, "cache": [(layer.keys, layer.values) for layer in out.past_key_values.layers]}


def empty(batch: int, past: int, heads: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(batch, heads, past, 8), torch.randn(batch, heads, past, 8)) for _ in range(3)]


@pytest.mark.parametrize(
    ("name", "layer", "heads"), [("llama", "model.model.layers.0", 2), ("gpt2", "model.transformer.h.1", 4)]
)
def test_logits_are_those_of_the_whole_model_step_by_step(name, layer, heads, tmp_path):
    model = Plain(built(name)).eval()
    parts = fc.export(model, layer, (torch.randint(1, 60, (2, 4)), empty(2, 3, heads)), own=("cache",))
    assert [port.name for port in parts.head.ports] == ["feature"]
    parts.save(tmp_path)
    head, tail = fc.load_part(tmp_path / "head.fcz"), fc.load_part(tmp_path / "tail.fcz")
    before = int(layer.rsplit(".", 1)[1]) + 1
    for batch in (1, 3):
        torch.manual_seed(batch)
        ids = torch.randint(1, 60, (batch, 5))
        whole = empty(batch, 0, heads)
        first: Any = [pair if i < before else None for i, pair in enumerate(whole)]
        rest: Any = [None if i < before else pair for i, pair in enumerate(whole)]
        for _ in range(6):
            with torch.no_grad():
                wanted = model(ids, whole)
            crossing = head(ids, first)
            got = tail.run(head.pack(crossing), cache=rest)
            assert torch.equal(got["logits"], wanted["logits"])
            whole, first, rest = wanted["cache"], crossing.output["cache"], got["cache"]
            assert [a is None for pair in first for a in pair] == [False] * 2 * before + [True] * 2 * (3 - before)
            assert [a is None for pair in rest for a in pair] == [True] * 2 * before + [False] * 2 * (3 - before)
            ids = wanted["logits"][:, -1:].argmax(-1)


def test_a_half_names_what_it_misses_of_its_own():
    model = Plain(built("llama")).eval()
    parts = fc.export(model, "model.model.layers.0", (torch.randint(1, 60, (2, 4)), empty(2, 3, 2)), own=("cache",))
    cache = empty(2, 3, 2)
    crossing = parts.head(torch.randint(1, 60, (2, 4)), cache)
    with pytest.raises(fc.FeatureTypeError, match=r"the tail needs the tensor 'cache\.1\.0', got NoneType"):
        parts.tail(crossing)
    with pytest.raises(fc.FeatureTypeError, match=r"cache is a sequence of 3, got 2 of them"):
        parts.tail(crossing, cache=cache[1:])
    with pytest.raises(fc.FeatureError, match=r"cache\.1\.0\.2\) does not hold, with cache\.0\.0\.2 = 3, cache\.1\.0\.2 = 2"):
        parts.tail(crossing, cache=[None, (cache[1][0][:, :, :2], cache[1][1]), cache[2]])
