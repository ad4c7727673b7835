"""``Trainer``: a model, a loss and an optimiser, ready to be fitted, measured and asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.data.batches import checked_batch_size
from thalweg.errors import ArgumentError, nearest, where
from thalweg.nn import Module, losses
from thalweg.optim import Optimizer
from thalweg.optim import get as get_optimizer
from thalweg.tensor.random import Generator
from thalweg.train import metrics as named_metrics
from thalweg.train.checkpoints import Every
from thalweg.train.ema import WeightAverage
from thalweg.train.evaluation import Evaluator, Transform, measure, measure_blocks, measure_data
from thalweg.train.events import Events, History, Run
from thalweg.train.feeding import Stream, Table
from thalweg.train.finder import LearningRates, find_learning_rate
from thalweg.train.objective import check_weighable
from thalweg.train.preparation import Prepared, check_fit, prepare
from thalweg.train.session import Plan, Session
from thalweg.train.stepping import Augment, Recipe, Steps
from thalweg.train.verdict import VALIDATION

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
        accumulate: parts in which each batch is computed, one after the other, so that a large
            batch needs the memory of a small one. Loss and update are those of the whole batch,
            but for batch norm, which sees the parts.
        clip_norm: largest norm of all gradients together; the optimiser's ``clip_global_norm``.
        ema: decay of a moving average of the weights, such as 0.999. The average is what is
            validated, and what the model has after ``fit``.
        augment: ``augment(key, batch)`` changes a batch at random inside of the compiled training
            step; the batch is a tuple, inputs as ``transform`` returned them, then targets.

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
        accumulate: int = 1,
        clip_norm: float | None = None,
        ema: float | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.model = model
        self.loss = losses.get(loss)
        self.optimizer = _optimizer(model, optimizer, learning_rate)
        self.first_rate = repr(self.optimizer.schedule or self.optimizer.learning_rate)
        _clip(self.optimizer, clip_norm)
        _check_count("accumulate", accumulate)
        if metrics is None:
            by_class = self.loss in (losses.cross_entropy, losses.focal, losses.nll)
            metrics = ("accuracy",) if by_class else ()
        self.metrics = [named_metrics.get(m) for m in metrics]
        self.names = ["loss", *(named_metrics.name_of(m) for m in self.metrics)]
        self.transform = transform
        self.events = list(events)
        self.recipe = Recipe(
            transform, augment, None if augment is None else Generator(0), precision, accumulate,
            None if ema is None else WeightAverage(model, ema),
        )  # fmt: skip
        self._steps = Steps(model, self.optimizer, self.loss, self.metrics, self.recipe)
        self._evaluator = Evaluator(model, transform)

    @property
    def step(self) -> Any:
        """The compiled step ``(model, optimizer, inputs, targets)``, for ``explain``."""
        return self._steps.compiled

    def fit(
        self,
        train_set: Any,
        *,
        epochs: int = 5,
        batch_size: int = 128,
        validation: Any = 0.1,
        seed: int = 0,
        early_stopping: int | None = None,
        monitor: str = "loss",
        sample_weight: Any = None,
        class_weight: Any = None,
        order: Any = None,
        folder: str | os.PathLike[str] | None = None,
        checkpoint_every: int | str = 1,
        keep: int = 3,
        resume: bool | str | os.PathLike[str] = False,
    ) -> History:
        """Train on arrays or a Dataset; return what happened. ``thalweg.fit`` tells the arguments.

        Each epoch goes through the rows in another order, which ``seed`` decides; rows that do not
        fill a last batch wait for another epoch. Afterwards the model is in evaluation mode.

        Ctrl-C ends the run after the step under way and, with a validation set, brings back the
        best epoch's weights; ``History.interrupted`` tells. So does SIGTERM, and then the process
        ends. With a ``folder``, a run that ended in any way, even by a power cut, is continued by
        the same call with ``resume=True``, and ends with the same bits as one that never stopped.

        Raises:
            DataError: the data cannot be trained on; says which row is why.
            ArgumentError: an argument outside of its legal values.
            FormatError: the folder cannot be used, or its checkpoint belongs to another run.
            NumericsError: the loss became NaN or infinite; the best weights so far are back.
        """
        _check_count("epochs", epochs)
        plan = Plan(seed, early_stopping, folder, Every(checkpoint_every), keep, resume, order)
        self._check(plan, batch_size, monitor)
        if sample_weight is not None or class_weight is not None:
            check_weighable(self.loss)
        data = prepare(
            self.model, train_set, validation, batch_size, seed, sample_weight, class_weight
        )
        if early_stopping is not None and data.validation is None:
            raise ArgumentError(
                "fit: early_stopping needs a validation set; give validation=0.1, or arrays. "
                f"{where()}"
            )
        check_fit(self.model, self.loss, data, self.transform)
        return self._session(data, plan, epochs, batch_size, monitor).run_all()

    def _check(self, plan: Plan, batch_size: Any, monitor: str) -> None:
        if plan.patience is not None:
            _check_count("early_stopping", plan.patience)
        if monitor not in self.names:
            raise ArgumentError(
                f"fit: the monitor {monitor!r} is not measured; {nearest(monitor, self.names)}. "
                f"{where()}"
            )
        if batch_size % self.recipe.accumulate:
            raise ArgumentError(
                f"fit: a batch of {batch_size} rows cannot be computed in accumulate="
                f"{self.recipe.accumulate} equal parts; give a multiple of it. {where()}"
            )

    def _session(
        self, data: Prepared, plan: Plan, epochs: int, batch_size: int, monitor: str
    ) -> Session:
        history = History(
            monitor=monitor if data.validation is None else VALIDATION + monitor,
            higher_is_better=self._higher_is_better(monitor),
        )
        rows = int(getattr(plan.order, "samples", len(data.training)))
        checked_batch_size(batch_size, rows)
        run = Run(self.model, self.optimizer, history, epochs, rows // batch_size, batch_size)
        if self.recipe.generator is not None:
            self.recipe.generator.seed(plan.seed)
        if self.recipe.average is not None:
            self.recipe.average.restart()
        return Session(self, run, data, plan)

    def _higher_is_better(self, name: str) -> bool | None:
        """Return what a metric itself says, None for the loss."""
        by_name = dict(zip(self.names[1:], self.metrics, strict=True))
        return named_metrics.higher_is_better(by_name[name]) if name in by_name else None

    def find_learning_rate(self, train_set: Any, **options: Any) -> LearningRates:
        """Return how the loss goes as the learning rate grows, and a suggestion.

        ``options``: those of ``thalweg.train.find_learning_rate``. Model, optimiser and random
        state stay as they are.
        """
        return find_learning_rate(self, train_set, **options)

    def evaluate(self, data: Any, batch_size: int = 512) -> dict[str, float]:
        """Return loss and metrics on arrays, the last of which holds the targets, or a Dataset."""
        return measure_data(
            self._evaluator, data, self.loss, self.metrics, batch_size, "evaluate"
        )

    def predict(self, *inputs: Any, batch_size: int = 512) -> Array:
        """Return the model's outputs for arrays of inputs."""
        return self._evaluator.outputs([np.asarray(x) for x in inputs], batch_size=batch_size)

    def _measure(self, source: Table | Stream) -> dict[str, float]:
        if isinstance(source, Stream):
            return measure_blocks(self._evaluator, source.blocks(512), self.loss, self.metrics)
        outputs = self._evaluator.outputs(source.inputs, source.rows)
        return measure(outputs, source.targets[source.rows], self.loss, self.metrics)

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


def _clip(optimizer: Optimizer, norm: float | None) -> None:
    """Have the optimiser clip gradients."""
    if norm is None:
        return
    if not optimizer.runs_compiled:
        raise ArgumentError(
            f"clip_norm: {type(optimizer).__name__} searches along its gradients and does not clip "
            f"them; leave it out. {where()}"
        )
    if optimizer.clip_global_norm not in (None, norm):
        raise ArgumentError(
            f"clip_norm is {norm!r}, and the optimiser has clip_global_norm="
            f"{optimizer.clip_global_norm!r}; give one of them. {where()}"
        )
    optimizer.clip_global_norm = norm


def _check_count(name: str, count: Any) -> None:
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 1:
        raise ArgumentError(
            f"fit: {name} is {count!r}, wanted a whole number from 1. {where()}"
        )
