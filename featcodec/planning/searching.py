"""search: the best splits, codecs and trainings of a space, tried one by one; with Optuna, by any number of processes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from featcodec.errors import ConfigError, MissingDependencyError
from featcodec.planning.findings import OBJECTIVES, Findings, StoppedError, Trial
from featcodec.planning.space import Point, Space
from featcodec.spec import check_choice, check_int, check_number, near_names

SAMPLERS = ("tpe", "nsga2", "random", "grid")
Report = Callable[[int, float], None]
TrialProgress = Callable[[Trial, int, int], None]


class Measure(Protocol):
    """Tries a point."""

    def __call__(self, point: Point, report: Report, /) -> Mapping[str, float]:
        """Return figures by name, those of `OBJECTIVES` that are aimed at among them.

        ``report(epoch, accuracy)`` after each epoch, from 1: it raises `StoppedError` where the trial is not worth going on.
        """


def search(
    space: Space,
    measure: Measure,
    *,
    trials: int,
    objectives: Sequence[str] = ("accuracy", "bytes"),
    sampler: str = "tpe",
    storage: str | Path = "search.journal",
    study: str = "search",
    least_accuracy: float | None = None,
    warm_up: int = 1,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    progress: TrialProgress | None = None,
) -> Findings:
    """Try points of a space until the study has so many trials; go on where it stands, beside other processes on it.

    A trial that fails is recorded with its error, and the study goes on. A point is measured once: one that is drawn again
    gets the figures it has, and does not count. What a worker of this machine that is gone had begun is tried again.

    Parameters
    ----------
    measure
        Tries a point.
    trials
        Of the whole study, by all its workers.
    objectives
        One or several of `OBJECTIVES`.
    sampler
        "tpe" (tree-structured Parzen estimators; of several objectives too), "nsga2", "random" (the papers' baseline), or
        "grid": every point in turn, of a space that has an end. What trial k draws depends on `seed`, k and those before.
    storage
        A file, Optuna's journal, made where it is missing; or the URL of a database ("sqlite:///x.db", "postgresql://..."),
        which workers on many machines can share.
    least_accuracy, warm_up
        From that epoch on a trial whose validation is below is stopped, and "tpe" and "nsga2" prefer trials that reach it to
        all others (with Optuna 5). Where accuracy is the only objective, so is one that is
        below the median of those before it at the same epoch; with several objectives no trial is stopped for its rank, for
        a point of low accuracy may be the cheapest.
    about
        What is searched (model, data, epochs), JSON: a study is gone on with only where this, the space and the objectives
        are the same.
    progress
        Called with each trial when it is through, how many there are, and how many there are to be.

    Raises
    ------
    ConfigError
        An unknown sampler or objective, a grid of a space without end; a study of something else; a storage that cannot be
        used: locked, gone, damaged.
    MissingDependencyError
        Optuna is not installed.
    """
    check_int("trials", trials, 1, 1 << 24)
    check_int("warm_up", warm_up, 1, 1 << 16)
    check_choice("sampler", sampler, SAMPLERS)
    if least_accuracy is not None:
        check_number("least_accuracy", least_accuracy, 0.0, 1.0)
    chosen = check_objectives(objectives)
    if sampler == "grid" and space.points() is None:
        raise ConfigError("a grid needs a space that has an end: choices and whole numbers, no ranges")
    described = {**(about or {}), "space": space.to_dict()}
    found = _optuna().Study(study, storage, chosen, described, sampler, seed, warm_up, least_accuracy)
    limits = (least_accuracy, warm_up)
    return _run(space, measure, found, trials, limits, progress)


def read_findings(storage: str | Path, study: str) -> Findings:
    """Return what a study has found so far; ConfigError where there is none of that name."""
    result: Findings = _optuna().read_findings(storage, study)
    return result


def check_objectives(objectives: Sequence[str]) -> tuple[str, ...]:
    """Return objectives as a tuple; ConfigError where there are none, or one that is unknown or given twice."""
    for name in objectives:
        if name not in OBJECTIVES:
            raise ConfigError(f"no objective {name!r}; {near_names(str(name), OBJECTIVES)}")
    if not objectives or len(set(objectives)) != len(objectives):
        raise ConfigError(f"objectives are one or more, each once, got {list(objectives)}")
    return tuple(objectives)


def _optuna() -> Any:
    try:
        return importlib.import_module("featcodec.planning.study")
    except ModuleNotFoundError as e:
        if e.name is None or not e.name.startswith("optuna"):
            raise
        raise MissingDependencyError("a search needs optuna: pip install 'featcodec[search]'") from e


def _run(
    space: Space,
    measure: Measure,
    study: Any,
    trials: int,
    limits: tuple[float | None, int],
    progress: TrialProgress | None,
) -> Findings:
    study.revive()
    while study.count() < trials:
        begun = study.begin(space)
        if begun is None:  # every point has been tried
            break
        if begun.repeats is not None:
            continue
        try:
            figures = measure(dict(begun.point), begun.reporter(*limits))
        except StoppedError as e:
            through = begun.stop(str(e))
        except Exception as e:
            through = begun.fail(f"{type(e).__name__}: {e}")
        except BaseException:
            begun.give_back()
            raise
        else:
            through = begun.finish(figures)
        if progress is not None:
            progress(through, study.count(), trials)
    result: Findings = study.findings()
    return result
