"""prune: the head of a model pruned incrementally, as the three-step framework has it, or in two steps, its baseline."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from featcodec.errors import ConfigError, FeatureError
from featcodec.evaluation import Metric, top1
from featcodec.inputs import device_for, head_of, to_device
from featcodec.insertion import insert
from featcodec.layers import check_model
from featcodec.planning.channel_rules import channel_graph
from featcodec.planning.channels import ChannelGraph
from featcodec.planning.importance import element_magnitudes, for_macs, in_each, l2_norms, over_all, smallest, taylor
from featcodec.planning.masks import Flow, Mask, Masks, apply, flow, holding, masked, network_of
from featcodec.planning.pruning import Pruning, ramp
from featcodec.spec import Spec
from featcodec.training import Batches, History, Phase, Progress, fit
from featcodec.training.batches import read
from featcodec.training.checkpoint import read_checkpoint, write_checkpoint
from featcodec.training.losses import TaskLoss

Filters = Mapping[str, Mask]


@dataclass(frozen=True)
class Pruned:
    """What a pruning did.

    Attributes
    ----------
    graph
        The network's channels.
    masks, flow
        What is masked, and what follows from it.
    rounds
        For each, what is masked (share of the filters looked at, filters, elements), what is left (head_macs), and the last
        epoch of its training; of the fine-tuning after them the same.
    """

    graph: ChannelGraph
    masks: Masks
    flow: Flow
    rounds: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return what it did, JSON only."""
        before, after = self.graph.head_macs, self.flow.head_macs
        macs = {"head_macs": after, "unpruned_head_macs": before, "saved": 1 - after / before if before else 0.0}
        return {"network": self.masks.network, **macs, "rounds": self.rounds}


