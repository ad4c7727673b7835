"""Metrics that are exact over many batches: counts are added up, and only then divided.

A mean of the batches' F1 scores is not the F1 score of the rows. So these metrics give, inside of
the compiled step, what can be added up (or kept side by side), and their value is found at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, nearest, where
from thalweg.nn import losses
from thalweg.tensor.conversion import tensor
from thalweg.tensor.functions import FUNCTIONS as F
from thalweg.tensor.tensor import Tensor
from thalweg.train.metrics import Metric, classes_of, name_of, register

__all__ = [
    "AUC", "F1", "R2", "RMSE", "Accumulated", "Perplexity", "Precision", "Recall", "Tally",
]  # fmt: skip

Array = np.ndarray[Any, Any]
AVERAGES = ("macro", "micro", "weighted")


class Accumulated:
    """Base class of metrics that are exact over batches: write ``statistics`` and ``value``.

    ``collects``: whether the batches' statistics are put side by side instead of added up.

    >>> class Positives(Accumulated):
    ...     name = "positives"
    ...     def statistics(self, predictions, targets):
    ...         return (predictions > 0).astype("float64").sum()
    ...     def value(self, total):
    ...         return float(total)
    >>> Positives()(tensor([1.0, -1.0, 2.0]), tensor([0, 0, 0]))
    2.0
    """

    name: str = "accumulated"
    higher_is_better: ClassVar[bool] = True
    collects: ClassVar[bool] = False

    @property
    def __name__(self) -> str:
        return self.name

    def statistics(self, predictions: Any, targets: Any) -> Tensor:
        """Return one batch's float64 numbers; runs inside of the compiled step."""
        raise NotImplementedError(f"{type(self).__name__} defines no statistics")

    def value(self, total: Array) -> float:
        """Return the metric for the numbers of all batches."""
        raise NotImplementedError(f"{type(self).__name__} defines no value")

    def __call__(self, predictions: Any, targets: Any) -> float:
        """Return the metric of some rows."""
        return self.value(np.asarray(self.statistics(predictions, targets), np.float64))


class _OfCounts(Accumulated):
    """Precision, recall and F1: of true positives, predicted and true rows of each class."""

    kind: ClassVar[str]

    def __init__(self, average: str = "macro") -> None:
        if average not in AVERAGES:
            raise ArgumentError(
                f"{type(self).__name__}: average is {average!r}; {nearest(str(average), AVERAGES)}."
                f" {where()}"
            )
        self.average = average
        self.name = self.kind if average == "macro" else f"{self.kind}_{average}"

    def statistics(self, predictions: Any, targets: Any) -> Tensor:
        """Return true positives, predicted and true rows: (3, classes)."""
        p, t = classes_of(self.name, predictions, targets)
        count = p.shape[-1]
        true = F["one_hot"](F["reshape"](t, (-1,)), count).astype("float64")
        found = F["one_hot"](F["argmax"](p, axis=-1).reshape((-1,)), count).astype("float64")
        rows = [F["sum"](v, axis=0) for v in (true * found, found, true)]
        counts: Tensor = F["stack"](rows)
        return counts

    def value(self, total: Array) -> float:
        """Return the metric; a class that is neither predicted nor true does not count."""
        total = total.reshape(3, -1)
        if self.average == "micro":
            return float(self._of(total.sum(axis=1, keepdims=True))[0])
        seen = total[1:].sum(axis=0) > 0
        if not seen.any():
            return float("nan")
        each = self._of(total[:, seen])
        if self.average == "macro":
            return float(each.mean())
        weights = total[2, seen]
        return float((each * weights).sum() / weights.sum())

    def _of(self, counts: Array) -> Array:
        raise NotImplementedError


def _share(part: Array, whole: Array) -> Array:
    """Return part / whole, and 0 where there is nothing, as scikit-learn does."""
    result: Array = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return result


class Precision(_OfCounts):
    """Share of the rows predicted as a class that are of it.

    Args:
        average: ``"macro"`` (the mean over classes), ``"weighted"`` (by rows of each class) or
            ``"micro"`` (all rows together: the accuracy).

    Raises:
        ArgumentError: an unknown average.

    >>> round(Precision()([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [1, 0, 0]), 4)
    0.75
    """

    kind: ClassVar[str] = "precision"

    def _of(self, counts: Array) -> Array:
        return _share(counts[0], counts[1])


class Recall(_OfCounts):
    """Share of the rows of a class that are predicted as it.

    Args:
        average: as for ``Precision``.

    Raises:
        ArgumentError: an unknown average.

    >>> Recall()([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [1, 0, 0])
    0.75
    """

    kind: ClassVar[str] = "recall"

    def _of(self, counts: Array) -> Array:
        return _share(counts[0], counts[2])


