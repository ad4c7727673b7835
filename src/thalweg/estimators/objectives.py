"""The losses of scikit-learn's networks, on a model's outputs before their last activation."""

from __future__ import annotations

from typing import Any

import thalweg as tw
from thalweg.nn import losses
from thalweg.tensor.tensor import Tensor

__all__ = [
    "focal_of_classes", "half_squared_error", "hinge_of_classes", "log_loss_of_labels", "poisson",
]  # fmt: skip


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


def focal_of_classes(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Log loss in which rows that are told well count little.

    .. math:: -(1 - p_t)^2 \log p_t

    ``p_t`` is the probability of the true class, or of the truth about a label.

    Shape: logits ``(batch, classes)`` and labels ``(batch,)``, or ``(batch, labels)`` both, to one
    number; with ``reduction="none"`` to ``(batch,)``.

    Example:
        >>> import thalweg as tw
        >>> round(focal_of_classes(tw.zeros((3, 2)), tw.zeros((3,), "int64")).item(), 4)
        0.1733

    T. Lin et al., "Focal loss for dense object detection", arXiv:1708.02002.
    """
    x, t = tw.asarray(predictions), tw.asarray(targets)
    if x.ndim == t.ndim:
        each = losses.focal(x, t, alpha=None, reduction="none")
        return _finished(tw.sum(each, axis=1), reduction)
    missed = losses.cross_entropy(x, t, reduction="none")
    return _finished(missed * (1 - tw.exp(-missed)) ** 2, reduction)


def hinge_of_classes(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""How far the score of the true class is from being 1 above that of every other one.

    .. math:: \max(0, 1 + \max_{j \ne t} x_j - x_t)

    Shape: scores ``(batch, classes)`` and labels ``(batch,)``, or ``(batch, labels)`` both (then
    the plain hinge of each label is summed), to one number; with ``reduction="none"`` to
    ``(batch,)``.

    Example:
        >>> import thalweg as tw
        >>> hinge_of_classes(tw.zeros((3, 4)), tw.zeros((3,), "int64")).item()
        1.0

    K. Crammer and Y. Singer, "On the algorithmic implementation of multiclass kernel-based vector
    machines", JMLR 2 (2001).
    """
    x, t = tw.asarray(predictions), tw.asarray(targets)
    if x.ndim == t.ndim:
        return _finished(tw.sum(tw.relu(1 - (2 * t - 1) * x), axis=1), reduction)
    true = tw.expand_dims(t, 1) == tw.arange(x.shape[1])
    own = tw.sum(tw.where(true, x, 0.0), axis=1)
    other = tw.max(tw.where(true, x - 1e30, x), axis=1)
    return _finished(tw.relu(1 + other - own), reduction)


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
