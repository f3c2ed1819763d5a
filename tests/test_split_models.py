"""split where more than the layer's output crosses, and where the code around the layer reads shapes or is odd."""

from __future__ import annotations

import functools
import math
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import featcodec as fc
from featcodec.inputs import call, tensors
from featcodec.outputs import leaves, same
from tests.split_models import CASES, UNet, images

each = pytest.mark.parametrize("name", CASES)


@functools.cache
def parts_of(name: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    build, layer, example, _, _ = CASES[name]
    torch.manual_seed(0)
    model = build().eval()
    return model, *fc.split(model, layer, example)


@each
def test_what_crosses_is_the_live_set(name):
    _, head, tail = parts_of(name)
    crossing = call(head, CASES[name][2])
    values = crossing if isinstance(crossing, tuple) else (crossing,)
    assert [tuple(v.shape) if isinstance(v, Tensor) else v for v in values] == CASES[name][3]
    assert isinstance(crossing, Tensor) == (len(CASES[name][3]) == 1)
    assert len([n for n in tail.graph.nodes if n.op == "placeholder"]) == 1


@each
def test_other_batches_and_sizes(name):
    model, head, tail = parts_of(name)
    with torch.no_grad():
        for inputs in (CASES[name][2], *CASES[name][4]):
            assert same(tail(call(head, inputs)), call(model, inputs))


@each
def test_parts_train_as_the_model_does(name):
    model, head, tail = parts_of(name)
    grads = []
    for run in (lambda: call(model, CASES[name][2]), lambda: tail(call(head, CASES[name][2]))):
        model.zero_grad()
        outputs = [leaf for _, leaf in leaves(run()) if isinstance(leaf, Tensor)]
        sum(x.square().sum() for x in outputs).backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys() != set()
    assert all(torch.equal(grads[0][n], grads[1][n]) for n in grads[0])


@pytest.mark.parametrize("name", ["padded by size", "u-net", "windows"])
def test_parts_go_through_pickle(name):
    model, head, tail = parts_of(name)
    head, tail = pickle.loads(pickle.dumps((head, tail)))
    with torch.no_grad():
        assert same(tail(call(head, CASES[name][2])), call(model, CASES[name][2]))


@pytest.mark.parametrize("name", ["segmentation", "u-net", "tokens"])
def test_parts_compile(name):
    model, head, tail = parts_of(name)
    torch.compiler.reset()
    head, tail = (torch.compile(part, backend="eager", fullgraph=True) for part in (head, tail))
    with torch.no_grad():
        wanted, got = call(model, CASES[name][2]), tail(call(head, CASES[name][2]))
    torch.compiler.reset()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(tensors(got), tensors(wanted), strict=True))


def test_what_the_tail_makes_is_made_where_its_feature_is():
    _, _, tail = parts_of.__wrapped__("tokens")
    with torch.device("meta"):
        feature = torch.empty(2, 5, 8)
    assert tail.to_empty(device="meta")(feature)["logits"].device.type == "meta"