def prune(
    model: nn.Module,
    layer: str | nn.Module,
    loader: Iterable[Any],
    pruning: Pruning,
    *,
    codec: Spec = "raw",
    task: TaskLoss = nn.functional.cross_entropy,
    validation: Iterable[Any] | None = None,
    metric: Metric = top1,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> Pruned:
    """Prune the head of a model in place, and train the model again between the rounds.

    Afterwards what is masked is zero; `featcodec.planning.shrink` takes it out where that is legal.

    Parameters
    ----------
    layer
        The last one on the device.
    codec
        What is inserted at the cut in training.
    checkpoint
        A file that is written after every round, and gone on from where it exists; the epochs of a round have one of their own
        beside it. Start from the same model as the first time.
    loader, task, validation, metric, seed, device, progress
        As for `fit`.

    Raises
    ------
    LayerError
        The model cannot be traced or cut there.
    ConfigError
        As much cannot be pruned; the head has no convolution; the checkpoint is of another run.
    """
    check_model(model)
    where = device_for(model, device)
    model.to(where)
    options = {"task": task, "validation": validation, "metric": metric, "seed": seed, "device": where, "progress": progress}
    path = None if checkpoint is None else Path(checkpoint)
    return _Run(model, layer, loader, pruning, codec, path, options).run()


class _Run:
    """One pruning."""

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module,
        loader: Iterable[Any],
        pruning: Pruning,
        codec: Spec,
        checkpoint: Path | None,
        options: dict[str, Any],
    ) -> None:
        self.model, self.loader, self.pruning, self.codec = model, loader, pruning, codec
        self.checkpoint, self.options = checkpoint, options
        first = next(read(loader, in_order=True), None)
        if first is None:
            raise FeatureError("the loader gave no samples")
        self.example = to_device(head_of(first[0], 1), options["device"])
        self.graph = channel_graph(model, layer, self.example)
        if not self.graph.convolutions:
            raise ConfigError(f"there is no convolution to prune before layer {self.graph.layer!r}")
        self.network = network_of(self.graph)
        self.rounds: list[dict[str, Any]] = []

    def run(self) -> Pruned:
        self._check_reach()
        masks, pruning = self._resumed(), self.pruning
        for done in range(len(self.rounds) + 1, pruning.rounds + 1):
            share, masks = self._choose(done, masks)
            for_good = pruning.method == "two-step" or done == pruning.rounds
            masking = nullcontext(apply(self.model, self.graph, masks)) if for_good else masked(self.model, self.graph, masks)
            with masking as found:
                phase = dataclasses.replace(pruning.phase, name=f"round {done} of {pruning.rounds}")
                self._note(masks, found, share, self._train(phase, found, done))
            self._save(masks, done)
        if pruning.final is not None and len(self.rounds) == pruning.rounds:
            found = flow(self.graph, masks.filters)
            self._note(masks, found, self.rounds[-1]["share"], self._train(pruning.final, found, pruning.rounds + 1))
            self._save(masks, pruning.rounds + 1)
        return Pruned(self.graph, masks, flow(self.graph, masks.filters), self.rounds)

    # ---- what to mask -----------------------------------------------------------------------------------------------------

    def _check_reach(self) -> None:
        """Raise ConfigError where as much cannot be saved, before anything has changed."""
        macs = self.pruning.macs
        if macs is not None:
            norms = l2_norms(self.model, self.graph)
            last = self.graph.convolutions[-1].parameters["weight"]
            end = {last: smallest(norms[last], macs)} if self.pruning.method == "two-step" else {}
            for_macs(self.graph, macs, lambda share: {**in_each(norms, share), **end})

    def _choose(self, done: int, before: Masks) -> tuple[float, Masks]:
        """The masks of a round, and the share of the filters that they are."""
        pruning = self.pruning
        if pruning.method == "two-step":
            share, filters = self._two_step(done, before.filters)
        else:
            norms = l2_norms(self.model, self.graph)
            share, filters = self._reach(lambda s: in_each(norms, s), ramp(1.0, done, pruning.rounds))
        elements = None
        if pruning.elements:
            apply(self.model, self.graph, Masks(self.network))  # judged without the masks of the last round
            sizes = element_magnitudes(self.model, self.graph.layer, self.loader, pruning.samples, self.options["device"])
            elements = smallest(sizes, ramp(pruning.elements, done, pruning.rounds))
        return share, Masks(self.network, filters, elements)

    def _reach(self, choose: Callable[[float], dict[str, Mask]], part: float) -> tuple[float, dict[str, Mask]]:
        """The masks of that part of what is wanted in the end, by filters or by multiply-accumulates."""
        if self.pruning.filters is not None:
            return self.pruning.filters * part, choose(self.pruning.filters * part)
        assert self.pruning.macs is not None
        return for_macs(self.graph, self.pruning.macs * part, choose)

    def _two_step(self, done: int, before: Filters) -> tuple[float, dict[str, Mask]]:
        """What was masked, and more: of the layers before the last in the first rounds, of the last one in the final third."""
        first = self.pruning.rounds - max(1, self.pruning.rounds // 3)
        last = self.graph.convolutions[-1].parameters["weight"]
        loader = _shuffled_anew(self.loader, done)
        found = taylor(self.model, self.graph, loader, self.options["task"], self.pruning.batches, self.options["device"])
        # what is masked stays masked: nothing is worth less
        scores = {name: np.where(before.get(name, np.zeros(len(s), np.bool_)), -1.0, s) for name, s in found.items()}
        others = {name: s for name, s in scores.items() if name != last}
        whole = self.pruning.filters if self.pruning.filters is not None else self.pruning.macs
        assert whole is not None
        if done > first or not others:
            part = (done - first) / (self.pruning.rounds - first) if others else done / self.pruning.rounds
            return whole * part, {**before, last: smallest(scores[last], whole * part)}
        # what the last layer is going to save is left for the second step
        end = {last: smallest(scores[last], whole)}
        part, least = ramp(1.0, done, first), 1 - flow(self.graph, end).head_macs / self.graph.head_macs
        if self.pruning.filters is not None:
            return whole * part, over_all(others, whole * part)
        share, filters = for_macs(self.graph, least + (whole - least) * part, lambda s: {**over_all(others, s), **end})
        return share, {name: mask for name, mask in filters.items() if name != last}

    # ---- a round ----------------------------------------------------------------------------------------------------------

    def _train(self, phase: Phase, found: Flow, number: int) -> History:
        own = None if self.checkpoint is None else self.checkpoint.with_name(f"{self.checkpoint.name}.fit{number}")
        options = {**self.options, "seed": self.options["seed"] + number}
        with insert(self.model, self.graph.layer, self.codec, example=self.example) as cut, holding(self.model, found):
            return fit(self.model, cut, _shuffled_anew(self.loader, number), phase, checkpoint=own, **options)

    def _note(self, masks: Masks, found: Flow, share: float, history: History) -> None:
        self.rounds.append(
            {
                "share": share,
                "filters": {name: int(mask.sum()) for name, mask in masks.filters.items()},
                "elements": 0 if masks.elements is None else int(masks.elements.sum()),
                "head_macs": found.head_macs,
                "training": history.epochs[-1],
            }
        )

    # ---- checkpoints ------------------------------------------------------------------------------------------------------

    def _description(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "pruning": self.pruning.to_dict(),
            "codec": str(self.codec),
            "seed": self.options["seed"],
        }

    def _save(self, masks: Masks, number: int) -> None:
        if self.checkpoint is None:
            return
        arrays = {name: torch.from_numpy(mask) for name, mask in masks.filters.items()}
        elements = None if masks.elements is None else torch.from_numpy(masks.elements)
        state = {"model": self.model.state_dict(), "filters": arrays, "elements": elements, "rounds": self.rounds}
        write_checkpoint(self.checkpoint, self._description(), state)
        self.checkpoint.with_name(f"{self.checkpoint.name}.fit{number}").unlink(missing_ok=True)

    def _resumed(self) -> Masks:
        if self.checkpoint is None or not self.checkpoint.is_file():
            return Masks(self.network)
        state = read_checkpoint(self.checkpoint, self._description())
        elements = None if state["elements"] is None else state["elements"].numpy()
        masks = Masks(self.network, {name: mask.numpy() for name, mask in state["filters"].items()}, elements)
        is_for_good = self.pruning.method == "two-step" or len(state["rounds"]) >= self.pruning.rounds
        if is_for_good:
            apply(self.model, self.graph, masks)
        self.model.load_state_dict(state["model"])
        self.rounds = list(state["rounds"])
        return masks


def _shuffled_anew(loader: Iterable[Any], number: int) -> Iterable[Any]:
    """The loader for a round: of `Batches` in an order, and augmented, as in no other round."""
    if not isinstance(loader, Batches):
        return loader
    later = copy.copy(loader)
    later.seed += number
    return later
