"""What a device does, and no torch is imported for it: ``make test-device`` runs this folder where none is installed."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import featcodec as fc
from featcodec import device
from featcodec.device.__main__ import main
from featcodec.message import Message
from featcodec.payloads.coders import CODERS
from tests.device.golden import FOLDER, GOLDEN, inputs

HEAD = FOLDER / "head.onnx"
MESSAGE = bytes.fromhex((FOLDER / "message.hex").read_text())
PLAIN = [codec_id for codec_id in CODERS.ids() if CODERS.builtin[codec_id].extra is None]
DECODED = sorted(path for codec_id in PLAIN if CODERS.class_of(codec_id).decodes for path in (GOLDEN / codec_id).glob("*.npz"))


# ---- heads ------------------------------------------------------------------------------------------------------------------


def test_the_golden_head_sends_the_golden_message():
    assert device.Head(HEAD).encode(inputs(3)) == MESSAGE
    assert device.Head(HEAD, threads=1).encode(x=inputs(3)) == MESSAGE


def test_a_message_is_its_packets():
    head = device.Head(HEAD)
    maps, tokens, indices = head.packets(inputs(3))
    assert [len(maps), len(tokens)] == [3, 3]
    assert [maps[0].shape, tokens[0].shape, indices.shape] == [(4, 6, 5), (30, 4), (3, 30)]
    read = Message.from_bytes(MESSAGE)
    assert read.check == int(head.fingerprint[:8], 16)
    assert [p.to_bytes() for p in read.items[0]] == [p.to_bytes() for p in maps]
    assert [p.to_bytes() for p in read.items[1]] == [p.to_bytes() for p in tokens]
    assert read.items[2].data.tobytes() == indices.data.tobytes()
    assert indices.dtype == "int64"


def test_a_sample_s_packets_are_those_of_its_batch():
    head = device.Head(HEAD)
    together, alone = head.packets(inputs(3)), head.packets(inputs(3)[1:2])
    for many, one in zip(together[:2], alone[:2], strict=True):
        assert many[1].to_bytes() == one[0].to_bytes()


def test_what_the_head_says_of_itself():
    head = device.Head(HEAD)
    assert head.inputs == {"x": ("batch", 3, 12, 10)}
    assert (head.layer, len(head.fingerprint)) == ("layer", 32)
    assert [c.shape for c in head.crossing] == [(None, 4, 6, 5), (None, 30, 4), (None, 30)]
    assert [c.codec and c.codec.config["id"] for c in head.crossing] == ["context", "ldpc", None]


def test_many_threads_use_one_head():
    head = device.Head(HEAD)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: head.encode(inputs(3)), range(32))) == {MESSAGE}


def test_a_head_runs_where_torch_cannot_be_imported(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from featcodec import device\n"
        "import numpy as np\n"
        f"head = device.Head({str(HEAD)!r})\n"
        "print(head.encode(np.load(sys.argv[1])).hex())\n"
        "assert not [name for name in sys.modules if name.startswith(('featcodec.codecs', 'featcodec.families', 'onnx.'))]"
    )
    np.save(tmp_path / "x.npy", inputs(3))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.npy")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert bytes.fromhex(done.stdout) == MESSAGE


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ((), r"the head takes x; got 0 in order and \[\] by name"),
        ((inputs(1), inputs(1)), "got 2 in order"),
        ((inputs(1)[:, :2],), r"the head does not take \{'x': 'float32 \(1, 2, 12, 10\)'\}"),
        ((inputs(1).astype(np.float64),), "the head does not take .*float64"),
        ((3,), "the head does not take"),
    ],
)
def test_inputs_that_are_not_the_head_s(given, match):
    with pytest.raises(fc.FeatureError, match=match):
        device.Head(HEAD).encode(*given)


def test_inputs_given_twice_or_by_another_name():
    head = device.Head(HEAD)
    with pytest.raises(fc.FeatureError, match=r"got 1 in order and \['x'\] by name"):
        head.encode(inputs(1), x=inputs(1))
    with pytest.raises(fc.FeatureError, match=r"got 0 in order and \['y'\] by name"):
        head.encode(y=inputs(1))


def test_files_that_are_no_heads(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        device.Head(tmp_path / "nothing.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(HEAD.read_bytes()[:500])
    with pytest.raises(fc.ConfigError, match="is no ONNX file that runs here"):
        device.Head(damaged)


def test_without_onnx_runtime_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(fc.MissingDependencyError, match=r"needs onnxruntime.*pip install 'featcodec\[device\]'"):
        device.Head(HEAD)


# ---- codecs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DECODED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_goldens_decode_to_their_values_and_encode_again(path: Path):
    with np.load(path) as file:
        config, values = json.loads(str(file["config"])), file["values"]
        packets = [file[f"packet{i}"].tobytes() for i in range(len(values))]
        state = {name.removeprefix("state."): file[name] for name in file if name.startswith("state.")}
    codec = device.codec(config, state)
    assert np.array_equal(codec.decode(packets), values)
    if config["id"] in ("raw", "half"):
        assert [packet.to_bytes() for packet in codec.encode(values)] == packets


def test_every_codec_that_decodes_has_goldens_here():
    wanted = {"auto", "bitpack", "context", "half", "huffman", "rans", "raw", "transform"}
    assert {path.parent.name for path in DECODED} == wanted


# ---- profiles ---------------------------------------------------------------------------------------------------------------


def test_a_profile_has_the_machine_the_times_and_the_sizes(tmp_path):
    found = device.profile(HEAD, calls=3, out=tmp_path / "device.json")
    assert json.loads((tmp_path / "device.json").read_text()) == found
    assert found["inputs"] == {"x": [1, 3, 12, 10]}
    assert found["crossing"] == {"crossing0": [1, 4, 6, 5], "crossing1": [1, 30, 4], "crossing2": [1, 30]}
    for name in ("head_ms", "encode_ms"):
        assert 0 < found[name]["low"] <= found[name]["median"] <= found[name]["high"]
    noise = np.random.default_rng(0).random((1, 3, 12, 10)).astype(np.float32)
    assert found["message_bytes"] == len(device.Head(HEAD).encode(noise))
    assert found["head"]["bytes"] == HEAD.stat().st_size
    assert (found["threads"], found["calls"], found["head"]["layer"]) == (1, 3, "layer")
    assert found["peak_memory_mb"] is None or found["peak_memory_mb"] > 10
    assert found["versions"]["onnxruntime"] == importlib.metadata.version("onnxruntime")


def test_a_profile_of_other_shapes():
    assert device.profile(HEAD, shapes={"x": (5, 3, 12, 10)}, calls=1)["crossing"]["crossing0"] == [5, 4, 6, 5]
    for shapes, match in (
        ({"y": (1,)}, "the head has no input y; it takes"),
        ({"x": (1, 3, 12)}, r"x is \('batch', 3, 12, 10\): give a shape of it, got \(1, 3, 12\)"),
        ({"x": (1, 3, 12, 11)}, "give a shape of it"),
    ):
        with pytest.raises(fc.ConfigError, match=match):
            device.profile(HEAD, shapes=shapes)
    with pytest.raises(fc.ConfigError, match="calls must be at least 1, got 0"):
        device.profile(HEAD, calls=0)


def test_a_profile_from_the_shell(tmp_path, capsys):
    out = tmp_path / "device.json"
    assert main(["profile", str(HEAD), "--calls", "2", "--out", str(out), "--shape", "x=2,3,12,10"]) == 0
    assert json.loads(out.read_text())["inputs"] == {"x": [2, 3, 12, 10]}
    assert str(out) in capsys.readouterr().out
    assert main(["profile", str(HEAD), "--calls", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 1
    assert main(["profile", str(tmp_path / "nothing.onnx")]) == 2
    assert "no file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["profile", str(HEAD), "--shape", "x=a"])
