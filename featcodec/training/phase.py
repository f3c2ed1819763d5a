"""Phase, one stretch of a training, and the papers' schedules made of phases."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featcodec.channel import ChannelRange
from featcodec.errors import ConfigError
from featcodec.spec import check_bool, check_choice, check_int, check_number, near_names

TRAINS = ("bottleneck", "tail", "all")
OPTIMIZERS = ("adam", "adamw", "sgd")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of a training: what is trained, on which loss, how fast, over which channel.

    Attributes
    ----------
    name
        Shown in progress and history.
    epochs
        At least 1.
    train
        "bottleneck": the codec, the backbone frozen and in eval mode; "tail": the codec and what runs after the cut; "all".
    losses
        Weights by name. "task": the task's loss; "kd": the teacher's outputs, softened (Hinton et al. 2015); "features": the
        teacher's features at `match`; any other name is one of `Codec.losses`. A codec's loss must be weighed, be it by 0.
    lr, final_lr
        Learning rate at the phase's first step; with `cosine` it falls to `final_lr` along a half cosine.
    optimizer
        "adam", "adamw" or "sgd" (Nesterov momentum 0.9).
    channel
        What packets meet in this phase instead of the insertion's channel: a `ChannelRange`, drawn for every batch.
    match
        Layers after the cut whose outputs "features" compares, the mean over all their tensors; none: the feature itself,
        before and after the codec.
    temperature
        T of "kd", which is weighed by T^2.
    clip_norm
        Gradients are scaled down to this norm.
    attributes
        What is set on the codec for this phase: {"warm_up": True} of `vq`, {"level": 2} of `variable-rate`.
    lr_scales
        Factors on the learning rate of the codec's parameters, by the start of their names: {"gains": 8} of `vfe`.
    prepare
        Methods of the codec that are called, without arguments, before the phase: ("prune",) of `vfe`.

    Raises
    ------
    ConfigError
        A value is out of range; it is named.
    """

    name: str
    epochs: int
    train: str = "bottleneck"
    losses: Mapping[str, float] = field(default_factory=lambda: {"task": 1.0})
    lr: float = 1e-3
    final_lr: float = 0.0
    cosine: bool = True
    optimizer: str = "adam"
    weight_decay: float = 0.0
    channel: str | None = None
    match: tuple[str, ...] = ()
    temperature: float = 1.0
    clip_norm: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_int("epochs", self.epochs, 1, 1 << 20)
        check_choice("train", self.train, TRAINS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_bool("cosine", self.cosine)
        for name, least in (("lr", 1e-12), ("final_lr", 0.0), ("weight_decay", 0.0), ("temperature", 1e-3)):
            check_number(name, getattr(self, name), least, 1e3)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 1e-9, 1e9)
        if not isinstance(self.losses, Mapping) or not self.losses:
            raise ConfigError(f"losses must be weights by name, got {self.losses!r}")
        for name, weight in self.losses.items():
            check_number(f"the weight of {name!r}", weight, 0.0, 1e12)
        if not isinstance(self.lr_scales, Mapping):
            raise ConfigError(f"lr_scales must be factors by name, got {self.lr_scales!r}")
        for name, scale in self.lr_scales.items():
            check_number(f"the learning rate's factor of {name!r}", scale, 0.0, 1e6)
        if self.channel is not None:
            ChannelRange(self.channel)
        for name in ("match", "prepare"):  # lists, as JSON has them
            names = getattr(self, name)
            listed = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, (list, tuple)) else (names,)
            if not all(isinstance(item, str) for item in listed):
                raise ConfigError(f"{name} must be names, got {names!r}")
            object.__setattr__(self, name, listed)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON only."""
        lists = {"match": list(self.match), "prepare": list(self.prepare)}
        return {**dataclasses.asdict(self), "losses": dict(self.losses), **lists}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Phase:
        """Build a phase from what `to_dict` returned; fields may be left out.

        Raises
        ------
        ConfigError
            A field is unknown, missing or out of range.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                raise ConfigError(f"a phase has no {name!r}; {near_names(str(name), known)}")
        try:
            return cls(**fields)
        except TypeError as e:
            raise ConfigError(f"{dict(fields)!r} is no phase: {e}") from e

    def lr_at(self, fraction: float) -> float:
        """Return the learning rate when this fraction of the phase is behind."""
        if not self.cosine:
            return self.lr
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * fraction)) / 2


Schedule = Sequence[Phase]
Weights = Mapping[str, float]


