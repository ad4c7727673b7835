"""Where the rows of a run come from: arrays in memory, or a Dataset that threads fetch ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from thalweg.data.dataset import ArrayDataset, Subset
from thalweg.data.loader import Loader
from thalweg.data.sampling import sequential
from thalweg.errors import DataError, where
from thalweg.nn import Module

__all__ = ["Feed", "Stream", "Table", "arrays_of", "floating_type", "is_dataset"]

Array = np.ndarray[Any, Any]
_AHEAD: Final = 8  # batches that are fetched before they are asked for, and taken at once


def is_dataset(data: Any) -> bool:
    """Return whether something has a length and fetches rows, as ``thalweg.data`` Datasets do.

    >>> is_dataset((np.ones(2), np.ones(2)))
    False
    """
    return callable(getattr(data, "fetch", None)) and hasattr(data, "__len__")


def arrays_of(data: Any) -> Any:
    """Return the arrays of an ``ArrayDataset``, which need no fetching; other data as it is.

    >>> arrays_of(ArrayDataset(np.ones(2), np.ones(2)))[0]
    array([1., 1.])
    """
    if type(data) is ArrayDataset and (data.labels is None or data.labels is data.arrays[-1]):
        return data.arrays
    return data


def floating_type(model: Module) -> Any:
    """Return the NumPy dtype of a model's first floating parameter, None if it has none.

    >>> from thalweg import nn
    >>> np.dtype(floating_type(nn.Linear(1, 1)))
    dtype('float32')
    """
    for parameter in model.parameters().values():
        if parameter.dtype.is_float:
            return parameter.dtype.numpy
    return None


@dataclass(frozen=True)
class Table:
    """Some rows of arrays: inputs (n, ...) each, targets (n, ...), and row numbers (m,).

    ``weights``: how much each row counts, (n,), or None.
    """

    inputs: tuple[Array, ...]
    targets: Array
    rows: Array
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Stream:
    """Some rows of a Dataset: their row numbers (m,), and the dtype that floating inputs take.

    ``weights``: how much each row counts, one number for each row of the Dataset, or None.
    """

    dataset: Any
    rows: Array
    dtype: Any = None
    weights: Array | None = None

    @classmethod
    def of(cls, model: Module, dataset: Any) -> Stream:
        """Return all rows of a Dataset, for a model.

        Raises:
            DataError: there are none.
        """
        if not len(dataset):
            raise DataError(f"the Dataset is empty, it has no rows. {where()}")
        return cls(dataset, np.arange(len(dataset)), floating_type(model))

    def __len__(self) -> int:
        return len(self.rows)

    def table(self, rows: Array) -> Table:
        """Return some rows, by their numbers in the Dataset, as a table.

        Raises:
            DataError: the Dataset gives no targets.
        """
        return self.made([np.asarray(a) for a in self.dataset.fetch(rows)], rows)

    def made(self, arrays: Sequence[Array], rows: Array) -> Table:
        """Return what was fetched for some rows as a table.

        Raises:
            DataError: the Dataset gives no targets.
        """
        if len(arrays) < 2:
            raise DataError(
                f"the Dataset's fetch gives {len(arrays)} array, wanted inputs, then targets. "
                f"{where()}"
            )
        inputs = tuple(
            np.asarray(x, self.dtype if x.dtype.kind == "f" and self.dtype is not None else None)
            for x in arrays[:-1]
        )
        weights = None if self.weights is None else self.weights[rows]
        return Table(inputs, arrays[-1], np.arange(len(rows)), weights)

    def blocks(self, size: int) -> Iterator[tuple[tuple[Array, ...], Array]]:
        """Yield all rows in their order, in blocks, fetched ahead."""
        loader = Loader(Subset(self.dataset, self.rows), size, order=sequential(), last="keep")
        for arrays in loader.epoch(0):
            table = self.made(arrays, self.rows[: len(arrays[0])])
            yield table.inputs, table.targets

    def describe(self, row: int) -> str:
        """Return what a row is called in messages."""
        tell = getattr(self.dataset, "describe", None)
        return str(tell(row)) if callable(tell) else f"row {row}"


class _Given:
    """An order that is known already."""

    def __init__(self, rows: Array) -> None:
        self.order = rows
        self.samples = len(rows)

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        return self.order


class Feed:
    """Hands out the batches of an epoch in their order; those of a Dataset are fetched ahead.

    >>> table = Table((np.arange(4),), np.arange(4), np.arange(4))
    >>> feed = Feed(table)
    >>> feed.begin(np.arange(4).reshape(2, 2))
    >>> feed.take(8)[1].tolist(), feed.done
    ([[0, 1], [2, 3]], True)
    """

    def __init__(self, source: Table | Stream) -> None:
        self.source = source
        self._index: Array = np.zeros((0, 1), np.int64)
        self._at = 0
        self._batches: Iterator[tuple[Array, ...]] = iter(())
        self._next: Table | None = None  # fetched, but of other shapes than those before

    def begin(self, index: Array, seed: int = 0, epoch: int = 0) -> None:
        """Start with the first of some batches (batches, size) of row numbers.

        ``seed`` and ``epoch`` decide what is random in the rows of a Dataset.
        """
        self.end()
        self._index, self._at = index, 0
        if isinstance(self.source, Stream) and len(index):
            order = _Given(index.reshape(-1))
            loader = Loader(self.source.dataset, index.shape[1], seed=seed, order=order,
                            prefetch=_AHEAD)  # fmt: skip
            self._batches = loader.epoch(epoch)

    @property
    def done(self) -> bool:
        """Whether all batches were handed out."""
        return self._at >= len(self._index)

    def take(self, count: int) -> tuple[Table, Array]:
        """Return a table and the rows of up to ``count`` next batches in it, (batches, size).

        Of a Dataset fewer, so that the next ones are fetched while these are used; and only as
        many as have one shape.

        Raises:
            DataError: the Dataset cannot give a row; names it.
        """
        if isinstance(self.source, Table):
            index = np.asarray(self._index[self._at : self._at + count])
            self._at += len(index)
            return self.source, index
        taken = [self._fetched(self.source)]
        self._at += 1
        while len(taken) < min(count, _AHEAD) and not self.done:
            batch = self._fetched(self.source)
            if _shapes(batch) != _shapes(taken[0]):
                self._next = batch
                break
            taken.append(batch)
            self._at += 1
        size = len(taken[0])
        return _stacked(taken), np.arange(len(taken) * size).reshape(len(taken), size)

    def _fetched(self, source: Stream) -> Table:
        if self._next is not None:
            batch, self._next = self._next, None
            return batch
        return source.made(next(self._batches), self._index[self._at])

    def end(self) -> None:
        """Let go of what was fetched ahead."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()  # which ends the threads
        self._batches, self._next = iter(()), None


def _shapes(table: Table) -> list[Any]:
    return [(c.shape, c.dtype) for c in _columns(table)]


def _columns(table: Table) -> list[Array]:
    return [*table.inputs, table.targets, *([] if table.weights is None else [table.weights])]


def _stacked(tables: Sequence[Table]) -> Table:
    """Return tables of equal length below one another."""
    if len(tables) == 1:
        return tables[0]
    *columns, targets = (np.concatenate(parts) for parts in zip(
        *((*t.inputs, t.targets) for t in tables), strict=True))  # fmt: skip
    weights = None
    if tables[0].weights is not None:
        weights = np.concatenate([t.weights for t in tables if t.weights is not None])
    return Table(tuple(columns), targets, np.arange(len(targets)), weights)
