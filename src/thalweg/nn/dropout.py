"""Dropout: while training, random elements are set to 0 and the others scaled up."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, where
from thalweg.nn.inputs import label, node_of
from thalweg.nn.keys import Key
from thalweg.nn.module import Module
from thalweg.ops import elementwise as e
from thalweg.ops import random as r
from thalweg.tensor.tensor import Tensor, constant_tensor, finish, lift


class Dropout(Module):
    r"""Inverted dropout: each element is 0 with probability ``p``, else divided by ``1 - p``.

    .. math:: y = x \cdot m / (1 - p), \quad m \sim \mathrm{Bernoulli}(1 - p)

    In evaluation the input is handed on. The random state is two buffers, a key and the count of
    calls, which a compiled program updates and a checkpoint holds; the mask has the same bits on
    every backend.

    Args:
        p: probability of setting an element to 0, from 0 to 1.

    Shape:
        any to the same.

    Raises:
        ArgumentError: ``p`` is not from 0 to 1.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> dropout = nn.Dropout(0.5).reset_parameters(0)
        >>> sorted(set(dropout(tw.ones(100)).tolist()))
        [0.0, 2.0]
        >>> dropout.eval()(tw.ones(2))
        Tensor([1., 1.], dtype=float32)

    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15 (2014).
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = p
        self._probability()
        self.key = constant_tensor(np.zeros(2, np.uint32))
        self.count = constant_tensor(np.zeros((), np.uint32))
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Take another key, and count calls from 0."""
        self.key.assign(key)
        self.count.assign(np.zeros((), np.uint32))

    def _probability(self) -> float:
        if not 0 <= self.p <= 1:
            raise ArgumentError(
                f"{label(self)}: p must be a probability from 0 to 1, got {self.p!r}. {where()}"
            )
        return float(self.p)

    def forward(self, x: Any) -> Tensor:
        """Return the input with random elements dropped, or in evaluation the input itself."""
        p = self._probability()
        node = node_of(x, label(self))
        if not self.training or p == 0:
            return x if isinstance(x, Tensor) else finish(node)
        # Whole-number comparison of the raw bits: no conversion to floating point is needed.
        words = r.bits(lift(self.key), node.shape, lift(self.count))
        kept = e.greater_equal(words, min(round(p * 2**32), 2**32 - 1))
        self.count.assign(self.count + 1)
        return finish(e.where(kept, e.multiply(node, 1 / (1 - p) if p < 1 else 0.0), 0))
