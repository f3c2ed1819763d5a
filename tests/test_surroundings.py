"""What surrounds a codec in ordinary torch: tracers, compilers, inference mode, quantisation, adapters, other tensors."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import featcodec as fc
from featcodec.features import check_layout
from tests.awkward_models import Image, Layer, Shortcut, images

pytestmark = pytest.mark.usefixtures("one_thread")
REMEDY = r"cut the model with featcodec\.split, then trace its parts"
SPECS = ("huffman:bits=4", "dsc:maps=6,reduced=2", "raw")


def net() -> Image:
    torch.manual_seed(0)
    return Image(Layer()).eval()


# ---- tracing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("tracer", ["trace", "export", "fx", "make_fx", "vmap", "grad", "script"])
def test_what_cannot_be_traced_says_so_in_one_text(spec, tracer):
    model, x = net(), images()
    ways = {
        "trace": lambda: torch.jit.trace(model, x),
        "export": lambda: torch.export.export(model, (x,), strict=False),
        "fx": lambda: torch.fx.Tracer().trace(model),
        "make_fx": lambda: make_fx(model)(x),
        "vmap": lambda: torch.func.vmap(lambda row: model(row[None]))(x),
        "grad": lambda: torch.func.grad(lambda y: model(y).sum())(x),
        "script": lambda: torch.jit.script(model),
    }
    with fc.insert(model, "layer", spec), pytest.raises(fc.FeatureTypeError, match=REMEDY):
        ways[tracer]()


@pytest.mark.parametrize("strict", [True, False])
def test_a_whole_graph_that_is_wanted_fails_in_the_same_words(strict):
    model, x = net(), images()
    with fc.insert(model, "layer", "raw"), pytest.raises(Exception, match=REMEDY):
        torch.export.export(model, (x,), strict=True) if strict else torch.compile(model, backend="eager", fullgraph=True)(x)
    torch.compiler.reset()


def test_the_parts_of_a_split_are_traced_without_the_codec():
    model, x = net(), images()
    head, tail = fc.split(model, "layer", x)
    traced = torch.jit.trace(head, x, check_trace=False)
    assert torch.equal(tail(traced(x)), model(x))


def test_other_kinds_of_tensors_are_refused_by_their_kind():
    dense = torch.rand(2, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = {
            "nested": torch.nested.nested_tensor([torch.rand(3, 4), torch.rand(2, 4)]),
            "sparse": dense.to_sparse(),
            "quantised": torch.quantize_per_tensor(dense, 0.1, 0, torch.quint8),
            "meta": dense.to("meta"),
        }
    for codec in map(fc.get_codec, ("raw", "huffman", "dsc:maps=3")):
        for kind, x in kinds.items():
            for call in (codec.encode, codec, codec.eval(), codec.train()):
                with pytest.raises(fc.FeatureTypeError, match=f"got a {kind} tensor"):
                    call(x)
    with torch._subclasses.FakeTensorMode() as mode, pytest.raises(fc.FeatureTypeError, match="got a fake tensor"):
        check_layout(mode.from_tensor(dense))


# ---- compiled code ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_code_learns_of_codecs_that_come_and_go(backend):
    torch.compiler.reset()
    model, x = net(), images()
    with torch.no_grad():
        compiled = torch.compile(model, backend=backend)
        plain = compiled(x)
        with fc.insert(model, "layer", "bitpack:bits=1") as cut:
            coarse = compiled(x)
            assert cut.stats.samples == 3
            torch.testing.assert_close(coarse, model(x))
            assert not torch.allclose(coarse, plain, atol=1e-4)
        torch.testing.assert_close(compiled(x), plain)
        # a fresh instance of a class that has been compiled without one
        other = net()
        with fc.insert(other, "layer", "bitpack:bits=1") as cut:
            torch.testing.assert_close(torch.compile(other, backend=backend)(x), coarse)
            assert cut.stats.samples == 3
            torch.testing.assert_close(compiled(x), plain)
            assert cut.stats.samples == 3
    torch.compiler.reset()


def test_evaluate_after_a_compiled_run_measures_the_codec():
    torch.compiler.reset()
    model, x = net(), images()
    batches = [(x, torch.tensor([0, 1, 2]))]
    compiled = torch.compile(model, backend="eager")
    plain = fc.evaluate(compiled, batches)
    report = fc.evaluate(compiled, batches, layer="layer", codec="bitpack:bits=1")
    assert report.stats["samples"] == plain.samples == 3
    torch.compiler.reset()


# ---- inference mode, pickles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["huffman:bits=4,tables=static", "entropic:maps=6", "ldpc", "vfe:maps=6,height=8,width=8"])
def test_codecs_that_are_built_loaded_and_copied_in_inference_mode(spec, tmp_path):
    x = torch.relu(torch.randn(2, 6, 8, 8))
    outside = fc.get_codec(spec).eval().calibrate(x)
    with torch.inference_mode():
        built = type(outside)(**{k: v for k, v in outside.config().items() if k != "id"}).eval()
        built.load_state_dict(outside.state_dict())
        outside.save(tmp_path / "codec.safetensors")
        codecs = [built, copy.deepcopy(outside), fc.load_codec(tmp_path / "codec.safetensors"), copy.deepcopy(built)]
        wanted = [p.to_bytes() for p in outside.encode(x)]
        for codec in codecs:
            assert [p.to_bytes() for p in codec.encode(x)] == wanted
            assert torch.equal(codec.decode(wanted), outside.decode(wanted))
        # tables that are made anew there are the ones that are used
        other = torch.relu(torch.randn(2, 6, 8, 8) - 1)
        assert [p.to_bytes() for p in codecs[0].calibrate(other).encode(x)] == [
            p.to_bytes() for p in codecs[2].calibrate(other).encode(x)
        ]
    if outside.learned:
        codecs[1].train()(x.clone().requires_grad_()).sum().backward()


def test_a_model_with_a_protected_codec_is_saved_whole():
    model, x = net(), images()
    with fc.insert(model, "layer", "ldpc:inner=(bitpack:bits=4),rate=3/4"), torch.no_grad():
        file = io.BytesIO()
        torch.save(model, file)
        again = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
        twin = pickle.loads(pickle.dumps(model))
        assert torch.equal(again(x), model(x))
        assert torch.equal(twin(x), model(x))
        assert fc.insertion_at(again, "layer").stats.samples == 3


# ---- hosts, devices ---------------------------------------------------------------------------------------------------------


def test_an_empty_sequential_carries_no_codec_that_it_would_run():
    model = Shortcut().eval()
    x = images()
    with torch.no_grad():
        plain = model(x)
        for layer in ("shortcut", "conv"):
            with fc.insert(model, layer, "raw") as cut:
                assert torch.equal(model(x), plain)
                assert cut.crossed == 1
                assert not list(model.shortcut.children())
        empty = nn.Sequential(nn.Sequential(), nn.Sequential()).eval()
        with fc.insert(empty, "0", "raw") as cut:
            assert torch.equal(empty(x), x)
            assert (cut.crossed, cut.stats.samples) == (1, 3)


class Adapter(nn.Module):
    """What adapters do: take a layer's place, and keep it inside."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base

    def forward(self, x):
        return self.base_layer(x) * 2


