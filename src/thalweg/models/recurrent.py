"""What the recurrent models share: the choice of layer, one-hot tokens, checks of their input."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError, where
from thalweg.graph.dtype import int64
from thalweg.nn.inputs import label, lengths_of, node_of, rows_of_table
from thalweg.nn.layers import positive
from thalweg.ops import indexing
from thalweg.ops.creation import IOTA
from thalweg.tensor.context import context
from thalweg.tensor.tensor import Tensor, finish

__all__ = ["KINDS", "OneHot", "check_tokens", "check_vocabulary", "checked_lengths", "last_state",
           "new_layer"]  # fmt: skip

KINDS: Final[dict[str, Any]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def new_layer(
    who: str, kind: str, inputs: int, hidden: int, layers: int = 1, dropout: float = 0.0,
    bidirectional: bool = False,
) -> Any:  # fmt: skip
    """Return the recurrent layer of a name.

    Raises:
        ArgumentError: the kind is not ``"rnn"``, ``"lstm"`` or ``"gru"``.

    >>> new_layer("CharRNN", "gru", 3, 4, layers=2)
    GRU(3, 4, num_layers=2)
    """
    if kind not in KINDS:
        raise ArgumentError(f"{who}: kind must be 'rnn', 'lstm' or 'gru', got {kind!r}. {where()}")
    return KINDS[kind](
        inputs, hidden, num_layers=layers, dropout=dropout, bidirectional=bidirectional
    )


def last_state(state: Any, bidirectional: bool = False) -> Tensor:
    """Return the last outputs of the top layer, of both directions side by side.

    Shape: ``(layers * directions, batch, hidden)``, or an LSTM's pair of them, to ``(batch,
    directions * hidden)``.

    >>> last_state(tw.ones((4, 2, 3)), bidirectional=True).shape
    (2, 6)
    """
    h = state[0] if isinstance(state, tuple) else state
    top: Tensor = tw.concatenate([h[-2], h[-1]], 1) if bidirectional else h[-1]
    return top


def check_tokens(who: str, ids: Any, name: str = "an input") -> None:
    """Raise a ShapeError unless token numbers have the shape (batch, length).

    >>> check_tokens("CharRNN", [[1, 2]])
    """
    shape = tuple(np.shape(ids))
    if len(shape) != 2 or not shape[1]:
        raise ShapeError(
            f"{who}: got {name} of shape {shape}, wanted token numbers (batch, length) of at "
            f"least one step; give a single sequence a batch axis of size 1. {where()}"
        )


def check_vocabulary(who: str, tokens: np.ndarray[Any, Any], size: int) -> None:
    """Raise a DataError unless all tokens are from 0 to ``size - 1``.

    >>> check_vocabulary("CharRNN", np.array([[0, 4]]), 5)
    """
    if not 0 <= tokens.min() <= tokens.max() < size:
        raise DataError(
            f"{who}: got tokens from {tokens.min()} to {tokens.max()}; the vocabulary has 0 to "
            f"{size - 1}. Make it larger, or renumber the tokens. {where()}"
        )


def checked_lengths(who: str, lengths: Any, x: Any) -> Tensor:
    """Return how many steps of each sequence count, ``(batch,)``, for an input (batch, time, ...).

    Raises:
        ShapeError: not one whole number for each sequence, or an input without these axes.
        ArgumentError: a length that is not from 1 to the number of steps; where it is not known
            yet, the compiled program raises an IndexError when it runs.

    >>> checked_lengths("Forecaster", [3, 1], tw.zeros((2, 4, 5)))
    Tensor([3, 1], dtype=int64)
    """
    shape = np.shape(x)
    if len(shape) < 2:
        raise ShapeError(
            f"{who}: got an input of shape {shape}, wanted (batch, time, ...); give a single "
            f"sequence a batch axis of size 1. {where()}"
        )
    counts: Tensor = finish(lengths_of(who, lengths, shape[0], 1, shape[1]))
    return counts


class OneHot(nn.Module):
    r"""Each whole number becomes a vector that is 1 at its place and 0 elsewhere.

    .. math:: y_{i,k} = [x_i = k]

    Args:
        size: of the vectors; numbers go from 0 to ``size - 1``.

    Shape:
        whole numbers ``(...)`` to ``(..., size)``.

    Raises:
        ArgumentError: the size is not from 1 on.
        DTypeError: the input does not hold whole numbers.
        DataError: a number is below 0 or not below ``size``; a compiled program raises an
            IndexError.

    Example:
        >>> OneHot(3)(tw.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, size: int) -> None:
        positive("OneHot", size=size)
        self.size = int(size)

    def forward(self, x: Any, dtype: Any = "float32") -> Tensor:
        """Return the vectors."""
        who = label(self)
        node = node_of(x, who)
        if not node.dtype.is_integer:
            raise DTypeError(
                f"{who}: got {node.dtype.name}, wanted whole numbers; convert with "
                f".astype('int64'). {where()}"
            )
        values = node.value if context.recorder is None else None
        if values is not None and values.size and not (
            0 <= values.min() <= values.max() < self.size
        ):
            wrong = values[(values < 0) | (values >= self.size)]
            raise DataError(
                f"{who}: got the number {wrong[0]}, wanted 0 to {self.size - 1}; make the "
                f"vocabulary larger or renumber the input. {where()}"
            )
        # What is not known yet is looked up in the table of all numbers, whose native gather
        # reports what is out of range.
        rows = rows_of_table(node, self.size)
        if context.recorder is not None:
            rows = indexing.take(IOTA(size=self.size, dtype=int64), rows, 0)
        return finish(indexing.one_hot(rows, self.size, dtype))

    def arguments(self) -> str:
        """Return the size."""
        return str(self.size)
