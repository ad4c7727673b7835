"""What augmentations draw: numbers of one example each, from one key."""

from __future__ import annotations

from typing import ClassVar, Final

from thalweg.graph.dtype import float32, uint32
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import random as r
from thalweg.ops.record import full

_EIGHT: Final = full((), 8, uint32)  # 24 bits of a word: as many as float32 holds


class Draws:
    """Random numbers for the examples of one batch, all functions of one key.

    The words of an example come in blocks of ``WORDS``, one kernel a block, and depend on the key,
    the block and the example's number alone: example ``i`` gets the same parameters in a batch of
    any size.

    >>> from thalweg.tensor.random import key
    >>> from thalweg.tensor.tensor import lift
    >>> Draws(lift(key(0)), 4, 3).uniform().shape
    (4, 1, 1)
    """

    WORDS: ClassVar[int] = 8  # even: the two words of a number are of one block

    def __init__(self, key: Node, batch: int, rank: int) -> None:
        self.key, self.batch, self.rank = key, batch, rank
        self._streams = self._words = 0
        self._block: Node | None = None

    def _next(self) -> int:
        self._streams += 1
        return self._streams

    def _word(self) -> Node:
        """Return one more random word an example: (batch, 1)."""
        column = self._words % self.WORDS
        if self._block is None or column == 0:
            self._block = r.bits(self.key, (self.batch, self.WORDS), self._next())
        self._words += 1
        return mv.narrow(self._block, 1, column, 1)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Node:
        """Return one number an example, from ``low`` to ``high``: (batch, 1, ...)."""
        # Two words of one block: the compiler stores costly numbers that are read twice. Those read
        # once it computes where they are needed, here anew for each pixel. Flip, crop and
        # brightness of 64 x 32 x 32 x 3 numbers took 3.1 ms that way, and take 0.9 ms this way.
        words = e.bitwise_xor(self._word(), self._word())
        unit = e.multiply(e.astype(e.bitwise_right_shift(words, _EIGHT), float32), 2.0**-24)
        drawn = mv.reshape(unit, (self.batch, *(1,) * (self.rank - 1)))
        return drawn if (low, high) == (0.0, 1.0) else e.add(e.multiply(drawn, high - low), low)

    def chosen(self, p: float) -> Node:
        """Return a bool an example, true with probability ``p``: (batch, 1, ...)."""
        return e.less(self.uniform(), p)

    def normal(self, x: Node) -> Node:
        """Return a normal number for each element of a batch, of its shape."""
        return r.normal(self.key, x.shape, stream=self._next())
