"""``fit``: train a model on arrays or a Dataset in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from thalweg.nn import Module, losses
from thalweg.train.evaluation import Transform
from thalweg.train.events import Events, History
from thalweg.train.metrics import Metric
from thalweg.train.progress import Progress
from thalweg.train.stepping import Augment
from thalweg.train.trainer import Trainer

__all__ = ["fit"]


def fit(
    model: Module,
    train_set: Any,
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
    accumulate: int = 1,
    clip_norm: float | None = None,
    ema: float | None = None,
    augment: Augment | None = None,
    sample_weight: Any = None,
    class_weight: Any = None,
    order: Any = None,
    folder: str | os.PathLike[str] | None = None,
    checkpoint_every: int | str = 1,
    keep: int = 3,
    resume: bool | str | os.PathLike[str] = False,
) -> History:
    """Train a model on arrays or a Dataset, and return what happened, epoch by epoch.

    Forward pass, gradient and update are compiled to one program, and many steps run in one native
    call. Same model, data and seed: same result.

    Args:
        model: a Module; it is trained in place, and left in evaluation mode.
        train_set: a tuple of arrays of one length: inputs, then targets; or a Dataset, an object
            with ``__len__`` and ``fetch(rows)`` that returns such a tuple for some row numbers.
        loss: name of a loss, or ``loss(predictions, targets)``.
        optimizer: its name, its class, or an Optimizer made for the model.
        learning_rate: a number or a schedule; left out, the optimiser's own.
        epochs: how often to go through the rows.
        batch_size: rows in one step.
        validation: a fraction of the rows to measure on instead of training on them, chosen at
            random with every label in its share; or data like ``train_set``; or None.
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
        accumulate: parts in which each batch is computed, one after the other, to save memory; loss
            and update are those of the whole batch.
        clip_norm: largest norm of all gradients together.
        ema: decay of a moving average of the weights, such as 0.999; the average is validated, and
            is what the model has afterwards.
        augment: ``augment(key, batch)`` changes a batch, the tuple of inputs and targets, at random
            inside of the compiled training step.
        sample_weight: how much each row counts, (n,); the loss is the weighted mean.
        class_weight: how much each class counts: ``"balanced"``, one number a class, or a dict from
            labels to numbers.
        order: of the rows in an epoch, one of ``thalweg.data.sampling``, such as
            ``class_balanced(labels)``; left out, shuffled.
        folder: where checkpoints go, as the newest ``keep`` and the best one; made if missing.
            They are written while training goes on.
        checkpoint_every: a number of epochs, or text such as ``"500 steps"`` or ``"10 minutes"``.
        keep: how many of the newest checkpoints stay.
        resume: True continues from the newest checkpoint in the folder that is whole, and starts
            anew if there is none; a path continues from there. The run ends with the same bits as
            one that never stopped.

    Shapes: inputs (n, ...), targets (n,) for labels.

    Raises:
        DataError: the data cannot be trained on (NaN, no rows, a batch size above their number,
            labels out of range); found before the first step, with the row.
        ArgumentError: an unknown name, or an argument outside of its legal values.
        FormatError: the folder cannot be used, or its checkpoint belongs to another run.
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
        events=listeners, precision=precision, accumulate=accumulate, clip_norm=clip_norm, ema=ema,
        augment=augment,
    )  # fmt: skip
    return trainer.fit(
        train_set, epochs=epochs, batch_size=batch_size, validation=validation, seed=seed,
        early_stopping=early_stopping, monitor=monitor, sample_weight=sample_weight,
        class_weight=class_weight, order=order, folder=folder, checkpoint_every=checkpoint_every,
        keep=keep, resume=resume,
    )  # fmt: skip
