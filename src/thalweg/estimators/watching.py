"""What happens after each epoch: the curve of the loss, the learning rate, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thalweg.train import Events, Run

__all__ = ["Watch", "penalty_of"]

Array = np.ndarray[Any, Any]
_LEAST_RATE = 1e-6  # at which an adaptive learning rate is divided no further


def penalty_of(weights: Sequence[Any], strength: float) -> float:
    """Return half of ``strength`` times the squared weights.

    >>> penalty_of([np.array([[1.0, 2.0]])], 2.0)
    5.0
    """
    if not strength:
        return 0.0
    arrays = [np.asarray(w) for w in weights]
    return 0.5 * strength * float(sum(np.vdot(a, a) for a in arrays))


class Watch(Events):
    """Keeps an estimator's curves and ends its training, by scikit-learn's rules.

    Args:
        estimator: what has ``tol``, ``n_iter_no_change`` and the curves.
        strength: of the penalty on the weights, which the loss that is told has in it.
        score: returns the score of the rows set aside, if there are any.
        rows: how many there are to train on.

    ``stopped``: the run ended because nothing got better, ``best``: the weights to go back to.
    """

    tells_findings = True  # the estimators say by warnings what scikit-learn's say

    def __init__(
        self, estimator: Any, strength: float, score: Callable[[], float] | None, rows: int
    ) -> None:
        self.estimator, self.strength, self.score, self.rows = estimator, strength, score, rows
        self.stopped = False
        self.best: dict[str, Array] | None = None
        trained = estimator.model_.trainable_parameters().values()
        self.weights = [p for p in trained if p.ndim > 1]  # biases are not penalised

    def on_epoch_end(self, run: Run) -> None:
        """Note loss and score; change the learning rate or stop if it is time."""
        it = self.estimator
        loss = run.current["loss"] + penalty_of(self.weights, self.strength)
        it.n_iter_ += 1
        it.t_ += self.rows
        it.loss_ = loss
        it.loss_curve_.append(loss)
        if it.verbose:
            print(f"Iteration {it.n_iter_}, loss = {loss:.8f}")
        if self.score is not None:
            self._note_score(run, self.score())
        else:
            it._no_improvement_count = self._counted(loss > it.best_loss_ - it.tol)
            it.best_loss_ = min(it.best_loss_, loss)
        self._set_rate(run)
        if it._no_improvement_count > it.n_iter_no_change and not self._goes_on_slower(run):
            self._say_why()
            self.stopped = True
            run.stop()

    def _counted(self, worse: bool) -> int:
        return int(self.estimator._no_improvement_count + 1) if worse else 0

    def _note_score(self, run: Run, score: float) -> None:
        it = self.estimator
        it.validation_scores_.append(score)
        if it.verbose:
            print(f"Validation score: {score:f}")
        it._no_improvement_count = self._counted(score < it.best_validation_score_ + it.tol)
        if score > it.best_validation_score_:
            it.best_validation_score_ = score
            self.best = run.model.state_dict()

    def _rate_rule(self) -> str:
        it = self.estimator
        sgd = it.solver in ("sgd", "momentum", "nesterov", "gradient_descent")
        return getattr(it, "learning_rate", "constant") if sgd else "constant"

    def _set_rate(self, run: Run) -> None:
        it = self.estimator
        if self._rate_rule() == "invscaling":
            run.optimizer.learning_rate = it.learning_rate_init / (it.t_ + 1) ** it.power_t

    def _goes_on_slower(self, run: Run) -> bool:
        """Divide an adaptive learning rate by 5, if it is not small enough already."""
        rate = run.optimizer.learning_rate
        if self._rate_rule() != "adaptive" or rate <= _LEAST_RATE:
            return False
        run.optimizer.learning_rate = rate / 5
        self.estimator._no_improvement_count = 0
        if self.estimator.verbose:
            print(f"Setting learning rate to {rate / 5:f}")
        return True

    def _say_why(self) -> None:
        it = self.estimator
        if it.verbose:
            what = "Training loss" if self.score is None else "Validation score"
            print(f"{what} did not improve more than tol={it.tol:f} for {it.n_iter_no_change} "
                  "consecutive epochs. Stopping.")  # fmt: skip
