"""From a source to a run folder: recognise, prepare, train, measure, keep."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.errors import DataError, FormatError, where
from thalweg.formats.checkpoint import find_checkpoints
from thalweg.optim import AdamW
from thalweg.optim import get as get_optimizer
from thalweg.tasks.appraisal import appraise
from thalweg.tasks.folder import RunFolder
from thalweg.tasks.run import Run
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Problem, Rows, Task, recognise, unwrapped
from thalweg.train import Events, History, JSONLinesLog, Trainer

__all__ = ["Trained", "new_trainer", "train"]

Tell = Callable[[str], None]
_GRACE: Final = 60.0  # seconds beyond the budget that a first epoch may take
_TOLD: Final = 100  # reasons that are told; a table may have thousands of columns


@dataclass(frozen=True)
class Trained:
    """A finished training: the run, its history, and the results as ``results.json`` has them."""

    run: Run
    history: History
    results: dict[str, Any]


class _Budget(Events):
    """Ends a run when its time is over; the first epoch may take a while longer, to be measured."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.grace = max(seconds, _GRACE)

    def on_steps(self, run: Any) -> None:
        over = time.monotonic() - self.end
        if over > (0 if len(run.history) else self.grace):
            self._stop(run)

    def on_epoch_end(self, run: Any) -> None:
        if time.monotonic() > self.end:
            self._stop(run)

    def _stop(self, run: Any) -> None:
        run.note = "the time is over"
        run.stop()


def train(
    source: Path,
    settings: Settings,
    folder: Path,
    *,
    resume: bool = False,
    events: Sequence[Events] = (),
    tell: Tell = lambda text: None,
) -> Trained:
    """Train on a source, measure honestly, and keep everything in a folder.

    ``tell`` is given a line for each thing that was inferred or chosen, before training begins.

    Raises:
        DataError: the source cannot be learned from.
        ArgumentError: a setting that does not fit.
        FormatError: the folder cannot be written to.
    """
    if not source.exists():
        raise DataError(f"{str(source)!r} does not exist; check its path. {where()}")
    began = time.monotonic()
    place = _new_folder(folder, resume)
    if (inner := unwrapped(source, settings)) != source:
        tell(f"source  {inner}: {source} holds nothing else")
        source = inner
    task, reason = recognise(source, settings)
    tell(f"task    {task.name}: {reason}")
    task.scratch = place.cleared()
    problem = task.prepare(source)
    _tell_of(problem, task, tell)
    place.write_text(place.config, problem.settings.to_toml())
    listeners = [*events, JSONLinesLog(place.metrics)]
    if settings.seconds is not None:
        listeners.append(_Budget(settings.seconds - (time.monotonic() - began)))
    history = new_trainer(problem, listeners).fit(
        (*problem.training.inputs, problem.training.truth),
        epochs=problem.settings.epochs or 1,
        batch_size=min(problem.settings.batch_size or 32, len(problem.training)),
        validation=(*problem.validation.inputs, problem.validation.truth),
        seed=problem.settings.seed, early_stopping=problem.settings.patience,
        folder=place.checkpoints, resume=resume, order=problem.order,
    )  # fmt: skip
    if history.interrupted and not history.best_epoch:
        raise KeyboardInterrupt  # nothing was learned that is worth keeping
    place.write_pipeline(*_facts(task))
    place.write_model(
        problem.model, classes=[str(c) for c in task.classes] or None,
        preprocessing={"kind": task.name, "pipeline": "pipeline.safetensors",
                       **_shapes_of(problem.training)},
        training={"source": source.name, "settings": Settings.parse(problem.settings.to_toml())},
    )  # fmt: skip
    run = Run(place, task, problem.model)
    results = appraise(run, problem, history) | {
        "source": str(source), "task": task.name, "why": reason, "reasons": problem.reasons,
        "notes": problem.notes, "seconds": time.monotonic() - began,
        "parameters": problem.model.count_parameters(), "settings": problem.settings.to_toml(),
    }  # fmt: skip
    results |= {"finished": datetime.now().isoformat(timespec="seconds"), "versions": _versions()}
    place.write_results(results)
    return Trained(run, history, results)


def _new_folder(folder: Path, resume: bool) -> RunFolder:
    """Return the run folder; one that holds a run is taken only to go on with it."""
    place = RunFolder.new(folder)
    held = place.model.exists() or bool(find_checkpoints(place.checkpoints))
    if held and not resume:
        raise FormatError(
            f"{str(folder)!r} holds a run already: go on with it (--resume), or give another "
            f"folder (--output). {where()}"
        )
    return place


def _versions() -> dict[str, str]:
    from thalweg import __version__

    return {"thalweg": __version__, "python": platform.python_version(), "numpy": np.__version__}


def _shapes_of(rows: Rows) -> dict[str, Any]:
    """Return shape and dtype of one row of each input and of the target."""
    assert rows.truth is not None
    arrays = (*rows.inputs, rows.truth)
    told = [{"shape": list(x.shape[1:]), "dtype": x.dtype.name} for x in arrays]
    return {"inputs": told[:-1], "target": told[-1]}


def _facts(task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    facts, arrays = task.state()
    told = {"task": task.name, "settings": task.settings.to_toml(), "facts": facts}
    return told, arrays


def _tell_of(problem: Problem, task: Task, tell: Tell) -> None:
    sizes = [f"{len(part):,}" for part in (problem.training, problem.validation, problem.test)]
    what = ", ".join(task.targets) or "the class"
    told = f" of {len(task.classes)} classes" if task.kind == "classes" else ""
    tell(f"target  {what}: {task.kind}{told}")
    tell(f"rows    {sizes[0]} to train on, {sizes[1]} to validate, {sizes[2]} to test")
    for reason in problem.reasons[:_TOLD]:
        tell(f"        {reason}")
    if len(problem.reasons) > _TOLD:
        tell(f"        and {len(problem.reasons) - _TOLD:,} more, in results.json")
    for note in problem.notes:
        tell(f"note    {note}")
    chosen = problem.settings
    shown = getattr(problem.order, "samples", None)
    slices = "" if shown is None else f" of {shown:,} rows"
    tell(f"network {chosen.network}, {problem.model.count_parameters():,} parameters; "
         f"{chosen.optimizer}, learning rate {chosen.learning_rate}, batches of "
         f"{chosen.batch_size}, at most {chosen.epochs} epochs{slices}")  # fmt: skip


def new_trainer(problem: Problem, events: Sequence[Events]) -> Trainer:
    """Return a trainer of a problem's network, as its settings say."""
    chosen = problem.settings
    kind: Any = get_optimizer(chosen.optimizer)
    options: dict[str, Any] = {}
    if chosen.learning_rate is not None:
        options["learning_rate"] = chosen.learning_rate
    if chosen.weight_decay is not None and issubclass(kind, AdamW):
        options["weight_decay"] = chosen.weight_decay
    optimizer = kind(problem.model, **options)
    return Trainer(
        problem.model, problem.loss, optimizer, metrics=(),
        transform=problem.transform, augment=problem.augment if chosen.augment else None,
        ema=chosen.ema, precision=chosen.precision, events=events,
        clip_norm=5.0 if optimizer.runs_compiled else None,  # others search along their gradients
    )  # fmt: skip
