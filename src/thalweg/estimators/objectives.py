"""The losses of scikit-learn's networks, on a model's outputs before their last activation."""

from __future__ import annotations

from typing import Any

import thalweg as tw
from thalweg.nn import losses
from thalweg.tensor.tensor import Tensor

__all__ = ["half_squared_error", "log_loss_of_labels", "poisson"]


def _finished(rows: Tensor, reduction: str) -> Tensor:
    result: Tensor = rows if reduction == "none" else tw.mean(rows)
    return result


def log_loss_of_labels(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Binary cross-entropy of logits, summed over the labels of a row.

    .. math:: \sum_j \log(1 + e^{x_j}) - t_j x_j

    Shape: ``(batch, labels)`` both, to one number; with ``reduction="none"`` to ``(batch,)``.

    Raises:
        ShapeError: the shapes differ.
        DataError: targets are not from 0 to 1.

    Example:
        >>> import thalweg as tw
        >>> round(log_loss_of_labels(tw.zeros((3, 2)), tw.ones((3, 2))).item(), 4)
        1.3863
    """
    each = losses.binary_cross_entropy_with_logits(predictions, targets, reduction="none")
    return _finished(tw.sum(each, axis=1), reduction)


def half_squared_error(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Half of the squared error, summed over the outputs of a row.

    .. math:: \frac{1}{2} \sum_j (x_j - t_j)^2

    Shape: ``(batch, outputs)`` both, to one number; with ``reduction="none"`` to ``(batch,)``.

    Raises:
        ShapeError: the shapes differ.

    Example:
        >>> import thalweg as tw
        >>> half_squared_error(tw.zeros((3, 2)), tw.ones((3, 2))).item()
        1.0
    """
    each = losses.mse(predictions, targets, reduction="none")
    return _finished(0.5 * tw.sum(each, axis=1), reduction)


def poisson(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Half of the Poisson deviance; predictions are logarithms of the mean counts.

    .. math:: \sum_j e^{x_j} - t_j x_j - t_j + t_j \log t_j

    Shape: ``(batch, outputs)`` both, to one number; with ``reduction="none"`` to ``(batch,)``.

    P. McCullagh and J. Nelder, "Generalized linear models" (1989), chapter 2.

    Example:
        >>> import thalweg as tw
        >>> poisson(tw.zeros((3, 1)), tw.ones((3, 1))).item()
        0.0
    """
    x, t = tw.asarray(predictions), tw.asarray(targets)
    own = t * tw.log(tw.where(t > 0, t, 1.0)) - t
    return _finished(tw.sum(tw.exp(x) - t * x + own, axis=1), reduction)
