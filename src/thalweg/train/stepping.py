"""The compiled training step, and how many of its steps go into one native call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from thalweg import trees
from thalweg.errors import ArgumentError, where
from thalweg.nn import Module, losses
from thalweg.optim import Optimizer
from thalweg.tensor.compile import Compiled, compile, rows
from thalweg.tensor.precision import autocast
from thalweg.tensor.transforms import value_and_grad
from thalweg.train.evaluation import Transform, run_model
from thalweg.train.metrics import Metric
from thalweg.train.preparation import Table

__all__ = ["Pace", "Steps", "make_step"]

Array = np.ndarray[Any, Any]


def make_step(
    loss: losses.Loss, metrics: Sequence[Metric], transform: Transform | None,
    optimizer: Optimizer, precision: str = "float32",
) -> tuple[Compiled, bool]:  # fmt: skip
    """Return the compiled step ``(model, optimizer, inputs, targets)``, and whether it updates.

    The step does forward pass, gradient and update as one program and returns loss and metrics. An
    optimiser that decides in Python, such as L-BFGS, cannot be part of it: its step returns the
    gradients too, after loss and metrics.

    >>> from thalweg import nn, optim
    >>> model = nn.Linear(2, 1)
    >>> step, whole = make_step(losses.mse, [], None, optim.SGD(model, learning_rate=0.1))
    >>> whole
    True
    """
    whole = bool(optimizer.runs_compiled)
    low = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(precision, precision)
    if low not in ("bfloat16", "float16", "float32"):
        raise ArgumentError(
            f"precision must be 'float32', 'bf16' or 'fp16', got {precision!r}. {where()}"
        )

    def objective(model: Module, inputs: Any, targets: Any) -> tuple[Any, Any]:
        outputs = run_model(model, inputs, transform)
        return loss(outputs, targets), outputs

    def train_step(model: Module, optimizer: Optimizer, inputs: Any, targets: Any) -> Any:
        both = value_and_grad(objective, has_aux=True)
        with autocast(low):
            (value, outputs), grads = both(model, inputs, targets)
        told = (value, *(metric(outputs, targets) for metric in metrics))
        if not whole:
            return told, grads
        optimizer.update(grads)
        return told

    return compile(train_step), whole


class Steps:
    """Runs training steps on rows of a table, many in one native call."""

    def __init__(
        self, model: Module, optimizer: Optimizer, loss: losses.Loss, metrics: Sequence[Metric],
        transform: Transform | None, precision: str = "float32",
    ) -> None:  # fmt: skip
        self.model, self.optimizer = model, optimizer
        self.compiled, self.whole = make_step(loss, metrics, transform, optimizer, precision)

    def __call__(self, table: Table, index: Array) -> Array:
        """Run one step for each row of ``index`` (steps, batch).

        Returns loss and metrics of each step: (1 + metrics, steps), float64.
        """
        if self.whole:
            inputs = tuple(rows(x, index) for x in table.inputs)
            told = self.compiled.repeat(
                self.model, self.optimizer, inputs, rows(table.targets, index)
            )
            return np.stack([np.asarray(t, dtype=np.float64) for t in told])
        columns = []
        for batch in index:
            inputs = tuple(x[batch] for x in table.inputs)
            told, grads = self.compiled(self.model, self.optimizer, inputs, table.targets[batch])
            self.optimizer.update(grads)
            columns.append([float(t) for t in trees.flatten(told)[0]])
        return np.array(columns).T


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
