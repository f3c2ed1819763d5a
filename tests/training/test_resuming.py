"""What was interrupted ends as if it had not been; what was cached trains as the whole model does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import featcodec as fc
from featcodec import training
from featcodec.training import Phase, fit
from tests.training.net import Net, batches, bottleneck, put, same, state_of, toy


class StopHere(Exception):  # noqa: N818
    pass


def stop_after(epochs: int):
    left = [epochs]

    def progress(event: training.Event) -> None:
        # in the midst of an epoch: what it had done so far is lost, and done again
        if event.kind == "step" and event.step == 2:
            if left[0] == 0:
                raise StopHere
            left[0] -= 1

    return progress


def shuffled_loader() -> torch.utils.data.DataLoader:
    data = torch.utils.data.TensorDataset(*toy())
    return torch.utils.data.DataLoader(data, 16, shuffle=True)


def own_generator_loader() -> torch.utils.data.DataLoader:
    data = torch.utils.data.TensorDataset(*toy())
    return torch.utils.data.DataLoader(data, 16, shuffle=True, generator=torch.Generator().manual_seed(9))


LOADERS = {"batches": batches, "dataloader": shuffled_loader, "own generator": own_generator_loader}
RUNS = {
    "dsc": ("dsc:reduced=2,step=0.5", {"rate": 0.01}, None),
    "entropic": ("entropic:reduced=2", {"rate": 1e-3}, None),
    "over a channel": ("bottlenet++:reduced=2,csi=true", {}, "bec:p=0..0.3"),
}


INTERRUPTIONS = [
    ("dsc", "batches", 1, None),
    ("entropic", "dataloader", 2, None),
    ("over a channel", "own generator", 3, None),
    ("entropic", "dataloader", 3, "memory"),
    ("over a channel", "batches", 1, "memory"),
    ("entropic", "dataloader", 2, "folder"),
    ("dsc", "own generator", 3, "folder"),
    ("over a channel", "batches", 1, "folder"),
]


@pytest.mark.parametrize(("run", "loader", "stop", "cache"), INTERRUPTIONS)
def test_what_was_interrupted_ends_as_if_it_had_not_been(run, loader, stop, cache, trained_state, tmp_path):
    spec, weights, channel = RUNS[run]
    joint = "tail" if cache else "all"
    shared = {"losses": {"task": 1.0, **weights}, "channel": channel, "lr": 0.01}
    schedule = [Phase(name="one", epochs=2, **shared), Phase(name="two", epochs=2, train=joint, optimizer="sgd", **shared)]
    results = []
    for interrupted in (False, True):
        for attempt in range(1 + interrupted):
            net = Net()
            net.load_state_dict(trained_state)
            torch.manual_seed(77 + attempt)  # what the process drew before does not matter
            cut = fc.insert(net, "b", spec, example=toy(1)[0])
            if not attempt:
                torch.manual_seed(3)
                for p in cut.codec.parameters():
                    nn.init.normal_(p, 0.2, 0.3)
            path = tmp_path / f"{interrupted}.ckpt"
            progress = stop_after(stop) if interrupted and not attempt else None
            make = LOADERS[loader]()
            folder = tmp_path / f"cache {interrupted}"
            options = {"checkpoint": path, "cache": folder if cache == "folder" else cache, "seed": 4, "progress": progress}
            options["validation"] = batches() if stop == 2 else None
            try:
                history = fit(net, cut, make, schedule, **options)
            except StopHere:
                continue
            record = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in history.epochs]
            results.append((state_of(net), record))
    assert results[0][1] == results[1][1]
    assert same(results[0][0], results[1][0])
    assert list(tmp_path.rglob("*.part")) == []


def test_a_finished_training_is_not_done_again(net, tmp_path):
    with put(net) as cut:
        first = fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c")
        state = state_of(net)
        steps = []
        again = fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c", progress=lambda e: steps.append(e))
        assert steps == []
        assert again.to_dict() == first.to_dict()
        assert same(state, state_of(net))
        fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c", resume=False, progress=lambda e: steps.append(e))
        assert len(steps) == 2 * (4 + 1)


CHANGES = {
    r"schedule\.0\.lr is 0\.02 there, 0\.5 here": {"schedule": bottleneck(2, lr=0.5)},
    r"schedule\.0\.losses\.rate is 0\.01 there, 0\.5 here": {"schedule": bottleneck(2, losses={"task": 1.0, "rate": 0.5})},
    r"seed is 0 there, 1 here": {"seed": 1},
    r"codec\.reduced is 2 there, 3 here": {"spec": "dsc:reduced=3,step=0.5"},
    r"cached is False there, True here": {"cache": "memory"},
    r"frozen is \d+ there, \d+ here": {"other": True},
}


@pytest.mark.parametrize("message", CHANGES)
def test_a_checkpoint_of_another_run_is_refused_naming_what_differs(message, net, tmp_path):
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(2), checkpoint=tmp_path / "c")
    change = dict(CHANGES[message])
    if change.pop("other", False):
        net.a[0].weight.data += 1
    schedule, spec = change.pop("schedule", bottleneck(2)), change.pop("spec", "dsc:reduced=2,step=0.5")
    with put(net, spec) as cut:
        before = state_of(net)
        with pytest.raises(fc.ConfigError, match=message):
            fit(net, cut, batches(), schedule, checkpoint=tmp_path / "c", **change)
        assert same(before, state_of(net))


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a checkpoint ran code",))


@pytest.mark.parametrize("content", [b"", b"nonsense", "pickle"])
def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(content, net, tmp_path):
    path = tmp_path / "c"
    if content == "pickle":
        torch.save({"format": 1, "run": Evil(), "state": {}}, path)
    else:
        path.write_bytes(content)
    with put(net) as cut, pytest.raises(fc.ConfigError, match="is no checkpoint"):
        fit(net, cut, batches(), bottleneck(1), checkpoint=path)


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("train", ["bottleneck", "tail"])
def test_cached_features_train_as_the_whole_model_does(where, train, trained_state, tmp_path):
    results = []
    losses = {"task": 1.0, "rate": 0.01, "kd": 0.5, "features": 0.1}
    for cache in (None, "memory" if where == "memory" else tmp_path):
        net = Net()
        net.load_state_dict(trained_state)
        with put(net) as cut:
            history = fit(
                net, cut, batches(seed=2), bottleneck(2, train=train, losses=losses, match=("c",)), cache=cache, seed=6
            )
            results.append((state_of(net), history.losses()))
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)
    for name, value in results[0][0].items():
        torch.testing.assert_close(value, results[1][0][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mapped_bytes", [0, 1 << 30])
def test_a_cached_epoch_runs_no_head_and_a_folder_serves_the_next_run(mapped_bytes, net, tmp_path, monkeypatch):
    monkeypatch.setattr("featcodec.training.files._MAPPED_BYTES", mapped_bytes)
    runs = []
    net.a.register_forward_hook(lambda *_: runs.append(1))
    with put(net) as cut:
        fit(net, cut, batches(), bottleneck(3), cache=tmp_path)
        first, files = len(runs), sorted(p.name for p in tmp_path.iterdir())
        fit(net, cut, batches(), bottleneck(3), cache=tmp_path)
        assert len(runs) - first < 12 < first  # where modules lie, the cut and its checks; not once a batch
        assert sorted(p.name for p in tmp_path.iterdir()) == files
        assert len(files) == 3
        net.a[0].weight.data += 0.1
        fit(net, cut, batches(), bottleneck(1), cache=tmp_path)
        assert len(list(tmp_path.iterdir())) == 6


def test_no_cache_where_the_head_or_the_inputs_change(net):
    with put(net) as cut:
        with pytest.raises(fc.ConfigError, match="'all' changes the head"):
            fit(net, cut, batches(), bottleneck(1, train="all"), cache="memory")
        with pytest.raises(fc.ConfigError, match="augmented inputs"):
            fit(net, cut, batches(augment=lambda x, g: x), bottleneck(1), cache="memory")
