"""``Trainer``: runs epochs of a compiled step, validates, keeps the best weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.data.batches import shuffled
from thalweg.errors import ArgumentError, NumericsError, nearest, where
from thalweg.nn import Module, losses
from thalweg.optim import Optimizer
from thalweg.optim import get as get_optimizer
from thalweg.train import metrics as named_metrics
from thalweg.train.evaluation import Evaluator, Transform, measure
from thalweg.train.events import VALIDATION, Events, History, Run
from thalweg.train.interruption import Interruption, interruption
from thalweg.train.preparation import Prepared, Table, check_fit, prepare
from thalweg.train.stepping import Pace, Steps

__all__ = ["Trainer"]

Array = np.ndarray[Any, Any]


class Trainer:
    """Trains one model: compiled steps in large calls, validation, early stopping, Ctrl-C.

    Args:
        model: a Module.
        loss: name of a loss of ``thalweg.nn.losses``, or ``loss(predictions, targets)``.
        optimizer: its name, its class, or an Optimizer made for the model.
        learning_rate: a number or a schedule; left out, the optimiser's own. Only with an
            optimiser given by name or class.
        metrics: names, or functions ``metric(predictions, targets)`` of tensors. Left out:
            accuracy if the loss compares classes, else none.
        transform: makes inputs ready inside of the compiled step: takes what the model takes,
            returns one tensor or a tuple. So bytes can stay bytes until they are used.
        events: listeners, objects of ``Events``.
        precision: ``"float32"``, or ``"bf16"`` or ``"fp16"``: contractions of the training step are
            computed on 16-bit operands (``thalweg.autocast``); weights stay in float32.

    Raises:
        ArgumentError: an unknown name, or arguments that do not go together.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
        >>> trainer = Trainer(nn.Linear(1, 1), "mse", "sgd", learning_rate=0.3)
        >>> history = trainer.fit((x, 2 * x), epochs=20, batch_size=16, validation=0.25)
        >>> trainer.evaluate((x, 2 * x))["loss"] < 1e-3
        True
    """

    def __init__(
        self,
        model: Module,
        loss: str | losses.Loss = "cross_entropy",
        optimizer: Any = "adamw",
        *,
        learning_rate: Any = None,
        metrics: Sequence[str | named_metrics.Metric] | None = None,
        transform: Transform | None = None,
        events: Sequence[Events] = (),
        precision: str = "float32",
    ) -> None:
        self.model = model
        self.loss = losses.get(loss)
        self.optimizer = _optimizer(model, optimizer, learning_rate)
        if metrics is None:
            by_class = self.loss in (losses.cross_entropy, losses.focal, losses.nll)
            metrics = ("accuracy",) if by_class else ()
        self.metrics = [named_metrics.get(m) for m in metrics]
        self.names = ["loss", *(named_metrics.name_of(m) for m in self.metrics)]
        self.transform = transform
        self.events = list(events)
        self._steps = Steps(
            model, self.optimizer, self.loss, self.metrics, transform, precision
        )
        self._evaluator = Evaluator(model, transform)

    @property
    def step(self) -> Any:
        """The compiled step ``(model, optimizer, inputs, targets)``, for ``explain``."""
        return self._steps.compiled

    def fit(
        self,
        train_set: Sequence[Any],
        *,
        epochs: int = 5,
        batch_size: int = 128,
        validation: Any = 0.1,
        seed: int = 0,
        early_stopping: int | None = None,
        monitor: str = "loss",
    ) -> History:
        """Train on arrays, the last of which holds the targets; return what happened.

        Each epoch goes through the rows in another order, which ``seed`` decides; rows that do not
        fill a last batch wait for another epoch. Afterwards the model is in evaluation mode.

        ``validation``: a fraction of the rows, or a tuple of arrays, or None. ``early_stopping``:
        how many epochs may pass without a better ``monitor`` before the run ends; the best
        epoch's weights come back. ``monitor``: loss or metric, measured on the validation set
        where there is one. Ctrl-C ends the run after the step under way and, with a validation
        set, brings back the best epoch's weights; ``History.interrupted`` tells.

        Raises:
            DataError: the data cannot be trained on; says which row is why.
            ArgumentError: an argument outside of its legal values.
            NumericsError: the loss became NaN or infinite; the best weights so far are back.
        """
        _check_counts(epochs, early_stopping)
        if monitor not in self.names:
            raise ArgumentError(
                f"fit: the monitor {monitor!r} is not measured; {nearest(monitor, self.names)}. "
                f"{where()}"
            )
        data = prepare(self.model, train_set, validation, batch_size, seed)
        if early_stopping is not None and data.validation is None:
            raise ArgumentError(
                "fit: early_stopping needs a validation set; give validation=0.1, or arrays. "
                f"{where()}"
            )
        check_fit(self.model, self.loss, data, self.transform)
        watched = monitor if data.validation is None else VALIDATION + monitor
        run = Run(self.model, self.optimizer, History(monitor=watched), epochs,
                  len(data.training) // batch_size, batch_size)  # fmt: skip
        session = _Session(self, run, data, seed, early_stopping)
        return session.run_all()

    def evaluate(self, data: Sequence[Any], batch_size: int = 512) -> dict[str, float]:
        """Return loss and metrics on arrays, the last of which holds the targets."""
        arrays = [np.asarray(a) for a in data]
        outputs = self._evaluator.outputs(arrays[:-1], batch_size=batch_size)
        return measure(outputs, arrays[-1], self.loss, self.metrics)

    def predict(self, *inputs: Any, batch_size: int = 512) -> Array:
        """Return the model's outputs for arrays of inputs."""
        return self._evaluator.outputs([np.asarray(x) for x in inputs], batch_size=batch_size)

    def _measure(self, table: Table) -> dict[str, float]:
        outputs = self._evaluator.outputs(table.inputs, table.rows)
        return measure(outputs, table.targets[table.rows], self.loss, self.metrics)

    def _tell(self, event: str, run: Run) -> None:
        for listener in self.events:
            getattr(listener, event)(run)


