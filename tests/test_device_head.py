"""Heads on a device beside torch: what arrives in the tail, networks of learned codecs in the file, files that are none."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec import device
from featcodec.message import Message
from featcodec.onnx_head import KEY, Output, write_onnx_head
from tests.device.golden import FOLDER, inputs
from tests.heads import FINGERPRINT, Exact, golden_codecs, write_head

pytestmark = pytest.mark.usefixtures("one_thread")
HEAD = FOLDER / "head.onnx"


def test_the_golden_message_arrives_in_torch():
    x = torch.from_numpy(inputs(3))
    with torch.no_grad():
        maps, tokens, indices = Exact()(x)
    codecs = golden_codecs()
    items = Message.from_bytes(bytes.fromhex((FOLDER / "message.hex").read_text())).items
    assert torch.equal(codecs[0].decode(items[0]), codecs[0](maps))
    assert torch.equal(codecs[1].decode(items[1]), codecs[1](tokens))
    assert np.array_equal(items[2].data.view(np.int64).reshape(items[2].shape), indices.numpy())


def test_a_network_cut_in_two_predicts_what_it_does_in_one_piece(resnet20, images, tmp_path):
    x = images[0]
    parts, codec = fc.split(resnet20, "layer2", x[:1]), fc.get_codec("context:bits=4")
    write_head(tmp_path / "head.onnx", parts[0], x[:2], [codec])
    (packets,) = Message.from_bytes(device.Head(tmp_path / "head.onnx", threads=1).encode(x.numpy())).items
    with torch.no_grad():
        feature = parts[0](x)
        arrived, wanted = codec.decode(packets), codec(feature)
        # sums are rounded otherwise, which moves a value to the next level here and there
        assert (arrived - wanted).norm() < 0.01 * wanted.norm()
        assert torch.equal(parts[1](arrived).argmax(1), parts[1](wanted).argmax(1))


@pytest.mark.parametrize(
    "spec",
    [
        "dsc:maps=6,reduced=4,step=0.05",
        "entropic:maps=6,reduced=4,step=0.05",
        "bottlenet:maps=6,reduced=4,inner=(huffman:bits=6)",
        "bottlenet++:maps=6,reduced=4,csi=true",
        "vq:maps=6,height=12,width=10,hidden=32,groups=8",
        "learned_scalar:maps=6,height=12,width=10",
        "ldpc:inner=(dsc:maps=6,reduced=4,step=0.05)",
    ],
    ids=lambda spec: spec.partition(":")[0],
)
def test_a_learned_codec_s_network_lies_in_the_file(spec, tmp_path):
    head, codec, x = nn.Conv2d(3, 6, 1).eval(), fc.get_codec(spec).eval(), torch.from_numpy(inputs(5)) / 8
    write_head(tmp_path / "head.onnx", head, x[:2], [codec])
    (packets,) = device.Head(tmp_path / "head.onnx", threads=1).packets(x.numpy())
    assert [packet.shape for packet in packets] == [(6, 12, 10)] * 5
    with torch.no_grad():
        arrived, wanted = codec.decode(packets), codec(head(x))
    assert (arrived - wanted).norm() < 0.05 * wanted.norm()


def test_a_half_precision_feature_keeps_its_dtype(tmp_path):
    class Half(nn.Module):
        def forward(self, x):
            return (2 * x).half()

    write_head(tmp_path / "head.onnx", Half(), torch.from_numpy(inputs(2)), [fc.get_codec("bitpack:bits=5")])
    (packets,) = device.Head(tmp_path / "head.onnx").packets(inputs(3))
    codec = fc.get_codec("bitpack:bits=5")
    wanted = codec.encode((2 * torch.from_numpy(inputs(3))).half())
    assert [p.to_bytes() for p in packets] == [p.to_bytes() for p in wanted]
    assert codec.decode(packets).dtype is torch.float16


# ---- files that say something else ------------------------------------------------------------------------------------------


def changed(path, change):
    """The golden head with another description of itself."""
    model = onnx.load(HEAD)
    about = json.loads(model.metadata_props[0].value)
    onnx.helper.set_model_props(model, {KEY: json.dumps(change(about))})
    onnx.save(model, path)
    return path


def in_row(number, **fields):
    def change(about):
        about["crossing"][number].update(fields)
        return about

    return change


TABLE = {"dtype": "int8", "shape": [2], "data": "AAA="}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda about: {**about, "format": 2}, "is a head of format 2, this featcodec reads 1"),
        (lambda about: {**about, "conditions": {"inputs": []}}, "its conditions are none: KeyError"),
        (
            lambda about: {**about, "conditions": {"inputs": [], "derived": [], "guards": ["1 +"]}},
            "its conditions are none: Part",
        ),
        (lambda about: [about], r"is a head of format \["),
        (lambda about: {**about, "layer": 3}, "layer must be a str, got 3"),
        (lambda about: {**about, "crossing": {}}, "crossing must be a list"),
        (lambda about: {**about, "head_fingerprint": "xyz"}, "a fingerprint is hexadecimal, got 'xyz'"),
        (in_row(0, name="other"), r"says that other crosses, its outputs are \['crossing0', 'crossing1', 'crossing2'\]"),
        (in_row(0, codec={"id": "jscc"}), "codec 'jscc' does not run without torch; these do: auto, bitpack"),
        (in_row(0, codec={"bits": 4}), 'a config needs a string under "id"'),
        (in_row(0, state={}), "static tables need order0_table"),
        (in_row(0, state={"order0_table": {}}), "a head's crossing tensor has name, dtype, shape, codec and state"),
        (in_row(0, state={"a": {**TABLE, "data": "?"}}), "the data of a state is base64"),
        (in_row(0, state={"a": {**TABLE, "dtype": "O"}}), "a state holds numbers, got object"),
        (in_row(0, state={"a": {**TABLE, "shape": [3]}}), "cannot reshape"),
        (in_row(0, shape=3), "a head's crossing tensor has"),
        (lambda about: {**about, "crossing": [3]}, "a head's crossing tensor has"),
    ],
)
def test_heads_that_are_refused(change, match, tmp_path):
    with pytest.raises(fc.ConfigError, match=match):
        device.Head(changed(tmp_path / "head.onnx", change))


def test_an_onnx_file_without_a_description_is_no_head(tmp_path):
    model = onnx.load(HEAD)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "head.onnx")
    with pytest.raises(fc.ConfigError, match="is no head: it has no JSON under 'featcodec' in its metadata"):
        device.Head(tmp_path / "head.onnx")


def test_a_feature_that_no_packet_carries_is_refused_by_name(tmp_path):
    head = device.Head(changed(tmp_path / "head.onnx", in_row(0, dtype="int8")))
    with pytest.raises(fc.FeatureTypeError, match="a packet carries float32, float16 or bfloat16, got 'int8'"):
        head.encode(inputs(1))


def test_writing_a_head_leaves_the_codec_s_mode(tmp_path):
    codec = fc.get_codec("dsc:maps=3,step=0.05").train()
    write_head(tmp_path / "head.onnx", nn.Identity(), torch.from_numpy(inputs(2)), [codec])
    assert codec.training


def test_a_learned_codec_s_feature_has_sizes(tmp_path):
    head, x = nn.Conv2d(3, 6, 1).eval(), torch.from_numpy(inputs(2))
    free = {"axes": {2: "height", 3: "width"}}
    write_head(tmp_path / "head.onnx", head, x, [fc.get_codec("bitpack")], **free)
    assert device.Head(tmp_path / "head.onnx").packets(inputs(2)[:, :, :4])[0][0].shape == (6, 4, 10)
    write_head(tmp_path / "head.onnx", head, x, [fc.get_codec("bottlenet++:maps=6")], **free)
    with pytest.raises(fc.FeatureError, match="crossing0: the sizes of a learned codec's feature are fixed"):
        device.Head(tmp_path / "head.onnx").encode(inputs(2))


def test_a_codec_that_runs_with_torch_alone_is_refused_when_the_file_is_written(tmp_path):
    with pytest.raises(fc.ConfigError, match="codec 'ans' does not run without torch"):
        write_head(tmp_path / "head.onnx", nn.Identity(), torch.rand(2, 3), [fc.get_codec("ans")])
    assert not (tmp_path / "head.onnx").exists()


def test_without_onnx_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(fc.MissingDependencyError, match=r"needs onnxscript.*pip install 'featcodec\[export\]'"):
        write_head(tmp_path / "head.onnx", nn.Identity(), torch.rand(2, 3), [None])


class Sized(nn.Module):
    """A tensor, and a size that it does not show."""

    def forward(self, x):
        return x.mean(2), x.shape[2]


def test_sizes_follow_the_tensors(tmp_path):
    x = torch.from_numpy(inputs(2))
    about = {"layer": "layer", "fingerprint": FINGERPRINT, "inputs": ["x"], "sizes": ["s"]}
    write_onnx_head(tmp_path / "head.onnx", Sized(), (x,), [Output("feature")], **about, dynamic_shapes=[{0: "b", 2: "s"}])
    items = Message.from_bytes(device.Head(tmp_path / "head.onnx").encode(inputs(3)[:, :, :7])).items
    assert (items[0].shape, items[1]) == ((3, 3, 10), 7)


class Sequences(nn.Module):
    """Samples along the second axis, in bfloat16."""

    def forward(self, x):
        return (x / 3).bfloat16(), (x / 3).bfloat16()


def test_samples_along_another_axis_and_bfloat16(tmp_path):
    x = torch.from_numpy(inputs(4)[0, :, :4])
    codec = fc.get_codec("huffman:bits=5")
    outputs = [Output("feature", codec, 1), Output("plain")]
    about = {"layer": "layer", "fingerprint": FINGERPRINT, "inputs": ["x"]}
    write_onnx_head(tmp_path / "head.onnx", Sequences(), (x,), outputs, **about)
    packets, plain = Message.from_bytes(device.Head(tmp_path / "head.onnx").encode(x.numpy())).items
    feature, _ = Sequences()(x)
    assert [p.to_bytes() for p in packets] == [p.to_bytes() for p in codec.encode(feature.movedim(1, 0))]
    assert plain.dtype == "bfloat16"
    assert torch.equal(torch.from_numpy(plain.data.copy()).view(torch.bfloat16).reshape(plain.shape), feature)


def test_what_is_not_finite_is_refused_with_its_index(tmp_path):
    x = inputs(2)
    x[1, 0, 0, 0] = np.nan
    with pytest.raises(fc.FeatureError, match=r"a feature must be finite, got nan at index \(1, 0, 0, 0\)"):
        device.Head(HEAD).encode(x)
