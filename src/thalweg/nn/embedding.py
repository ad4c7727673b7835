"""Embedding: a table of learned vectors, picked by whole numbers."""

from __future__ import annotations

from typing import Any

from thalweg.errors import ArgumentError, DataError, DTypeError, where
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.inputs import label, node_of, rows_of_table
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.layers import new_parameter, positive
from thalweg.nn.module import Module
from thalweg.ops import elementwise as e
from thalweg.ops import indexing, movement
from thalweg.ops.convolution import is_whole
from thalweg.ops.identity import stop_gradient
from thalweg.tensor.context import context
from thalweg.tensor.tensor import Tensor, finish, lift


class Embedding(Module):
    r"""A table of vectors: each whole number of the input is replaced by its row.

    .. math:: y_i = W_{x_i}

    Args:
        num_embeddings: rows of the table.
        features: size of a vector.
        padding_idx: a row that starts at 0 and gets no gradient.
        weight_init: initialiser, its name, a number, or the values; standard normal if left out.
        dtype: type of the table.

    Shape:
        whole numbers ``(...)`` to ``(..., features)``.

    Raises:
        DTypeError: the input does not hold whole numbers.
        DataError: an index is below 0 or not below ``num_embeddings``. A compiled program finds
            out when it runs, updates nothing, and raises an IndexError.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Embedding(10, 4)(tw.tensor([[1, 2, 9]])).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        padding_idx: int | None = None,
        *,
        weight_init: initializers.Like | None = None,
        dtype: Any = "float32",
    ) -> None:
        positive("Embedding", num_embeddings=num_embeddings, features=features)
        self.num_embeddings, self.features = int(num_embeddings), int(features)
        if padding_idx is not None and not (
            is_whole(padding_idx, -num_embeddings) and padding_idx < num_embeddings
        ):
            raise ArgumentError(
                f"Embedding: padding_idx {padding_idx!r} is not a row of {num_embeddings}; give a "
                f"whole number from {-num_embeddings} to {num_embeddings - 1}, or None. {where()}"
            )
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight_init = weight_init
        self.weight = new_parameter((self.num_embeddings, self.features), dtype)
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Draw the table; the padding row is 0."""
        words, shape, dtype = derived_key(key, "weight"), self.weight.shape, self.weight.dtype
        if self.weight_init is None:
            values = initializers.normal(words, shape, dtype, std=1.0)
        else:
            values = initializers.get(self.weight_init)(words, shape, dtype)
        if self.padding_idx is not None:
            values[self.padding_idx] = 0
        self.weight.assign(values)

    def forward(self, x: Any) -> Tensor:
        """Return the rows of the input's numbers."""
        who = label(self)
        indices = node_of(x, who)
        if not indices.dtype.is_integer:
            raise DTypeError(
                f"{who}: got {indices.dtype.name}, wanted whole numbers as indices; "
                f"convert with .astype('int64'). {where()}"
            )
        self._check(who, indices)
        indices = rows_of_table(indices, self.num_embeddings)
        y = indexing.take(lift(self.weight), indices, 0)
        if self.padding_idx is not None:
            kept = movement.expand_dims(e.not_equal(indices, self.padding_idx), -1)
            y = e.where(kept, y, stop_gradient(y))
        return finish(y)

    def _check(self, who: str, indices: Node) -> None:
        """Refuse indices out of range that are known; others are refused by the native gather."""
        values = indices.value if context.recorder is None else None
        if values is None:
            return
        wrong = (values < 0) | (values >= self.num_embeddings)
        if wrong.any():
            place = tuple(int(i[0]) for i in wrong.nonzero())
            raise DataError(
                f"{who}: index {values[wrong][0]} at position {place} is not a row of the table; "
                f"rows go from 0 to {self.num_embeddings - 1}. Make num_embeddings larger or "
                f"renumber the input. {where()}"
            )