class F1(_OfCounts):
    """Harmonic mean of precision and recall of each class, averaged over the classes.

    Args:
        average: as for ``Precision``.

    Raises:
        ArgumentError: an unknown average.

    >>> round(F1()([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [1, 0, 0]), 4)
    0.6667
    """

    kind: ClassVar[str] = "f1"

    def _of(self, counts: Array) -> Array:
        return _share(2 * counts[0], counts[1] + counts[2])


class AUC(Accumulated):
    """Area under the ROC curve: how often a positive row scores above a negative one, ties half.

    Exact: the scores of all batches are kept (16 bytes a row). Predictions are scores (n,) or
    (n, 1), or logits or probabilities of two classes (n, 2), of which the difference counts.
    Targets are 0 or 1.

    Raises:
        ShapeError: more than two classes.

    T. Fawcett, "An introduction to ROC analysis" (2006).

    >>> AUC()(tensor([0.1, 0.4, 0.35, 0.8]), tensor([0, 0, 1, 1]))
    0.75
    """

    name = "auc"
    collects: ClassVar[bool] = True

    def statistics(self, predictions: Any, targets: Any) -> Tensor:
        """Return scores and labels side by side: (n, 2)."""
        p = predictions if isinstance(predictions, Tensor) else tensor(predictions)
        t = targets if isinstance(targets, Tensor) else tensor(targets)
        if p.ndim == 2 and p.shape[-1] == 2:
            if t.shape == p.shape:
                t = t[:, 1]
            p = p[:, 1] - p[:, 0]
        score, label = F["reshape"](p, (-1,)), F["reshape"](t, (-1,))
        if score.shape != label.shape:
            raise ShapeError(
                f"auc: got predictions of shape {p.shape} and targets of shape {t.shape}, wanted "
                f"one score, or logits of two classes, for each target of 0 or 1. {where()}"
            )
        pairs: Tensor = F["stack"]([score.astype("float64"), label.astype("float64")], axis=1)
        return pairs

    def value(self, total: Array) -> float:
        """Return the area; NaN if there are rows of one class only."""
        scores, positive = total[:, 0], total[:, 1] > 0.5
        high, low = int(positive.sum()), int((~positive).sum())
        if not high or not low:
            return float("nan")
        _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
        ranks = np.cumsum(counts) - (counts - 1) / 2  # the mean rank of equal scores, from 1
        above = ranks[place.reshape(-1)][positive].sum() - high * (high + 1) / 2
        return float(above / (high * low))


class RMSE(Accumulated):
    """Root of the mean squared error.

    Raises:
        ShapeError: predictions and targets have different shapes.

    >>> RMSE()(tensor([1.0, 2.0]), tensor([4.0, 6.0]))
    3.5355339059327378
    """

    name = "rmse"
    higher_is_better: ClassVar[bool] = False

    def statistics(self, predictions: Any, targets: Any) -> Tensor:
        """Return the sum of squares and how many there are: (2,)."""
        each: Any = losses.mse(predictions, targets, reduction="none")
        squares = each.astype("float64")
        both: Tensor = F["stack"]([F["sum"](squares), F["full"]((), squares.size, "float64")])
        return both

    def value(self, total: Array) -> float:
        """Return the root of the mean."""
        return float(np.sqrt(total[0] / total[1]))


class R2(Accumulated):
    """Share of the targets' variance that is explained; see ``thalweg.train.r2``.

    The variance is that of all rows, not of each batch.

    Raises:
        ShapeError: predictions and targets have different shapes.

    >>> R2()(tensor([1.0, 2.0, 4.0]), tensor([1.0, 2.0, 3.0]))
    0.5
    """

    name = "r2"

    def statistics(self, predictions: Any, targets: Any) -> Tensor:
        """Return rows, sums and squares of targets, squares of errors: (4, columns)."""
        error = losses.mse(predictions, targets, reduction="none")
        rows = error.shape[0]
        squares = F["reshape"](error.astype("float64"), (rows, -1))  # type: ignore[attr-defined]
        given = targets if isinstance(targets, Tensor) else tensor(targets)
        t = F["reshape"](given.astype("float64"), (rows, -1))  # type: ignore[attr-defined]
        sums = [F["sum"](v, axis=0) for v in (F["ones_like"](t), t, t * t, squares)]
        table: Tensor = F["stack"](sums)
        return table

    def value(self, total: Array) -> float:
        """Return the mean share over columns."""
        rows, sums, squares, residual = total.reshape(4, -1)
        spread = squares - sums * sums / rows
        # What is left of a constant column is rounding: no more than some of its last bits.
        flat = spread <= 1e-14 * squares
        share = 1 - residual / np.where(flat, 1, spread)
        return float(np.where(flat, residual == 0, share).mean())


