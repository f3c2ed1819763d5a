"""What crosses: the layer's output, and the least beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec.outputs import same
from featcodec.parts.flow import INFINITE, cheapest


def crossing(model: nn.Module, layer: str, example, **options) -> list[str]:
    parts = fc.export(model.eval(), layer, example, **options)
    return [*(port.name for port in parts.head.ports), *parts.head.about.sizes]


class Net(nn.Module):
    def __init__(self, forward) -> None:
        super().__init__()
        self.a, self.b, self.c, self.same = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Identity()
        self.unused = nn.Linear(4, 4)
        self.run = forward

    def forward(self, x: Tensor, y: Tensor | None = None):
        return self.run(self, x, y)


X = torch.randn(3, 4)


def test_of_a_skip_the_smallest_tensor_crosses_and_the_rest_is_computed_again():
    def skip(m, x, _):
        small = m.a(x)
        wide = small.unsqueeze(2).expand(-1, -1, 64).sigmoid()
        return m.b(wide.mean(2)) + wide.sum(2)

    assert crossing(Net(skip), "b", X) == ["feature", "unsqueeze"]


def test_a_tail_that_needs_an_input_gets_it_as_it_is():
    assert crossing(Net(lambda m, x, y: m.a(x) + m.b(y)), "a", (X, X)) == ["feature", "y"]


def test_constants_do_not_cross():
    def positions(m, x, _):
        return m.b(m.a(x)) + torch.arange(x.shape[1]).cos() + m.c.bias.exp()

    assert crossing(Net(positions), "a", X) == ["feature"]


def test_a_size_that_no_tensor_shows_crosses_as_an_integer():
    def size(m, x, _):
        return m.a(x.sum(1)) * x.shape[1]

    parts = fc.export(Net(size).eval(), "a", torch.randn(2, 6, 4))
    assert parts.head.about.sizes == ("x.1",)
    assert parts.head(torch.randn(5, 7, 4)).sizes == {"x.1": 7}


def test_what_goes_on_beside_the_layer_s_hook_is_the_feature():
    seen = []
    model = Net(lambda m, x, _: (m.b(m.a(x)), seen[-1])).eval()
    model.a.register_forward_hook(lambda module, args, output: seen.append(output))
    parts = fc.export(model, "a", X)
    assert [port.name for port in parts.head.ports] == ["feature"]
    assert same(model(X), parts.tail.run(parts.head.encode(X)))


def test_what_only_the_head_knows_comes_from_the_head():
    def early(m, x, _):
        y = m.c(x).relu()
        return {"early": y, "late": m.b(m.a(y).relu())}

    model = Net(early).eval()
    parts = fc.export(model, "a", X)
    crossed = parts.head(X)
    wanted = model(X)
    assert torch.equal(crossed.output["early"], wanted["early"])
    assert crossed.output["late"] is None
    assert same(wanted, parts.tail(crossed))
    behind = parts.tail.run(parts.head.encode(X))
    assert behind["early"] is None
    assert torch.equal(behind["late"], wanted["late"])


def test_a_layer_of_several_calls_is_cut_at_all_or_at_one():
    model = Net(lambda m, x, y: m.b(m.a(x)) + m.a(y)).eval()
    assert crossing(model, "a", (X, X)) == ["feature.0", "feature.1"]
    assert crossing(model, "a", (X, X), call=1) == ["feature", "x"]
    chain = Net(lambda m, x, _: m.a(m.a(x)))
    assert crossing(chain, "a", X, call=0) == ["feature"]
    with pytest.raises(fc.LayerError, match="called 2 times, and one call's output depends on another's"):
        crossing(chain, "a", X)
    with pytest.raises(fc.LayerError, match="called 2 times in one forward, there is no call 2"):
        crossing(chain, "a", X, call=2)


def test_what_is_no_cut_is_refused():
    for run, layer, match in (
        (lambda m, x, _: m.a(x), "unused", "'unused' is not called"),
        (lambda m, x, _: m.a(x) + m.c(torch.ones(4)), "c", "'c' returns does not depend on the model's inputs"),
        (lambda m, x, _: (m.b(x), m.a(x))[1], "b", "model returns does not depend on layer 'b'"),
    ):
        with pytest.raises(fc.LayerError, match=match):
            fc.export(Net(run).eval(), layer, X)
    with pytest.raises(fc.LayerError, match="the whole model is no split point"):
        fc.export(model := Net(lambda m, x, _: x), model, X)
    with pytest.raises(fc.LayerError, match=r"no layer of Net matches 'd'"):
        fc.export(Net(lambda m, x, _: x), "d", X)


def test_what_cannot_be_traced_is_named_with_its_place():
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x  # here

    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Asks()), nn.Linear(4, 4)).eval()
    with pytest.raises(fc.LayerError, match=r"Sequential cannot be traced in 1\.0 \(test_cut\.py:\d+, .*# here\)"):
        fc.export(model, "0", X)
    with pytest.raises(fc.LayerError, match="depends on values"):
        fc.export(Net(lambda m, x, _: m.a(x)[x[:, 0] > 0]).eval(), "a", X)
    with pytest.raises(fc.LayerError, match=r"uses aten\.rand_like\.default, which is not among a part's operations"):
        fc.export(Net(lambda m, x, _: m.a(x) + torch.rand_like(x)).eval(), "a", X)
    with pytest.raises(fc.FeatureError, match="Net does not run on the example"):
        fc.export(Net(lambda m, x, _: m.a(x)).eval(), "a", torch.randn(2, 5))


def test_a_forward_that_is_not_deterministic_is_refused():
    calls = []

    def counts(m, x, _):
        calls.append(1)
        return m.a(x) + len(calls)

    with pytest.raises(fc.LayerError, match="its forward is not deterministic"):
        fc.export(Net(counts).eval(), "a", X)


def test_autocast_belongs_into_the_model():
    def cast(m, x, _):
        with torch.autocast("cpu", torch.bfloat16):
            return m.b(m.a(x))

    model = Net(cast).eval()
    parts = fc.export(model, "a", X)
    assert parts.head.ports[0].dtype == "bfloat16"
    with torch.no_grad():
        assert torch.equal(model(X), parts.tail.run(parts.head.encode(X)))
    with pytest.raises(fc.LayerError, match="without autocast"), torch.autocast("cpu", torch.bfloat16):
        fc.export(model, "a", X)


def test_codecs_by_name():
    model = Net(lambda m, x, _: m.b(m.a(x)) * x.sigmoid()).eval()
    parts = fc.export(model, "a", X, codec={"feature": "huffman:bits=8", "x": "half"})
    assert [port.codec.codec_id for port in parts.head.ports] == ["huffman", "half"]
    assert torch.allclose(parts.tail.run(parts.head.encode(X)), model(X), atol=0.1)
    plain = fc.export(model, "a", X, codec={})
    assert torch.equal(plain.tail.run(plain.head.encode(X)), model(X))
    with pytest.raises(fc.ConfigError, match="no floating-point tensor 'y' crosses; there are feature, x"):
        fc.export(model, "a", X, codec={"y": "raw"})


def test_of_several_results_of_an_operation_the_one_that_is_needed_crosses():
    class Speech(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.fc, self.out = nn.GRU(4, 5), nn.Linear(5, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y, state = self.gru(x)
            return self.out(self.fc(y[-1])) + state.sum()

    model, x = Speech().eval(), torch.randn(6, 3, 4)
    parts = fc.export(model, "fc", x)
    assert [port.name for port in parts.head.ports] == ["feature", "getitem_1"]
    with torch.no_grad():
        assert torch.equal(parts.tail.run(parts.head.encode(x)), model(x))


def test_an_infinite_mask_crosses_as_it_is():
    def masked(m, x, _):
        mask = m.b(x).relu().log()
        return (m.a(x + mask.exp()) + mask).softmax(-1).nan_to_num()

    model = Net(masked).eval()
    parts = fc.export(model, "a", X)
    assert not torch.isfinite(parts.head(X)["log"]).all()
    with torch.no_grad():
        assert torch.equal(parts.tail.run(parts.head.encode(X)), model(X))


def test_the_cheapest_set_by_hand():
    # s -> a (5) -> b (1) -> w (9); s -> c (2) -> w
    reads = {"w": "bc", "b": "a", "a": "s", "c": "s", "s": ""}
    costs = {"w": 9, "b": 1, "a": 5, "c": 2, "s": 4}
    assert cheapest({"w"}, reads.__getitem__, costs.__getitem__, "s".__eq__) == {"b", "c"}
    assert cheapest({"w"}, reads.__getitem__, {**costs, "s": 2}.__getitem__, "s".__eq__) == {"s"}
    assert cheapest({"w"}, reads.__getitem__, {**costs, "w": 3}.__getitem__, "s".__eq__) == {"w"}
    assert cheapest({"w"}, reads.__getitem__, dict.fromkeys("wabcs", INFINITE).__getitem__, "s".__eq__) is None


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        return self.tail(y) if y.sum() > -1 else y


def test_halves_by_hand_where_nothing_traces():
    model = Untraceable().eval()
    with pytest.raises(fc.LayerError, match="cannot be traced"):
        fc.export(model, "head", X)
    parts = fc.export(model, "the middle", X, head=model.head, tail=model.tail, codec="half")
    assert [(port.name, port.shape, port.codec.codec_id) for port in parts.head.ports] == [("feature", ("B", 6), "half")]
    with torch.no_grad():
        for x in (X, torch.randn(1, 4), torch.randn(5, 4)):
            assert torch.equal(model(x), parts.tail(parts.head(x)))
            assert torch.equal(model.tail(model.head(x).half().float()), parts.tail.run(parts.head.encode(x)))
    with pytest.raises(fc.LayerError, match="by hand both halves are modules, got head=Sequential and tail=NoneType"):
        fc.export(model, "head", X, head=model.head)
    with pytest.raises(fc.LayerError, match="halves do not give what Untraceable gives"):
        fc.export(model, "head", X, head=model.head, tail=nn.Linear(6, 2))


def test_halves_by_hand_of_several_tensors():
    class Before(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": x.sin(), "mask": x > 0}

    class Behind(nn.Module):
        def forward(self, y: Tensor, mask: Tensor) -> dict[str, Tensor | int]:
            return {"out": y.masked_fill(mask, 0.0), "length": y.shape[1]}

    class Whole(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor | int]:
            return Behind()(**Before()(x))

    whole = Whole()
    parts = fc.export(whole, "middle", torch.randn(2, 7), head=Before(), tail=Behind())
    x = torch.randn(3, 9)
    assert same(whole(x), parts.tail.run(parts.head.encode(x)))
    assert [port.name for port in parts.head.ports] == ["feature.y", "feature.mask"]
