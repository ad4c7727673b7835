"""Classifiers: labels to the targets of a network, and its outputs back to labels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from thalweg.errors import DataError, where
from thalweg.estimators.network import Network
from thalweg.estimators.objectives import (
    focal_of_classes,
    hinge_of_classes,
    log_loss_of_labels,
)
from thalweg.nn import losses

__all__ = ["CLASS_LOSSES", "Classifier"]

Array = np.ndarray[Any, Any]

CLASS_LOSSES: dict[str, losses.Loss] = {"focal": focal_of_classes, "hinge": hinge_of_classes}


class Classifier(ClassifierMixin, Network):
    """Base class of classifiers: one class of several, or several labels at once.

    ``_single``: two classes are one output with a sigmoid, as in scikit-learn's networks; else
    there is one output for each class.
    """

    _single = False

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows ``X`` (n, ...) and labels ``y`` (n,), or 0 and 1 for labels (n, labels).

        ``sample_weight``: how much each row counts, (n,).

        Raises:
            ValueError: a parameter is not legal, or the data cannot be trained on.
        """
        self._validate_params()
        self._fit_rows(X, y, sample_weight, None, incremental=False)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go through some more rows once; the first call needs all ``classes`` there will be.

        Raises:
            ValueError: no classes at the first call, or others than then.
        """
        self._validate_params()
        if not hasattr(self, "classes_") and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        self._fit_rows(X, y, sample_weight, classes, incremental=True)
        return self

    def _fit_rows(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, incremental: bool
    ) -> None:
        anew = self._starts_anew(incremental)
        rows, labels = self._validated_pair(X, y, reset=anew)
        labels = self._checked_labels(labels)
        self._set_classes(labels, classes, anew)
        weights = None
        if sample_weight is not None or self.class_weight is not None:
            weights = _check_sample_weight(sample_weight, rows, dtype=np.float64)
            if self.class_weight is not None:
                weights = weights * compute_sample_weight(self.class_weight, labels)
        inputs, targets = self._inputs(rows), self._encoded(labels)
        self._train(inputs, targets, self.n_outputs_, weights, incremental)

    def _checked_labels(self, y: Array) -> Array:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise DataError(
                f"{type(self).__name__}: y has several columns of more than two classes; give one "
                f"column, or 0 and 1 for each label. {where()}"
            )
        if kind == "multilabel-indicator":
            return y
        return np.asarray(column_or_1d(y, warn=True))

    def _set_classes(self, labels: Array, classes: Any, anew: bool) -> None:
        several = labels.ndim == 2
        found = np.arange(labels.shape[1]) if several else np.unique(labels)
        if anew:
            self.classes_ = found if classes is None else np.unique(classes)
            self._several_labels = several
            count = len(self.classes_)
            single = self._single and not several and count <= 2
            self.n_outputs_ = 1 if single else count if several else max(count, 2)
            self.out_activation_ = "logistic" if several or single else "softmax"
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{self.classes_!r}"
            )
        if several != self._several_labels or not np.isin(found, self.classes_).all():
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {found}."
            )

    def _encoded(self, labels: Array) -> Array:
        """Return targets: (n, outputs) numbers for a sigmoid, (n,) numbers of classes else."""
        if self._several_labels:
            return labels.astype(self.dtype)
        codes = np.searchsorted(self.classes_, labels)
        return codes[:, None].astype(self.dtype) if self.out_activation_ == "logistic" else codes

    def _loss(self) -> losses.Loss:
        given = getattr(self, "loss", "log_loss")
        if given != "log_loss":
            return CLASS_LOSSES[given] if isinstance(given, str) else given
        return log_loss_of_labels if self.out_activation_ == "logistic" else losses.cross_entropy

    def _score_rows(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        if self.out_activation_ == "logistic":
            return float(accuracy_score(targets > 0.5, outputs > 0, sample_weight=weights))
        return float(accuracy_score(targets, outputs.argmax(axis=1), sample_weight=weights))

    # --- answers --------------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """Return the most likely label of each row, (n,), or 0 and 1 for each label."""
        outputs = self._outputs_of(X)
        if self._several_labels:
            return (outputs > 0).astype(int)
        found = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        labels: Array = self.classes_[np.minimum(found.astype(int), len(self.classes_) - 1)]
        return labels

    def decision_function(self, X: Any) -> Array:
        """Return logits: (n, classes), for two classes (n,): above 0 for the second one."""
        outputs = self._outputs_of(X)
        if self._several_labels:
            return outputs
        if outputs.shape[1] == 2:
            return np.asarray(outputs[:, 1] - outputs[:, 0])
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, classes), or of each label, float64."""
        result: Array = np.exp(self.predict_log_proba(X))
        return result

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities, (n, classes), float64."""
        x = self._outputs_of(X).astype(np.float64)
        if self._several_labels:
            told = -np.logaddexp(0, -x)
        else:
            if x.shape[1] == 1:
                x = np.concatenate([-x / 2, x / 2], axis=1)
            x = x[:, : len(self.classes_)]
            top = x - x.max(axis=1, keepdims=True)
            told = top - np.log(np.exp(top).sum(axis=1, keepdims=True))
        result: Array = told
        return result

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
