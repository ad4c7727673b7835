"""Search for settings: several trainings, each judged on the validation rows alone."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from thalweg.errors import ArgumentError, NumericsError, where
from thalweg.tasks.folder import RunFolder
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import recognise, unwrapped
from thalweg.tasks.training import new_trainer
from thalweg.train import Events

__all__ = ["search"]

STUDY: Final = "search"
_HIDDEN: Final = ("64", "128,128", "192,192", "256,256", "128,128,128", "384,384")


def search(
    source: Path, settings: Settings, folder: Path, trials: int,
    tell: Callable[[str], None] = lambda text: None,
) -> Settings:  # fmt: skip
    """Return the settings whose validation loss was least, of ``trials`` that were tried.

    What ``settings`` say stays as they say; the rest is drawn by Optuna's TPE. Trials that are
    behind the median of the others are ended early. All trials are kept in ``search.db`` of the
    folder: a search that was cut off goes on, and several processes may work on one at once.

    T. Akiba et al., "Optuna: a next-generation hyperparameter optimization framework",
    arXiv:1907.10902; J. Bergstra et al., "Algorithms for hyper-parameter optimization" (2011).

    Raises:
        ArgumentError: Optuna is not installed, or no trial succeeded.
        DataError: the source cannot be learned from.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ArgumentError(
            f"searching needs optuna, which is not installed: pip install 'thalweg[search]'. "
            f"{where()}"
        )
    import optuna

    source = unwrapped(source, settings)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = RunFolder.new(folder)
    study = optuna.create_study(
        storage=f"sqlite:///{place.place / 'search.db'}", study_name=STUDY, load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=settings.seed, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=3),
    )  # fmt: skip
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

    def ended() -> int:
        return len(study.get_trials(deepcopy=False, states=states))

    while ended() < trials:
        trial = study.ask()
        drawn = _drawn(trial, settings)
        try:
            value = _value(source, drawn, trial, place.place)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            tell(f"trial {trial.number}: ended early; {_told(drawn, settings)}")
            continue
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        study.tell(trial, value)
        tell(f"trial {trial.number}: validation loss {value:.4g}; {_told(drawn, settings)}")
    return replace(settings, **_of_trial(study.best_trial.params, settings))


def _drawn(trial: Any, settings: Settings) -> Settings:
    """Return the settings of a trial."""
    trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True)
    trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True)
    trial.suggest_float("dropout", 0.0, 0.5, step=0.05)
    trial.suggest_categorical("batch_size", [32, 64, 128, 256])
    trial.suggest_categorical("hidden", _HIDDEN)
    return replace(settings, **_of_trial(trial.params, settings))


def _of_trial(drawn: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return what was drawn for settings that nobody has fixed."""
    free = {k: v for k, v in drawn.items() if getattr(settings, k) is None}
    if "hidden" in free:
        free["hidden"] = tuple(int(size) for size in free["hidden"].split(","))
    return free


def _told(drawn: Settings, given: Settings) -> str:
    names = ("learning_rate", "weight_decay", "dropout", "batch_size", "hidden")
    free = [name for name in names if getattr(given, name) is None]

    def word(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name.replace('_', ' ')} {word(getattr(drawn, name))}" for name in free)


class _Pruning(Events):
    """Tells a trial each validation loss, and ends it where it is behind the others."""

    def __init__(self, trial: Any) -> None:
        self.trial, self.pruned = trial, False

    def on_epoch_end(self, run: Any) -> None:
        self.trial.report(run.current["validation_loss"], run.epoch)
        if self.trial.should_prune():
            self.pruned = True
            run.stop()


def _value(source: Path, settings: Settings, trial: Any, scratch: Path) -> float:
    """Return the least validation loss of a training."""
    import optuna

    task, _ = recognise(source, settings)
    task.scratch = scratch
    problem = task.prepare(source)
    pruning = _Pruning(trial)
    chosen = problem.settings
    try:
        history = new_trainer(problem, [pruning]).fit(
            (*problem.training.inputs, problem.training.truth),
            epochs=chosen.epochs or 1, seed=chosen.seed, early_stopping=chosen.patience,
            batch_size=min(chosen.batch_size or 32, len(problem.training)),
            validation=(*problem.validation.inputs, problem.validation.truth),
            order=problem.order,
        )  # fmt: skip
    except NumericsError:
        return math.inf  # diverged: the worst there is
    if pruning.pruned:
        raise optuna.TrialPruned
    if history.interrupted:
        raise KeyboardInterrupt
    return min(history["validation_loss"])