def test_an_adapter_around_the_module_that_carries_the_codec():
    model, x = net(), images()
    with torch.no_grad(), fc.insert(model, "layer", "raw") as cut:
        plain = model.layer(x)
        model.layer.conv = Adapter(model.layer.conv)
        assert torch.equal(model.layer(x), 2 * plain)
        assert cut.crossed == 2
    assert not any(isinstance(m, fc.Codec) for m in model.modules())


def test_a_carrier_or_a_layer_that_was_replaced_is_named():
    x = images()
    model = net()
    with torch.no_grad(), fc.insert(model, "layer", "raw"):
        model.layer.conv = nn.Conv2d(3, 6, 1)
        with pytest.raises(fc.LayerError, match="carried codec 'raw' was replaced"):
            model(x)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    with torch.no_grad():
        cut = fc.insert(model, "1", "raw")
        model[1] = nn.Linear(192, 4)
        with pytest.raises(fc.LayerError, match=r"not at layer '1' of this model: .* replaced after insert"):
            model(x)
        cut.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), nn.ReLU()).eval()
        with torch.no_grad(), fc.insert(model, "0.1", "raw"), pytest.raises(fc.LayerError, match="replaced after insert"):
            torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, inplace=True)(x)


def test_a_learned_codec_goes_where_the_layer_is():
    model, x = net(), images()
    model.offloaded = nn.Linear(3, 3, device="meta")  # as a loader that offloads leaves what is elsewhere
    model._modules = {"offloaded": model._modules.pop("offloaded"), **model._modules}
    assert next(model.parameters()).is_meta
    for spec in ("dsc:maps=6,reduced=2", "ldpc:inner=(bottlenet++:maps=6,reduced=2)"):
        codec = fc.get_codec(spec)
        assert codec.learned
        with torch.no_grad(), fc.insert(model, "layer", codec) as cut:
            model(x)
            assert cut.crossed == 1
            assert not any(p.is_meta for p in codec.parameters())


