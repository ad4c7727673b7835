"""The rows of an epoch in batches of one size, so that none is left out and one program does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.data.batches import shuffled

__all__ = ["EvenBatches"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EvenBatches:
    """An order of rows that fills as many batches as scikit-learn makes, all of one size.

    Of 300 rows in batches of up to 200 it makes two of 150. Where the rows cannot be shared out
    evenly, the first few of the epoch's order come once more at its end: at most one a batch.

    Args:
        count: rows.
        limit: most rows of a batch.
        shuffle: whether each epoch has another order.

    Example:
        >>> batches = EvenBatches(count=5, limit=2, shuffle=False)
        >>> batches.size, batches.samples, batches.rows(5, 2, seed=0, epoch=1).tolist()
        (2, 6, [0, 1, 2, 3, 4, 0])
    """

    count: int
    limit: int
    shuffle: bool = True

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.count // min(self.limit, self.count))

    @property
    def size(self) -> int:
        """Rows of a batch."""
        return -(-self.count // self.steps)

    @property
    def samples(self) -> int:
        """Rows of an epoch, with those that come twice."""
        return self.steps * self.size

    def rows(self, count: int, size: int, seed: int, epoch: int) -> Array:
        """Return the row numbers of one epoch, int64 (samples,)."""
        order = shuffled(count, seed, epoch) if self.shuffle else np.arange(count)
        return np.resize(np.asarray(order, np.int64), self.samples)
