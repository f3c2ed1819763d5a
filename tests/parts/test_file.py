"""The .fcz file: byte by byte, what comes back, and every refusal of damaged and hostile ones."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import featcodec as fc
from benchmarks.part_models import built, vgg
from featcodec.parts.file import load_part
from tests import reference

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def parts() -> fc.Parts:
    torch.manual_seed(0)
    return fc.export(vgg().eval(), "0.1", X, codec="huffman:bits=6")


@pytest.fixture
def folder(parts, tmp_path):
    parts.save(tmp_path)
    return tmp_path


def taken_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, text, blob = struct.unpack_from("<3sBIQ", data)
    assert (magic, version, len(data)) == (b"FCZ", 1, 16 + text + blob + 12)
    for start, size in ((0, 16), (20, text), (24 + text, blob)):
        assert struct.unpack_from("<I", data, start + size)[0] == reference.crc32c(data[start : start + size])
    return json.loads(data[20 : 20 + text]), data[24 + text : 24 + text + blob]


def put_together(about: Any, blob: bytes, version: int = 1) -> bytes:
    text = json.dumps(about).encode()
    front = struct.pack("<3sBIQ", b"FCZ", version, len(text), len(blob))
    return b"".join(piece + struct.pack("<I", reference.crc32c(piece)) for piece in (front, text, blob))


def test_a_file_byte_by_byte_and_what_comes_back(parts, folder):
    about, blob = taken_apart((folder / "tail.fcz").read_bytes())
    assert (about["kind"], about["layer"], about["versions"]["torch"]) == ("tail", "0.1", torch.__version__)
    assert about["ports"][0]["codec"] == {"id": "huffman", "axis": "sample", "bits": 6}
    assert {name for name in load(blob) if name.startswith("model.0.2")} == {
        f"model.0.2.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    }
    head, tail = load_part(folder / "head.fcz"), load_part(folder / "tail.fcz")
    assert (type(head), type(tail), head.fingerprint) == (fc.Head, fc.Tail, parts.tail.fingerprint)
    assert head.encode(X) == parts.head.encode(X)
    assert torch.equal(tail.run(head.encode(X)), parts.tail.run(parts.head.encode(X)))
    tail_again = folder / "again.fcz"
    fc.Parts(head, tail).save(folder / "head.again", tail_again)
    assert tail_again.read_bytes() == (folder / "tail.fcz").read_bytes()


def test_weights_come_back_as_they_lay_in_memory(tmp_path):
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 8), nn.Conv1d(1, 4, 3)).eval()
    model[1].weight = nn.Parameter(torch.randn(6, 8).t())
    model[2].weight.requires_grad_(False)
    model[1].register_forward_hook(lambda module, args, y: y.unsqueeze(1))
    parts = fc.export(model, "0", torch.randn(3, 6))
    parts.save(tmp_path)
    found, kept = load_part(tmp_path / "tail.fcz").program.tensors, parts.tail.program.tensors
    for name in ("1.weight", "2.weight"):
        assert torch.equal(found[name], kept[name])
        assert (found[name].stride(), found[name].requires_grad) == (kept[name].stride(), kept[name].requires_grad)
        assert found[name].data_ptr() % 64 == 0
    assert found["1.weight"].stride() == (1, 8)


def test_a_learned_codec_travels_with_its_state(tmp_path):
    model = vgg().eval()
    codec = fc.get_codec("entropic", maps=16, reduced=3).eval()
    parts = fc.export(model, "0.1", X, codec=codec)
    nn.init.zeros_(next(iter(codec.parameters())))  # a copy was taken
    parts.save(tmp_path)
    message = load_part(tmp_path / "head.fcz").encode(X)
    assert torch.equal(load_part(tmp_path / "tail.fcz").run(message), parts.tail.run(parts.head.encode(X)))


@pytest.mark.parametrize("spec", ["context:bits=4,tables=static", "dsc"])
def test_codecs_with_tables_come_back(spec, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3)).eval()
    codec = fc.get_codec(fc.fit_spec(spec, (6, 14, 14)))
    with torch.no_grad():
        codec.calibrate(model[:2](X))
    parts = fc.export(model, "1", X, codec=codec.eval())
    parts.save(tmp_path)
    assert load_part(tmp_path / "head.fcz").encode(X) == parts.head.encode(X)


def test_any_byte_that_changes_and_any_end_is_seen(folder):
    path = folder / "tail.fcz"
    data = path.read_bytes()
    places = [*range(40), *range(40, len(data), 997), len(data) - 1]
    for at in places:
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(fc.PartError):
            load_part(path)
        path.write_bytes(data[:at])
        with pytest.raises(fc.PartError, match=r"truncated|begins with"):
            load_part(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(fc.PartError, match="too long"):
        load_part(path)


def test_a_message_of_another_model_is_refused(parts, folder):
    torch.manual_seed(1)
    other = fc.export(vgg().eval(), "0.1", X, codec="huffman:bits=6")
    with pytest.raises(
        fc.BitstreamError, match=rf"begins with {other.head.fingerprint[:8]}, this tail's is {parts.tail.fingerprint}"
    ):
        load_part(folder / "tail.fcz").decode(other.head.encode(X))


def test_inputs_that_do_not_fit_are_named(parts, folder):
    head, tail = load_part(folder / "head.fcz"), load_part(folder / "tail.fcz")
    for args, cause, match in (
        ((), fc.FeatureTypeError, "the head needs the tensor 'input', got NoneType"),
        ((X, X), fc.FeatureTypeError, "the head takes 1 inputs, input; got 2"),
        ((X.double(),), fc.FeatureTypeError, "input is float32, got float64"),
        ((X[0],), fc.FeatureError, "input has 4 axes"),
        ((X[:, :2],), fc.FeatureError, "with 3 along axis 1"),
        ((X[..., :1, :1],), fc.FeatureError, "computes something else: .* does not hold, with"),
    ):
        with pytest.raises(cause, match=match):
            head(*args)
    with pytest.raises(fc.FeatureTypeError, match="'y' is not one of the head's inputs, input"):
        head(X, y=X)
    with pytest.raises(fc.FeatureTypeError, match="what crosses lacks feature; it has other"):
        tail(fc.Crossing({"other": X}))


Change = Callable[[dict[str, Any]], None]


def at(*path: Any, to: Any) -> Change:
    def change(about: dict[str, Any]) -> None:
        for key in path[:-1]:
            about = about[key]
        about[path[-1]] = to

    return change


OPERATIONS = ("program", "operations")
HOSTILE: dict[str, Change] = {
    "may not use the operation 'aten.from_file.default'": at(
        *OPERATIONS, 0, to=["aten.from_file.default", ["/etc/passwd"], {}]
    ),
    "may not use the operation 'os.system'": at(*OPERATIONS, 0, to=["os.system", ["true"], {}]),
    "may not use the operation 'aten.set_.source_Tensor'": at(
        *OPERATIONS, 0, to=["aten.set_.source_Tensor", [{"v": 0}, {"v": 1}], {}]
    ),
    "may not use the operation 'aten.__class__'": at(*OPERATIONS, 0, to=["aten.__class__", [], {}]),
    "writes into what is not its own": at(*OPERATIONS, 0, to=["aten.relu_.default", [{"v": 0}], {}]),
    "is no value from before it": at(*OPERATIONS, 0, 1, 0, to={"v": 4000}),
    "is no value from before": at(*OPERATIONS, 0, 1, 0, to={"v": 900}),
    "takes 9 arguments, the part gives 12": at(*OPERATIONS, 1, 1, to=[{"v": 0}] * 12),
    "takes no argument 'out'": at(*OPERATIONS, 0, 2, to={"out": {"v": 0}}),
    "a part's argument is": at(*OPERATIONS, 0, 1, 0, to={"eval": "1"}),
    "a part's operation is": at(*OPERATIONS, 0, to=["aten.relu.default"]),
    "is no size: .* is not expected there": at("program", "guards", to=["B + __import__('os')"]),
    "made of names that no input has": at(*OPERATIONS, 0, 1, 3, to=[{"s": "zz"}, 1]),
    "a part's number is": at(*OPERATIONS, 0, 1, 3, to=[1 << 64, 1]),
    "kind is one of head, tail": at("kind", to="both"),
    "description is a dictionary of": at("more", to=1),
    "a part's dtype is": at("program", "inputs", 0, "dtype", to="qint8"),
    "list of at most 16": at("program", "inputs", 0, "shape", to=[1] * 17),
    "is a permutation": at("program", "inputs", 0, "order", to=[0, 0, 1, 2]),
    "order of axes is of 4 axes": at("program", "inputs", 0, "order", to=[1, 0]),
    "result has the number": at("program", "results", to=[5000]),
    "output has the number": at("outputs", 0, to={"result": 1}),
    "leaf is one of 1": at("layout", to={"leaf": 1}),
    "fingerprint is 32 hexadecimal digits": at("fingerprint", to="Z" * 32),
    "the weight 'missing' is missing": at("program", "tensors", 0, "name", to="missing"),
    "codec of 'feature' cannot be built": at("ports", 0, "codec", to={"id": "huffman", "bits": 99}),
    "does not hold this codec's state": at("ports", 0, "codec", to={"id": "bottlenet", "maps": 1 << 16, "reduced": 1 << 16}),
    "No codec|no codec": at("ports", 0, "codec", to={"id": "nonesuch"}),
    "program's sizes is those that cross": at("program", "sizes", to=["B"]),
    "one of its shape's": at("ports", 0, "axis", to=9),
    "nested more than 16 deep": at("layout", to=json.loads('{"list":[' * 20 + '{"leaf":0}' + "]}" * 20)),
}


@pytest.mark.parametrize("match", HOSTILE)
def test_hostile_files_are_refused(match, folder):
    about, blob = taken_apart((folder / "tail.fcz").read_bytes())
    HOSTILE[match](about)
    path = folder / "hostile.fcz"
    path.write_bytes(put_together(about, blob))
    with pytest.raises(fc.FeatcodecError, match=match):
        load_part(path)


def test_other_versions_and_what_is_no_part(folder):
    about, blob = taken_apart((folder / "tail.fcz").read_bytes())
    path = folder / "hostile.fcz"
    more = save({**load(blob), "model.more": torch.zeros(2)})
    for data, match in (
        (put_together(about, blob, version=2), "format version 2, this featcodec reads version 1"),
        (put_together(about, more), "tensors that nobody reads: more"),
        (put_together(about, b"12345678"), "holds no safetensors"),
        (put_together([1], blob), "description is a dictionary"),
        (put_together(about, blob).replace(b"FCZ", b"PK\3", 1), "begins with 'FCZ'"),
    ):
        path.write_bytes(data)
        with pytest.raises(fc.PartError, match=match):
            load_part(path)
    deep = b"[" * 200_000
    front = struct.pack("<3sBIQ", b"FCZ", 1, len(deep), 0)
    path.write_bytes(b"".join(p + struct.pack("<I", reference.crc32c(p)) for p in (front, deep, b"")))
    with pytest.raises(fc.PartError, match="holds no JSON"):
        load_part(path)


@pytest.mark.parametrize(
    "operation",
    [
        ["aten.zeros.default", [[1 << 20, 1 << 20]], {}],
        ["aten.repeat.default", [{"v": 0}, [1 << 12, 1 << 12, 1, 1]], {}],
        ["aten.pad.default", [{"v": 0}, [0, 1 << 40]], {}],
        ["aten.arange.default", [1 << 50], {}],
        ["aten.upsample_nearest2d.vec", [{"v": 0}, [1 << 20, 1 << 20], None], {}],
    ],
)
def test_a_small_file_cannot_ask_for_all_memory(operation, parts, folder):
    about, blob = taken_apart((folder / "tail.fcz").read_bytes())
    about["program"]["operations"].insert(0, operation)
    first = len(about["program"]["inputs"]) + len(about["program"]["tensors"])
    for number, (_, args, _) in enumerate(about["program"]["operations"]):
        if number:
            args[:] = [{"v": a["v"] + (a["v"] >= first)} if isinstance(a, dict) and "v" in a else a for a in args]
    about["program"]["results"] = [value + 1 for value in about["program"]["results"]]
    path = folder / "hostile.fcz"
    path.write_bytes(put_together(about, blob))
    tail = load_part(path)
    with pytest.raises(fc.PartError, match=r"bytes in use, at most 4294967296|fails"):
        tail.run(parts.head.encode(X))


def test_what_intermediate_results_take_is_weighed_at_a_time(parts, folder):
    crossing = parts.head(X)
    # 16 x 4 x 4 and two samples: a convolution's and its norm's results
    for most, fits in ((4096 * 2, True), (4095, False)):
        tail = load_part(folder / "tail.fcz", max_bytes=most)
        if fits:
            assert torch.equal(tail(crossing), parts.tail(crossing))
        else:
            with pytest.raises(fc.PartError, match="would have 4096 bytes in use, at most 4095"):
                tail(crossing)


def test_files_with_anything_changed_run_or_are_refused(parts, folder):
    about, blob = taken_apart((folder / "tail.fcz").read_bytes())
    message = parts.head.encode(X)
    path = folder / "hostile.fcz"
    draw = random.Random(0)
    refused = 0
    for _ in range(120):
        changed = copy.deepcopy(about)
        for _ in range(draw.randint(1, 3)):
            mutate(changed, draw)
        path.write_bytes(put_together(changed, blob))
        try:
            tail = load_part(path)
            tail.run(message)
        except fc.FeatcodecError:
            refused += 1
    assert 60 < refused < 120


def mutate(value: Any, draw: random.Random) -> None:
    """Change one thing somewhere in JSON."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and draw.random() < 0.9:
            value = value[key]
            continue
        other = draw.choice(
            [None, True, -1, 0, 1, 2, 3, 1 << 31, 1 << 62, 0.5, "", "aten.relu.default", "B", "B // 0", [], {}, [[1]]]
        )
        if draw.random() < 0.2:
            del value[key]
        else:
            value[key] = other
        return


def test_messages_with_anything_changed_run_or_are_refused():
    torch.manual_seed(0)
    model = built("fpn")
    parts = fc.export(model, "fpn", torch.randn(2, 3, 16, 24), codec={"feature.p0": "huffman:bits=5"})
    message = parts.head.encode(torch.randn(2, 3, 16, 24))
    draw = random.Random(0)
    refused = 0
    for _ in range(400):
        body = bytearray(message[:-4])
        for _ in range(draw.randint(1, 3)):
            body[draw.randrange(7, len(body))] = draw.choice([0, 1, 2, 3, 127, 128, 255])
        try:
            parts.tail.run(bytes(body) + struct.pack("<I", reference.crc32c(bytes(body))), max_elements=1 << 20)
        except fc.FeatcodecError:
            refused += 1
    assert 10 < refused < 400
