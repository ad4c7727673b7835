"""``fit``: train a model on arrays in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.nn import Module, losses
from thalweg.train.evaluation import Transform
from thalweg.train.events import Events, History
from thalweg.train.metrics import Metric
from thalweg.train.progress import Progress
from thalweg.train.trainer import Trainer

__all__ = ["fit"]


def fit(
    model: Module,
    train_set: Sequence[Any],
    *,
    loss: str | losses.Loss = "cross_entropy",
    optimizer: Any = "adamw",
    learning_rate: Any = None,
    epochs: int = 5,
    batch_size: int = 128,
    validation: Any = 0.1,
    metrics: Sequence[str | Metric] | None = None,
    seed: int = 0,
    early_stopping: int | None = None,
    monitor: str = "loss",
    transform: Transform | None = None,
    events: Sequence[Events] = (),
    progress: bool | None = None,
    precision: str = "float32",
) -> History:
    """Train a model on arrays, and return what happened, epoch by epoch.

    Forward pass, gradient and update are compiled to one program, and many steps run in one native
    call. Same model, data and seed: same result.

    Args:
        model: a Module; it is trained in place, and left in evaluation mode.
        train_set: a tuple of arrays of one length: inputs, then targets.
        loss: name of a loss, or ``loss(predictions, targets)``.
        optimizer: its name, its class, or an Optimizer made for the model.
        learning_rate: a number or a schedule; left out, the optimiser's own.
        epochs: how often to go through the rows.
        batch_size: rows in one step.
        validation: a fraction of the rows to measure on instead of training on them, chosen at
            random with every label in its share; or a tuple of arrays; or None.
        metrics: names, or functions ``metric(predictions, targets)``. Left out: accuracy if the
            loss compares classes, else none.
        seed: decides the split and the order of the rows.
        early_stopping: epochs without a better ``monitor`` after which the run ends.
        monitor: loss or metric that says which epoch is best.
        transform: makes inputs ready inside of the compiled step, such as bytes into numbers.
        events: listeners, objects of ``thalweg.train.Events``.
        progress: True or left out: a bar at a terminal, one line an epoch elsewhere, on standard
            error. False: nothing.
        precision: ``"float32"``, or ``"bf16"``: contractions on operands of 16 bits.

    Shapes: inputs (n, ...), targets (n,) for labels.

    Raises:
        DataError: the data cannot be trained on (NaN, no rows, a batch size above their number,
            labels out of range); found before the first step, with the row.
        ArgumentError: an unknown name, or an argument outside of its legal values.
        NumericsError: the loss became NaN or infinite; the best weights so far are back.

    Example:
        >>> import numpy as np
        >>> from thalweg import nn
        >>> x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
        >>> labels = (x[:, 0] > x[:, 1]).astype(np.int64)
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2), seed=0)
        >>> history = fit(model, (x, labels), epochs=20, batch_size=20, learning_rate=0.02,
        ...               progress=False)
        >>> history["accuracy"][-1] > 0.9
        True
    """
    listeners = list(events) if progress is False else [Progress(), *events]
    trainer = Trainer(
        model, loss, optimizer, learning_rate=learning_rate, metrics=metrics, transform=transform,
        events=listeners, precision=precision,
    )  # fmt: skip
    return trainer.fit(
        train_set, epochs=epochs, batch_size=batch_size, validation=validation, seed=seed,
        early_stopping=early_stopping, monitor=monitor,
    )  # fmt: skip
