"""Every awkward model with classical and learned codecs: values, gradients, figures; in training, evaluated, split, copied."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec import macs, planning, training
from featcodec.inputs import batch_size, call, pixels
from featcodec.insertion import feature_shape
from featcodec.outputs import Wanted, leaves, same
from tests.awkward_models import MODELS, Awkward

pytestmark = pytest.mark.usefixtures("one_thread")
each = pytest.mark.parametrize("name", MODELS)
# learned codecs take features of one shape and of three axes; these give several, or other ones
SEVERAL_SHAPES = {"defaultdict", "lstm state"}
CODECS = ("raw", "bitpack:bits=6", "dsc:reduced=2,step=0.05")
both = pytest.mark.parametrize("codec", CODECS, ids=lambda spec: spec.partition(":")[0])


def built(case: Awkward, training: bool) -> nn.Module:
    torch.manual_seed(0)
    return case.build().train(training)


def put(model: nn.Module, case: Awkward, codec: str) -> fc.Insertion:
    torch.manual_seed(1)
    example = case.inputs if codec.startswith("dsc") else None
    return fc.insert(model, case.layer, codec, example=example, **case.options)


def skips(name: str, codec: str) -> bool:
    return codec.startswith("dsc") and name in SEVERAL_SHAPES


@each
@both
def test_values_and_figures_without_gradients(name, codec):
    """A codec that loses nothing changes nothing; what was sent is what codecs by hand send, added up."""
    case = MODELS[name]
    if skips(name, codec):
        return
    model = built(case, False)
    with torch.no_grad():
        plain = call(model, case.inputs)
        seen = []
        wanted = Wanted.of(case.options.get("tensors"))
        axis = case.options.get("batch_axis", 0)

        def look(_, __, output):
            seen.extend(leaf.movedim(axis, 0).clone() for path, leaf in leaves(output) if wanted.takes(path, leaf))

        handle = model.get_submodule(case.layer).register_forward_hook(look)
        with warnings.catch_warnings(), put(model, case, codec) as cut:
            warnings.simplefilter("error")
            seen.clear()  # an example may have run
            out = call(model, case.inputs)
            handle.remove()
            packets = [p for x in seen for p in cut.codec.encode(x)]
            assert (cut.crossed, cut.stats.crossings) == (case.features, 1)
            assert cut.stats.samples == 3
            assert cut.stats.bits_per_sample == sum(p.num_bits for p in packets) / 3
            assert cut.stats.elements_per_sample == sum(p.num_elements for p in packets) / 3
            known = pixels(case.inputs)
            assert cut.stats.bpp == (None if known is None else sum(p.num_bits for p in packets) / known)
            call(model, case.inputs)
            assert (cut.stats.samples, cut.stats.bits_per_sample) == (6, sum(p.num_bits for p in packets) / 3)
        assert type(out) is type(plain)
        if codec == "raw":
            assert same(out, plain)
        assert same(call(model, case.inputs), plain), "removed, it is what it was"


@each
@both
@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_the_head_and_the_codec(name, codec, training):
    case = MODELS[name]
    if skips(name, codec):
        return
    model = built(case, training)
    with put(model, case, codec) as cut:
        cut.codec.train(training)
        logits = case.logits(call(model, case.inputs))
        assert logits.shape == (3, 4)
        losses = cut.codec.losses()
        assert bool(losses) == (training and codec.startswith("dsc"))
        (logits.square().sum() + sum(losses.values())).backward()
        before = [p for p in model.get_submodule(case.layer).parameters() if not any(p is q for q in cut.codec.parameters())]
        assert not before or any(p.grad is not None and p.grad.any() for p in before)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
        if codec.startswith("dsc") and training:
            assert any(p.grad is not None and p.grad.any() for p in cut.codec.parameters())


@each
def test_gradients_of_a_lossless_codec_are_the_model_s_own(name):
    case = MODELS[name]
    grads = []
    for codec in (None, "raw"):
        model = built(case, False)
        cut = None if codec is None else put(model, case, codec)
        case.logits(call(model, case.inputs)).square().sum().backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        if cut is not None:
            cut.remove()
    assert grads[0].keys() == grads[1].keys()
    assert all(torch.equal(grads[0][n], grads[1][n]) for n in grads[0])


@each
def test_evaluated(name):
    case = MODELS[name]
    model = built(case, True)
    modes = [m.training for m in model.modules()]

    def score(out, targets):
        return (case.logits(out).argmax(1) == targets).float()

    targets = torch.tensor([0, 1, 2])
    batches = [(case.inputs, targets)] * 2
    plain = fc.evaluate(model, batches, metric=score)
    report = fc.evaluate(model, batches, layer=case.layer, codec="raw", metric=score) if not case.options else None
    assert [m.training for m in model.modules()] == modes
    assert plain.samples == 6 if batch_size(case.inputs) == 3 else plain.samples
    if report is not None:
        assert (report.samples, report.metric) == (6, plain.metric)
        assert report.stats["samples"] == 6


@each
def test_split_where_it_is_a_cut(name):
    case = MODELS[name]
    model = built(case, False)
    if not case.is_cut:
        with pytest.raises(fc.LayerError, match=rf"is called {case.features} times in one forward pass"):
            fc.split(model, case.layer, case.inputs)
        return
    head, tail = fc.split(model, case.layer, case.inputs)
    copies = copy.deepcopy((head, tail))
    with torch.no_grad():
        wanted = call(model, case.inputs)
        assert same(tail(call(head, case.inputs)), wanted)
        assert same(copies[1](call(copies[0], case.inputs)), wanted)


@each
@both
def test_copies_have_their_own_codec(name, codec):
    case = MODELS[name]
    if skips(name, codec):
        return
    model = built(case, False)
    with put(model, case, codec) as cut, torch.no_grad():
        twin = copy.deepcopy(model)
        other = fc.insertion_at(twin, case.layer)
        assert other is not cut
        assert other.codec is not cut.codec
        assert same(call(twin, case.inputs), call(model, case.inputs))
        assert (cut.stats.samples, other.stats.samples) == (3, 3)
        other.remove()
        assert fc.insertion_at(model, case.layer) is cut
        assert not any(isinstance(m, fc.Codec) for m in twin.modules())


@each
def test_shapes_by_example(name):
    case = MODELS[name]
    model = built(case, False)
    shape = feature_shape(
        model, case.layer, case.inputs, Wanted.of(case.options.get("tensors")), case.options.get("batch_axis", 0)
    )
    assert math.prod(shape) > 0


ROWS = [(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64))]
TAKES_A_MODEL = {
    "insert": lambda model: fc.insert(model, "0", "raw"),
    "insertion_at": lambda model: fc.insertion_at(model, "0"),
    "split": lambda model: fc.split(model, "0", ROWS[0][0]),
    "export": lambda model: fc.export(model, "0", ROWS[0][0]),
    "evaluate": lambda model: fc.evaluate(model, ROWS),
    "macs": lambda model: macs.profile(model, ROWS[0][0]),
    "profile": lambda model: planning.profile(model, ROWS[0][0]),
    "prune": lambda model: planning.prune(model, "0", ROWS, planning.Pruning(filters=0.5)),
    "fit": lambda model: training.fit(model, None, ROWS, training.bottleneck_only(1)),
}


@pytest.mark.parametrize("name", TAKES_A_MODEL)
@pytest.mark.parametrize("wrong", ["resnet20", None, nn.Linear], ids=["name", "none", "class"])
def test_what_is_no_model_is_said(name, wrong):
    with pytest.raises(fc.LayerError, match=f"the model is a torch.nn.Module, got {type(wrong).__name__}"):
        TAKES_A_MODEL[name](wrong)