def _optimizer(model: Module, given: Any, learning_rate: Any) -> Optimizer:
    if isinstance(given, Optimizer):
        if learning_rate is not None:
            raise ArgumentError(
                f"learning_rate={learning_rate!r} was given beside an optimiser that has its own; "
                f"give it to {type(given).__name__}. {where()}"
            )
        return given
    kind: Any = get_optimizer(given)
    options = {} if learning_rate is None else {"learning_rate": learning_rate}
    made: Optimizer = kind(model, **options)
    return made


def _check_counts(epochs: Any, early_stopping: Any) -> None:
    for name, count in (("epochs", epochs), ("early_stopping", early_stopping)):
        if name == "early_stopping" and count is None:
            continue
        if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 1:
            raise ArgumentError(
                f"fit: {name} is {count!r}, wanted a whole number from 1. {where()}"
            )


class _Session:
    """One call of ``Trainer.fit``."""

    def __init__(
        self, trainer: Trainer, run: Run, data: Prepared, seed: int, patience: int | None
    ) -> None:
        self.trainer, self.run, self.data = trainer, run, data
        self.seed, self.patience = seed, patience
        self.kept = run.model.state_dict()  # the weights to go back to
        self.kept_epoch = 0
        self.pace = Pace()
        self.began = time.perf_counter()
        self.timed_steps, self.timed_seconds = 0, 0.0  # without compilation

    def run_all(self) -> History:
        """Train all epochs, and end cleanly however they end."""
        run, history = self.run, self.run.history
        with interruption() as heard:
            self.trainer._tell("on_fit_start", run)
            try:
                for epoch in range(1, run.epochs + 1):
                    self._epoch(epoch, heard)
                    if heard.asked or run.stopping:
                        break
                history.interrupted = heard.asked
            except KeyboardInterrupt:  # heard in the middle of a step, which may be half done
                history.interrupted = True
                self._restore()
            except BaseException:
                self._restore()
                run.model.eval()
                history.seconds = time.perf_counter() - self.began
                self.trainer._tell("on_fit_end", run)
                raise
            self._end()
            self.trainer._tell("on_fit_end", run)
        return history

    def _epoch(self, epoch: int, heard: Interruption) -> None:
        run, table = self.run, self.data.training
        began = time.perf_counter()
        run.model.train()
        run.epoch, run.step, run.current = epoch, 0, {}
        order = table.rows[shuffled(len(table), self.seed, epoch)]
        index = order[: run.steps * run.batch_size].reshape(run.steps, run.batch_size)
        totals = np.zeros(len(self.trainer.names))
        while run.step < run.steps:
            count = self.pace.next(run.steps - run.step)
            started = time.perf_counter()
            told = self.trainer._steps(table, index[run.step : run.step + count])
            self.pace.note(count)
            self._check(told, run.step)
            totals += told.sum(axis=1)
            run.step += count
            run.current = dict(zip(self.trainer.names, totals / run.step, strict=True))
            self._clock(count, time.perf_counter() - started, run.step == count and epoch == 1)
            self.trainer._tell("on_steps", run)
            if heard.asked or (run.stopping and run.step < run.steps):
                return
        self._epoch_end(began)

    def _epoch_end(self, began: float) -> None:
        run, history = self.run, self.run.history
        if self.data.validation is not None:
            for name, value in self.trainer._measure(self.data.validation).items():
                run.current[VALIDATION + name] = value
            if not np.isfinite(run.current[VALIDATION + "loss"]):
                self._fail("validation loss", run.current[VALIDATION + "loss"], run.steps)
        history.add({**run.current, "seconds": time.perf_counter() - began})
        best = history.best_epoch or 0
        if self.data.validation is None or best == run.epoch:
            self.kept, self.kept_epoch = run.model.state_dict(), run.epoch
        self.trainer._tell("on_epoch_end", run)
        waited = self.patience is not None and run.epoch - best >= self.patience
        if waited and run.epoch < run.epochs:
            history.stopped_early = True
            run.stop()

    def _check(self, told: Array, done: int) -> None:
        bad = np.flatnonzero(~np.isfinite(told[0]))
        if len(bad):
            self._fail("loss", told[0, bad[0]], done + int(bad[0]) + 1)

    def _fail(self, what: str, value: float, step: int) -> None:
        rate = self.trainer.optimizer.learning_rate
        kept = f"those after epoch {self.kept_epoch}" if self.kept_epoch else "the initial ones"
        raise NumericsError(
            f"the {what} became {value} in epoch {self.run.epoch}, step {step}. The weights are "
            f"back to {kept}. Most often the learning rate ({rate:g}) is too high: try "
            f"{rate / 10:g}. Else clip gradients (clip_global_norm=1.0 of the optimiser), bring "
            f"inputs and targets to a scale near 1, or find the first bad number with "
            f"thalweg.debug_nans(). {where()}"
        )

    def _clock(self, steps: int, seconds: float, compiled: bool) -> None:
        run = self.run
        if compiled:
            return
        self.timed_steps += steps
        self.timed_seconds += seconds
        per_step = max(self.timed_seconds, 1e-9) / self.timed_steps
        run.examples_per_second = run.batch_size / per_step
        left = (run.epochs - run.epoch) * run.steps + run.steps - run.step
        run.seconds_left = left * per_step

    def _restore(self) -> None:
        self.run.model.load_state_dict(self.kept)

    def _end(self) -> None:
        """Choose the final weights, and say so if they are not the last ones."""
        run, history = self.run, self.run.history
        history.seconds = time.perf_counter() - self.began
        finished = len(history)
        last = finished == run.epoch and not (history.interrupted and run.step < run.steps)
        measured = self.data.validation is not None
        wants_best = (history.interrupted and measured) or self.patience is not None
        if wants_best and self.kept_epoch and not (last and self.kept_epoch == finished):
            self._restore()
            history.restored = True
        run.model.eval()
        run.note = _note(run, self.kept_epoch if measured else 0)


def _note(run: Run, kept_epoch: int) -> str:
    """Return a sentence on how a run ended, empty if it ended as planned."""
    history = run.history
    value = history[history.monitor][kept_epoch - 1] if kept_epoch else 0.0
    name = history.monitor.replace("_", " ")
    best = f"the model of epoch {kept_epoch} ({name} {value:.4f})"
    if history.interrupted:
        if not kept_epoch:
            at = f"epoch {run.epoch}, step {run.step}"
            return f"interrupted in {at}: kept the model as it was then"
        return f"interrupted in epoch {run.epoch}: kept the best so far, {best}"
    if history.stopped_early:
        return f"stopped early after epoch {run.epoch}: went back to the best, {best}"
    return f"went back to the best, {best}" if history.restored else ""
