"""insert: its manners, on the real network and on awkward ones."""

from __future__ import annotations

import collections
import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec.codec import Codec

COARSE = "huffman:bits=3"


class Scale(Codec):
    """A codec with one weight, to see parameters come and go; on the real path it sends float32."""

    codec_id = "scale"

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.zeros(3, dtype=torch.int64))

    def encode_payload(self, x):
        return x.reshape(-1).view(np.uint8)

    def decode_payload(self, payload, shape):
        return payload.view(np.float32).reshape(shape)


def test_real_bytes_in_eval_and_the_stats_of_them(resnet20, images):
    x, _ = images
    plain = resnet20(x)
    with fc.insert(resnet20, "layer3", "huffman:bits=4") as cut:
        logits = resnet20(x)
    stats = cut.stats
    codec = fc.get_codec("huffman:bits=4")
    feature = nn.Sequential(*list(resnet20.children())[:6])(x)
    packets = codec.encode(feature)
    assert stats.samples == len(x)
    assert stats.bits_per_sample == sum(p.num_bits for p in packets) / len(x)
    assert stats.payload_bits_per_sample == sum(p.payload_bits for p in packets) / len(x)
    assert stats.compression_ratio == pytest.approx(32 * 4096 / stats.bits_per_sample)
    assert stats.bpp == pytest.approx(stats.bits_per_sample / 1024)
    assert stats.bpe == pytest.approx(stats.bits_per_sample / 4096)
    assert 0 < stats.encode_ms <= stats.encode_ms_p95
    assert 0 < stats.decode_ms <= stats.decode_ms_p95
    assert set(stats.to_dict()) >= {"samples", "bits_per_sample", "bpp", "decode_ms_p95"}
    wanted = resnet20.fc(torch.flatten(resnet20.avgpool(codec(feature)), 1))
    assert torch.equal(logits, wanted)
    assert torch.equal(resnet20(x), plain)
    stats.reset()
    assert stats.samples == 0
    assert np.isnan(stats.bits_per_sample)
    assert stats.bpp is None
    json.dumps(stats.to_dict(), allow_nan=False)


def test_batches_of_other_sizes_give_the_same_bits(resnet20, images):
    x, _ = images
    with fc.insert(resnet20, resnet20.layer2, "huffman:bits=4") as cut, torch.no_grad():
        resnet20(x)
        together = cut.stats.bits_per_sample
        cut.stats.reset()
        for i in range(0, len(x), 7):
            resnet20(x[i : i + 7])
        # float convolutions may round differently in another batch size: nearly the same
        assert cut.stats.bits_per_sample == pytest.approx(together, rel=1e-3)
        assert cut.stats.samples == len(x)
    assert cut.layer == "layer2"


def test_gradients_pass_to_the_head_in_training_and_in_eval(images):
    from featcodec.bench.models import CifarResNet

    torch.manual_seed(0)
    x, labels = images
    for training in (True, False):
        model = CifarResNet().train(training)
        with fc.insert(model, "layer2", COARSE) as cut:
            nn.functional.cross_entropy(model(x), labels).backward()
        assert model.conv1.weight.grad.abs().sum() > 0
        assert cut.stats.samples == (0 if training else len(x))


def test_training_and_eval_paths_have_one_value(resnet20, images):
    x, _ = images
    with fc.insert(resnet20, "layer1", COARSE) as cut:
        real = resnet20(x)
        cut.codec.train()
        assert torch.equal(resnet20(x), real)
        cut.codec.eval()


def test_a_frozen_backbone_in_eval_mode_still_passes_gradients_to_a_codec_in_training(images):
    from featcodec.bench.models import CifarResNet

    model = CifarResNet().eval().requires_grad_(False)
    codec = fc.get_codec(COARSE)
    with fc.insert(model, "layer1", codec):
        codec.train()
        x = images[0].clone().requires_grad_(True)
        model(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_no_layer_near_names_several_layers(resnet20):
    with pytest.raises(fc.LayerError, match=r"no layer of CifarResNet matches 'layr3'; did you mean layer3"):
        fc.insert(resnet20, "layr3", "raw")
    with pytest.raises(ValueError, match=r"it has conv1, bn1"):
        fc.insert(resnet20, "§", "raw")
    with pytest.raises(fc.LayerError, match=r"'0\.conv1' matches 3 layers of CifarResNet: layer1\.0\.conv1"):
        fc.insert(resnet20, "0.conv1", "raw")
    with pytest.raises(fc.LayerError, match="the given ReLU"):
        fc.insert(resnet20, nn.ReLU(), "raw")
    shared = nn.ReLU()
    with pytest.raises(fc.LayerError, match="matches 2 layers"):
        fc.insert(nn.Sequential(shared, nn.Linear(2, 2), shared), shared, "raw")
    for wrong in ("", 3, None):
        with pytest.raises(fc.LayerError, match="dotted name or a module"):
            fc.insert(resnet20, wrong, "raw")
    with pytest.raises(fc.LayerError, match="got str"):
        fc.insert("resnet", "layer1", "raw")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in resnet20.modules())


