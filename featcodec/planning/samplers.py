"""Samplers of a search, seeded anew for every trial: a study that goes on, or that has several workers, draws on as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

_STARTUP = 5  # random points before TPE draws by what it has seen
_MAKE: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=_STARTUP),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=16),
    "random": lambda seed: RandomSampler(seed=seed),
    "grid": lambda seed: RandomSampler(seed=seed),  # its points are given one by one
}


class Seeded(BaseSampler):
    """A sampler by name, whose draws of trial k depend on the seed, on k and on the trials before it alone."""

    def __init__(self, name: str, seed: int) -> None:
        self._make, self._seed = _MAKE[name], seed
        self._inner = self._make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the sampler for a trial."""
        entropy = np.random.SeedSequence((self._seed, trial.number)).generate_state(1)[0]
        self._inner = self._make(int(entropy))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Ask the sampler."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Ask the sampler."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Ask the sampler."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Tell the sampler."""
        self._inner.after_trial(study, trial, state, values)
