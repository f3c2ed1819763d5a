"""Masks: the paper's matrices, where zeros go, what is dropped, and files."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.macs import profile
from featcodec.planning import shrink
from featcodec.planning.channel_rules import channel_graph
from featcodec.planning.importance import for_macs, in_each, l2_norms, over_all, smallest
from featcodec.planning.masks import Masks, apply, flow, masked, network_of
from featcodec.planning.pruning import ramp
from tests.planning.networks import NETWORKS, Counting, Grouped, Plain, Residual, conv, ready

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

# Shao et al., Fig. 2: columns are output channels; column 2 of the second matrix as its norms have it
ROUND_1 = [[0.25, 1.22, -0.98, 3.0], [-0.11, -2.45, 1.55, -1.5]]
ROUND_2 = [[0.25, 0.05, -0.04, -1.29], [-0.11, 0.17, -0.26, -1.6]]


def filters_of(matrix) -> torch.Tensor:
    return torch.tensor(matrix).T[:, :, None, None]


def test_the_matrices_of_the_paper():
    net = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.ReLU())
    graph = channel_graph(net, "1", torch.ones(1, 2, 3, 3))
    with torch.no_grad():
        net[0].weight.copy_(filters_of(ROUND_1))
    norms = l2_norms(net, graph)
    np.testing.assert_allclose(norms["0.weight"], [0.27, 2.74, 1.83, 3.35], atol=0.005)
    masks = Masks(network_of(graph), in_each(norms, 0.25))
    assert masks.filters["0.weight"].tolist() == [True, False, False, False]
    with masked(net, graph, masks), torch.no_grad():
        assert torch.equal(net[0].weight[0], torch.zeros(2, 1, 1))
        net[0].weight[1:] = filters_of(ROUND_2)[1:]  # trained meanwhile
    assert torch.equal(net[0].weight, filters_of(ROUND_2)), "the masked filter is what it was, the others as they were trained"
    norms = l2_norms(net, graph)
    np.testing.assert_allclose(norms["0.weight"], [0.27, 0.18, 0.26, 2.06], atol=0.005)
    assert in_each(norms, 0.5)["0.weight"].tolist() == [False, True, True, False]


def test_the_ramp_is_cubic():
    assert [ramp(0.8, i, 4) for i in (1, 2, 4)] == pytest.approx([0.8 * 37 / 64, 0.8 * 7 / 8, 0.8])


def some(graph, share=0.4):
    g = np.random.default_rng(5)
    scores = {step.parameters["weight"]: g.random(len(step.ids)) for step in graph.convolutions}
    return Masks(network_of(graph), in_each(scores, share))


@pytest.mark.parametrize(("network", "layer", "can_drop"), NETWORKS, ids=lambda v: getattr(v, "__name__", v))
def test_a_network_without_its_masked_filters_gives_the_same(network, layer, can_drop):
    net = ready(network)
    graph = channel_graph(net, layer, X)
    masks = some(graph)
    small = shrink(net, graph, masks, X)
    zeroed = copy.deepcopy(net)
    apply(zeroed, graph, masks)
    torch.testing.assert_close(small(X), zeroed(X), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(zeroed(X), net(X), atol=1e-3), "the masks must matter"
    before, after = (sum(p.numel() for p in n.parameters()) for n in (net, small))
    assert (after < before) is can_drop


@pytest.mark.parametrize(("network", "layer"), [row[:2] for row in NETWORKS], ids=lambda v: getattr(v, "__name__", v))
def test_nothing_masked_is_nothing_changed(network, layer):
    net = ready(network)
    graph = channel_graph(net, layer, X)
    small = shrink(net, graph, some(graph, 0.0), X)
    assert torch.equal(small(X), net(X))
    assert small.state_dict().keys() == net.state_dict().keys()
    assert flow(graph, {}).head_macs == graph.head_macs == profile(net, X).layers[layer].head_macs


def test_live_macs_are_those_of_the_smaller_network_where_all_can_go():
    net = ready(Plain)
    graph = channel_graph(net, "pool", X)
    masks = some(graph)
    small = shrink(net, graph, masks, X)
    assert flow(graph, masks.filters).head_macs == profile(small, X).layers["pool"].head_macs < graph.head_macs


def test_macs_of_masked_filters_by_hand():
    net = ready(Residual)
    graph = channel_graph(net, "cut", X)
    filters = {"a.0.weight": np.arange(12) < 3, "b.0.weight": np.arange(8) < 2}
    # 8 x 8 places, 3 x 3 kernels; b's two filters are masked, but the sum's channels live
    assert flow(graph, filters).head_macs == 64 * 9 * (3 * 8 + 8 * 9 + 9 * 6)


def test_a_residual_channel_goes_when_all_that_is_added_is_masked():
    net = ready(Residual)
    graph = channel_graph(net, "cut", X)
    both = {"stem.0.weight": np.arange(8) < 2, "b.0.weight": np.arange(8) < 1}
    small = shrink(net, graph, Masks(network_of(graph), both), X)
    assert (small.stem[0].out_channels, small.b[0].out_channels, small.c[0].in_channels) == (7, 7, 7)


def test_what_unknown_operations_touch_stays():
    net = ready(Grouped)
    graph = channel_graph(net, "four", X)
    small = shrink(net, graph, some(graph), X)
    assert [m[0].out_channels for m in (small.one, small.two)] == [8, 8]
    assert small.three[0].out_channels == 5


def test_code_that_counts_on_a_size_keeps_it():
    net = ready(Counting)
    graph = channel_graph(net, "one", X)
    assert shrink(net, graph, some(graph), X).one[0].out_channels == 8


def test_masked_elements_are_part_of_the_layer():
    net = ready(Residual)
    graph = channel_graph(net, "cut", X)
    elements = np.zeros(graph.feature_shape, bool)
    elements[1, 2, 3] = True
    keys = list(net.state_dict())
    features = []
    apply(net, graph, Masks(network_of(graph), {}, elements))
    with fc.insert(net, "cut", "raw") as cut:
        net.cut.register_forward_hook(lambda module, args, output: features.append(output))
        net(X)
        assert cut.stats.samples == 2
    assert (features[0][:, 1, 2, 3] == 0).all()
    assert torch.equal(copy.deepcopy(net)(X), net(X))
    assert [key for key in net.state_dict() if key not in keys] == ["cut.kept_elements"]
    apply(net, graph, Masks(network_of(graph)))
    assert list(net.state_dict()) == keys
    net(X)
    assert (features[-1][:, 1, 2, 3] != 0).any()


def test_elements_of_dropped_channels_go_with_them():
    net = nn.Sequential(conv(3, 8), conv(8, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    graph = channel_graph(net, "0", X)
    elements = np.random.default_rng(1).random(graph.feature_shape) < 0.3
    small = shrink(net, graph, Masks(network_of(graph), {"0.0.weight": np.arange(8) < 3}, elements), X)
    assert small[0].kept_elements.shape == (5, 8, 8)


def test_a_smaller_head_is_saved_in_a_head_s_file(tmp_path):
    net = ready(Residual)
    graph = channel_graph(net, "cut", X)
    elements = np.zeros(graph.feature_shape, bool)
    elements[:, 0] = True
    masks = Masks(network_of(graph), some(graph).filters, elements)
    small = shrink(net, graph, masks, X)
    for name, model in (("whole", net), ("small", small)):
        fc.export(model, "cut", X).save(tmp_path / f"{name}.fcz", tmp_path / f"{name}.tail.fcz")
    head, tail = fc.load_part(tmp_path / "small.fcz"), fc.load_part(tmp_path / "small.tail.fcz")
    assert torch.equal(tail(head(X)), small(X))
    assert (tmp_path / "small.fcz").stat().st_size < (tmp_path / "whole.fcz").stat().st_size


def test_masks_are_saved_and_read(tmp_path):
    graph = channel_graph(ready(Residual), "cut", X)
    masks = Masks(network_of(graph), some(graph).filters, np.random.default_rng(0).random(graph.feature_shape) < 0.5)
    masks.save(tmp_path / "masks.json")
    again = Masks.load(tmp_path / "masks.json", graph)
    assert all(np.array_equal(again.filters[name], mask) for name, mask in masks.filters.items())
    assert np.array_equal(again.elements, masks.elements)
    assert [path.name for path in tmp_path.iterdir()] == ["masks.json"]


def test_masks_of_another_network_are_refused_and_change_nothing(tmp_path):
    masks = some(channel_graph(ready(Plain), "pool", X))
    masks.save(tmp_path / "masks.json")
    net = ready(Residual)
    graph = channel_graph(net, "cut", X)
    before = net(X)
    for use in (apply, lambda *args: shrink(*args, X), lambda n, g, m: Masks.load(tmp_path / "masks.json", g)):
        with pytest.raises(fc.ConfigError, match="another network or cut"):
            use(net, graph, masks)
    with pytest.raises(fc.ConfigError, match="another network or cut"):
        masks.check(channel_graph(ready(Plain), "two", X))
    assert torch.equal(net(X), before)


def test_a_file_of_something_else_is_refused(tmp_path):
    graph = channel_graph(ready(Plain), "pool", X)
    for text in ("no", "[]", "{}", '{"network": "x", "filters": {"a": {"count": 2, "masked": [9]}}, "elements": null}'):
        (tmp_path / "masks.json").write_text(text)
        with pytest.raises(fc.ConfigError, match="holds no masks"):
            Masks.load(tmp_path / "masks.json", graph)


def test_a_network_with_a_codec_in_it_is_refused():
    net = ready(Plain)
    with fc.insert(net, "pool", "raw"), pytest.raises(fc.LayerError, match="carries a codec"):
        channel_graph(net, "pool", X)


def test_a_network_that_cannot_be_traced_is_refused():
    class Reading(Plain):
        def forward(self, x):
            return super().forward(x) if float(x.sum()) > 0 else x

    with pytest.raises(fc.LayerError, match="cannot be traced"):
        channel_graph(Reading(), "pool", X)


def test_a_layer_that_computes_nothing_is_refused():
    net = nn.Sequential(conv(3, 4), nn.Identity(), nn.Flatten(), nn.Linear(256, 2))
    with pytest.raises(fc.LayerError, match="computes something"):
        channel_graph(net, "1", X)


def test_the_smallest_are_chosen_and_one_is_kept():
    scores = np.array([3.0, 1.0, 1.0, 2.0])
    assert smallest(scores, 0.5).tolist() == [False, True, True, False]
    assert smallest(scores, 0.49).tolist() == [False, True, False, False]
    assert smallest(scores, 1.0).tolist() == [False, True, True, True]
    over = over_all({"a": np.array([9.0, 8.0, 7.0]), "b": np.array([1.0, 2.0])}, 0.9)
    assert {name: mask.tolist() for name, mask in over.items()} == {"a": [False, True, True], "b": [True, False]}


def test_a_share_that_saves_what_was_asked():
    net = ready(Plain)
    graph = channel_graph(net, "pool", X)
    norms = l2_norms(net, graph)
    share, filters = for_macs(graph, 0.3, lambda s: in_each(norms, s))
    assert flow(graph, filters).head_macs <= 0.7 * graph.head_macs < flow(graph, in_each(norms, share - 0.001)).head_macs
    with pytest.raises(fc.ConfigError, match=r"at most .* can be saved, wanted 99"):
        for_macs(graph, 0.99, lambda s: in_each(norms, s))


def test_a_masked_model_is_saved_with_its_state():
    net = ready(Residual)
    graph = channel_graph(net, "cut", X)
    apply(net, graph, some(graph))
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    again = ready(Residual)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(X), net(X))