def test_the_end_of_a_name_suffices_where_it_is_unique(resnet20, images):
    wrapped = nn.DataParallel(copy.deepcopy(resnet20))  # which moves it where there is a GPU
    with fc.insert(wrapped, "layer3", COARSE) as cut, torch.no_grad():
        wrapped(images[0])
    assert cut.layer == "module.layer3"
    assert cut.stats.samples == len(images[0])


def test_an_insertion_that_fails_leaves_the_model_as_it_was(resnet20, monkeypatch):
    def fails():
        raise DeprecationWarning("torch's own, where warnings are errors")

    keys = list(resnet20.state_dict())
    monkeypatch.setitem(sys.modules, "torch._dynamo", SimpleNamespace(reset=fails))
    with pytest.raises(DeprecationWarning):
        fc.insert(resnet20, "layer3", Scale())
    monkeypatch.undo()
    assert list(resnet20.state_dict()) == keys
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in resnet20.modules())


def test_a_second_codec_on_the_same_layer_is_refused(resnet20):
    with (
        fc.insert(resnet20, "layer3", "raw"),
        pytest.raises(
            fc.LayerError,
            match=r"'layer3' already carries 'raw': remove it first, featcodec.insertion_at\(model, 'layer3'\) is its handle",
        ),
    ):
        fc.insert(resnet20, "layer3", "half")
    codec = fc.get_codec("raw")
    with fc.insert(resnet20, "layer3", codec), pytest.raises(fc.ConfigError, match="inserted in the model already"):
        fc.insert(resnet20, "layer2", codec)
    with pytest.raises(fc.UnknownCodecError):
        fc.insert(resnet20, "layer3", "nothing")
    with pytest.raises(fc.UnknownCodecError):
        fc.insert(resnet20, "layer3", "raw", channel="nothing:p=1")
    assert fc.insertion_at(resnet20, "layer3") is None


def test_nested_and_several_insertions_leave_in_any_order(resnet20, images):
    x, _ = images
    keys = list(resnet20.state_dict())
    with torch.no_grad():
        plain = resnet20(x)
        cuts = [fc.insert(resnet20, name, Scale()) for name in ("layer1", "layer1.0", "layer1.0.conv1", "layer3")]
        assert torch.equal(resnet20(x), plain)
        assert [c.stats.samples for c in cuts] == [len(x)] * 4
        added = [k for k in resnet20.state_dict() if k not in keys]
        assert len(added) == 8
        for i in (2, 0, 3, 1):
            cuts[i].remove()
        assert torch.equal(resnet20(x), plain)
    assert list(resnet20.state_dict()) == keys


def test_a_codec_s_parameters_are_the_model_s_while_inserted_and_no_key_is_renamed(resnet20):
    before = dict(resnet20.named_parameters())
    codec = Scale()
    with fc.insert(resnet20, "layer1", codec):
        inside = dict(resnet20.named_parameters())
        assert set(before) < set(inside)
        assert any(p is codec.gain for p in inside.values())
        state = resnet20.state_dict()
        resnet20.load_state_dict(state)
        assert not codec.training
    assert set(dict(resnet20.named_parameters())) == set(before)


def test_a_sequential_root_does_not_run_the_codec_as_a_layer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    x = torch.rand(2, 3, 8, 8)
    with fc.insert(model, "1", "raw") as cut, torch.no_grad():
        assert len(model) == 4
        model(x)
    assert cut.stats.samples == 2


Pair = collections.namedtuple("Pair", ["feature", "count"])


@dataclasses.dataclass
class Output:
    hidden: torch.Tensor
    extra: dict[str, Any]
    note: str = "kept"


