"""Cached features keep their own targets, whatever the order; files are believed when they are whole, and of these samples."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featcodec as fc
from featcodec.training import Batches, cache_features, fit
from featcodec.training.parts import find_parts
from tests.training.net import Net, batches, bottleneck, put, toy

COUNT = 22


def numbered():
    """Pictures, and for targets their numbers."""
    return torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(5)), torch.arange(COUNT)


def shuffled(seed=0):
    torch.manual_seed(seed)
    return DataLoader(TensorDataset(*numbered()), 4, shuffle=True)


class Cache:
    """A network with a codec in it that counts what its head runs on."""

    def __init__(self, where, net=None):
        self.where, self.net, self.ran = where, net or Net().eval(), 0
        self.cut = put(self.net)
        self.parts = find_parts(self.net, self.cut, numbered()[0][:1])
        self.net.a.register_forward_hook(self.count)

    def count(self, *_):
        self.ran += 1

    def __call__(self, loader, **options):
        """The cached batches, and how often the head ran for them."""
        before = self.ran
        found = cache_features(self.net, self.cut, self.parts, loader, self.where, **options)
        return found, self.ran - before

    def right(self, found) -> bool:
        """Whether every feature is that of the picture that its target names."""
        self.cut.remove()
        with torch.no_grad():
            wanted = self.net.b(self.net.a(numbered()[0]))
        features, targets = (torch.cat(parts) for parts in zip(*found.in_order(), strict=True))
        return sorted(targets.tolist()) == list(range(COUNT)) and torch.allclose(features, wanted[targets], atol=1e-6)


@pytest.fixture(params=["memory", "folder", "mapped"])
def cache(request, net, tmp_path, monkeypatch):
    if request.param == "mapped":
        monkeypatch.setattr("featcodec.training.files._MAPPED_BYTES", 0)
    return Cache("memory" if request.param == "memory" else tmp_path / "cache", net)


LOADERS = {
    "shuffled": shuffled,
    "batches": lambda: Batches(*numbered(), 4, seed=3),
    "list": lambda: [(x, y) for x, y in zip(*(part.split(4) for part in numbered()), strict=True)],
    "once": lambda: iter(list(shuffled())),
    "empty ones": lambda: [(x[:k], y[:k]) for x, y in shuffled() for k in (0, 4)],
}


@pytest.mark.parametrize("name", LOADERS)
def test_every_feature_keeps_its_own_target(name, cache):
    found, ran = cache(LOADERS[name]())
    assert ran == 6
    assert cache.right(found)


def test_files_serve_a_loader_that_shuffles_otherwise(net, tmp_path):
    cache = Cache(tmp_path, net)
    first, _ = cache(shuffled(0))
    again, ran = cache(shuffled(1))
    assert ran == 0
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    assert cache.right(again)


def test_the_order_of_batches_is_kept_whoever_wrote_the_files(net, tmp_path):
    cache = Cache(tmp_path, net)
    first, _ = cache(shuffled(0))
    loader = Batches(*numbered(), 4, seed=3)
    for runs in (6, 0):
        found, ran = cache(loader)
        assert ran == runs
        assert torch.equal(found.targets, torch.arange(COUNT))
        assert [y.tolist() for _, y in found] == [y.tolist() for _, y in loader]
    assert cache(shuffled(0))[0].targets.tolist() == first.targets.tolist() != found.targets.tolist()
    again, ran = cache(shuffled(2))
    assert ran == 0
    assert again.targets.tolist() == first.targets.tolist()  # the oldest, where none is in this order
    assert cache.right(found)


def another_target(x, y):
    y[3] = 99


def another_pixel(x, y):
    x[3, 0, 0, 0] += 1


def targets_exchanged(x, y):
    y[3], y[4] = 4, 3


@pytest.mark.parametrize("change", [another_target, another_pixel, targets_exchanged])
def test_other_samples_are_other_files(change, net, tmp_path):
    cache = Cache(tmp_path, net)
    cache(shuffled())
    x, y = numbered()
    change(x, y)
    found, ran = cache(DataLoader(TensorDataset(x, y), 4, shuffle=True))
    assert ran == 6
    assert sorted(found.targets.tolist()) == sorted(y.tolist())
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_another_head_is_other_files(net, tmp_path):
    Cache(tmp_path, net)(shuffled())
    for change in ("weights", "kind"):
        other = Net().eval()
        other.load_state_dict({name: value for name, value in net.state_dict().items() if "codec" not in name}, strict=False)
        if change == "weights":
            other.a[0].weight.data += 0.1
        else:
            other.a[2] = nn.LeakyReLU(0.3)
        cache = Cache(tmp_path, other)
        found, ran = cache(shuffled())
        assert ran == 6
        assert cache.right(found)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def retype(path):
    path.write_bytes(path.read_bytes().replace(b"'<f4'", b"'<i4'").replace(b"'<i8'", b"'<f8'"))


DAMAGES = {
    "a bit": flip,
    "its type": retype,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "nonsense": lambda path: path.write_bytes(b"[1, 2"),
}


@pytest.mark.parametrize("part", ["features.npy", "targets.npy", "json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_made_anew(part, damage, net, tmp_path):
    cache = Cache(tmp_path, net)
    cache(shuffled())
    (path,) = tmp_path.glob(f"*.{part}")
    DAMAGES[damage](path)
    found, ran = cache(shuffled())
    assert ran == (0 if (part, damage) == ("json", "its type") else 6)
    assert cache(shuffled())[1] == 0
    assert cache.right(found)


@pytest.mark.parametrize("note", [[], {}, {"format": 1}, {"crcs": {}}, {"crcs": None}, {"crcs": {"../x": 0}}])
def test_a_note_that_is_none_is_not_believed(note, net, tmp_path):
    cache = Cache(tmp_path, net)
    cache(shuffled())
    (path,) = tmp_path.glob("*.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **note} if isinstance(note, dict) and note else note))
    found, ran = cache(shuffled())
    assert ran == 6
    assert cache.right(found)


def test_what_was_interrupted_leaves_nothing(net, tmp_path):
    def stop(samples):
        raise KeyboardInterrupt

    cache = Cache(tmp_path, net)
    with pytest.raises(KeyboardInterrupt):
        cache(shuffled(), progress=stop)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(fc.FeatureError, match="gave no samples"):
        cache([])
    assert list(tmp_path.iterdir()) == []


class Drawn:
    """Other samples in every pass: each is a number, written in all its pixels."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def __iter__(self):
        for _ in range(4):
            y = torch.rand(5, generator=self.generator)
            yield y[:, None, None, None].expand(5, 3, 8, 8), y


