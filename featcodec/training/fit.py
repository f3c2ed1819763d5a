"""fit: trains a codec where it is inserted, by a schedule, in plain torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcodec.channel import ChannelRange
from featcodec.codec import Codec
from featcodec.errors import ConfigError, FeatureError
from featcodec.evaluation import Metric, Scorer, by_name, check_crossed, top1
from featcodec.inputs import device_for, head_of, to_device
from featcodec.insertion import Insertion
from featcodec.layers import check_model, evaluating
from featcodec.stats import Stats
from featcodec.training.batches import Batches, read
from featcodec.training.cache import cache_features
from featcodec.training.checkpoint import random_states, read_checkpoint, set_random_states, write_checkpoint
from featcodec.training.history import History
from featcodec.training.losses import TaskLoss, needs_outputs, needs_teacher, terms, weighted
from featcodec.training.parts import features_at, find_parts, state_crc, trained
from featcodec.training.paths import Passage, TailPath, WholePath, bare_copy
from featcodec.training.phase import Phase, Schedule, check_schedule
from featcodec.training.progress import Event, Progress

_Path = Callable[..., Passage]


def fit(
    model: nn.Module,
    insertion: Insertion,
    loader: Iterable[Any],
    schedule: Schedule | Phase,
    *,
    task: TaskLoss = nn.functional.cross_entropy,
    validation: Iterable[Any] | None = None,
    metric: Metric = top1,
    cache: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = True,
    teacher: nn.Module | None = None,
    calibration_samples: int = 2048,
    seed: int = 0,
    device: torch.device | str | None = None,
    amp: bool | None = None,
    progress: Progress | None = None,
) -> History:
    """Train a codec inside a model.

    What a phase does not train is frozen: in eval mode, its parameters and running statistics bit for bit what they were.
    Afterwards static tables are calibrated on the training features, all is in eval mode, and parameters want gradients as
    they did before.

    Parameters
    ----------
    model, insertion
        A trained model and what `insert` returned for it.
    loader
        Yields (inputs, targets), or inputs alone where no loss needs targets: `Batches`, a DataLoader, a list of batches;
        inputs as for `evaluate`. It is read once an epoch; its `set_epoch`, if any, is called before.
    schedule
        Phases; `three_step(...)` and its like make them.
    task
        ``task(outputs, targets)``: a scalar. The outputs are what the model gives.
    validation, metric
        Measured in eval mode after every epoch, through real bytes; batches and metrics as for `evaluate`.
    cache
        "memory" or a folder (`cache_features`): the head runs once over `loader` and `validation`, and epochs start from its
        features. The schedule must leave the head frozen; targets, too, are those of that one pass.
    checkpoint
        A file that is written after every epoch, and resumed from, bit for bit, where it exists and `resume` is set. Start
        from the same model as the first time.
    teacher
        What distillation aims at; the model as it is now, without the codec, unless given.
    calibration_samples
        Training samples for static tables.
    seed
        Of every draw: order of `cache`, channels, noise. torch's own state is left as it was.
    device
        Where to train; where the model is unless given. The model is moved.
    amp
        bfloat16 autocast outside the codec; on GPUs unless given.
    progress
        Called with events: `show_progress()`.

    Returns
    -------
    History
        Losses and validation by epoch.

    Raises
    ------
    ConfigError
        The schedule trains nothing, weighs losses wrongly or needs the head that is cached; the checkpoint is of another run.
    LayerError
        The insertion is not in this model; nothing went through the codec; a cached training cannot cut the model there.
    FeatureError
        The loader gives no samples or no batches of samples, or a loss is not finite.
    TypeError, ValueError
        The metric is none (`evaluate`).
    """
    phases = check_schedule(schedule)
    check_model(model)
    where = device_for(model, device)
    model.to(where)
    with _seeded(seed, where):
        run = _Run(model, insertion, phases, where, task, metric, progress or (lambda event: None), seed)
        run.amp = where.type == "cuda" if amp is None else amp
        run.calibration_samples = calibration_samples
        return run.over(loader, validation, cache, Path(checkpoint) if checkpoint is not None else None, resume, teacher)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's generators seeded inside, as they were after."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class _Run:
    """One training."""

    amp = False
    calibration_samples = 2048

    def __init__(
        self,
        model: nn.Module,
        insertion: Insertion,
        phases: tuple[Phase, ...],
        device: torch.device,
        task: TaskLoss,
        metric: Metric,
        progress: Progress,
        seed: int,
    ) -> None:
        self.model, self.insertion, self.phases, self.device = model, insertion, phases, device
        self.task, self.metric, self.progress, self.seed = task, metric, progress, seed
        self.codec: Codec = insertion.codec
        self.batch_axis = insertion.batch_axis
        Scorer(metric)  # refused before an epoch is spent
        self._known_paths: dict[int, tuple[_Path, _Path | None]] = {}

    # ---- the whole ------------------------------------------------------------------------------------------------------

    def over(
        self,
        loader: Iterable[Any],
        validation: Iterable[Any] | None,
        cache: str | Path | None,
        checkpoint: Path | None,
        resume: bool,
        teacher: nn.Module | None,
    ) -> History:
        if cache is not None and any(phase.train == "all" for phase in self.phases):
            raise ConfigError("a phase that trains 'all' changes the head: its features cannot be cached")
        self.example = to_device(_example(loader, self.batch_axis), self.device)
        self.parts = find_parts(self.model, self.insertion, self.example)
        for phase in self.phases:
            self.parts.parameters(phase)
        self.teacher = self._make_teacher(teacher)
        self.history = History(self._describe(cache is not None))
        self.cached = cache is not None
        self.validation = validation
        if cache is not None:
            loader = self._cached(loader, cache)
            self.validation = None if validation is None else self._cached(validation, cache)
        self.loader = loader
        # caching may have drawn: a resumed run starts from here too
        torch.manual_seed(self.seed)
        state = read_checkpoint(checkpoint, self.history.run) if checkpoint and resume and checkpoint.is_file() else None
        if state is not None:
            self._load(state)
        with self.insertion.measuring(Stats()), evaluating(*([] if self.teacher is None else [self.teacher])):
            self._train(state, checkpoint)
            self._calibrate(self.calibration_samples)
        self.model.eval()
        return self.history

    def _train(self, state: Mapping[str, Any] | None, checkpoint: Path | None) -> None:
        done = 0
        for phase in self.phases:
            first = max(0, len(self.history.epochs) - done)  # epochs of this phase that a checkpoint has behind it
            before, done = done, done + phase.epochs
            if first >= phase.epochs:
                continue
            with trained(self.model, self.insertion, self.parts, phase) as parameters:
                if not first:
                    for name in phase.prepare:
                        getattr(self.codec, name)()
                optimizer = _optimizer(phase, parameters, self.codec)
                if state is not None:
                    if first:
                        optimizer.load_state_dict(state["optimizer"])
                    set_random_states(state["random"], self.device, self.loader)
                    state = None
                for epoch in range(first, phase.epochs):
                    self._epoch(phase, epoch, before + epoch, optimizer, parameters)
                    if checkpoint is not None:
                        self._save(checkpoint, optimizer)

    def _epoch(
        self, phase: Phase, epoch: int, number: int, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]
    ) -> None:
        start = time.monotonic()
        loader: Any = self.loader
        for part in (loader, getattr(loader, "sampler", None)):
            set_epoch: Callable[[int], None] = getattr(part, "set_epoch", lambda epoch: None)
            set_epoch(number)
        steps = len(loader) if hasattr(loader, "__len__") else 0
        means, step, lr = _Means(), 0, phase.lr
        with self._channels(phase) as draw:
            batches = read(loader, needs_targets="task" in phase.losses, batch_axis=self.batch_axis)
            for step, (inputs, targets, samples) in enumerate(batches, 1):
                lr = phase.lr_at((epoch + (step - 1) / steps) / phase.epochs if steps else epoch / phase.epochs)
                for group in optimizer.param_groups:
                    group["lr"] = lr * group["scale"]
                draw()
                means.add(self._step(phase, inputs, targets, optimizer, parameters), samples)
                seconds = time.monotonic() - start
                self.progress(Event("step", phase.name, epoch + 1, phase.epochs, step, steps, seconds, means.values()))
        if not step:
            raise FeatureError("the loader gave no samples")
        record: dict[str, Any] = {"phase": phase.name, "epoch": epoch + 1, "lr": lr, "losses": means.values()}
        if self.validation is not None:
            record["validation"] = self._validate(phase)
        seconds = time.monotonic() - start
        self.history.epochs.append({**record, "seconds": round(seconds, 3)})
        validation = record.get("validation", {})
        self.progress(Event("epoch", phase.name, epoch + 1, phase.epochs, step, steps, seconds, means.values(), validation))

    def _step(
        self,
        phase: Phase,
        inputs: Any,
        targets: Any,
        optimizer: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
    ) -> dict[str, Tensor]:
        student, teacher = self._paths(phase)
        inputs, targets = to_device((inputs, targets), self.device)
        outputs, crossed = needs_outputs(phase), self.insertion.crossed
        with self._autocast():
            aim = None
            if teacher is not None:
                with torch.no_grad():
                    aim = teacher(inputs, outputs)
            passage = student(inputs, outputs)
        check_crossed(self.insertion, crossed)
        losses = terms(phase, self.task, passage, aim, targets, self.codec.losses())
        total = weighted(phase, losses)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        if phase.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, phase.clip_norm)
        optimizer.step()
        return {**losses, "total": total}

    # ---- its parts ------------------------------------------------------------------------------------------------------

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp)

    @contextmanager
    def _channels(self, phase: Phase) -> Iterator[Callable[[], None]]:
        """Within: a function that puts another channel of the phase's range into the insertion."""
        kept, channels = self.insertion.channel, None if phase.channel is None else ChannelRange(phase.channel)

        def draw() -> None:
            if channels is not None:
                self.insertion.channel = channels.draw()

        try:
            yield draw
        finally:
            self.insertion.channel = kept

    def _paths(self, phase: Phase) -> tuple[_Path, _Path | None]:
        """The student's and the teacher's way for a phase."""
        if id(phase) not in self._known_paths:
            layer, match, teacher = self.insertion.layer, phase.match, self.teacher if needs_teacher(phase) else None
            if self.cached:
                student: _Path = TailPath(self.model, layer, match, self.insertion, self.example)
                aim: _Path | None = None if teacher is None else TailPath(teacher, layer, match, None, self.example)
            else:
                student = WholePath(self.model, layer, match)
                aim = None if teacher is None else WholePath(teacher, layer, match)
            self._known_paths[id(phase)] = student, aim
        return self._known_paths[id(phase)]

    def _make_teacher(self, given: nn.Module | None) -> nn.Module | None:
        if not any(needs_teacher(phase) for phase in self.phases):
            return None
        return bare_copy(self.model, self.insertion) if given is None else given.to(self.device)

    def _cached(self, loader: Iterable[Any], where: str | Path) -> Batches:
        start, count = time.monotonic(), 0

        def note(samples: int) -> None:
            nonlocal count
            count += samples
            self.progress(Event("cache", self.insertion.layer, step=count, seconds=time.monotonic() - start))

        return cache_features(
            self.model, self.insertion, self.parts, loader, where, seed=self.seed, device=self.device, progress=note
        )

    def _validate(self, phase: Phase) -> dict[str, float | None]:
        """Metric and bits (or symbols) a sample through the real way, over the insertion's channel."""
        assert self.validation is not None
        self._calibrate(min(512, self.calibration_samples))
        stats = self.insertion.stats
        stats.reset()
        path, scorer = self._paths(phase)[0], Scorer(self.metric)
        with evaluating(self.model), torch.no_grad():
            for inputs, targets, samples in read(self.validation, batch_axis=self.batch_axis, in_order=True):
                crossed, sent = self.insertion.crossed, stats.samples
                inputs, targets = to_device((inputs, targets), self.device)
                outputs = path(inputs).outputs
                check_crossed(self.insertion, crossed)
                scorer.add(outputs, targets, stats.samples - sent or samples)
        if not scorer.samples:
            raise FeatureError("the validation loader gave no samples")
        analog = stats.real_symbols_per_sample
        cost = {"symbols": analog} if analog else {"bits": stats.bits_per_sample}
        found = {**by_name(scorer.value()), **cost}
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    def _calibrate(self, limit: int) -> None:
        """Calibrate the codec, where it needs that, on the features of the first training samples."""
        if not self.codec.needs_calibration:
            return
        features: list[Tensor] = []
        left = limit
        for inputs, _, samples in read(self.loader, batch_axis=self.batch_axis, in_order=True):
            found = [inputs] if self.cached else features_at(self.model, self.insertion, to_device(inputs, self.device))
            features += [x[:left].cpu() for x in found]
            left -= samples
            if left <= 0:
                break
        with evaluating(self.model):
            self.codec.calibrate(features)

    # ---- checkpoints ----------------------------------------------------------------------------------------------------

    def _describe(self, cached: bool) -> dict[str, Any]:
        """What a checkpoint must be of, to be resumed here."""
        trains = {phase.train for phase in self.phases}
        frozen = () if "all" in trains else self.parts.head if "tail" in trains else self.parts.head + self.parts.tail
        channel = self.insertion.channel
        return {
            "model": type(self.model).__name__,
            "frozen": state_crc(frozen),
            "layer": self.insertion.layer,
            "codec": self.codec.config(),
            "channel": None if channel is None else channel.config(),
            "schedule": [phase.to_dict() for phase in self.phases],
            "seed": self.seed,
            "cached": cached,
            "amp": self.amp,
        }

    @property
    def _kept(self) -> nn.Module:
        """What has to be kept: the codec, where nothing else is trained."""
        return self.codec if all(phase.train == "bottleneck" for phase in self.phases) else self.model

    def _save(self, path: Path, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "module": self._kept.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": random_states(self.device, self.loader),
            "epochs": self.history.epochs,
        }
        write_checkpoint(path, self.history.run, state)

    def _load(self, state: Mapping[str, Any]) -> None:
        self._kept.load_state_dict(state["module"])
        self.history.epochs = list(state["epochs"])