def bottleneck_only(epochs: int = 15, *, lr: float = 2e-3, weights: Weights | None = None, **fields: Any) -> Schedule:
    """Train the codec inside a frozen backbone on the task (Datta et al., ICPR 2022).

    Parameters
    ----------
    weights
        Of the codec's own losses, by name: {"rate": 0.1}.
    **fields
        Of every `Phase`; so in all schedules.
    """
    return (Phase(name="bottleneck", epochs=epochs, lr=lr, losses={"task": 1.0, **(weights or {})}, **fields),)


def three_step(
    epochs: int = 20,
    joint_epochs: int = 10,
    *,
    lr: float = 1e-3,
    joint_lr: float = 1e-4,
    channel: str | None = None,
    weights: Weights | None = None,
    **fields: Any,
) -> Schedule:
    """Train the codec inside the frozen backbone, then all of it together at a low rate (BottleNet++, section III-C).

    Step one of the three, training the backbone, lies before it. `channel` is a `ChannelRange`, its parameter drawn for every
    batch: "bec:p=0..0.3".
    """
    shared = {"losses": {"task": 1.0, **(weights or {})}, "channel": channel, **fields}
    return (
        Phase(name="bottleneck", epochs=epochs, lr=lr, **shared),
        Phase(name="joint", epochs=joint_epochs, lr=joint_lr, train="all", **shared),
    )


def end_to_end(epochs: int = 90, *, lr: float = 1e-3, weights: Weights | None = None, **fields: Any) -> Schedule:
    """Train backbone and codec together from the first step: compression-aware training (BottleNet)."""
    return (Phase(name="end to end", epochs=epochs, lr=lr, train="all", losses={"task": 1.0, **(weights or {})}, **fields),)


def fine_tuning(epochs: int = 10, *, lr: float = 1e-4, weights: Weights | None = None, **fields: Any) -> Schedule:
    """Train the codec, if it has weights, and the tail; with the codec `raw`: the control to fine-tuned codecs."""
    return (Phase(name="tail", epochs=epochs, lr=lr, train="tail", losses={"task": 1.0, **(weights or {})}, **fields),)


def head_distillation(
    epochs: int = 10,
    *,
    match: Sequence[str] = (),
    lr: float = 1e-3,
    weights: Weights | None = None,
    **fields: Any,
) -> Schedule:
    """Train the codec to give the features of the model without it, at the cut or at later layers; needs no labels.

    After Matsubara et al. (Entropic Student, WACV 2022, first stage) and Furutanpey et al. (FrankenSplit).
    """
    losses = {"features": 1.0, **(weights or {})}
    return (Phase(name="head distillation", epochs=epochs, lr=lr, losses=losses, match=tuple(match), **fields),)


def knowledge_distillation(
    epochs: int = 10,
    *,
    task: float = 0.5,
    temperature: float = 1.0,
    train: str = "tail",
    lr: float = 1e-3,
    weights: Weights | None = None,
    **fields: Any,
) -> Schedule:
    """Train on the outputs of the model without the codec, and with weight `task` on the labels; 0: none are needed.

    The second stage of Entropic Student: T = 1, half and half.
    """
    losses = {**({"task": task} if task else {}), "kd": 1.0 - task if task < 1 else 1.0, **(weights or {})}
    return (Phase(name="distillation", epochs=epochs, lr=lr, train=train, losses=losses, temperature=temperature, **fields),)


SCHEDULES = {
    "bottleneck-only": bottleneck_only,
    "end-to-end": end_to_end,
    "fine-tuning": fine_tuning,
    "head-distillation": head_distillation,
    "knowledge-distillation": knowledge_distillation,
    "three-step": three_step,
}


def get_schedule(name: str, **arguments: Any) -> Schedule:
    """Build a schedule by its name.

    Raises
    ------
    ConfigError
        No such schedule, or arguments that it does not take.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"no schedule {name!r}; {near_names(str(name), SCHEDULES)}")
    make: Any = SCHEDULES[name]
    try:
        schedule: Schedule = make(**arguments)
    except TypeError as e:
        raise ConfigError(f"schedule {name!r}: {e}") from e
    return schedule


def check_schedule(schedule: Schedule | Phase) -> tuple[Phase, ...]:
    """Return a schedule as a tuple of phases; ConfigError where it is none."""
    phases = (schedule,) if isinstance(schedule, Phase) else tuple(schedule) if isinstance(schedule, (tuple, list)) else ()
    wrong = [phase for phase in phases if not isinstance(phase, Phase)]
    if wrong or not phases:
        raise ConfigError(f"a schedule is one Phase or more, got {wrong[0] if wrong else schedule!r}")
    return phases