def test_samples_that_are_others_in_every_pass_are_never_mixed(net, tmp_path):
    cache, loader = Cache(tmp_path, net), Drawn()
    for _ in range(3):
        found, ran = cache(loader)
        assert ran == 4
        with torch.no_grad():
            inputs = found.targets[:, None, None, None].expand(-1, 3, 8, 8)
            wanted = net.b[1](net.b[0](net.a(inputs)))
        assert torch.allclose(found.inputs, wanted, atol=1e-6)


def test_validation_is_cached_where_it_was_asked_for(net, tmp_path):
    runs, x, y = [], *toy()
    net.a.register_forward_hook(lambda *_: runs.append(1))
    results = []
    with put(net) as cut:
        for _ in range(2):
            before = len(runs)
            history = fit(net, cut, batches(), bottleneck(2), validation=[(x[:48], y[:48])], cache=tmp_path, resume=False)
            results.append((len(runs) - before, history.epochs[-1]["validation"]["metric"]))
    files = {int(path.name.split("-")[2]) for path in tmp_path.glob("*.json")}
    assert files == {64, 48}
    assert results[0][0] - results[1][0] == 5  # the head's runs over 4 batches and 1


def test_a_shuffled_training_from_a_folder_learns(net, tmp_path):
    data = DataLoader(TensorDataset(*toy()), 16, shuffle=True)
    with put(net) as cut:
        history = fit(net, cut, data, bottleneck(6), validation=batches(), cache=tmp_path)
    assert history.losses("task")[-1] < 0.5 * history.losses("task")[0]
    assert history.epochs[-1]["validation"]["metric"] > 0.7  # of four classes


class Masked(nn.Module):
    """Keyword inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 6), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x=None, mask=None):
        return self.c(self.b(self.a(x if mask is None else x * mask)))


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_keyword_inputs_and_half_precision(where, tmp_path):
    torch.manual_seed(0)
    model = Masked().bfloat16()
    x, mask, y = torch.rand(12, 3).bfloat16(), torch.rand(12, 3).bfloat16(), torch.arange(12)
    data = [{"x": x[i : i + 5], "mask": mask[i : i + 5], "labels": y[i : i + 5]} for i in (0, 5, 10)]
    cut = fc.insert(model, "b", "raw")
    parts = find_parts(model, cut, {"x": x[:1], "mask": mask[:1]})
    for _ in range(2):
        found = cache_features(model, cut, parts, data, "memory" if where == "memory" else tmp_path)
        assert found.inputs.dtype is torch.bfloat16
        with torch.no_grad():
            assert torch.allclose(found.inputs, model.b(model.a(x * mask)), atol=0.05)
        assert torch.equal(found.targets, y)
    if where == "folder":
        data[0]["mask"] = data[0]["mask"] + 1
        cache_features(model, cut, parts, data, tmp_path)
        assert len(list(tmp_path.glob("*.json"))) == 2


REFUSED = {
    "cached targets are tensors": lambda x, y: [(x[:4], y[:4].tolist())],
    r"cached features are of one shape and type, got float32 \(8, 6, 6\) beside float32 \(8, 8, 8\)": lambda x, y: [
        (x[:4], y[:4]),
        (x[4:8, :, :6, :6], y[4:8]),
    ],
    r"cached targets are of one shape and type, got int64 \(1,\) beside int64 \(\)": lambda x, y: [
        (x[:4], y[:4]),
        (x[4:8], y[4:8, None]),
    ],
    "as many, got 8 and 4|8 inputs with 4 targets": lambda x, y: [(x[:4], y[:4]), x[4:8]],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_cached(message, cache):
    with pytest.raises((fc.FeatureError, fc.ConfigError), match=message):
        cache(REFUSED[message](*numbered()))
    assert cache.where == "memory" or list(cache.where.iterdir()) == []


def test_features_with_another_batch_axis_are_not_cached(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    cut = fc.insert(model, "0", "raw", batch_axis=1)
    parts = find_parts(model, cut, torch.rand(5, 2, 3))
    with pytest.raises(fc.ConfigError, match="the batch first, the codec is inserted with batch_axis=1"):
        cache_features(model, cut, parts, [torch.rand(5, 2, 3)], "memory")


def test_arrays_on_disk_are_plain_npy(net, tmp_path):
    Cache(tmp_path, net)(shuffled())
    shapes = {path.name.split(".")[1]: np.load(path, allow_pickle=False).shape for path in tmp_path.glob("*.npy")}
    assert shapes == {"features": (COUNT, 8, 8, 8), "targets": (COUNT,)}