# ---- layouts, empty batches, what is missed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["dsc:maps=5,reduced=2", "raw", "huffman:bits=4", "jscc:maps=5,height=7,width=1,symbols=4"])
def test_outputs_lie_in_memory_as_the_feature_does(spec):
    codec = fc.get_codec(spec)
    tokens = torch.randn(2, 7, 5)
    for x in (tokens, tokens.transpose(1, 2).contiguous().transpose(1, 2)):
        for training in (False, True):
            for wants in (False, True):
                y = codec.train(training)(x.clone(memory_format=torch.preserve_format).requires_grad_(wants))
                assert y.stride() == x.stride()
                if x is tokens:
                    y.view(2, 35)


@pytest.mark.parametrize("spec", SPECS)
def test_an_empty_batch_is_handed_on(spec):
    model = net()
    with fc.insert(model, "layer", spec) as cut:
        for training in (False, True):
            model.train(training)
            out = model(torch.zeros(0, 3, 8, 8))
            assert out.shape == (0, 4)
            out.sum().backward()
        assert cut.stats.samples == 0
    assert fc.get_codec("huffman").encode(torch.zeros(0, 3, 4)) == []


class Unused(nn.Module):
    """A projection that a fused kernel reads and never calls, a list, and a module used through its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 1, batch_first=True)
        self.layers = nn.ModuleList([nn.Linear(6, 6)])
        self.direct = nn.Linear(6, 6)

    def forward(self, x):
        y = self.attention(x, x, x)[0]
        return self.direct.forward(self.layers[0](y)).mean(1)


@pytest.mark.parametrize("layer", ["attention.out_proj", "layers", "direct"])
def test_where_nothing_crosses_somebody_is_told(layer):
    model, x = Unused().eval(), torch.randn(3, 5, 6)
    with pytest.warns(RuntimeWarning, match=f"never called layer '{layer}'"), fc.insert(model, layer, "raw"):
        model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fc.insert(model, layer, "raw"):
            pass
    with pytest.raises(fc.LayerError, match=layer):
        fc.evaluate(model, [(x, torch.zeros(3, dtype=torch.long))], layer=layer, codec="raw")


def test_a_leading_axis_that_is_no_batch_warns_once():
    model = nn.Sequential(nn.LSTM(5, 6, 4, batch_first=True)).eval()
    x = torch.randn(3, 7, 5)
    with torch.no_grad(), fc.insert(model, "0", "raw", tensors="1.0") as cut:
        with pytest.warns(RuntimeWarning, match=r"gives 4 along axis 0, the model was called with a batch of 3: .*batch_axis="):
            model(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(x)
        assert cut.stats.samples == 6
    for bad in (True, -1, "1"):
        with pytest.raises(fc.ConfigError, match="batch_axis is an axis"):
            fc.insert(model, "0", "raw", batch_axis=bad)
    with fc.insert(model, "0", "raw", tensors="1.0", batch_axis=3), pytest.raises(fc.FeatureError, match="batch_axis is 3"):
        model(x)


def test_what_crosses_and_what_does_not_is_told():
    model = Image(Layer(lambda y: {"a": y, "n": y.long(), "loss": y.mean(), "k": object()}), lambda out: out["a"]).eval()
    with torch.no_grad(), fc.insert(model, "layer", "raw") as cut:
        model(images())
        assert cut.uncoded == ("n: int64 (3, 6, 8, 8)", "loss: float32 ()", "k: object")
    with torch.no_grad(), fc.insert(model, "layer", "raw", tensors=["loss"]), pytest.raises(fc.FeatureTypeError) as caught:
        model(images())
    assert "returns no tensor that can cross at 'loss'; it returns a: float32 (3, 6, 8, 8), n: int64" in str(caught.value)
    for bad in ([], "", 1.5, [None], True):
        with pytest.raises(fc.ConfigError, match="tensors are an index, a key or a path"):
            fc.insert(model, "layer", "raw", tensors=bad)


def test_pixels_that_are_not_known_are_none_and_never_another_image_s():
    model = net()
    with torch.no_grad(), fc.insert(model, "layer", "raw") as cut:
        model(images())
        bits = cut.stats.bits_per_sample
        assert cut.stats.bpp == pytest.approx(bits / 64)
        model(torch.randn(1, 3, 16, 8))
        assert cut.stats.bpp == pytest.approx((3 * bits + cut.stats._sum.wire_bits - 3 * bits) / (3 * 64 + 128))
        model.layer(images())
        assert cut.stats.bpp is None
        assert cut.stats.samples == 7
        cut.stats.reset()
        with pytest.raises(RuntimeError):
            model(torch.randn(1, 5, 8, 8))  # fails before the layer gives anything
        model.layer(images())
        assert (cut.stats.bpp, cut.stats.samples) == (None, 3)


def test_a_million_crossings_take_no_more_memory_than_a_few_thousand():
    from featcodec.stats import Crossing, Stats

    stats = Stats()
    for i in range(20_000):
        stats.add(
            Crossing(samples=2, elements=10, wire_bits=80, payload_bits=70, encode_s=2e-3 * (i % 100), decode_s=1e-3, pixels=8)
        )
    small = len(pickle.dumps(stats))
    for i in range(60_000):
        stats.add(
            Crossing(samples=2, elements=10, wire_bits=80, payload_bits=70, encode_s=2e-3 * (i % 100), decode_s=1e-3, pixels=8)
        )
    assert len(pickle.dumps(stats)) <= small + 64
    assert (stats.samples, stats.bits_per_sample, stats.bpp) == (160_000, 40, 10)
    assert stats.encode_ms == pytest.approx(49.5, abs=4)
    assert stats.decode_ms == stats.decode_ms_p95 == 0.5


def test_times_are_those_of_every_sample():
    from featcodec.stats import Crossing, Stats

    rng = np.random.default_rng(0)
    stats, times = Stats(), []
    for _ in range(200):
        samples, seconds = int(rng.integers(1, 9)), float(rng.random())
        stats.add(Crossing(samples=samples, elements=1, encode_s=seconds))
        times += [seconds / samples * 1e3] * samples
    assert stats.encode_ms == pytest.approx(np.percentile(times, 50))
    assert stats.encode_ms_p95 == pytest.approx(np.percentile(times, 95))


def test_reentrant_checkpointing_is_refused_with_the_remedy_where_losses_would_be_lost():
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.layer, self.reentrant = Layer(), reentrant

        def forward(self, x):
            return checkpoint(self.layer, x, use_reentrant=self.reentrant)

    x = images().requires_grad_()
    for reentrant in (True, False):
        model = Checkpointed(reentrant).train()
        with fc.insert(model, "layer", "bitpack:bits=4"):
            model(x).sum().backward()
        with fc.insert(model, "layer", "dsc:maps=6,reduced=2") as cut:
            if reentrant:
                with pytest.raises(RuntimeError, match="pass use_reentrant=False"):
                    model(x)
                continue
            for _ in range(2):
                y = model(x)
                losses = cut.codec.losses()
                assert set(losses) == {"rate"}
                (y.sum() + losses["rate"]).backward()


def test_losses_of_all_tensors_and_calls_of_a_forward_add_up():
    from tests.awkward_models import SharedHead, pyramid

    torch.manual_seed(0)
    model, x = SharedHead().train(), images()
    with fc.insert(model, "head", "dsc:maps=6,reduced=2,step=0.1") as cut:
        model(x)
        together = cut.codec.losses()["rate"]
        assert cut.codec.losses() == {}
        alone = 0.0
        for level in pyramid(model.stem(x)).values():
            model.head(level)
            alone = alone + cut.codec.losses()["rate"]
    assert torch.allclose(together, alone, rtol=1e-4)


def test_fingerprints_tell_weights_apart_where_packets_do_not(tmp_path):
    torch.manual_seed(0)
    a, b = (fc.get_codec("bottlenet++:maps=6,reduced=2").eval() for _ in range(2))
    assert a.config_crc() == b.config_crc()
    assert a.fingerprint() != b.fingerprint()
    b.load_state_dict(a.state_dict())
    assert a.fingerprint() == b.fingerprint() == copy.deepcopy(a).fingerprint()
    assert len(a.fingerprint()) == 32
    assert fc.get_codec("huffman:bits=4").fingerprint() != fc.get_codec("huffman:bits=5").fingerprint()
    a.save(tmp_path / "a.safetensors")
    assert fc.load_codec(tmp_path / "a.safetensors", fingerprint=a.fingerprint()).fingerprint() == a.fingerprint()
    with pytest.raises(fc.ConfigError, match=f"holds a codec with the fingerprint {a.fingerprint()}, wanted 00"):
        fc.load_codec(tmp_path / "a.safetensors", fingerprint="00")
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[-3] ^= 1
    (tmp_path / "b.safetensors").write_bytes(data)
    with pytest.raises(fc.ConfigError, match="is damaged: its fingerprint is"):
        fc.load_codec(tmp_path / "b.safetensors")


def test_the_clock_is_read_when_the_feature_s_device_has_done_its_work(monkeypatch):
    from featcodec.ops import clock

    waited = []

    class Accelerator:
        @staticmethod
        def synchronize(device):
            waited.append(str(device))

    monkeypatch.setattr(torch, "get_device_module", lambda device: Accelerator)
    first = clock.now(torch.device("cpu"))
    assert waited == []
    assert clock.now(torch.device("cuda:1")) >= first
    assert waited == ["cuda:1"]
