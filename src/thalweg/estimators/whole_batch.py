"""L-BFGS on all rows at once, for small data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import thalweg as tw
from thalweg.nn import Module, losses
from thalweg.optim import LBFGS
from thalweg.train.objective import loss_sums

__all__ = ["Found", "minimize_on_all"]

Array = np.ndarray[Any, Any]


class Found(NamedTuple):
    """Where the search ended: the loss, the iterations, and whether it can go no further."""

    loss: float
    iterations: int
    converged: bool


class _EnoughError(Exception):
    """The loss was evaluated as often as it may be."""


def minimize_on_all(
    model: Module, loss: losses.Loss, inputs: Sequence[Array], targets: Array,
    weights: Array | None, strength: float, steps: int, evaluations: int, tol: float,
) -> Found:  # fmt: skip
    """Change a model's parameters until the loss on all rows is smallest.

    ``strength``: of the penalty on the weights, biases left out. ``tol``: the search ends when no
    element of the gradient is larger. ``evaluations``: most calls of the loss.

    Raises:
        NumericsError: the loss is not finite at the start.

    Shapes: inputs (n, ...), targets (n, ...), weights (n,).

    >>> from thalweg import nn
    >>> x = np.arange(4.0, dtype=np.float32).reshape(-1, 1)
    >>> found = minimize_on_all(nn.Linear(1, 1), losses.mse, (x,), 2 * x, None, 0.0, 50, 500, 1e-6)
    >>> found.loss < 1e-6
    True
    """

    def objective(model: Any, inputs: Any, targets: Any, weights: Any, strength: Any) -> Any:
        total, count = loss_sums(loss, model(*inputs), targets, weights)
        value = total / count
        for parameter in model.trainable_parameters().values():
            if parameter.ndim > 1:
                value = value + 0.5 * strength * tw.sum(parameter * parameter)
        return value

    both = tw.compile(tw.value_and_grad(objective))
    left, best, least = evaluations, model.state_dict(), math.inf
    penalty = np.asarray(strength, targets.dtype if targets.dtype.kind == "f" else np.float32)

    def evaluated() -> Any:
        nonlocal left, best, least
        if not left:
            raise _EnoughError
        left -= 1
        value, gradients = both(model, tuple(inputs), targets, weights, penalty)
        if float(value) < least:
            best, least = model.state_dict(), float(value)
        return value, gradients

    optimizer = LBFGS(model, gradient_tolerance=tol)
    model.train()
    try:
        ended = optimizer.minimize(evaluated, steps)
        found = Found(ended.loss, ended.steps, ended.converged)
    except _EnoughError:
        model.load_state_dict(best)
        found = Found(least, optimizer.count, False)
    finally:
        model.eval()
    return found
