"""Study: a search's trials in Optuna's storage, which any number of processes may share."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from featcodec.errors import ConfigError
from featcodec.planning.findings import OBJECTIVES, Findings, StoppedError, Trial
from featcodec.planning.journal import Journal
from featcodec.planning.samplers import Seeded
from featcodec.planning.space import Point, Space
from featcodec.planning.suggesting import parameters, suggest

# User attributes of studies and trials.
_ABOUT, _OBJECTIVES = "featcodec", "objectives"
_POINT, _WORKER, _FIGURES, _ERROR, _REPEATS, _LOST = "point", "worker", "figures", "error", "repeats", "lost"
_STATES = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}

LOCK_S = 30.0  # that a SQLite file may be locked by others
_MOST_REPEATS = 5  # in a row, then a point that is new is taken
_MEDIAN_OF = 5  # trials that are through before one is stopped for being below their median

T = TypeVar("T")


class Study:
    """A study, made where it is missing.

    Raises
    ------
    ConfigError
        The storage cannot be used; the study there is of something else.
    """

    def __init__(
        self,
        name: str,
        storage: str | Path,
        objectives: tuple[str, ...],
        about: Mapping[str, Any],
        sampler: str,
        seed: int,
        warm_up: int = 1,
        least_accuracy: float | None = None,
    ) -> None:
        self.name, self.objectives = name, objectives
        self._where = str(storage)
        self._is_grid = sampler == "grid"
        self._streak = 0
        self._seed = seed
        self._least_accuracy = least_accuracy
        found: dict[str, Any] = json.loads(json.dumps({_OBJECTIVES: list(objectives), **about}))

        def opened() -> tuple[optuna.Study, Any]:
            pruner = optuna.pruners.MedianPruner(_MEDIAN_OF, warm_up)
            where: dict[str, Any] = {"storage": _storage(storage), "study_name": name, "sampler": Seeded(sampler, seed)}
            try:
                study = optuna.load_study(**where, pruner=pruner)
            except KeyError:  # there is none
                up, down = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
                directions = [up if OBJECTIVES[objective] else down for objective in objectives]
                with _quiet():
                    study = optuna.create_study(**where, pruner=pruner, directions=directions, load_if_exists=True)
            if _ABOUT not in study.user_attrs:
                study.set_user_attr(_ABOUT, found)
            return study, study.user_attrs[_ABOUT]

        self._study, there = self.guarded(opened)
        self._check(there, found)

    def _check(self, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        differ = [key for key in sorted({**there, **here}) if there.get(key) != here.get(key)]
        if differ:
            what = "; ".join(f"{key} is {there.get(key)!r} there, {here.get(key)!r} here" for key in differ[:4])
            raise ConfigError(f"study {self.name!r} in {self._where} is of another search: {what}")

    def guarded(self, act: Callable[[], T]) -> T:
        """Return what a use of the storage gives; ConfigError where that fails, whatever the storage raises."""
        try:
            return act()
        except ConfigError:
            raise
        except Exception as e:
            raise _unusable(self._where, e) from e

    # ---- trials -----------------------------------------------------------------------------------------------------------

    def _trials(self) -> list[FrozenTrial]:
        return self.guarded(lambda: self._study.get_trials(deepcopy=False))

    def count(self) -> int:
        """Return how many points are through, or under way, by whatever worker."""
        return len([trial for trial in self._trials() if _counts(trial)])

    def revive(self) -> None:
        """Give back what workers of this machine had begun that are there no more."""
        for trial in self._trials():
            worker = trial.user_attrs.get(_WORKER, {})
            if trial.state is TrialState.RUNNING and worker.get("host") == socket.gethostname() and not _lives(worker["pid"]):
                self._give_back(trial.number, trial._trial_id, trial.params)

    def _give_back(self, number: int, trial_id: int, params: dict[str, Any]) -> None:
        def give_back() -> None:
            self._study._storage.set_trial_user_attr(trial_id, _LOST, True)
            self._study.tell(number, state=TrialState.FAIL)
            if params:
                self._study.enqueue_trial(params)

        self.guarded(give_back)

    def begin(self, space: Space) -> Begun | None:
        """Draw the next point; None where all of the space has been tried."""
        if self._is_grid or self._streak >= _MOST_REPEATS:
            point = self._new_point(space)
            if point is None and space.points() is not None:
                return None
            if point is not None:
                new = parameters(point, space)
                self.guarded(lambda: self._study.enqueue_trial(new))
        trial = self.guarded(self._study.ask)

        def draw() -> Begun:
            trial.set_user_attr(_WORKER, {"host": socket.gethostname(), "pid": os.getpid()})
            point = space.draw(lambda name, dimension: suggest(trial, name, dimension))
            trial.set_user_attr(_POINT, point)
            return Begun(self, trial, point, self._repeated(trial, point))

        begun = self.guarded(draw)
        self._streak = 0 if begun.repeats is None else self._streak + 1
        return begun

    def _repeated(self, trial: optuna.Trial, point: Point) -> int | None:
        """The trial that this one repeats, whose figures it takes over."""
        wanted = json.loads(json.dumps(point))
        for other in self._study.get_trials(deepcopy=False):
            if other.number != trial.number and _counts(other) and other.user_attrs.get(_POINT) == wanted:
                trial.set_user_attr(_REPEATS, other.number)
                if other.state is TrialState.COMPLETE:
                    trial.set_user_attr(_FIGURES, other.user_attrs[_FIGURES])
                    self.judge(trial, other.user_attrs[_FIGURES])
                    self._study.tell(trial, other.values)
                else:
                    self._study.tell(trial, state=TrialState.FAIL)
                return other.number
        return None

    def judge(self, trial: optuna.Trial, figures: Mapping[str, float]) -> None:
        """Tell Optuna by how much a trial misses the least accuracy; one without figures, by all of it."""
        if self._least_accuracy is not None and hasattr(trial, "set_constraint"):  # Optuna 4 has another way, which 5 gives up
            trial.set_constraint("accuracy", self._least_accuracy - figures.get("accuracy", 0.0))

    def _new_point(self, space: Space) -> Point | None:
        tried = [trial.user_attrs.get(_POINT) for trial in self._trials() if _counts(trial)]
        return next((point for point in space.points() or () if json.loads(json.dumps(point)) not in tried), None)

    def findings(self) -> Findings:
        """Return what has been found so far."""
        about = self.guarded(lambda: self._study.user_attrs[_ABOUT])
        return _findings(self.name, about, self._trials())


class Begun:
    """A trial under way.

    Attributes
    ----------
    repeats
        The trial of the same point, where there is one: it is through with it.
    """

    def __init__(self, study: Study, trial: optuna.Trial, point: Point, repeats: int | None) -> None:
        self.point, self.repeats = point, repeats
        self._study, self._trial = study, trial

    def reporter(self, least_accuracy: float | None, warm_up: int) -> Callable[[int, float], None]:
        """Return what takes each epoch's accuracy in, and stops the trial where it is not worth going on."""

        def report(epoch: int, accuracy: float) -> None:
            if least_accuracy is not None and epoch >= warm_up and accuracy < least_accuracy:
                raise StoppedError(f"accuracy {accuracy:.4f} after epoch {epoch}, wanted {least_accuracy:.4f}")
            # Optuna takes no reports of a trial that has several objectives
            if self._study.objectives == ("accuracy",):
                self._study.guarded(lambda: self._trial.report(accuracy, epoch))
                if self._study.guarded(self._trial.should_prune):
                    raise StoppedError(f"accuracy {accuracy:.4f} after epoch {epoch}, below the median of the trials before")

        return report

    def finish(self, figures: Mapping[str, float]) -> Trial:
        """Record what came of it; a figure that is missing or not finite is a failure."""
        found = {name: float(value) for name, value in figures.items()}
        wrong = [name for name in self._study.objectives if not math.isfinite(found.get(name, math.nan))]
        if wrong:
            return self.fail(f"{wrong[0]} is {found.get(wrong[0], 'missing')}")
        values = [found[name] for name in self._study.objectives]
        return self._tell({_FIGURES: found}, TrialState.COMPLETE, values)

    def stop(self, why: str) -> Trial:
        """Record that it was given up."""
        return self._tell({_ERROR: why}, TrialState.PRUNED)

    def fail(self, error: str) -> Trial:
        """Record its error."""
        return self._tell({_ERROR: error}, TrialState.FAIL)

    def give_back(self) -> None:
        """Leave it to be tried again."""
        self._study._give_back(self._trial.number, self._trial._trial_id, self._trial.params)

    def _tell(self, attributes: Mapping[str, Any], state: TrialState, values: list[float] | None = None) -> Trial:
        def tell() -> FrozenTrial:
            for name, value in attributes.items():
                self._trial.set_user_attr(name, value)
            self._study.judge(self._trial, attributes.get(_FIGURES, {}))
            return self._study._study.tell(self._trial, values, state)

        return _trial(self._study.guarded(tell))


