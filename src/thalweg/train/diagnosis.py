"""What goes wrong in a run, noticed and said: NaN, a loss that rises, units that are always 0."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from thalweg import nn
from thalweg.errors import DataError, NumericsError, ThalwegError, where
from thalweg.nn import Module
from thalweg.nn.module import observe
from thalweg.tensor.compile import compile
from thalweg.tensor.functions import FUNCTIONS as F
from thalweg.train.evaluation import Transform, evaluating, run_model
from thalweg.train.feeding import Stream, Table
from thalweg.train.verdict import SETTLED

if TYPE_CHECKING:
    from thalweg.train.session import Session

__all__ = ["dead_units", "failure", "watch"]

Array = np.ndarray[Any, Any]
log = logging.getLogger("thalweg.train")
_ROSE: Final = 2.0  # times the best loss so far that count as diverging
_STUCK: Final = 0.01  # share of the loss that three epochs should change it by, at least
_GREW: Final = 10.0  # times its level that the loss grows by when the learning rate is too high
_PROBED: Final = 256  # rows by which a unit is judged


# --- a loss that is no number ------------------------------------------------------------------


def failure(
    session: Session, what: str, value: float, step: int, rows: Array | None
) -> NumericsError | DataError:
    """Return the error for a loss that became NaN or infinite, with what is known of the cause."""
    bad = None if rows is None else _bad_row(session.data.training, rows)
    if bad is not None:
        return DataError(
            f"{bad} The {what} became {value} in epoch {session.run.epoch}, step {step}, and the "
            f"weights are back to {_kept(session)}. Remove that row, or fill in numbers. {where()}"
        )
    rate = session.trainer.optimizer.learning_rate
    story, remedy = _story(np.concatenate([*session.trail, np.zeros(0)]))
    clipped = session.trainer.optimizer.clip_global_norm
    clip = "Else" if clipped is not None else "Else clip gradients (clip_norm=1.0),"
    return NumericsError(
        f"the {what} became {value} in epoch {session.run.epoch}, step {step}. {story}The weights "
        f"are back to {_kept(session)}. {remedy} the learning rate ({rate:g}) is too high: try "
        f"{rate / 10:g}, or trainer.find_learning_rate(data). {clip} bring inputs and targets to a "
        f"scale near 1, or find the first bad number with thalweg.debug_nans(). {where()}"
    )


def _kept(session: Session) -> str:
    epoch = session.kept_epoch
    return f"those after epoch {epoch}" if epoch else "the initial ones"


def _story(losses: Array) -> tuple[str, str]:
    """Return how the loss went before, and how sure the usual remedy is."""
    finite = losses[np.isfinite(losses)]
    if len(finite) < 2:
        return "", "Most often"
    level = float(np.median(finite[: max(1, len(finite) // 2)]))
    last = float(finite[-1])
    if last > _GREW * max(level, 1e-12):
        began = int(np.flatnonzero(finite > 2 * max(level, 1e-12))[0])
        return (
            f"It grew from about {level:.3g} to {last:.3g} in the {len(finite) - began} steps "
            "before: the run diverged. ", "The cause is plain:",
        )  # fmt: skip
    return (
        f"It was {last:.3g} just before, so that this came in one step: a gradient exploded, or a "
        "logarithm, root or quotient left its range. ", "If it is the first,",
    )  # fmt: skip


def _bad_row(source: Table | Stream, rows: Array) -> str | None:
    """Return a sentence about the first number of a batch that is not finite, if there is one."""
    if isinstance(source, Table):  # looked through before the first step
        return None
    table = source.table(rows)
    for place, column in enumerate([*table.inputs, table.targets]):
        if column.dtype.kind != "f":
            continue
        bad = np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(axis=1))
        if len(bad):
            name = "targets" if place == len(table.inputs) else f"input {place}"
            return f"{name} of {source.describe(int(rows[bad[0]]))}: a number is not finite."
    return None


# --- a run that goes on ------------------------------------------------------------------------


def watch(session: Session) -> None:
    """Note in the history what looks wrong after an epoch; each finding is made once."""
    history = session.run.history
    losses = history.metrics.get("loss", [])
    if len(losses) < 2:
        return
    best = min(losses[:-1])
    if losses[-1] > _ROSE * best and best > 0 and losses[-1] > SETTLED * losses[0]:
        rate = session.trainer.optimizer.learning_rate
        _find(session, "rising", (
            f"the loss rose from {best:.3g} to {losses[-1]:.3g}: the learning rate ({rate:g}) is "
            f"probably too high; try {rate / 10:g}, or clip gradients (clip_norm=1.0)"
        ))  # fmt: skip
    stuck = len(losses) == 3 and abs(losses[-1] - losses[0]) <= _STUCK * abs(losses[0])
    if stuck:
        _find(session, "stuck", _why_stuck(session, losses))


def _find(session: Session, kind: str, text: str) -> None:
    history = session.run.history
    if any(f["kind"] == kind for f in history.findings):
        return
    history.findings.append({"epoch": session.run.epoch, "kind": kind, "text": text})
    if not any(listener.tells_findings for listener in session.trainer.events):
        log.warning("epoch %d: %s", session.run.epoch, text)


def _why_stuck(session: Session, losses: Sequence[float]) -> str:
    told = f"the loss has hardly changed in 3 epochs ({losses[0]:.4g}, now {losses[-1]:.4g})"
    source = session.data.training
    rows = source.rows[:_PROBED]
    table = source if isinstance(source, Table) else source.table(rows)
    inputs = [x[table.rows[:_PROBED]] for x in table.inputs]
    try:
        dead = dead_units(session.run.model, *inputs, transform=session.trainer.transform)
    except ThalwegError:  # a model that cannot be looked into in this way
        dead = {}
    worst = max(dead, key=lambda name: dead[name], default="")
    if worst and dead[worst] > 0.5:
        return (
            f"{told}: {dead[worst]:.0%} of the units of the ReLU {worst!r} are 0 for every one of "
            f"{len(inputs[0])} rows and learn no more (dead ReLUs); lower the learning rate, use "
            "LeakyReLU or GELU, or normalise before the activation"
        )
    rate = session.trainer.optimizer.learning_rate
    return (
        f"{told}: the learning rate ({rate:g}) may be far too low or too high "
        "(trainer.find_learning_rate(data) tells), or the inputs do not tell the targets"
    )


def dead_units(
    model: Module, *inputs: Any, transform: Transform | None = None
) -> dict[str, float]:
    """Return for each ReLU layer the share of its units that are 0 for all of some rows.

    A unit is an element of the last axis. ReLUs that are called as functions are not seen.

    Shapes: inputs (n, ...).

    >>> from thalweg import nn
    >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
    >>> model[0].weight.assign([[1.0, 1.0]])
    >>> model[0].bias.assign([0.0, -9.0])
    >>> dead_units(model, np.array([[1.0], [2.0]], np.float32))
    {'1': 0.5}
    """
    paths = {id(m): p for p, m in model.named_modules().items() if isinstance(m, nn.ReLU)}
    found: list[str] = []

    def shares(model: Module, inputs: Sequence[Any]) -> Any:
        told: list[Any] = []

        def note(module: Module, _: Any, output: Any) -> None:
            if id(module) in paths:
                alive = F["any"](output > 0, axis=tuple(range(output.ndim - 1)))
                told.append(1 - F["mean"](alive.astype("float32")))
                found.append(paths[id(module)])

        with observe(note):
            run_model(model, inputs, transform)
        return told

    with evaluating(model):
        told = compile(shares)(model, tuple(np.asarray(x) for x in inputs))
    result: dict[str, float] = {}
    for path, share in zip(found, told, strict=True):
        result[path] = min(float(share), result.get(path, 1.0))  # one layer may be used twice
    return result