class Perplexity(Accumulated):
    """``exp`` of the mean cross-entropy: among how many tokens the model hesitates.

    Args:
        ignore_index: label of tokens that do not count.

    Raises:
        ShapeError: the shapes do not fit.

    >>> round(Perplexity()(tensor([[0.0, 0.0, 0.0, 0.0]]), tensor([2])), 6)
    4.0
    """

    name = "perplexity"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index

    def statistics(self, predictions: Any, targets: Any) -> Tensor:
        """Return the sum of the tokens' losses and their number: (2,)."""
        rows: Any = losses.cross_entropy(
            predictions, targets, ignore_index=self.ignore_index, reduction="none"
        )
        given = targets if isinstance(targets, Tensor) else tensor(targets)
        count: Any = F["full"]((), rows.size, "float64")
        if self.ignore_index is not None:
            count = F["sum"](F["not_equal"](given, self.ignore_index).astype("float64"))
        both: Tensor = F["stack"]([F["sum"](rows.astype("float64")), count])
        return both

    def value(self, total: Array) -> float:
        """Return the perplexity."""
        return float(np.exp(total[0] / total[1]))


class _BatchMean(Accumulated):
    """A plain metric, of which the mean over batches is taken."""

    def __init__(self, metric: Metric) -> None:
        self.metric, self.name = metric, name_of(metric)

    def statistics(self, predictions: Any, targets: Any) -> Any:
        return self.metric(predictions, targets)

    def value(self, total: Array) -> float:
        return float(total)


class Tally:
    """Loss and metrics of the batches so far, added up from left to right.

    However batches are grouped into calls, the sums have the same bits.

    >>> tally = Tally([])
    >>> tally.add([np.array([1.0, 2.0])])
    >>> tally.add([np.array([6.0])])
    >>> tally.values()
    {'loss': 3.0}
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = [m if isinstance(m, Accumulated) else _BatchMean(m) for m in metrics]
        self.names = ["loss", *(m.name for m in self.metrics)]
        self.batches = 0
        self.totals: list[Array] = []

    def add(self, told: Sequence[Array]) -> None:
        """Add what some steps told: the losses (steps,), then each metric's (steps, ...)."""
        self.batches += len(told[0])
        for place, values in enumerate(told):
            if place and self.metrics[place - 1].collects:
                flat = values.reshape(-1, *values.shape[2:])
                old = self.totals[place : place + 1]
                new = np.concatenate([*old, flat])
            else:
                start = self.totals[place : place + 1] or [np.zeros(values.shape[1:])]
                # accumulate adds one after the other; sum would add in pairs, which depend on
                # how many there are.
                new = np.add.accumulate(np.concatenate([[start[0]], values]), axis=0)[-1]
            self.totals[place : place + 1] = [new]

    def add_block(self, outputs: Any, targets: Any, rows: int) -> None:
        """Add what the metrics say of so many rows; no loss."""
        told = [np.zeros(rows)]
        for metric in self.metrics:
            statistics = np.asarray(metric.statistics(outputs, targets), np.float64)[None]
            # The mean of a plain function is by rows here: blocks may be of several lengths.
            told.append(np.repeat(statistics, rows) if isinstance(metric, _BatchMean)
                        else statistics)  # fmt: skip
        self.add(told)

    def values(self) -> dict[str, float]:
        """Return loss and metrics by name."""
        if not self.batches:
            return {}
        told = {"loss": float(self.totals[0]) / self.batches}
        for metric, total in zip(self.metrics, self.totals[1:], strict=True):
            mean = total / self.batches if isinstance(metric, _BatchMean) else total
            told[metric.name] = metric.value(mean)
        return told

    def state_dict(self) -> dict[str, Array]:
        """Return the sums so far as arrays by name."""
        named = {f"total.{i}": np.array(total) for i, total in enumerate(self.totals)}
        return {"batches": np.array(self.batches), **named}

    def load_state_dict(self, given: dict[str, Array]) -> None:
        """Take over what ``state_dict`` returned."""
        self.batches = int(given["batches"])
        self.totals = [given[f"total.{i}"] for i in range(len(given) - 1)]


register(
    *(kind(average) for kind in (Precision, Recall, F1) for average in AVERAGES),
    AUC(), RMSE(), R2(), Perplexity(),
)  # fmt: skip
