"""Random tensors: keys, generators and distributions, the same bits everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, where
from thalweg.ops import random as ops
from thalweg.tensor.functions import lifted
from thalweg.tensor.tensor import Tensor, constant_tensor, finish, lift


def key(seed: int) -> Tensor:
    """Return a key: two uint32 words made of a whole number from 0 to 2**64 - 1.

    >>> key(7).shape
    (2,)
    """
    number = int(seed)
    if not 0 <= number < 2**64:
        raise ArgumentError(f"a seed is a whole number from 0 to 2**64 - 1, got {seed}. {where()}")
    words = np.array([number >> 32, number & 0xFFFFFFFF], dtype=np.uint32)
    return constant_tensor(words)


class Generator:
    """A source of keys: a key and a count, both state that a compiled function updates.

    >>> Generator(0).uniform((2,)).shape
    (2,)
    """

    def __init__(self, seed: int = 0) -> None:
        self.key = key(seed)
        self.count = constant_tensor(np.zeros((), np.uint32))

    def seed(self, seed: int) -> None:
        """Start again from a seed."""
        self.key.assign(key(seed))
        self.count.assign(constant_tensor(np.zeros((), np.uint32)))

    def next_key(self) -> Tensor:
        """Return a key that was not returned before."""
        made = finish(ops.split_key(lift(self.key), lift(self.count)))
        self.count.assign(self.count + 1)
        return made

    def uniform(self, shape: Any = (), **options: Any) -> Tensor:
        """Return uniform numbers; see ``thalweg.random.uniform``."""
        return uniform(shape, key=self.next_key(), **options)

    def normal(self, shape: Any = (), **options: Any) -> Tensor:
        """Return normal numbers; see ``thalweg.random.normal``."""
        return normal(shape, key=self.next_key(), **options)


default = Generator(0)


def seed(number: int) -> None:
    """Seed the generator that is used where no key is given."""
    default.seed(number)


def split(given: Tensor, count: int = 2) -> list[Tensor]:
    """Return independent keys made of one."""
    return [finish(ops.split_key(lift(given), i)) for i in range(count)]


_lifted = functools.cache(lifted)


def _draw(function: Callable[..., Any], given: Tensor | None, *args: Any) -> Any:
    return _lifted(function)(default.next_key() if given is None else given, *args)


def _shape(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


def bits(shape: Any = (), key: Tensor | None = None) -> Tensor:
    """Return random uint32 words."""
    return _draw(ops.bits, key, _shape(shape))  # type: ignore[no-any-return]


def uniform(
    shape: Any = (), low: float = 0.0, high: float = 1.0, dtype: Any = None,
    key: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return numbers from ``low`` (included) to ``high``.

    >>> import thalweg as tw
    >>> bool((tw.random.uniform((100,), key=tw.random.key(0)) < 1).all())
    True
    """
    return _draw(ops.uniform, key, _shape(shape), low, high, dtype)  # type: ignore[no-any-return]


def normal(
    shape: Any = (), mean: float = 0.0, std: float = 1.0, dtype: Any = None,
    key: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return numbers of the normal distribution."""
    return _draw(ops.normal, key, _shape(shape), mean, std, dtype)  # type: ignore[no-any-return]


def bernoulli(p: float | Tensor, shape: Any = (), key: Tensor | None = None) -> Tensor:
    """Return bools that are true with probability ``p``."""
    return _draw(ops.bernoulli, key, p, _shape(shape))  # type: ignore[no-any-return]


def permutation(n: int, key: Tensor | None = None) -> Tensor:
    """Return the numbers below ``n`` in random order."""
    return _draw(ops.permutation, key, n)  # type: ignore[no-any-return]


def categorical(logits: Tensor, axis: int = -1, key: Tensor | None = None) -> Tensor:
    """Return class numbers with probabilities ``softmax(logits)``."""
    return _draw(ops.categorical, key, logits, axis)  # type: ignore[no-any-return]


def randint(
    low: int, high: int, shape: Any = (), dtype: Any = None, key: Tensor | None = None
) -> Tensor:
    """Return whole numbers from ``low`` (included) to ``high`` (not included)."""
    return _draw(ops.randint, key, low, high, _shape(shape), dtype)  # type: ignore[no-any-return]
