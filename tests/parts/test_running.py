"""Halves as they run: in place where nobody looks, in the order of memory that was traced, compiled and trained on."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from benchmarks.part_models import CASES, EfficientNet, built, vgg
from featcodec.outputs import leaves, same
from featcodec.parts.operations import ALLOWED, FRESH, WRITING, functional, resolve
from featcodec.parts.recurrent import WITHOUT_VALUES
from featcodec.sizes import MAX_OPERATORS

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Run(nn.Module):
    def __init__(self, run) -> None:
        super().__init__()
        self.conv, self.norm, self.relu, self.run = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True), run
        self.layer = nn.Conv2d(3, 3, 1)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def written(part: fc.Tail) -> list[str]:
    return [step.name for step in part.program.steps if step.name in WRITING]


def adds(m: Run, x: Tensor) -> Tensor:
    y = m.norm(m.conv(m.layer(x)))
    y += x
    return m.relu(y)


def looks_again(m: Run, x: Tensor) -> Tensor:
    y = m.conv(m.layer(x))
    z = m.relu(y)
    return z + y  # what relu wrote


def of_the_feature(m: Run, x: Tensor) -> Tensor:
    return m.relu(m.layer(x)) * 2


def of_a_view(m: Run, x: Tensor) -> Tensor:
    y = m.conv(m.layer(x))
    y[:, 1] *= 3
    y.relu_()
    m.count += 1
    return y


@pytest.mark.parametrize(
    ("run", "kept"),
    [
        (adds, ["aten.add_.Tensor", "aten.relu_.default"]),
        (looks_again, ["aten.relu_.default"]),
        (of_the_feature, []),
        (of_a_view, []),
    ],
)
def test_what_a_model_writes_in_place(run, kept):
    torch.manual_seed(0)
    model = Run(run).eval()
    parts = fc.export(model, "layer", X)
    assert written(parts.tail) == kept
    for x in (X, X[:1], torch.randn(5, 3, 9, 12)):
        with torch.no_grad():
            wanted = model(x)
        crossing = parts.head(x)
        before = crossing["feature"].clone()
        assert torch.equal(parts.tail(crossing), wanted)
        assert torch.equal(crossing["feature"], before)
        assert torch.equal(parts.tail(crossing), wanted)


def test_operations_that_write_are_just_those_listed():
    for name in ALLOWED:
        schema = resolve(name)._schema
        writes = [a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write]
        assert writes == (["self"] if name in WRITING else []), name
        assert not any("Storage" in str(a.type) or "Generator" in str(a.type) for a in schema.arguments), name
    assert all(functional(name) in ALLOWED for name in WRITING)
    assert not any(returned.alias_info for name in FRESH for returned in resolve(name)._schema.returns)
    assert not any(word in name for name in ALLOWED for word in ("empty", "rand", "from_file", "set_", "as_strided", "_out"))


def test_what_crosses_lies_as_it_was_traced():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)).to(memory_format=torch.channels_last).eval()
    x = X.to(memory_format=torch.channels_last)
    parts = fc.export(model, "0", x)
    assert parts.tail.program.inputs[0]["order"] == [0, 2, 3, 1]
    with torch.no_grad():
        assert torch.equal(parts.tail.run(parts.head.encode(x)), model(x))


def test_weights_are_frozen_and_the_model_is_left_as_it_was():
    model = vgg().train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    hooks = [len(m._forward_hooks) for m in model.modules()]
    parts = fc.export(model, "0.1", X)
    assert model.training
    assert [len(m._forward_hooks) for m in model.modules()] == hooks
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    before = parts.tail(parts.head(X))
    nn.init.zeros_(model[-1].weight)
    assert torch.equal(parts.tail(parts.head(X)), before)


def test_one_tensor_in_two_places_stays_two_inputs():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.fc(x) * y

    model, x, y = Two().eval(), torch.randn(3, 4), torch.randn(3, 4)
    parts = fc.export(model, "fc", (x, x))
    assert torch.equal(parts.tail(parts.head(x, y)), model(x, y))


def test_settings_among_the_inputs_are_part_of_the_export():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor, scale: float = 1.0, flag: bool = True) -> Tensor:
            return self.fc(x * scale) if flag else x

    model, x = Scaled().eval(), torch.randn(3, 4)
    parts = fc.export(model, "fc", {"x": x, "scale": 2.5})
    assert torch.equal(parts.tail(parts.head(x)), model(x, 2.5))
    assert torch.equal(parts.tail(parts.head(x, scale=2.5)), model(x, 2.5))
    with pytest.raises(fc.FeatureError, match=r"exported with 2\.5 among its inputs, got 3\.0"):
        parts.head(x, 3.0)


@pytest.mark.parametrize("name", ["fpn", "bert"])
def test_modules_give_what_halves_give_and_train(name):
    case = CASES[name]
    parts = fc.export(built(name), case.layer, case.example(2))
    head, tail = parts.head.module(), parts.tail.module()
    inputs = case.example(3, *case.sizes[-1])
    given = list(inputs.values()) if isinstance(inputs, dict) else [inputs]
    crossing = parts.head(*given)
    crossed = head(*given)
    with torch.no_grad():
        got = tail(*crossed)
    wanted = parts.tail(crossing)
    assert same(got, wanted)
    loss = sum(x.square().sum() for _, x in leaves(tail(*crossed)) if isinstance(x, Tensor))
    loss.backward()
    assert all(p.grad is not None for p in tail.parameters())
    assert any(p.grad is not None for p in head.parameters())


def test_a_module_compiles_for_any_batch(tmp_path):
    model = vgg().eval()
    parts = fc.export(model, "0.1", X)
    parts.save(tmp_path)
    tail = fc.load_part(tmp_path / "tail.fcz")
    compiled = torch.compile(tail.module(), backend="eager", fullgraph=True, dynamic=True)
    for batch in (2, 7):
        x = torch.randn(batch, 3, 16, 16)
        with torch.no_grad():
            assert torch.equal(compiled(parts.head(x)["feature"]), model(x))


def test_threads_may_share_a_half():
    parts = fc.export(vgg().eval(), "0.1", X)
    inputs = [torch.randn(batch, 3, 16, 16) for batch in range(1, 9)]
    wanted = [parts.tail(parts.head(x)) for x in inputs]
    got: dict[int, bool] = {}

    def work(i: int) -> None:
        got[i] = all(torch.equal(parts.tail(parts.head(inputs[i])), wanted[i]) for _ in range(10))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(got[i] for i in range(8))


def test_sizes_that_grow_with_every_layer_are_written_once():
    parts = fc.export(EfficientNet().eval(), "blocks.1", torch.randn(2, 3, 33, 40))
    texts = [*parts.tail.program.spec["guards"], *(text for _, text in parts.tail.program.spec["derived"])]
    assert max(map(len, texts)) < 400
    assert max(text.count(" ") for text in texts) < MAX_OPERATORS


def test_recurrent_layers_without_values_have_the_shapes_and_order_of_real_ones():
    x, params = torch.randn(3, 7, 5), [p.detach() for p in nn.LSTM(5, 6, 2, bidirectional=True).parameters()]
    state = torch.zeros(4, 3, 6)
    given = (x, [state, state], params, True, 2, 0.0, False, True, True)
    nowhere = torch.utils._pytree.tree_map(lambda v: v.to("meta") if isinstance(v, Tensor) else v, given)
    for real, empty in zip(torch.ops.aten.lstm.input(*given), WITHOUT_VALUES[torch.ops.aten.lstm.input](*nowhere), strict=True):
        assert (real.shape, real.stride(), real.dtype) == (empty.shape, empty.stride(), empty.dtype)


def test_the_summary_says_what_crosses():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(4, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.fc(x)) + x

    parts = fc.export(Two().eval(), "fc", torch.randn(2, 4), codec="huffman:bits=4")
    assert str(parts).splitlines() == [
        "Two cut behind 'fc': 1 and 2 operations",
        "  crosses feature: float32 (B, 6), 48 bytes, by huffman, a packet for each of axis 0",
        "  crosses x: float32 (B, 4), 32 bytes, as it is",
    ]


def test_a_torch_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    with pytest.raises(fc.MissingDependencyError, match=r"export needs torch 2\.13, this is 2\.6\.0\+cpu"):
        fc.export(vgg().eval(), "0.1", X)