class Odd(nn.Module):
    """A layer, and something odd around it."""

    def __init__(self, do: Callable[[Odd, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.do = nn.Linear(4, 4), nn.Linear(4, 4), do
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Any:
        return self.do(self, x)


def adds_later(net: Odd, x: Tensor) -> Tensor:
    kept = net.b(x)
    row = kept[0]
    y = net.a(x)
    row += y[0]  # changes what `kept` holds
    return kept + y


def writes_items(net: Odd, x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 2, 4)
    out[:, 0] = x
    y = net.a(x)
    out[:, 1] = y
    return out.sum(1)


def gives_its_input(net: Odd, x: Tensor) -> Tensor:
    y = net.a(x)
    return y.contiguous() + net.b(y.to(torch.float32))


def unpacks(net: Odd, x: Tensor) -> Any:
    y = net.a(x)
    values, places = y.max(dim=1)
    left, right = y.chunk(2, dim=1)
    return values, places, [left, {"right": right}], y.shape, x.dtype, y.T


def computes(net: Odd, x: Tensor) -> Tensor:
    rows, columns = x.shape
    y = net.a(x).reshape(columns, rows).expand(rows // 2 + 2, -1, -1)
    return y * rows / columns**2 + (10 - rows) + -rows % 7 + math.floor(rows / 3) + abs(rows - 20) + y.numel() * 1e-3


def reads_constants(net: Odd, x: Tensor) -> Tensor:
    steps = torch.arange(3).tolist()
    return net.a(x) * steps[2] + int(net.seen.sum()) if bool(net.seen.any()) is False else x


def reads_positions(net: Odd, x: Tensor) -> Tensor:
    places = torch.arange(x.shape[0])
    return net.a(x) if bool((places >= 0).all()) else x


ODD = [adds_later, writes_items, gives_its_input, unpacks, computes, reads_constants, reads_positions]


@pytest.mark.parametrize("do", ODD, ids=lambda do: do.__name__)
def test_odd_code_around_the_layer(do):
    model = Odd(do).eval()
    head, tail = fc.split(model, "a", images(2, 4))
    with torch.no_grad():
        for inputs in (images(2, 4), images(6, 4), images(1, 4)):
            assert same(tail(head(inputs)), model(inputs))


def loops(net: Odd, x: Tensor) -> Tensor:
    return torch.stack([net.b(row) for row in net.a(x)])


def hands_on_an_object(net: Odd, x: Tensor) -> Tensor:
    cache = threading.Event()
    return net.b(net.a(x), cache=cache)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 3


def gradient_of_its_own(net: Odd, x: Tensor) -> Tensor:
    return Doubled.apply(net.a(x))


REFUSED = {
    loops: "calls 'b'|meets",
    hands_on_an_object: "hands on a Event, which a graph cannot hold",
    gradient_of_its_own: "calls Doubled, whose gradient is its own",
}


class Takes(nn.Module):
    def forward(self, x: Tensor, cache: Any = None) -> Tensor:
        return x


@pytest.mark.parametrize("do", REFUSED, ids=lambda do: do.__name__)
def test_refused_for_a_reason(do):
    model = Odd(do)
    if do is hands_on_an_object:
        model.b = Takes()
    with pytest.raises(fc.LayerError, match=REFUSED[do]):
        fc.split(model, "a", images(2, 4))


class Tall(nn.Module):
    """Goes by the height of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y) if x.shape[2] > 5 else y


def test_sizes_that_the_code_goes_by_are_checked():
    model = Tall().eval()
    head, tail = fc.split(model, "a", images(2, 3, 9, 9))
    with torch.no_grad():
        assert torch.equal(tail(head(images(1, 3, 7, 30))), model(images(1, 3, 7, 30)))
        with pytest.raises(fc.LayerError, match="its code meets True, it meets False now"):
            head(images(1, 3, 4, 9))


def scans(net: Odd, x: Tensor) -> Tensor:
    y, state = net.a(x), torch.zeros(len(x), 4)
    for t in range(x.shape[1]):
        state = state / 2 + y[:, t]
    return state


def test_a_length_that_the_code_loops_by_is_fixed():
    model = Odd(scans).eval()
    head, tail = fc.split(model, "a", images(2, 3, 4))
    with torch.no_grad():
        assert torch.equal(tail(head(images(5, 3, 4))), model(images(5, 3, 4)))
        with pytest.raises(fc.LayerError, match="its code meets 3, it meets 6 now"):
            tail(head(images(2, 6, 4)))


def test_hooks_around_the_layer_leave_no_trace():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Linear(4, 4))
    seen: list[int] = []
    model[0].register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    head, tail = fc.split(model, "0.0", images(2, 4))
    with torch.no_grad():
        assert torch.equal(tail(head(images(5, 4))), model(images(5, 4)))
    assert set(seen) == {2, 3, 5}
    for place in (model, model[0]):
        handle = place.register_forward_hook(lambda *args: args[2] * 2)
        with pytest.raises(fc.LayerError, match="a hook of Sequential changes what it gives"):
            fc.split(model, "0.0", images(2, 4))
        handle.remove()
    model[0].register_forward_pre_hook(lambda _, args: args[0] + 1)
    with pytest.raises(fc.LayerError, match="a hook of Sequential changes what it is given"):
        fc.split(model, "0.0", images(2, 4))


class Collage(nn.Module):
    """A list of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)

    def forward(self, pictures: list[Tensor], *, scale: float = 1.0) -> Tensor:
        return self.a(torch.stack(pictures)) * scale


def test_lists_are_as_long_as_the_example_s():
    model = Collage().eval()
    head, tail = fc.split(model, "a", {"pictures": [*images(4, 3, 5, 5)], "scale": 0.5})
    with torch.no_grad():
        other = {"pictures": [*images(4, 3, 7, 6)], "scale": 0.3}
        assert torch.equal(tail(head(**other)), model(**other))
        with pytest.raises(fc.LayerError, match="its code meets 4, it meets 5 now"):
            head([*images(5, 3, 5, 5)], scale=0.5)


def test_cached_features_need_a_cut_where_nothing_else_crosses():
    from featcodec.training.paths import TailPath

    with pytest.raises(fc.LayerError, match=r"'mid' cannot be trained from cached features: .* needs float32 \(2, 4, 21, 18\)"):
        TailPath(UNet(), "mid", (), None, images(2, 3, 21, 18))


def test_torch_is_left_as_it_was_and_threads_wait_for_one_another():
    before = nn.Module.__call__, torch.autograd.Function.__dict__["apply"], torch.compiler.is_compiling, globals().get("len")
    failed: list[BaseException] = []

    def work(name: str) -> None:
        try:
            model, head, tail = parts_of.__wrapped__(name)
            with torch.no_grad():
                assert same(tail(call(head, CASES[name][2])), call(model, CASES[name][2]))
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("u-net", "tokens, padded", "windows") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    after = nn.Module.__call__, torch.autograd.Function.__dict__["apply"], torch.compiler.is_compiling, globals().get("len")
    assert before == after
