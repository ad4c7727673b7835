"""Cross-entropy over classes: integer labels, one-hot or soft targets, weights, smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError, where
from thalweg.graph.node import Node
from thalweg.graph.shape import normalize_axis
from thalweg.nn.comparison import known, predicted, reduced, same_shape
from thalweg.nn.inputs import node_of
from thalweg.ops import elementwise as e
from thalweg.ops import indexing
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.identity import stop_gradient
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Tensor, finish


def cross_entropy(
    predictions: Any, targets: Any, *, class_weights: Any = None, ignore_index: int | None = None,
    label_smoothing: float = 0.0, axis: int = -1, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    r"""Cross-entropy of logits: how surprised ``softmax(predictions)`` is by the targets.

    .. math:: -\log \frac{\exp(x_t)}{\sum_c \exp(x_c)}

    Args:
        predictions: logits, with the classes on ``axis``.
        targets: whole numbers from 0 on; or one-hot or soft targets of the predictions' shape.
        class_weights: one weight a class; the mean is then weighted, as in PyTorch.
        ignore_index: label of rows that do not count.
        label_smoothing: share of every target that is spread evenly over all classes.
        axis: the class axis, the last one if not told otherwise (PyTorch's is 1).
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape:
        ``(..., classes)`` and ``(...)`` or ``(..., classes)``, to one number.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: labels are not whole numbers.
        DataError: a label is out of range (IndexError in a compiled function).
        ArgumentError: an option is out of range or does not go with soft targets.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.nn import losses
        >>> loss = losses.cross_entropy(tw.zeros((2, 10)), tw.tensor([3, 7]))
        >>> round(loss.item(), 4)
        2.3026

    Label smoothing: C. Szegedy et al., arXiv:1512.00567.
    """
    name = "cross_entropy"
    x, t = predicted(name, predictions), node_of(targets, name)
    axis = normalize_axis(axis, x.rank, name)
    _check_smoothing(name, label_smoothing)
    weights = _class_weights(name, class_weights, x, axis)
    centred = e.subtract(x, stop_gradient(r.max(x, axis, keepdims=True)))
    total = e.log(r.sum(e.exp(centred), axis, keepdims=True))  # -log p of class c: total - x_c
    if t.rank == x.rank and (t.shape == x.shape or not t.dtype.is_integer):
        return _soft(name, centred, total, t, weights, ignore_index, label_smoothing, axis,
                     reduction)  # fmt: skip
    labels, kept = _labels(name, x, t, ignore_index, axis)
    rows = _without_axis(e.subtract(total, _picked(centred, labels, axis)), axis)
    row_weights = _row_weights(weights, labels, kept)
    if row_weights is not None:
        rows = _masked(e.multiply(rows, row_weights), kept)
    if label_smoothing:
        surprise = e.subtract(total, centred)
        if weights is not None:
            surprise = e.multiply(surprise, weights)
        even = _masked(r.sum(surprise, axis), kept)
        rows = e.add(e.multiply(rows, 1 - label_smoothing),
                     e.multiply(even, label_smoothing / x.shape[axis]))  # fmt: skip
    return _weighted_mean(name, rows, row_weights, reduction)


def nll(
    predictions: Any, targets: Any, *, class_weights: Any = None, ignore_index: int | None = None,
    axis: int = -1, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    r"""Negative log-likelihood of integer labels, given log-probabilities.

    .. math:: -x_t

    Arguments and shapes are those of ``cross_entropy``, which is this of ``log_softmax``.

    Shape: ``(..., classes)`` and ``(...)``, to one number.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: labels are not whole numbers.
        DataError: a label is out of range.

    >>> import thalweg as tw
    >>> nll(tw.tensor([[-1.0, -2.0]]), tw.tensor([1]))
    Tensor(2., dtype=float32)
    """
    x, t = predicted("nll", predictions), node_of(targets, "nll")
    axis = normalize_axis(axis, x.rank, "nll")
    weights = _class_weights("nll", class_weights, x, axis)
    labels, kept = _labels("nll", x, t, ignore_index, axis)
    rows = e.negative(_without_axis(_picked(x, labels, axis), axis))
    row_weights = _row_weights(weights, labels, kept)
    if row_weights is not None:
        rows = _masked(e.multiply(rows, row_weights), kept)
    return _weighted_mean("nll", rows, row_weights, reduction)


def _soft(
    name: str, centred: Node, total: Node, t: Node, weights: Node | None,
    ignore_index: int | None, smoothing: float, axis: int, reduction: str,
) -> Tensor:  # fmt: skip
    same_shape(name, centred, t)
    if ignore_index is not None:
        raise ArgumentError(
            f"{name}: ignore_index goes with integer labels, not with targets of the shape "
            f"{t.shape} of the predictions; weigh such rows by 0. {where()}"
        )
    t = cast_node(t, centred.dtype)
    if smoothing:
        t = e.add(e.multiply(t, 1 - smoothing), smoothing / centred.shape[axis])
    surprise = e.multiply(e.subtract(total, centred), t)
    if weights is not None:
        surprise = e.multiply(surprise, weights)
    return reduced(name, r.sum(surprise, axis), reduction)


def _check_smoothing(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise ArgumentError(
            f"{name}: label_smoothing must be from 0 to 1, got {share}. {where()}"
        )


def _class_weights(name: str, given: Any, x: Node, axis: int) -> Node | None:
    """Return the weights with the class axis in its place."""
    if given is None:
        return None
    weights = cast_node(node_of(given, name), x.dtype)
    if weights.shape != (x.shape[axis],):
        raise ShapeError(
            f"{name}: class_weights have shape {weights.shape}, wanted ({x.shape[axis]},), one for "
            f"each class of predictions of shape {x.shape}. {where()}"
        )
    return mv.reshape(weights, tuple(-1 if i == axis else 1 for i in range(x.rank)))


def _labels(
    name: str, x: Node, t: Node, ignore_index: int | None, axis: int
) -> tuple[Node, Node | None]:
    """Return labels fit for gathering, and where they count if some may not."""
    wanted = x.shape[:axis] + x.shape[axis + 1 :]
    if t.shape != wanted:
        hint = "give one whole number a row, or targets of the shape of the predictions"
        if t.shape[:-1] == wanted and t.shape[-1:] == (1,):
            hint = "use targets.squeeze(-1)"
        raise ShapeError(
            f"{name}: predictions of shape {x.shape} with classes on axis {axis} go with labels of "
            f"shape {wanted}, got {t.shape}; {hint}. {where()}"
        )
    if not t.dtype.is_integer:
        raise DTypeError(
            f"{name}: labels are whole numbers, got {t.dtype.name}; "
            f"convert with .astype('int64'). {where()}"
        )
    classes = x.shape[axis]
    values = known(t)
    if values is not None:
        _check_range(name, values, classes, ignore_index)
    kept = None if ignore_index is None else e.not_equal(t, ignore_index)
    if kept is not None:
        t = e.where(kept, t, 0)
    if values is None and t.dtype.kind == "int":
        # A negative label would count from the end; move it where the native gather refuses it.
        t = e.where(e.less(t, 0), e.subtract(t, classes), t)
    return t, kept


def _check_range(
    name: str, values: np.ndarray[Any, Any], classes: int, ignore_index: int | None
) -> None:
    wrong = (values < 0) | (values >= classes)
    if ignore_index is not None:
        wrong &= values != ignore_index
    if wrong.any():
        place = tuple(int(i[0]) for i in wrong.nonzero())
        row = str(place[0]) if len(place) == 1 else str(place)
        hint = "the last layer needs an output for every class"
        if values[wrong].min() < 0:
            hint = "set ignore_index to leave such rows out"
        elif values.max() == classes and values.min() > 0:
            hint = "labels start at 0: subtract 1"
        raise DataError(
            f"{name}: row {row} has the label {values[wrong][0]}, and with {classes} classes "
            f"labels go from 0 to {classes - 1}; {hint}. {where()}"
        )


def _picked(x: Node, labels: Node, axis: int) -> Node:
    return indexing.take_along_axis(x, mv.expand_dims(labels, axis), axis)


def _without_axis(x: Node, axis: int) -> Node:
    return mv.reshape(x, x.shape[:axis] + x.shape[axis + 1 :])


def _masked(rows: Node, kept: Node | None) -> Node:
    return rows if kept is None else e.where(kept, rows, 0)


def _row_weights(weights: Node | None, labels: Node, kept: Node | None) -> Node | None:
    """Return the weight of each row, None if all count alike."""
    if weights is not None:
        flat = mv.reshape(weights, (weights.size,))
        return _masked(indexing.take(flat, labels, 0), kept)
    return kept


def _weighted_mean(name: str, rows: Node, weights: Node | None, reduction: str) -> Tensor:
    if reduction != "mean" or weights is None:
        return reduced(name, rows, reduction)
    return finish(e.divide(r.sum(rows), r.sum(cast_node(weights, rows.dtype))))
