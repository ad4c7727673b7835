"""Loss functions: one number that says how far predictions are from their targets.

Every loss is ``loss(predictions, targets, ...)`` and has a ``reduction``: ``"mean"``, ``"sum"`` or
``"none"``. Values and conventions are PyTorch's, but classes are on the last axis. Predictions in
16-bit types are compared in float32. Targets take the predictions' floating type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from thalweg.errors import ArgumentError, DataError, ShapeError, nearest, where
from thalweg.graph.node import Node
from thalweg.nn.classification import cross_entropy, nll
from thalweg.nn.comparison import check_unit_range, known, pair, reduced
from thalweg.nn.inputs import node_of
from thalweg.ops import elementwise as e
from thalweg.ops import reductions as r
from thalweg.ops.activations import softplus
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Tensor, finish

Loss = Callable[..., Tensor]


# --- regression --------------------------------------------------------------------------------


def mse(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Mean squared error.

    .. math:: (x - t)^2

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.

    >>> import thalweg as tw
    >>> mse(tw.tensor([1.0, 2.0]), tw.tensor([1.0, 4.0]))
    Tensor(2., dtype=float32)
    """
    x, t = pair("mse", predictions, targets)
    return reduced("mse", e.square(e.subtract(x, t)), reduction)


def quadratic(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Half the squared distance: ``"mean"`` is over the batch, not over the outputs.

    .. math:: \frac{1}{2n} \sum_{i=1}^n \lVert x_i - t_i \rVert^2

    Shape: ``(batch, ...)``, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.

    M. Nielsen, "Neural networks and deep learning" (2015), chapter 1.

    >>> import thalweg as tw
    >>> quadratic(tw.tensor([[1.0, 2.0]]), tw.tensor([[0.0, 4.0]]))
    Tensor(2.5, dtype=float32)
    """
    x, t = pair("quadratic", predictions, targets)
    squares = e.square(e.subtract(x, t))
    if reduction != "mean":
        return reduced("quadratic", e.multiply(squares, 0.5), reduction)
    batch = x.shape[0] if x.rank else 1
    return finish(e.multiply(r.sum(squares), 0.5 / batch if batch else math.nan))


def mae(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Mean absolute error.

    .. math:: |x - t|

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.

    >>> import thalweg as tw
    >>> mae(tw.tensor([1.0, 2.0]), tw.tensor([1.0, 4.0]))
    Tensor(1., dtype=float32)
    """
    x, t = pair("mae", predictions, targets)
    return reduced("mae", e.abs(e.subtract(x, t)), reduction)


def huber(
    predictions: Any, targets: Any, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    r"""Squared error near the target, absolute error away from it.

    .. math:: d^2 / 2 \text{ where } |d| \le \delta, \text{ else } \delta (|d| - \delta / 2)

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: ``delta`` is not above 0.

    P. J. Huber, "Robust estimation of a location parameter" (1964).

    >>> import thalweg as tw
    >>> huber(tw.tensor([0.5, 3.0]), tw.zeros(2), reduction="none")
    Tensor([0.125, 2.5  ], dtype=float32)
    """
    if not delta > 0:
        raise ArgumentError(f"huber: delta must be above 0, got {delta}. {where()}")
    x, t = pair("huber", predictions, targets)
    size = e.abs(e.subtract(x, t))
    near = e.minimum(size, delta)
    return reduced("huber", e.multiply(near, e.subtract(size, e.multiply(near, 0.5))), reduction)


def cosine(
    predictions: Any, targets: Any, axis: int = -1, eps: float = 1e-8, reduction: str = "mean"
) -> Tensor:
    r"""One minus the cosine of the angle between vectors along an axis.

    .. math:: 1 - \frac{x \cdot t}{\max(\lVert x \rVert, \epsilon) \max(\lVert t \rVert, \epsilon)}

    Shape: ``(..., features)``, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.

    >>> import thalweg as tw
    >>> cosine(tw.tensor([[1.0, 0.0]]), tw.tensor([[0.0, 2.0]]))
    Tensor(1., dtype=float32)
    """
    x, t = pair("cosine", predictions, targets)
    product = r.sum(e.multiply(x, t), axis)
    lengths = [e.rsqrt(e.maximum(r.sum(e.square(v), axis), eps * eps)) for v in (x, t)]
    similar = e.multiply(product, e.multiply(lengths[0], lengths[1]))
    return reduced("cosine", e.subtract(1, similar), reduction)


# --- two classes -------------------------------------------------------------------------------


def _bounded_log(x: Node) -> Node:
    """Return log(x), -100 where x is 0; the inner choice keeps 0 / 0 out of the gradient."""
    zero = e.equal(x, 0)
    return e.where(zero, -100.0, e.log(e.where(zero, 1.0, x)))


def binary_cross_entropy(predictions: Any, targets: Any, reduction: str = "mean") -> Tensor:
    r"""Cross-entropy of probabilities of one of two classes; prefer the form with logits.

    .. math:: -(t \log x + (1 - t) \log(1 - x))

    Logarithms of 0 are taken as -100.

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.
        DataError: numbers are not from 0 to 1 (compiled functions give NaN for them).

    >>> import thalweg as tw
    >>> round(binary_cross_entropy(tw.tensor([0.5]), tw.tensor([1.0])).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy"
    x, t = pair(name, predictions, targets)
    check_unit_range(name, x, "predictions")
    check_unit_range(name, t, "targets")
    rest = e.subtract(1, t)
    rows = e.add(e.multiply(t, _bounded_log(x)), e.multiply(rest, _bounded_log(e.subtract(1, x))))
    return reduced(name, e.negative(rows), reduction)


def binary_cross_entropy_with_logits(
    predictions: Any, targets: Any, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    r"""Cross-entropy of logits of one of two classes, without overflow.

    .. math:: -(p\, t \log \sigma(x) + (1 - t) \log(1 - \sigma(x)))

    ``pos_weight``: the weight ``p`` of positive examples: a number, or one for each output.

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ, or ``pos_weight`` does not fit the last axes.
        DataError: targets are not from 0 to 1.

    >>> import thalweg as tw
    >>> round(binary_cross_entropy_with_logits(tw.tensor([0.0]), tw.tensor([1.0])).item(), 4)
    0.6931
    """
    name = "binary_cross_entropy_with_logits"
    x, t = pair(name, predictions, targets)
    check_unit_range(name, t, "targets")
    tail = softplus(e.negative(x))  # -log(sigmoid(x))
    if pos_weight is not None:
        p = node_of(pos_weight, name)
        if p.rank > x.rank or any(
            n not in (1, m) for n, m in zip(p.shape[::-1], x.shape[::-1], strict=False)
        ):
            raise ShapeError(
                f"{name}: pos_weight has shape {p.shape}, the predictions {x.shape}; "
                f"give one number, or one for each output. {where()}"
            )
        factor = e.add(e.multiply(t, e.subtract(cast_node(p, x.dtype), 1)), 1)
        tail = e.multiply(tail, factor)
    return reduced(name, e.add(e.multiply(e.subtract(1, t), x), tail), reduction)


def focal(
    predictions: Any, targets: Any, gamma: float = 2.0, alpha: float | None = 0.25,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    r"""Binary cross-entropy of logits in which well-classified examples count little.

    .. math:: -\alpha_t (1 - p_t)^\gamma \log p_t

    ``p_t`` is the probability of the true class; ``alpha`` weighs positive examples and
    ``1 - alpha`` negative ones, None all alike.

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.
        DataError: targets are not from 0 to 1.

    T. Lin et al., "Focal loss for dense object detection", arXiv:1708.02002.

    >>> import thalweg as tw
    >>> round(focal(tw.tensor([0.0]), tw.tensor([1.0]), gamma=0.0, alpha=None).item(), 4)
    0.6931
    """
    x, t = pair("focal", predictions, targets)
    check_unit_range("focal", t, "targets")
    rest = e.subtract(1, t)
    cross_entropy_rows = e.add(e.multiply(rest, x), softplus(e.negative(x)))
    p = e.sigmoid(x)
    missed = e.add(e.multiply(e.subtract(1, p), t), e.multiply(p, rest))  # 1 - p_t
    if gamma == 2:
        rows = e.multiply(cross_entropy_rows, e.square(missed))
    elif gamma == 0:
        rows = cross_entropy_rows
    else:
        rows = e.multiply(cross_entropy_rows, e.power(missed, float(gamma)))
    if alpha is not None:
        rows = e.multiply(rows, e.add(e.multiply(t, 2 * alpha - 1), 1 - alpha))
    return reduced("focal", rows, reduction)


def hinge(
    predictions: Any, targets: Any, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    r"""How far a score is from the right side of the margin; targets are -1 and 1.

    .. math:: \max(0, \mathrm{margin} - t x)

    Shape: any, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.
        DataError: a target is not -1 or 1.

    C. Cortes and V. Vapnik, "Support-vector networks", Machine Learning 20 (1995).

    >>> import thalweg as tw
    >>> hinge(tw.tensor([0.5, 3.0]), tw.tensor([1, 1]), reduction="none")
    Tensor([0.5, 0. ], dtype=float32)
    """
    x, t = pair("hinge", predictions, targets)
    values = known(t)
    if values is not None and ((values != 1) & (values != -1)).any():
        wrong = values[(values != 1) & (values != -1)][0]
        raise DataError(
            f"hinge: targets must be -1 or 1, got {wrong:g}; for 0 and 1 use targets * 2 - 1. "
            f"{where()}"
        )
    return reduced("hinge", e.relu(e.subtract(margin, e.multiply(t, x))), reduction)


# --- distributions -----------------------------------------------------------------------------


def kl_divergence(
    predictions: Any, targets: Any, log_target: bool = False, reduction: str = "batchmean"
) -> Tensor:
    r"""Divergence of predicted distributions, given as log-probabilities, from the targets.

    .. math:: t (\log t - x)

    ``log_target``: whether targets are log-probabilities too. ``reduction`` may also be
    ``"batchmean"``, the sum over the batch size: the divergence as it is defined. (PyTorch's
    default, ``"mean"``, divides by the number of classes too.)

    Shape: ``(batch, ...)``, the same for both, to one number.

    Raises:
        ShapeError: the shapes differ.

    S. Kullback and R. Leibler, "On information and sufficiency" (1951).

    >>> import thalweg as tw
    >>> p = tw.tensor([[0.5, 0.5]])
    >>> kl_divergence(tw.log(p), p)
    Tensor(0., dtype=float32)
    """
    name = "kl_divergence"
    x, t = pair(name, predictions, targets)
    if log_target:
        rows = e.multiply(e.exp(t), e.subtract(t, x))
    else:
        check_unit_range(name, t, "targets")
        none = e.equal(t, 0)
        own = e.multiply(t, e.log(e.where(none, 1.0, t)))
        rows = e.subtract(own, e.multiply(t, x))
    if reduction == "batchmean":
        return finish(e.multiply(r.sum(rows), 1 / x.shape[0] if x.rank and x.shape[0] else 1.0))
    return reduced(name, rows, reduction)


LOSSES: dict[str, Loss] = {
    f.__name__: f for f in (
        binary_cross_entropy, binary_cross_entropy_with_logits, cosine, cross_entropy, focal,
        hinge, huber, kl_divergence, mae, mse, nll, quadratic,
    )
}  # fmt: skip
__all__ = [
    "LOSSES", "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine",
    "cross_entropy", "focal", "get", "hinge", "huber", "kl_divergence", "mae", "mse", "nll",
    "quadratic",
]  # fmt: skip


def get(given: str | Loss) -> Loss:
    """Return a loss for its name; a function is returned as it is.

    Raises:
        ArgumentError: the name is unknown.

    >>> get("mse") is mse
    True
    """
    if callable(given):
        return given
    if given not in LOSSES:
        raise ArgumentError(
            f"the loss {given!r} is unknown; {nearest(str(given), LOSSES)}. {where()}"
        )
    return LOSSES[given]
