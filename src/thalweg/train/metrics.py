"""Metrics: numbers that say how good predictions are, written with functions of tensors.

Every metric is ``metric(predictions, targets)``, runs eagerly and compiled, and gives one number;
``confusion_matrix`` gives a table. Over an epoch the mean of a function's values over batches is
taken; the metrics of ``thalweg.train.statistics`` are exact over batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from thalweg.errors import ArgumentError, ShapeError, nearest, where
from thalweg.nn import losses
from thalweg.tensor.conversion import tensor
from thalweg.tensor.functions import FUNCTIONS as F
from thalweg.tensor.tensor import Tensor

__all__ = [
    "METRICS", "accuracy", "classes_of", "confusion_matrix", "get", "higher_is_better", "mae",
    "mse", "name_of", "r2", "register", "top_k_accuracy",
]  # fmt: skip

Metric = Callable[[Any, Any], Any]


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else tensor(value)


def classes_of(who: str, predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return predictions (..., classes) and whole-number targets (...); errors name ``who``.

    Raises:
        ShapeError: the shapes do not fit, or labels are not whole numbers.

    >>> classes_of("f1", [[0.1, 0.9]], [[0, 1]])[1]
    Tensor([1], dtype=int64)
    """
    p, t = _tensor(predictions), _tensor(targets)
    if p.ndim < 2 or p.shape[-1] < 2:
        raise ShapeError(
            f"{who}: got predictions of shape {p.shape}, wanted (rows, classes) with at least two "
            f"classes. For one number a row use mse, mae or r2. {where()}"
        )
    if t.shape == p.shape:  # one-hot or soft targets: the class with the largest share
        t = F["argmax"](t, axis=-1)
    if t.shape != p.shape[:-1]:
        raise ShapeError(
            f"{who}: got predictions of shape {p.shape} and targets of shape {t.shape}, wanted "
            f"one label a row: shape {p.shape[:-1]}. {where()}"
        )
    if t.dtype.is_float:
        raise ShapeError(
            f"{who}: the targets are {t.dtype.name} numbers, wanted labels in whole numbers; "
            f"convert them with .astype('int64'). {where()}"
        )
    return p, t


def accuracy(predictions: Any, targets: Any) -> Tensor:
    """Return the share of rows whose largest prediction is that of the target.

    Shapes: (..., classes), and labels (...) or one-hot (..., classes), to one float32 number.

    Raises:
        ShapeError: the shapes do not fit, or labels are not whole numbers.

    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    Tensor(0.5, dtype=float32)
    """
    p, t = classes_of("accuracy", predictions, targets)
    return _mean(F["argmax"](p, axis=-1) == F["astype"](t, "int64"))


def _mean(hits: Tensor) -> Tensor:
    share: Tensor = F["mean"](F["astype"](hits, "float32"))
    return share


def top_k_accuracy(predictions: Any, targets: Any, k: int = 5) -> Tensor:
    """Return the share of rows whose target is among the ``k`` largest predictions.

    Of equal predictions the one of the lower class counts as larger, as in ``accuracy``.

    Shapes: as for ``accuracy``.

    Raises:
        ShapeError: the shapes do not fit, or labels are not whole numbers.
        ArgumentError: ``k`` is not from 1 to the number of classes.

    >>> top_k_accuracy([[0.1, 0.5, 0.4], [0.8, 0.2, 0.0]], [2, 2], k=2)
    Tensor(0.5, dtype=float32)
    """
    p, t = classes_of("top_k_accuracy", predictions, targets)
    if not 1 <= k <= p.shape[-1]:
        raise ArgumentError(
            f"top_k_accuracy: k is {k!r}, wanted a whole number from 1 to {p.shape[-1]}, the "
            f"number of classes. {where()}"
        )
    classes = F["arange"](p.shape[-1])
    label = F["expand_dims"](F["astype"](t, "int64"), axis=-1)
    own = F["take_along_axis"](p, label, axis=-1)
    before = F["logical_or"](p > own, F["logical_and"](p == own, classes < label))
    return _mean(F["sum"](before.astype("int32"), axis=-1) < k)


