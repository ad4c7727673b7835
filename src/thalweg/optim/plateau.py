"""``ReduceOnPlateau``: a smaller learning rate when a metric does not get better any more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from thalweg.errors import ArgumentError, nearest, where
from thalweg.optim.hyperparameters import FRACTION, NON_NEGATIVE, Interval, checked
from thalweg.optim.optimizer import Optimizer, check_entries


class ReduceOnPlateau:
    """Multiplies an optimiser's learning rate by ``factor`` when a metric stands still.

    It runs between epochs, in Python; nothing is compiled again. Epochs without improvement are
    counted; when there are more than ``patience``, the rate is reduced and counting starts anew.

    Args:
        optimizer: whose learning rate is a number, not a schedule.
        factor: of each reduction.
        patience: epochs without improvement that are let pass.
        threshold: the least improvement, as a part of the best value; with ``absolute`` in the
            metric's own unit.
        absolute: see ``threshold``.
        goal: ``"min"`` if a smaller metric is better, else ``"max"``.
        cooldown: epochs after a reduction that are not counted.
        smallest: learning rate below which it does not go.

    Raises:
        ArgumentError: an argument outside of its legal values, or the optimiser has a schedule.

    >>> import thalweg as tw
    >>> optimizer = tw.optim.SGD([tw.zeros(2)], learning_rate=1.0)
    >>> plateau = tw.optim.ReduceOnPlateau(optimizer, factor=0.5, patience=1)
    >>> [plateau.observe(loss) for loss in (3.0, 2.0, 2.0, 2.0)]
    [False, False, False, True]
    >>> optimizer.learning_rate
    0.5
    """

    limits: ClassVar[dict[str, Interval]] = {
        "factor": FRACTION, "patience": NON_NEGATIVE, "threshold": NON_NEGATIVE,
        "cooldown": NON_NEGATIVE, "smallest": NON_NEGATIVE,
    }  # fmt: skip

    def __init__(
        self, optimizer: Optimizer, factor: float = 0.1, patience: int = 10, *,
        threshold: float = 1e-4, absolute: bool = False, goal: str = "min", cooldown: int = 0,
        smallest: float = 0.0,
    ) -> None:  # fmt: skip
        if goal not in ("min", "max"):
            raise ArgumentError(
                f"ReduceOnPlateau: goal is {goal!r}; {nearest(str(goal), ('min', 'max'))}. "
                f"{where()}"
            )
        given = {"factor": factor, "patience": patience, "threshold": threshold,
                 "cooldown": cooldown, "smallest": smallest}  # fmt: skip
        for name, value in given.items():
            checked("ReduceOnPlateau", name, value, self.limits[name])
        self.factor, self.patience, self.threshold = factor, patience, threshold
        self.cooldown, self.smallest = cooldown, smallest
        self.optimizer, self.absolute, self.goal = optimizer, bool(absolute), goal
        self.best = math.inf if goal == "min" else -math.inf
        self.waited = self.cooling = 0
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        if self.optimizer.schedule is not None:
            raise ArgumentError(
                f"ReduceOnPlateau: the optimiser follows the schedule {self.optimizer.schedule!r}, "
                f"so there is no number to reduce; give it a number as learning_rate. {where()}"
            )

    def observe(self, metric: Any) -> bool:
        """Take note of the newest metric; return whether the learning rate was reduced."""
        self._check_optimizer()
        value = float(metric)
        if self._is_better(value):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.waited = 0
        if self.waited <= self.patience:
            return False
        self.cooling, self.waited = self.cooldown, 0
        before = self.optimizer.learning_rate
        self.optimizer.learning_rate = max(before * self.factor, min(self.smallest, before))
        return self.optimizer.learning_rate < before

    def _is_better(self, value: float) -> bool:
        if math.isinf(self.best):
            return not math.isnan(value)
        sign = 1 if self.goal == "min" else -1
        margin = self.threshold if self.absolute else self.threshold * abs(self.best)
        return sign * value < sign * self.best - margin

    def state_dict(self) -> dict[str, float]:
        """Return what changes from epoch to epoch."""
        return {"best": self.best, "waited": self.waited, "cooling": self.cooling}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ArgumentError: entries are missing or unexpected.
        """
        given = check_entries("ReduceOnPlateau", mapping, self.state_dict())
        self.best = float(given["best"])
        self.waited, self.cooling = int(given["waited"]), int(given["cooling"])
