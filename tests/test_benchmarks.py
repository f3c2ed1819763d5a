"""The benchmark's data and models, and its command line on a few images."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from functools import partial
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image

from featcodec import cli
from featcodec.bench import data, fetch_cifar10, measure


def md5(payload: bytes) -> str:
    return hashlib.md5(payload).hexdigest()


@pytest.fixture
def small_cifar(tmp_path):
    """Two files of the binary layout out of the embedded images, and their sums."""
    images = data.embedded()
    folder = tmp_path / data.CIFAR10_FOLDER
    folder.mkdir()
    sums = {}
    for i, name in enumerate(("data_batch_1", "test_batch")):
        part = slice(10 * i, 10 * i + 10)
        data.write_cifar10(folder / f"{name}.bin", images.images[part], images.labels[part])
        sums[name] = md5((folder / f"{name}.bin").read_bytes())
    return tmp_path, sums


def test_the_embedded_images_are_the_first_thousand_of_the_test_set():
    images = data.embedded()
    assert images.images.shape == (1000, 32, 32, 3)
    assert images.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert images.images[0, 0, 0].tolist() == [158, 112, 49]


def test_the_embedded_network_has_its_accuracy(resnet20):
    right = 0
    with torch.no_grad():
        for x, y in data.embedded().head(300).batches(100, "cifar10"):
            right += int((resnet20(x).argmax(1) == y).sum())
    assert right / 300 > 0.89
    assert sum(p.numel() for p in resnet20.parameters()) == 272_474


def test_cifar10_in_its_binary_layout(small_cifar):
    root, sums = small_cifar
    images = data.cifar10(("data_batch_1", "test_batch"), root, sums)
    assert np.array_equal(images.images, data.embedded().images[:20])
    assert np.array_equal(images.labels, data.embedded().labels[:20])


def test_cifar10_that_is_missing_or_not_the_published_one(small_cifar, monkeypatch):
    root, sums = small_cifar
    with pytest.raises(FileNotFoundError, match=r"data_batch_2\.bin is missing; python -m featcodec\.bench\.fetch_cifar10"):
        data.cifar10(("data_batch_2",), root, sums)
    with pytest.raises(ValueError, match=f"the published file has {data.CIFAR10_MD5['test_batch']}"):
        data.load(str(root), 32)
    monkeypatch.delenv("FEATCODEC_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set FEATCODEC_DATA"):
        data.load("cifar10", 32)


def test_downloading_cifar10_from_a_server(small_cifar, tmp_path):
    root, sums = small_cifar
    served = tmp_path / "served"
    served.mkdir()
    archive = served / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / data.CIFAR10_FOLDER, data.CIFAR10_FOLDER)
        evil = tarfile.TarInfo("../outside.bin")
        evil.size = 4
        tar.addfile(evil, io.BytesIO(b"evil"))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/cifar.tar.gz"
        target = tmp_path / "target"
        with pytest.raises(ValueError, match="published archive"):
            data.download_cifar10(target, url, "0" * 32)
        assert list(target.iterdir()) == []
        folder = data.download_cifar10(target, url, md5(archive.read_bytes()))
        server.shutdown()
    assert sorted(p.name for p in folder.iterdir()) == ["data_batch_1.bin", "test_batch.bin"]
    assert [p.name for p in target.iterdir()] == [data.CIFAR10_FOLDER]
    assert data.cifar10(("test_batch",), target, sums).images.shape == (10, 32, 32, 3)


def test_converting_mosaics_checks_every_sum(tmp_path, monkeypatch):
    images = data.embedded().head(250)
    mosaic = images.images.reshape(2, 125, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 4000, 3)
    Image.fromarray(np.ascontiguousarray(mosaic)).save(tmp_path / "test_batch.webp", lossless=True)
    (tmp_path / "test_batch.labels").write_bytes(images.labels.astype(np.uint8).tobytes())
    assert np.array_equal(fetch_cifar10.read_mosaic(tmp_path / "test_batch.webp"), images.images)
    monkeypatch.setattr(fetch_cifar10, "CIFAR10_MD5", {"test_batch": "0" * 32})
    with pytest.raises(ValueError, match="converts to MD5"):
        fetch_cifar10.convert(tmp_path, tmp_path / "out")
    assert list((tmp_path / "out" / data.CIFAR10_FOLDER).iterdir()) == []


def test_npz_files(tmp_path):
    images = data.embedded().head(5)
    path = tmp_path / "mine.npz"
    np.savez(path, images=images.images, labels=images.labels)
    assert np.array_equal(data.load(str(path), 32).images, images.images)
    np.savez(path, pictures=images.images)
    with pytest.raises(ValueError, match="lacks images, labels; it holds pictures"):
        data.load(str(path), 32)
    np.savez(path, images=images.images[..., :2], labels=images.labels)
    with pytest.raises(ValueError, match=r"\(N, H, W, 3\) uint8, got uint8 \(5, 32, 32, 2\)"):
        data.load(str(path), 32)
    np.savez(path, images=images.images, labels=images.labels[:3])
    with pytest.raises(ValueError, match="labels must be 5 integers"):
        data.load(str(path), 32)


def test_folders_of_class_folders(tmp_path):
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(2):
            picture = np.full((40 + 7 * i, 30, 3), 100 * label, np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    images = data.load(str(tmp_path), 16)
    assert images.images.shape == (4, 16, 16, 3)
    assert images.labels.tolist() == [0, 0, 1, 1]
    assert images.images[3].min() == 100
    (tmp_path / "empty" / "none").mkdir(parents=True)
    with pytest.raises(ValueError, match="no class folders with pictures"):
        data.load(str(tmp_path / "empty"), 16)
    with pytest.raises(FileNotFoundError, match="give embedded, cifar10"):
        data.load(str(tmp_path / f"nothing{rng.integers(9)}"), 16)


def test_bench_writes_table_json_and_plot(tmp_path, capsys):
    args = [
        "bench",
        "--samples",
        "30",
        "--codec",
        "huffman:bits=4",
        "bitpack:bits=1",
        "raw",
        "--layer",
        "layer2",
        "layer3",
        "--out",
        str(tmp_path),
    ]
    assert cli.main(args) == 0
    out = capsys.readouterr().out
    # asked for by name, all rows are shown
    assert all(out.count(f"\n{codec} ") == 2 for codec in ("huffman:bits=4", "bitpack:bits=1", "raw"))
    assert "without a codec" in out
    result = json.loads((tmp_path / "results.json").read_text())
    assert len(result["rows"]) == 6
    assert result["rows"][0]["codec"] == {"id": "huffman", "bits": 4, "axis": "sample"}
    assert result["machine"]["versions"]["torch"] == version("torch")
    base = result["baseline"]["metric"]
    assert all(round(30 * (row["metric"] - base)) == row["gained"] - row["lost"] for row in result["rows"])
    assert any(row["lost"] for row in result["rows"])
    raw = [row for row in result["rows"] if row["codec"]["id"] == "raw"]
    assert all((row["gained"], row["lost"]) == (0, 0) for row in raw)
    assert all(row["metric"] == result["baseline"]["metric"] for row in raw)
    assert all(0.99 < row["stats"]["compression_ratio"] < 1 for row in raw)
    with Image.open(tmp_path / "rate_accuracy.png") as image:
        assert image.size[0] > 500


def test_scores_are_kept_sample_by_sample():
    scores = measure.Scores()
    outputs, targets = torch.eye(3), torch.tensor([0, 2, 2])
    assert scores(outputs, targets).tolist() == [1, 0, 1]
    scores(outputs[:1], targets[1:2])
    assert scores.right().tolist() == [True, False, True, False]


def test_static_tables_are_calibrated_on_other_images(tmp_path):
    specs = ["huffman:bits=4", "huffman:bits=4,tables=static"]
    args = ["--samples", "30", "--codec", *specs, "--layer", "layer2", "--out", str(tmp_path)]
    assert measure.main(args) == 0
    adaptive, static = (row["stats"] for row in json.loads((tmp_path / "results.json").read_text())["rows"])
    # tables of other images cost less than tables of one's own in every packet save, and far less than none
    assert static["payload_bits_per_sample"] < 1.1 * adaptive["payload_bits_per_sample"]


def test_bench_on_a_model_and_data_of_one_s_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))\n"
        "def wrong():\n"
        "    return 3\n"
    )
    np.savez("mine.npz", images=np.zeros((4, 12, 12, 3), np.uint8), labels=np.zeros(4, np.int64))
    args = ["--model", "my_model:build", "--layer", "1", "--data", "mine.npz", "--codec", "png", "--out", "result"]
    assert measure.main(args) == 0
    assert json.loads((tmp_path / "result" / "results.json").read_text())["setting"]["normalization"] == "imagenet"
    assert measure.main([*args[:1], "my_model:wrong", *args[2:]]) == 2
    assert "returned int, not an nn.Module" in capsys.readouterr().err


BAD_COMMANDS = [
    (["--codec", "hufman"], "did you mean huffman"),
    (["--layer", "layer9"], "did you mean layer"),
    (["--samples", "0"], "must be at least 1"),
    (["--data", "/nowhere"], "no data at"),
    (["--model", "resnet"], "package.module:function"),
    (["--model", "no_such_module:f"], "No module named"),
]


@pytest.mark.parametrize(("args", "message"), BAD_COMMANDS, ids=lambda v: str(v)[:30])
def test_bench_says_what_is_wrong_and_writes_nothing(args, message, tmp_path, capsys):
    assert cli.main(["bench", *args, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_its_files_the_benchmark_says_where_they_are(tmp_path):
    environment = {**os.environ, "FEATCODEC_ASSETS": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "featcodec.cli", "bench", "--out", str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "set FEATCODEC_ASSETS to its folder featcodec/bench/assets" in done.stderr
    assert not (tmp_path / "out").exists()


def test_layers_and_codecs_given_several_times_add_up():
    args = measure.parser().parse_args(["--layer", "a", "b", "--codec", "raw", "--layer", "c", "--codec", "half", "png"])
    assert (args.layer, args.codec) == (["a", "b", "c"], ["raw", "half", "png"])
    assert measure.parser().parse_args([]).layer is None


@pytest.mark.parametrize("command", [["list"], ["--help"], ["bench", "--help"]])
def test_a_reader_that_has_gone_gets_no_traceback(command):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "featcodec.cli", *command],
        stdout=write,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        text=True,
        timeout=120,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_list_names_every_codec(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "huffman" in out
    assert "[quality=20]" in out
    with pytest.raises(SystemExit):
        cli.main(["list", "more"])
