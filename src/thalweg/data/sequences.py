"""Sequences of several lengths: padded to the length of their batch, or of their bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.data.dataset import Arrays, Source
from thalweg.data.sampling import checked_edges
from thalweg.errors import DataError, where

__all__ = ["SequenceDataset"]

Array = np.ndarray[Any, Any]


class SequenceDataset(Source):
    """Sequences of several lengths with a target each; a batch is padded at the end.

    ``sequences``: one array (time, ...) a row; all but the first axis are the same for all.
    ``targets``: (n, ...), or None. ``pad``: what fills the end. ``edges``: rising lengths; a batch
    is padded to the first edge that holds its longest row, so that a compiled step meets at most
    ``len(edges)`` shapes. Without edges it is padded to its longest row. Give ``bucketed(lengths,
    edges)`` to the loader as its order, and little is padded.

    Shapes: to sequences (batch, time, ...), lengths (batch,) int32 and targets (batch, ...).

    Raises:
        DataError: no rows, sequences of several kinds, a sequence longer than the last edge, or
            as many targets as there are not sequences.

    Example:
        >>> samples = SequenceDataset([[1, 2, 3], [4]], targets=[0, 1], edges=[4, 8])
        >>> [column.tolist() for column in samples.fetch(np.array([1, 0]))]
        [[[4, 0, 0, 0], [1, 2, 3, 0]], [1, 3], [1, 0]]
    """

    in_memory = True

    def __init__(
        self, sequences: Sequence[Any], targets: Any = None, *, pad: float = 0, edges: Any = None
    ) -> None:
        self.sequences = [np.asarray(sequence) for sequence in sequences]
        self.lengths = _lengths(self.sequences)
        self.pad = pad
        self.edges = None
        if edges is not None:
            self.edges = checked_edges(edges, self.lengths, "SequenceDataset")
        self.dtype = np.result_type(*{sequence.dtype for sequence in self.sequences})
        self.targets = None if targets is None else np.asarray(targets)
        self.names = ("sequence", "length")
        if self.targets is not None:
            if self.targets.ndim < 1 or len(self.targets) != len(self.sequences):
                raise DataError(
                    f"SequenceDataset: {len(self.sequences):,} sequences, but targets of shape "
                    f"{self.targets.shape}; give one a sequence. {where()}"
                )
            self.names = (*self.names, "target")
            if self.targets.ndim == 1 and self.targets.dtype.kind in "iub":
                self.labels = self.targets

    def __len__(self) -> int:
        return len(self.sequences)

    def fetch(self, rows: Array) -> Arrays:
        """Return the sequences of these rows, padded, their lengths, and their targets."""
        chosen = [self.sequences[row] for row in rows]
        lengths = np.array([len(sequence) for sequence in chosen], np.int32)
        longest = int(lengths.max(initial=1))
        if self.edges is not None:
            longest = int(self.edges[np.searchsorted(self.edges, longest)])
        shape = (len(rows), longest, *self.sequences[0].shape[1:])
        padded = np.full(shape, self.pad, self.dtype)
        for place, sequence in enumerate(chosen):
            padded[place, : len(sequence)] = sequence
        if self.targets is None:
            return padded, lengths
        return padded, lengths, self.targets[rows]


def _lengths(sequences: list[Array]) -> Array:
    if not sequences:
        raise DataError(f"SequenceDataset: no sequences were given; give at least one. {where()}")
    first = sequences[0]
    for row, sequence in enumerate(sequences):
        if not sequence.ndim or sequence.shape[1:] != first.shape[1:] or sequence.dtype == object:
            raise DataError(
                f"SequenceDataset: sequence {row} has shape {sequence.shape} and dtype "
                f"{sequence.dtype}, wanted numbers of shape (time, ...) with {first.shape[1:]} "
                f"after the time, as in row 0. {where()}"
            )
    return np.array([len(sequence) for sequence in sequences], np.int64)