def confusion_matrix(predictions: Any, targets: Any) -> Tensor:
    """Return how many rows of each class (row) were taken for each class (column).

    Shapes: (n, classes), and labels (n,) or one-hot (n, classes), to int64 (classes, classes).

    Raises:
        ShapeError: the shapes do not fit, or labels are not whole numbers.

    >>> confusion_matrix([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 1, 1]).tolist()
    [[0, 0], [1, 2]]
    """
    p, t = classes_of("confusion_matrix", predictions, targets)
    count = p.shape[-1]
    # In float64 sums of ones are exact up to 2**53 rows; whole numbers have no fast product.
    true = F["one_hot"](F["reshape"](t, (-1,)), count).astype("float64")
    found = F["one_hot"](F["argmax"](p, axis=-1).reshape((-1,)), count).astype("float64")
    table: Tensor = F["matmul"](true.T, found).astype("int64")
    return table


def mse(predictions: Any, targets: Any) -> Tensor:
    """Return the mean squared error.

    Shapes: any, the same for both.

    Raises:
        ShapeError: the shapes differ.

    >>> mse(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    Tensor(2., dtype=float32)
    """
    return losses.mse(predictions, targets)


def mae(predictions: Any, targets: Any) -> Tensor:
    """Return the mean absolute error.

    Shapes: any, the same for both.

    Raises:
        ShapeError: the shapes differ.

    >>> mae(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    Tensor(1., dtype=float32)
    """
    return losses.mae(predictions, targets)


def r2(predictions: Any, targets: Any) -> Tensor:
    """Return the share of the targets' variance that is explained: 1 is perfect, 0 is the mean.

    Of targets with several columns the mean over columns; a column that does not vary counts 1
    where it is met exactly, else 0.

    Shapes: (n, ...), the same for both.

    Raises:
        ShapeError: the shapes differ.

    >>> r2(tensor([1.0, 2.0, 4.0]), tensor([1.0, 2.0, 3.0]))
    Tensor(0.5, dtype=float32)
    """
    error = losses.mse(predictions, targets, reduction="none")
    t = F["astype"](_tensor(targets), error.dtype)
    residual = F["sum"](error, axis=0)
    total = F["sum"]((t - F["mean"](t, axis=0, keepdims=True)) ** 2, axis=0)
    flat = total == 0
    share = 1 - residual / F["where"](flat, 1.0, total)
    exact = (residual == 0).astype(error.dtype)
    explained: Tensor = F["mean"](F["where"](flat, exact, share))
    return explained


METRICS: Final[dict[str, Metric]] = {
    f.__name__: f for f in (accuracy, mae, mse, top_k_accuracy)
}
_HIGHER: Final = {"accuracy", "top_k_accuracy"}


def register(*metrics: Metric) -> None:
    """Make metrics known by their names.

    >>> def hits(predictions, targets): ...
    >>> register(hits)
    >>> get("hits") is METRICS.pop("hits")
    True
    """
    for metric in metrics:
        METRICS[name_of(metric)] = metric
        if getattr(metric, "higher_is_better", False):
            _HIGHER.add(name_of(metric))


def get(given: str | Metric) -> Metric:
    """Return a metric for its name; a function is returned as it is.

    Raises:
        ArgumentError: the name is unknown.

    >>> get("accuracy") is accuracy
    True
    """
    if callable(given):
        return given
    if given not in METRICS:
        raise ArgumentError(
            f"the metric {given!r} is unknown; {nearest(str(given), METRICS)}. {where()}"
        )
    return METRICS[given]


def name_of(metric: Metric) -> str:
    """Return the name under which a metric's values are kept.

    >>> name_of(accuracy)
    'accuracy'
    """
    return str(getattr(metric, "__name__", type(metric).__name__))


def higher_is_better(metric: str | Metric) -> bool:
    """Return whether more of a metric is better; a loss and an unknown metric should be small.

    A metric of your own tells by an attribute: ``share.higher_is_better = True``.

    >>> higher_is_better("accuracy"), higher_is_better("loss"), higher_is_better("f1")
    (True, False, True)
    """
    if callable(metric):
        return bool(getattr(metric, "higher_is_better", name_of(metric) in _HIGHER))
    return metric in _HIGHER
