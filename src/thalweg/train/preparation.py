"""Data made ready for a training run: checked before the first step, and split, without copies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from thalweg.data.batches import check_finite, checked_batch_size, checked_rows, split_rows
from thalweg.errors import DataError, where
from thalweg.nn import Module, losses
from thalweg.tensor.conversion import tensor
from thalweg.train.evaluation import Transform, evaluating, run_model
from thalweg.train.feeding import Stream, Table, arrays_of, floating_type, is_dataset
from thalweg.train.weighting import row_weights

__all__ = ["Prepared", "check_fit", "labels_of", "prepare"]

Array = np.ndarray[Any, Any]
_OF_LABELS: Final = (losses.cross_entropy, losses.nll, losses.focal)


@dataclass(frozen=True)
class Prepared:
    """What a run trains on, and what it is validated on, if anything."""

    training: Table | Stream
    validation: Table | Stream | None


def prepare(
    model: Module, train_set: Any, validation: Any, batch_size: int, seed: int,
    sample_weight: Any = None, class_weight: Any = None,
) -> Prepared:  # fmt: skip
    """Check data and split a validation set off.

    ``train_set``: arrays, or a Dataset. ``validation``: a fraction of the rows, chosen at random
    (with every label in its share, if the targets are labels); or data like ``train_set``; or None.
    Floating inputs are converted to the floating type of the model's parameters. ``sample_weight``
    and ``class_weight``: see ``weighting.row_weights``; they count in training only.

    Raises:
        DataError: not arrays of one length, no rows, a NaN or an infinity, a batch size larger
            than the data, a fraction that leaves nothing, or weights that do not fit.

    >>> from thalweg import nn
    >>> data = np.ones((10, 2)), np.arange(10) % 2
    >>> made = prepare(nn.Linear(2, 2), data, 0.2, batch_size=4, seed=0)
    >>> len(made.training), len(made.validation)
    (8, 2)
    """
    training = _source(model, train_set, "train_set")
    labels = _row_labels(training)
    weights = row_weights(len(training), labels, sample_weight, class_weight)
    if weights is not None:
        training = replace(training, weights=weights)
    held: Table | Stream | None = None
    split = False
    if isinstance(validation, (int, float)) and not isinstance(validation, bool):
        if validation:  # 0 says that there is none
            rest, part = split_rows(len(training), validation, seed, labels)
            held = replace(training, rows=part)
            training = replace(training, rows=rest)
            split = True
    elif validation is not None:
        held = _source(model, validation, "validation")
        _check_alike(_sample(training), _sample(held))
    if batch_size > len(training) and held is not None and split:
        raise DataError(
            f"the batch size is {batch_size:,}, but only {len(training):,} rows are left for "
            f"training after {len(held):,} were set aside for validation; give a batch size of at "
            f"most {len(training):,}, or more data. {where()}"
        )
    checked_batch_size(batch_size, len(training))
    return Prepared(training, held)


def _source(model: Module, data: Any, name: str) -> Table | Stream:
    data = arrays_of(data)
    return Stream.of(model, data) if is_dataset(data) else _table(model, data, name)


def _row_labels(source: Table | Stream) -> Array | None:
    """Return one label for each row if there are any: targets, or what a Dataset tells."""
    if isinstance(source, Table):
        return labels_of(source.targets)
    labels = getattr(source.dataset, "labels", None)
    return None if labels is None else labels_of(np.asarray(labels))


def _sample(source: Table | Stream) -> Table:
    return source if isinstance(source, Table) else source.table(source.rows[:1])


def _table(model: Module, arrays: Any, name: str) -> Table:
    if not isinstance(arrays, (tuple, list)) or len(arrays) < 2:
        got = f"{len(arrays)} arrays" if isinstance(arrays, (tuple, list)) else (
            f"{type(arrays).__name__}")  # fmt: skip
        raise DataError(
            f"{name}: got {got}, wanted a tuple of arrays: inputs, then targets; or a Dataset. For "
            f"a network that rebuilds its input give (x, x). {where()}"
        )
    columns = [np.asarray(a) for a in arrays]
    for place, column in enumerate(columns):
        if column.dtype.kind in "OUSM":
            raise DataError(
                f"{name}: array {place} holds {column.dtype} values, wanted numbers; convert them, "
                f"and give labels as whole numbers from 0. {where()}"
            )
    count = checked_rows(tuple(columns), name)
    names = [f"{name}, input {i}" for i in range(len(columns) - 1)]
    named = dict(zip([*names, f"{name}, targets"], columns, strict=True))
    check_finite(named)
    wanted = floating_type(model)
    inputs = tuple(
        c.astype(wanted, copy=False) if c.dtype.kind == "f" and wanted is not None else c
        for c in columns[:-1]
    )
    return Table(inputs, columns[-1], np.arange(count))


def labels_of(targets: Array) -> Array | None:
    """Return the targets if they are labels, by which rows can be split evenly, else None.

    >>> labels_of(np.zeros((2, 3))) is None
    True
    """
    return targets if targets.ndim == 1 and targets.dtype.kind in "iub" else None


def _check_alike(training: Table, held: Table) -> None:
    here = [*training.inputs, training.targets]
    there = [*held.inputs, held.targets]
    if len(here) != len(there):
        raise DataError(
            f"validation has {len(there)} arrays, and train_set {len(here)}; give the same ones. "
            f"{where()}"
        )
    for i, (a, b) in enumerate(zip(here, there, strict=True)):
        if a.shape[1:] != b.shape[1:] or a.dtype.kind != b.dtype.kind:
            raise DataError(
                f"validation: array {i} has rows of shape {b.shape[1:]} and dtype {b.dtype}, those "
                f"of train_set have {a.shape[1:]} and {a.dtype}; prepare both alike. {where()}"
            )


def check_fit(
    model: Module, loss: losses.Loss, data: Prepared, transform: Transform | None
) -> None:
    """Run model and loss on one row, so that what does not fit is found before training.

    Raises:
        DataError: a label is not below the number of the model's outputs.
        ShapeError, DTypeError and others: what model and loss say of their input.

    >>> from thalweg import nn
    >>> data = prepare(nn.Linear(2, 2), (np.ones((4, 2)), np.array([0, 1, 2, 1])), None, 2, 0)
    >>> try:
    ...     check_fit(nn.Linear(2, 2), losses.cross_entropy, data, None)
    ... except DataError as error:
    ...     print(str(error)[:37])
    train_set: the label of row 2 is 2, a
    """
    sample = _sample(data.training)
    first = sample.rows[:1]
    with evaluating(model):
        inputs = [tensor(x[first]) for x in sample.inputs]
        outputs = run_model(model, inputs, transform)
    if loss in _OF_LABELS:
        # With the rows that were set aside.
        sets = {"train_set": _row_labels(data.training)}
        if data.validation is not None and not _share_rows(data.training, data.validation):
            sets["validation"] = _row_labels(data.validation)
        for name, targets in sets.items():
            if targets is not None and outputs.ndim == 2:
                _check_labels(name, targets, outputs.shape[-1])
    loss(outputs, tensor(sample.targets[first]))


def _share_rows(a: Table | Stream, b: Table | Stream) -> bool:
    if isinstance(a, Table):
        return isinstance(b, Table) and a.targets is b.targets
    return isinstance(b, Stream) and a.dataset is b.dataset


def _check_labels(name: str, labels: Array, classes: int) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"{name}: the label of row {row} is {labels[row]}, and the model has {classes} "
            f"outputs, so that labels must be from 0 to {classes - 1} ({len(bad):,} are not). "
            f"Number the classes from 0, or give the model more outputs. {where()}"
        )