class _Means:
    """Means of losses over the samples of an epoch."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._samples = 0

    def add(self, losses: Mapping[str, Tensor], samples: int) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().double() * samples
        self._samples += samples

    def values(self) -> dict[str, float]:
        return {name: float(total) / self._samples for name, total in self._sums.items()}


def _optimizer(phase: Phase, parameters: list[nn.Parameter], codec: Codec) -> torch.optim.Optimizer:
    """The phase's optimizer, with a group for each factor on the learning rate."""
    scales: dict[int, float] = {}
    for start, scale in phase.lr_scales.items():
        scales.update({id(p): scale for name, p in codec.named_parameters() if name.startswith(start)})
    by_scale: dict[float, list[nn.Parameter]] = {}
    for p in parameters:
        by_scale.setdefault(scales.get(id(p), 1.0), []).append(p)
    groups = [{"params": group, "scale": scale} for scale, group in by_scale.items()]
    settings: dict[str, Any] = {"lr": phase.lr, "weight_decay": phase.weight_decay}
    if phase.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, **settings)
    return (torch.optim.AdamW if phase.optimizer == "adamw" else torch.optim.Adam)(groups, **settings)


def _example(loader: Iterable[Any], batch_axis: int) -> Any:
    """An input of the model; FeatureError where the loader can be read only once, or gives nothing."""
    if isinstance(loader, Iterator):
        raise FeatureError(f"a loader is read once an epoch, a {type(loader).__name__} only once at all: give a list, say")
    first = next(read(loader, batch_axis=batch_axis, in_order=True), None)
    if first is None:
        raise FeatureError("the loader gave no samples")
    return head_of(first[0], 1)