def read_findings(storage: str | Path, study: str) -> Findings:
    """Return what a study has found; ConfigError where the storage has none of that name."""
    if "://" not in str(storage) and not Path(storage).is_file():
        raise ConfigError(f"there is no study in {storage}: no such file")
    try:
        found = optuna.load_study(study_name=study, storage=_storage(storage))
        return _findings(study, found.user_attrs[_ABOUT], found.get_trials(deepcopy=False))
    except ConfigError:
        raise
    except Exception as e:
        raise _unusable(str(storage), e) from e


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says what goes wrong and no more."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _unusable(where: str, error: Exception) -> ConfigError:
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    return ConfigError(f"the storage {where} cannot be used: {first}")


def _findings(name: str, about: Mapping[str, Any], trials: list[FrozenTrial]) -> Findings:
    rest = {key: value for key, value in about.items() if key != _OBJECTIVES}
    shown = tuple(_trial(trial) for trial in trials if trial.state in _STATES and _LOST not in trial.user_attrs)
    return Findings(name, tuple(about[_OBJECTIVES]), shown, rest)


def _trial(trial: FrozenTrial) -> Trial:
    attributes = trial.user_attrs
    seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 3)
    figures, error, repeats = attributes.get(_FIGURES, {}), attributes.get(_ERROR), attributes.get(_REPEATS)
    return Trial(trial.number, _STATES[trial.state], attributes.get(_POINT, {}), figures, error, seconds, repeats)


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in _STATES and _LOST not in trial.user_attrs and _REPEATS not in trial.user_attrs


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _storage(where: str | Path) -> optuna.storages.BaseStorage:
    if "://" not in str(where):
        return optuna.storages.JournalStorage(Journal(Path(where)))
    waits = {"connect_args": {"timeout": LOCK_S}} if str(where).startswith("sqlite") else {}
    return optuna.storages.RDBStorage(str(where), engine_kwargs=waits)
