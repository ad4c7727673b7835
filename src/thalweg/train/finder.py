"""The learning-rate finder: one short run with a growing learning rate, which leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from thalweg.data.batches import shuffled
from thalweg.errors import ArgumentError, NumericsError, where
from thalweg.tensor import random
from thalweg.train.feeding import Feed
from thalweg.train.preparation import check_fit, prepare

if TYPE_CHECKING:
    from thalweg.train.trainer import Trainer

__all__ = ["LearningRates", "find_learning_rate"]

Array = np.ndarray[Any, Any]
_BLOWN_UP: Final = 4.0  # times the least loss at which the search ends
_SMOOTH: Final = 0.9  # weight of the past in the smoothed loss
_SETTLED: Final = 10  # steps until the smoothed loss means something
_SAFE: Final = 0.3  # share of the rate with the least loss that is safe to train with


@dataclass(frozen=True)
class LearningRates:
    """What the finder found: the rates it tried, the losses at them, and a suggestion.

    ``rates``, ``losses``: (steps,); the losses are smoothed. ``suggestion``: the rate at which the
    loss has made half of its fall, and at most 0.3 times the one at which it is least.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float


def find_learning_rate(
    trainer: Trainer, train_set: Any, *, smallest: float = 1e-6, largest: float = 10.0,
    steps: int = 100, batch_size: int = 128, seed: int = 0,
) -> LearningRates:  # fmt: skip
    """Train some steps with a learning rate that grows from ``smallest`` to ``largest``.

    The search ends when the loss blows up. Model, optimiser, moving average and random state are
    afterwards what they were before.

    Raises:
        ArgumentError: rates that do not grow, or fewer than 10 steps.
        DataError: the data cannot be trained on.
        NumericsError: the loss is not finite even at the smallest rate.

    L. Smith, "Cyclical learning rates for training neural networks", arXiv:1506.01186.

    >>> from thalweg import nn
    >>> from thalweg.train import Trainer
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    >>> trainer = Trainer(nn.Linear(1, 1), "mse", "sgd", learning_rate=0.1)
    >>> found = find_learning_rate(trainer, (x, 2 * x), batch_size=16)
    >>> 0.01 < found.suggestion < 10
    True
    """
    if not 0 < smallest < largest or steps < 10:
        raise ArgumentError(
            f"find_learning_rate: got rates from {smallest!r} to {largest!r} in {steps!r} steps, "
            f"wanted 0 < smallest < largest and at least 10 steps. {where()}"
        )
    data = prepare(trainer.model, train_set, None, batch_size, seed)
    check_fit(trainer.model, trainer.loss, data, trainer.transform)
    rates = np.geomspace(smallest, largest, steps)
    with _untouched(trainer):
        losses = _tried(trainer, Feed(data.training), rates, batch_size, seed)
    return _found(rates[: len(losses)], losses)


@contextmanager
def _untouched(trainer: Trainer) -> Iterator[None]:
    """Give everything that training changes its value back after the block."""
    optimizer, recipe, model = trainer.optimizer, trainer.recipe, trainer.model
    generators = [random.default, *([] if recipe.generator is None else [recipe.generator])]
    held = [(g, g.key.numpy(), g.count.numpy()) for g in generators]
    weights, state, schedule = model.state_dict(), optimizer.state_dict(), optimizer.schedule
    average = None if recipe.average is None else recipe.average.state_dict()
    modes = [(module, module.training) for module in model.named_modules().values()]
    try:
        yield
    finally:
        model.load_state_dict(weights)
        optimizer.load_state_dict(state)
        if schedule is not None:
            optimizer.learning_rate = schedule
        if recipe.average is not None and average is not None:
            recipe.average.load_state_dict(average)
        for generator, key, count in held:
            generator.key.assign(key)
            generator.count.assign(count)
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


def _tried(
    trainer: Trainer, feed: Feed, rates: Array, batch_size: int, seed: int
) -> list[float]:
    """Return the smoothed loss at each rate, up to where it blows up."""
    trainer.model.train()
    losses: list[float] = []
    rows, mean, epoch = feed.source.rows, 0.0, 0
    try:
        for number, rate in enumerate(rates, 1):
            if feed.done:
                order = rows[shuffled(len(rows), seed, epoch)]
                count = len(rows) // batch_size
                feed.begin(order[: count * batch_size].reshape(count, batch_size), seed, epoch)
                epoch += 1
            trainer.optimizer.learning_rate = float(rate)
            loss = float(trainer._steps(*feed.take(1))[0][0])
            mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
            smooth = mean / (1 - _SMOOTH**number)
            if not np.isfinite(loss) or (losses and smooth > _BLOWN_UP * abs(min(losses)) > 0):
                break
            losses.append(smooth)
    finally:
        feed.end()
    return losses


def _found(rates: Array, losses: list[float]) -> LearningRates:
    if len(losses) < 3:
        raise NumericsError(
            f"find_learning_rate: the loss is not finite at the learning rate {rates[:1]} or soon "
            "after it. Give a smaller one as smallest, bring inputs and targets to a scale near 1, "
            f"or find the first bad number with thalweg.debug_nans(). {where()}"
        )
    values = np.asarray(losses)
    # The first smoothed losses are those of one or a few batches: they tell of chance only.
    first = min(_SETTLED, len(values) // 3)
    least = first + int(values[first:].argmin())
    level = float(np.median(values[first : first + _SETTLED]))  # where nothing is learnt yet
    above = np.flatnonzero(values[: least + 1] > (level + values[least]) / 2)
    half = min(int(above[-1]) + 1, least) if len(above) else 0
    rate = min(float(rates[half]), _SAFE * float(rates[least]))
    return LearningRates(rates.tolist(), losses, float(f"{rate:.2g}"))
