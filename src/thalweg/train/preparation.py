"""Data made ready for a training run: checked before the first step, and split, without copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from thalweg.data.batches import check_finite, checked_batch_size, checked_rows, split_rows
from thalweg.errors import DataError, where
from thalweg.nn import Module, losses
from thalweg.tensor.conversion import tensor
from thalweg.train.evaluation import Transform, evaluating, run_model

__all__ = ["Prepared", "Table", "check_fit", "prepare"]

Array = np.ndarray[Any, Any]
_OF_LABELS: Final = (losses.cross_entropy, losses.nll, losses.focal)


@dataclass(frozen=True)
class Table:
    """Some rows of arrays: inputs (n, ...) each, targets (n, ...), and row numbers (m,)."""

    inputs: tuple[Array, ...]
    targets: Array
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Prepared:
    """What a run trains on, and what it is validated on, if anything."""

    training: Table
    validation: Table | None


def prepare(
    model: Module, train_set: Sequence[Any], validation: Any, batch_size: int, seed: int
) -> Prepared:
    """Check data and split a validation set off.

    ``validation``: a fraction of the rows, chosen at random (with every label in its share, if
    the targets are labels); or a tuple of arrays like ``train_set``; or None. Floating inputs are
    converted to the floating type of the model's parameters.

    Raises:
        DataError: not arrays of one length, no rows, a NaN or an infinity, a batch size larger
            than the data, or a fraction that leaves nothing.

    >>> from thalweg import nn
    >>> data = np.ones((10, 2)), np.arange(10) % 2
    >>> made = prepare(nn.Linear(2, 2), data, 0.2, batch_size=4, seed=0)
    >>> len(made.training), len(made.validation)
    (8, 2)
    """
    training = _table(model, train_set, "train_set")
    held: Table | None = None
    if isinstance(validation, (int, float)) and not isinstance(validation, bool):
        if validation:  # 0 says that there is none
            rest, part = split_rows(len(training), validation, seed, _labels(training.targets))
            held = Table(training.inputs, training.targets, part)
            training = Table(training.inputs, training.targets, rest)
    elif validation is not None:
        held = _table(model, validation, "validation")
        _check_alike(training, held)
    if batch_size > len(training) and held is not None and held.targets is training.targets:
        raise DataError(
            f"the batch size is {batch_size:,}, but only {len(training):,} rows are left for "
            f"training after {len(held):,} were set aside for validation; give a batch size of at "
            f"most {len(training):,}, or more data. {where()}"
        )
    checked_batch_size(batch_size, len(training))
    return Prepared(training, held)


def _table(model: Module, arrays: Any, name: str) -> Table:
    if not isinstance(arrays, (tuple, list)) or len(arrays) < 2:
        got = f"{len(arrays)} arrays" if isinstance(arrays, (tuple, list)) else (
            f"{type(arrays).__name__}")  # fmt: skip
        raise DataError(
            f"{name}: got {got}, wanted a tuple of arrays: inputs, then targets. For a network "
            f"that rebuilds its input give (x, x). {where()}"
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
    wanted = _floating_type(model)
    inputs = tuple(
        c.astype(wanted, copy=False) if c.dtype.kind == "f" and wanted is not None else c
        for c in columns[:-1]
    )
    return Table(inputs, columns[-1], np.arange(count))


def _floating_type(model: Module) -> Any:
    for parameter in model.parameters().values():
        if parameter.dtype.is_float:
            return parameter.dtype.numpy
    return None


def _labels(targets: Array) -> Array | None:
    """Return the targets if they are labels, by which rows can be split evenly."""
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
    first = data.training.rows[:1]
    with evaluating(model):
        inputs = [tensor(x[first]) for x in data.training.inputs]
        outputs = run_model(model, inputs, transform)
    if loss in _OF_LABELS:
        sets = {"train_set": data.training.targets}  # with the rows that were set aside
        if data.validation is not None and data.validation.targets is not data.training.targets:
            sets["validation"] = data.validation.targets
        for name, targets in sets.items():
            if _labels(targets) is not None and outputs.ndim == 2:
                _check_labels(name, targets, outputs.shape[-1])
    loss(outputs, tensor(data.training.targets[first]))


def _check_labels(name: str, labels: Array, classes: int) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"{name}: the label of row {row} is {labels[row]}, and the model has {classes} "
            f"outputs, so that labels must be from 0 to {classes - 1} ({len(bad):,} are not). "
            f"Number the classes from 0, or give the model more outputs. {where()}"
        )
