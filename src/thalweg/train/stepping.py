"""The compiled training step, and how many of its steps go into one native call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from thalweg import trees
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.nn import Module, losses
from thalweg.optim import Optimizer
from thalweg.tensor.compile import Compiled, compile, rows
from thalweg.tensor.precision import autocast
from thalweg.tensor.random import Generator
from thalweg.train.ema import WeightAverage
from thalweg.train.evaluation import Transform, ready_inputs
from thalweg.train.feeding import Table
from thalweg.train.metrics import Metric
from thalweg.train.objective import Objective
from thalweg.train.statistics import Accumulated

__all__ = ["Pace", "Recipe", "Steps", "make_step"]

Array = np.ndarray[Any, Any]
Augment = Callable[..., Any]


@dataclass
class Recipe:
    """What a training step does beside forward pass, gradient and update.

    ``transform``: makes inputs ready. ``augment``: ``augment(key, batch)`` changes a batch, the
    tuple of ready inputs and targets, at random; ``generator`` gives its keys. ``precision``: of
    contractions. ``accumulate``: parts in which a batch is computed. ``average``: a moving average
    of the weights that is kept up.
    """

    transform: Transform | None = None
    augment: Augment | None = None
    generator: Generator | None = None
    precision: str = "float32"
    accumulate: int = 1
    average: WeightAverage | None = None


def make_step(
    loss: losses.Loss, metrics: Sequence[Metric], optimizer: Optimizer, recipe: Recipe
) -> tuple[Compiled, bool]:
    """Return the compiled step ``(model, optimizer, inputs, targets)``, and whether it updates.

    The step does forward pass, gradient and update as one program and returns loss and metrics. It
    takes weights of the rows as a fifth argument. An optimiser that decides in Python, such as
    L-BFGS, cannot be part of it: its step returns the gradients too, after loss and metrics.

    Raises:
        ArgumentError: an unknown precision.

    >>> from thalweg import nn, optim
    >>> model = nn.Linear(2, 1)
    >>> step, whole = make_step(losses.mse, [], optim.SGD(model, learning_rate=0.1), Recipe())
    >>> whole
    True
    """
    whole = bool(optimizer.runs_compiled)
    names = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    low = names.get(recipe.precision, recipe.precision)
    if low not in ("bfloat16", "float16", "float32"):
        raise ArgumentError(
            f"precision must be 'float32', 'bf16' or 'fp16', got {recipe.precision!r}. {where()}"
        )

    def forward(model: Module, inputs: Sequence[Any], targets: Any) -> tuple[Any, Any]:
        ready = ready_inputs(inputs, recipe.transform)
        if recipe.augment is not None and recipe.generator is not None:
            changed = recipe.augment(recipe.generator.next_key(), (*ready, targets))
            ready, targets = _checked(changed, len(ready))
        return model(*ready), targets

    generators = () if recipe.generator is None else (recipe.generator,)
    objective = Objective(loss, forward, recipe.accumulate, generators)

    def train_step(
        model: Module, optimizer: Optimizer, inputs: Any, targets: Any, weights: Any = None
    ) -> Any:
        with autocast(low):
            value, outputs, compared, grads = objective(model, inputs, targets, weights)
        told = (value, *(_statistics(metric, outputs, compared) for metric in metrics))
        if not whole:
            return told, grads
        optimizer.update(grads)
        if recipe.average is not None:
            recipe.average.update()
        return told

    return compile(train_step), whole


def _statistics(metric: Metric, outputs: Any, targets: Any) -> Any:
    if isinstance(metric, Accumulated):
        return metric.statistics(outputs, targets)
    return metric(outputs, targets)


def _checked(changed: Any, inputs: int) -> tuple[tuple[Any, ...], Any]:
    """Return inputs and targets of what an augmentation returned."""
    if not isinstance(changed, (tuple, list)) or len(changed) != inputs + 1:
        got = f"{len(changed)} arrays" if isinstance(changed, (tuple, list)) else (
            type(changed).__name__)  # fmt: skip
        raise ShapeError(
            f"augment returned {got}, wanted a tuple of {inputs + 1}: the inputs, then the "
            f"targets, as it was given. {where()}"
        )
    return tuple(changed[:-1]), changed[-1]


class Steps:
    """Runs training steps on rows of a table, many in one native call."""

    def __init__(
        self, model: Module, optimizer: Optimizer, loss: losses.Loss, metrics: Sequence[Metric],
        recipe: Recipe,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.recipe = model, optimizer, recipe
        self.compiled, self.whole = make_step(loss, metrics, optimizer, recipe)

    def __call__(self, table: Table, index: Array) -> list[Array]:
        """Run one step for each row of ``index`` (steps, batch).

        Returns the losses (steps,) and each metric's statistics (steps, ...), float64.
        """
        columns = [*table.inputs, table.targets]
        if table.weights is not None:
            columns.append(table.weights)
        if self.whole:
            *inputs, targets = (rows(x, index) for x in columns[: len(table.inputs) + 1])
            extra = [rows(x, index) for x in columns[len(table.inputs) + 1 :]]
            told = self.compiled.repeat(
                self.model, self.optimizer, tuple(inputs), targets, *extra
            )
            return [np.asarray(t, dtype=np.float64) for t in told]
        made = []
        for batch in index:
            *inputs, targets = (x[batch] for x in columns[: len(table.inputs) + 1])
            extra = [x[batch] for x in columns[len(table.inputs) + 1 :]]
            told, grads = self.compiled(self.model, self.optimizer, tuple(inputs), targets, *extra)
            self.optimizer.update(grads)
            if self.recipe.average is not None:
                self.recipe.average.update()
            made.append([np.asarray(t, np.float64) for t in trees.flatten(told)[0]])
        return [np.stack(values) for values in zip(*made, strict=True)]


class Pace:
    """How many steps to give to the next native call, so that it takes about ``SECONDS``.

    Calls cannot be interrupted, and the progress bar stands still in them; but each costs Python.

    >>> pace = Pace()
    >>> pace.next(1000)
    1
    """

    SECONDS: Final = 0.1  # nobody notices it, and it hides what a call costs
    FIRST: Final = 1  # the first step is compiled: its time tells nothing

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started = 0.0
        self._calls = 0
        self._per_step = 0.0

    def next(self, left: int) -> int:
        """Return the number of steps for the next call, at most ``left``; the clock starts."""
        wanted = self.FIRST if not self._per_step else int(self.SECONDS / self._per_step)
        self._started = self._clock()
        return max(1, min(wanted, left))

    def note(self, steps: int) -> None:
        """Note that the call with this many steps came back."""
        self._calls += 1
        if self._calls > 1:
            # Never trust one short call: growing at most eightfold forgives a wrong first figure.
            measured = max((self._clock() - self._started) / steps, self.SECONDS / (8 * steps))
            self._per_step = measured
