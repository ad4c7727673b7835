"""Losses of several networks in one: each member learns by its own."""

from __future__ import annotations

from typing import Any

import thalweg as tw
from thalweg.nn import losses

__all__ = ["classes_of_members", "numbers_of_members"]


def classes_of_members(predictions: Any, targets: Any) -> Any:
    """Cross-entropy of logits (batch, members, classes) or (batch, classes) with labels (batch,).

    >>> import numpy as np
    >>> float(classes_of_members(tw.zeros((2, 3, 4)), np.array([0, 1]))) - float(np.log(4)) < 1e-6
    True
    """
    predictions, targets = tw.asarray(predictions), tw.asarray(targets)
    if predictions.ndim == 3:
        batch, members, classes = predictions.shape
        targets = tw.broadcast_to(tw.expand_dims(targets, 1), (batch, members))
        predictions = tw.reshape(predictions, (batch * members, classes))
        targets = tw.reshape(targets, (batch * members,))
    return losses.cross_entropy(predictions, targets)


def numbers_of_members(predictions: Any, targets: Any) -> Any:
    """Mean squared error of (batch, members, targets) or (batch, targets) with (batch, targets).

    >>> float(numbers_of_members(tw.ones((2, 3, 1)), tw.zeros((2, 1))))
    1.0
    """
    predictions, targets = tw.asarray(predictions), tw.asarray(targets)
    if predictions.ndim == 3:
        targets = tw.expand_dims(targets, 1)
    apart = predictions - targets
    return tw.mean(apart * apart)