class Wrap(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.make = make

    def forward(self, x):
        return self.make(self.inner(x))


class Model(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.block = Wrap(make)

    def forward(self, x):
        return self.block(x)


MAKERS = {
    "tuple": lambda y: (y, 3, None),
    "list": lambda y: [y, y * 2],
    "namedtuple": lambda y: Pair(y, torch.arange(2)),
    "dict": lambda y: {"a": y, "n": torch.arange(2)},
    "ordered": lambda y: collections.OrderedDict(a=y),
    "dataclass": lambda y: Output(y, {"k": y * 3}),
}


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in tensors(item)] if isinstance(value, (list, tuple)) else []


@pytest.mark.parametrize("kind", MAKERS)
def test_outputs_that_hold_tensors(kind):
    torch.manual_seed(0)
    model = Model(MAKERS[kind]).eval()
    x = torch.rand(2, 4)
    plain = model(x)
    codec = fc.get_codec("bitpack:bits=2")
    with fc.insert(model, "block", codec) as cut:
        out = model(x)
    assert type(out) is type(plain)
    bits = 0
    for a, b in zip(tensors(plain), tensors(out), strict=True):
        wanted = codec(a) if a.is_floating_point() else a
        bits += sum(p.num_bits for p in codec.encode(a)) if a.is_floating_point() else 0
        assert torch.equal(b, wanted)
    assert (cut.stats.crossings, cut.stats.samples) == (1, 2)
    assert cut.stats.bits_per_sample == bits / 2
    if kind == "dataclass":
        assert out.note == "kept"


def test_a_layer_whose_output_holds_no_tensor_is_named():
    model = Model(lambda y: {"ids": torch.arange(3), "text": "x"})
    with (
        fc.insert(model, "block", "raw"),
        pytest.raises(
            fc.FeatureTypeError,
            match=r"layer 'block' returns no floating-point tensor with an axis; it returns ids: int64 \(3,\), text: str",
        ),
    ):
        model(torch.rand(2, 4))


def test_bad_values_are_refused_with_the_layer_s_name_and_the_index():
    model = Model(lambda y: torch.where(torch.tensor([False, False, True, False]), torch.nan, y))
    with (
        fc.insert(model, "block", "raw"),
        pytest.raises(fc.FeatureError, match=r"layer 'block': .*finite, got nan at index \(0, 2\)"),
    ):
        model(torch.rand(2, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_and_autocast(dtype, resnet20, images):
    half = copy.deepcopy(resnet20).to(dtype)
    with torch.no_grad(), fc.insert(half, "layer2", COARSE):
        assert half(images[0].to(dtype)).dtype == dtype
    seen = []
    handle = resnet20.layer3.register_forward_pre_hook(lambda m, args: seen.append(args[0].dtype))
    with torch.no_grad(), fc.insert(resnet20, "layer2.2.conv2", COARSE), torch.autocast("cpu", dtype=torch.bfloat16):
        out = resnet20(images[0])
    handle.remove()
    assert torch.isfinite(out).all()
    assert len(seen) == 1


def test_channels_last_gives_the_same_packets(resnet20, images):
    with torch.no_grad(), fc.insert(resnet20, "layer1", "raw") as cut:
        resnet20(images[0].to(memory_format=torch.channels_last))
    assert cut.stats.bits_per_sample > 32 * 16 * 1024


def test_deepcopy_has_its_own_codec_and_stats(resnet20, images):
    with fc.insert(resnet20, "layer3", Scale()) as cut, torch.no_grad():
        twin = copy.deepcopy(resnet20)
        other = fc.insertion_at(twin, "layer3")
        twin(images[0])
        assert cut.stats.samples == 0
        assert other.stats.samples == len(images[0])
        assert other.codec is not cut.codec
        assert other.codec.gain is not cut.codec.gain
        assert any(p is other.codec.gain for p in twin.parameters())
        other.remove()
        assert fc.insertion_at(twin, "layer3") is None
        assert fc.insertion_at(resnet20, "layer3") is cut


def test_torch_compile_breaks_the_graph_around_the_codec(resnet20, images):
    with fc.insert(resnet20, "layer3", COARSE) as cut, torch.no_grad():
        eager = resnet20(images[0])
        cut.stats.reset()
        compiled = torch.compile(resnet20, backend="eager")
        assert torch.allclose(compiled(images[0]), eager, atol=1e-5)
        assert cut.stats.samples == len(images[0])
    torch.compiler.reset()


def test_ddp_trains_codecs_and_the_layers_before_them(tmp_path):
    command = [sys.executable, Path(__file__).with_name("data_parallel.py"), tmp_path / "rendezvous"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["huffman:bits=3 trains", "entropic:maps=8,reduced=4 trains"]


def test_a_channel_by_spec_meets_the_packets(resnet20, images):
    with (
        torch.no_grad(),
        fc.insert(resnet20, "layer3", "half", channel="bec:p=0.5"),
        pytest.raises(fc.BitstreamError, match=r"layer 'layer3': .*erased"),
    ):
        resnet20(images[0])
    with torch.no_grad(), fc.insert(resnet20, "layer3", "bitpack:bits=8", channel=fc.channel.BSC(1e-5)) as cut:
        assert torch.isfinite(resnet20(images[0])).all()
        assert "bsc" in repr(cut.channel.config())


def test_the_handle_is_restored_when_the_block_raises(resnet20):
    with pytest.raises(RuntimeError, match="stop"), fc.insert(resnet20, "layer3", "raw"):
        raise RuntimeError("stop")
    assert fc.insertion_at(resnet20, "layer3") is None
    assert "raw" in repr(fc.get_codec("raw").codec_id)


def test_no_bpp_where_the_input_is_no_image():
    model = Model(lambda y: y).eval()
    with fc.insert(model, "block", "raw") as cut:
        model(torch.rand(2, 4))
    assert cut.stats.bpp is None
    assert cut.stats.compression_ratio < 1
