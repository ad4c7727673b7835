"""``thalweg bench``: how fast a network predicts and trains on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg import optim
from thalweg.app.cli.digits_network import SIDE, make_network, make_trainer, unit_range
from thalweg.app.cli.reporting import say
from thalweg.app.cli.self_test import shortest, with_settings
from thalweg.app.cli.summary import Held, examples_of, open_place
from thalweg.errors import FormatError, ThalwegError
from thalweg.nn import Module
from thalweg.settings import settings
from thalweg.tasks.members import classes_of_members, numbers_of_members
from thalweg.train import Trainer
from thalweg.train.evaluation import Evaluator

__all__ = ["bench"]

Array = np.ndarray[Any, Any]
BATCHES: Final = (1, 32, 512)
SECONDS: Final = 1.0  # of each measurement


def bench(place: Path | None, threads: int, as_json: bool, seconds: float = SECONDS) -> int:
    """Print predictions a second at several batch sizes, and the time of a training step.

    ``place``: a run folder or model file; without one, an untrained network for digits.
    ``threads``: 0 for all cores. ``seconds``: of each measurement. The network gets zeros of the
    shapes that it was trained on; its answers do not matter here, and its file stays as it is.

    Raises:
        FormatError: there is no model at the place, or its file does not tell what it takes.
    """
    with with_settings(threads=threads or settings.threads):
        made = _digits(seconds) if place is None else _of(place, seconds)
        made["threads"] = settings.team_size()
    if as_json:
        say(json.dumps(made, indent=2, ensure_ascii=False))
        return 0
    team = made["threads"]
    say(f"{made['place']}: {made['parameters']:,} parameters, {team} thread{'s' * (team != 1)}\n")
    say(f"{'batch':>6}  {'predictions a second':>20}  {'time of a batch':>15}")
    for one in made["predictions"]:
        rate = f"{one['per_second']:,.0f}"
        say(f"{one['batch']:>6}  {rate:>20}  {readable_time(one['seconds']):>15}")
    step = made["training_step"]
    if step is None:
        say(f"\nno training step: {made['why_not']}")
    else:
        say(f"\na training step of {step['batch']} rows takes {readable_time(step['seconds'])}: "
            f"{step['per_second']:,.0f} rows a second")  # fmt: skip
    return 0


def readable_time(seconds: float) -> str:
    """Return a time with three digits and a unit.

    >>> readable_time(2.5), readable_time(0.00123), readable_time(4.56e-5)
    ('2.50 s', '1.23 ms', '45.6 us')
    """
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size >= 10 else (
                f"{seconds / size:.2f} {unit}"
            )
    return f"{seconds * 1e6:.1f} us"


def _digits(seconds: float) -> dict[str, Any]:
    model = make_network("512,256", 0.3, seed=0)
    trainer = make_trainer(model, "adamw", None, steps=1_000_000)
    inputs = [np.zeros((max(BATCHES), SIDE, SIDE), np.uint8)]
    made = _predictions(model, inputs, unit_range, seconds)
    made |= _step(model, trainer, [inputs[0][:128]], np.zeros(128, np.int64), seconds)
    return {"place": "an untrained network for digits", **made}


def _of(place: Path, seconds: float) -> dict[str, Any]:
    held = open_place(place)
    inputs = examples_of(held, max(BATCHES))
    if inputs is None:
        raise FormatError(
            f"{str(held.path)!r} does not tell what its network takes; give a model or run folder "
            "that `thalweg train` wrote"
        )
    made = _predictions(held.model, inputs, held.transform, seconds)
    try:
        trainer, batch, targets = _trainer(held)
    except ThalwegError as error:
        made |= {"training_step": None, "why_not": str(error)}
    else:
        made |= _step(held.model, trainer, [x[:batch] for x in inputs], targets, seconds)
    return {"place": str(place), **made}


def _predictions(
    model: Module, inputs: list[Array], transform: Any, seconds: float
) -> dict[str, Any]:
    evaluator = Evaluator(model, transform)
    found = []
    for batch in BATCHES:
        part = [x[:batch] for x in inputs]
        taken = shortest(lambda part=part: evaluator.outputs(part), seconds)  # type: ignore[misc]
        found.append({"batch": batch, "seconds": taken, "per_second": batch / taken})
    return {"parameters": model.count_parameters(), "predictions": found}


def _trainer(held: Held) -> tuple[Trainer, int, Array]:
    """Return a trainer as the run had one, its batch size, and targets of zeros (batch, ...)."""
    told = held.told.preprocessing
    kind = held.run.task.kind if held.run else "classes"
    target = told.get("target", {"shape": [], "dtype": "int64"})
    if kind == "tokens":
        loss: Any = "cross_entropy"
    else:
        loss = classes_of_members if kind == "classes" else numbers_of_members
    if held.run is not None:
        loss = getattr(held.run.task, "loss", loss)
    chosen = held.told.training.get("settings", held.told.training.get("options", {}))
    batch = min(int(chosen.get("batch_size") or 32), max(BATCHES))
    kind_of_optimizer: Any = optim.get(str(chosen.get("optimizer") or "adamw"))
    optimizer = kind_of_optimizer(held.model)
    if not optimizer.runs_compiled:
        raise FormatError(f"{type(optimizer).__name__} has no steps of one size")
    trainer = Trainer(held.model, loss, optimizer, metrics=(), transform=held.transform)
    return trainer, batch, np.zeros((batch, *target["shape"]), target["dtype"])


def _step(
    model: Module, trainer: Trainer, inputs: list[Array], targets: Array, seconds: float
) -> dict[str, Any]:
    model.train()
    try:
        taken = shortest(
            lambda: trainer.step(model, trainer.optimizer, tuple(inputs), targets), seconds
        )
    except ThalwegError as error:  # such as a loss that a task has of its own
        return {"training_step": None, "why_not": str(error)}
    finally:
        model.eval()
    rows = len(targets)
    return {"training_step": {"batch": rows, "seconds": taken, "per_second": rows / taken}}
