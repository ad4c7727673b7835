"""Regressors: numbers to the targets of a network, one or several for each row."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from thalweg.errors import DataError, where
from thalweg.estimators.network import Network
from thalweg.estimators.objectives import half_squared_error, poisson
from thalweg.nn import losses

__all__ = ["LOSSES", "Regressor"]

Array = np.ndarray[Any, Any]

LOSSES: dict[str, losses.Loss] = {
    "squared_error": half_squared_error, "poisson": poisson, "mse": losses.mse,
    "mae": losses.mae, "huber": losses.huber,
}  # fmt: skip


class Regressor(RegressorMixin, Network):
    """Base class of regressors: ``loss`` is one of ``LOSSES``, or a function."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows ``X`` (n, ...) and numbers ``y`` (n,) or (n, outputs).

        ``sample_weight``: how much each row counts, (n,).

        Raises:
            ValueError: a parameter is not legal, or the data cannot be trained on.
        """
        self._validate_params()
        self._fit_rows(X, y, sample_weight, incremental=False)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go through some more rows once."""
        self._validate_params()
        self._fit_rows(X, y, sample_weight, incremental=True)
        return self

    def _fit_rows(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> None:
        anew = self._starts_anew(incremental)
        rows, targets = self._validated_pair(X, y, reset=anew, y_numeric=True)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        if self.loss == "poisson" and (targets < 0).any():
            raise DataError(
                f"{type(self).__name__}: loss='poisson' is for counts, and {(targets < 0).sum()} "
                f"targets are below 0; choose another loss. {where()}"
            )
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, rows, dtype=np.float64)
        if anew:
            self._one_column = targets.ndim == 1
            self.n_outputs_ = 1 if self._one_column else targets.shape[1]
            self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        targets = np.ascontiguousarray(targets.reshape(len(rows), -1), dtype=self.dtype)
        self._train(self._inputs(rows), targets, self.n_outputs_, weights, incremental)

    def _loss(self) -> losses.Loss:
        return LOSSES[self.loss] if isinstance(self.loss, str) else self.loss

    def _answers(self, outputs: Array) -> Array:
        return np.exp(outputs) if self.out_activation_ == "exp" else outputs

    def _score_rows(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        return float(r2_score(targets, self._answers(outputs), sample_weight=weights))

    def predict(self, X: Any) -> Array:
        """Return the numbers of each row, (n,) or (n, outputs)."""
        answers = self._answers(self._outputs_of(X))
        return answers[:, 0] if self._one_column else answers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
