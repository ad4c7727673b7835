"""Random numbers: a counter-based generator, the same bits on every backend.

Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011, doi:10.1145/2063384.2063405): the bits are a function of a key and of the element's number,
so that any element can be computed alone, in any order, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from thalweg.errors import ArgumentError
from thalweg.errors import where as at
from thalweg.graph.dtype import DEFAULT_INT, as_dtype, float32, uint32
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape, broadcast, normalize_axis
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import sorting
from thalweg.ops.creation import IOTA
from thalweg.ops.record import Operand, define, full, require
from thalweg.ops.reductions import argmax

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(m: Any, key0: Any, key1: Any, counter: Any, stream: Any) -> Any:
    """Return the first word of the cipher, written against ``m.add``, ``m.xor``, ``m.rotate``."""
    keys = (key0, key1, m.xor(m.xor(key0, key1), m.word(PARITY)))
    x, y = m.add(counter, keys[0]), m.add(stream, keys[1])
    for block in range(5):
        for rotation in ROTATIONS[block % 2]:
            x = m.add(x, y)
            y = m.xor(m.rotate(y, rotation), x)
        x = m.add(x, keys[(block + 1) % 3])
        y = m.add(m.add(y, keys[(block + 2) % 3]), m.word(block + 1))
    return x


class _Words:
    """The cipher's machine over an array namespace."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def word(self, value: int) -> Any:
        return self.xp.uint32(value)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def xor(self, a: Any, b: Any) -> Any:
        return a ^ b

    def rotate(self, a: Any, n: int) -> Any:
        return (a << self.xp.uint32(n)) | (a >> self.xp.uint32(32 - n))


def _bits_meaning(xp: Any, key0: Any, key1: Any, counter: Any, stream: Any) -> Any:
    shape = xp.broadcast_shapes(key0.shape, key1.shape, counter.shape, stream.shape)
    parts = [xp.atleast_1d(v) for v in (key0, key1, counter, stream)]  # arrays wrap silently
    return xp.broadcast_to(threefry(_Words(xp), *parts).reshape(shape), shape)


_bits = define(
    "random_bits", "elementwise", "Random bits as a function of key, element number and stream.",
    lambda key0, key1, counter, stream: (
        broadcast(key0.shape, key1.shape, counter.shape, stream.shape, name="random_bits"), uint32
    ),
    _bits_meaning, lambda node, g: (None,) * 4, lambda m, *xs: m.threefry(*xs),
    ("word", "word", "word", "word"),
    paper="doi:10.1145/2063384.2063405",
)  # fmt: skip


def bits(key: Node, shape: Sequence[int], stream: int | Node = 0) -> Node:
    """Random uint32 of a shape; ``key`` is uint32 of shape (2,); streams are independent."""
    require(key, key.dtype is uint32 and key.shape == (2,), "random", "a uint32 key of shape (2,)")
    size = math.prod(shape)
    if size >= 2**32:
        raise ArgumentError(f"random: {size} numbers of one key; the limit is 2**32. {at()}")
    words = [mv.reshape(mv.narrow(key, 0, i, 1), ()) for i in range(2)]
    counter = mv.reshape(IOTA(size=size, dtype=uint32), tuple(shape))
    other = e.astype(e.add(stream, 0) if isinstance(stream, int) else stream, uint32)
    return _bits(words[0], words[1], counter, other)


def split_key(key: Node, number: int | Node) -> Node:
    """A new key, a function of another key and a number."""
    words = [mv.reshape(mv.narrow(key, 0, i, 1), ()) for i in range(2)]
    n = e.astype(number, uint32) if isinstance(number, Node) else e.astype(e.add(number, 0), uint32)
    counter = IOTA(size=2, dtype=uint32)
    return _bits(words[0], words[1], e.bitwise_xor(counter, e.astype(e.add(2**31, 0), uint32)), n)


def uniform(
    key: Node, shape: Sequence[int] = (), low: Operand = 0.0, high: Operand = 1.0,
    dtype: Any = None, stream: int = 0,
) -> Node:  # fmt: skip
    """Random numbers from ``low`` (included) to ``high``.

    24 random bits each; in a 16-bit type only as many as it holds, since more would round to 1.
    """
    kind = as_dtype(dtype or float32)
    require(full((), 0, kind), kind.is_float, "uniform", "a floating type")
    count = {"bfloat16": 8, "float16": 11}.get(kind.name, 24)
    words = e.bitwise_right_shift(bits(key, shape, stream), full((), 32 - count, uint32))
    unit = e.multiply(e.astype(words, float32), 2.0**-count)
    wide = e.astype(unit, kind)
    if isinstance(low, float) and isinstance(high, float) and (low, high) == (0.0, 1.0):
        return wide
    return e.add(e.multiply(wide, e.subtract(high, low)), low)


def normal(
    key: Node, shape: Sequence[int] = (), mean: Operand = 0.0, std: Operand = 1.0,
    dtype: Any = None, stream: int = 0,
) -> Node:  # fmt: skip
    """Random numbers of the normal distribution.

    G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates" (1958).
    """
    radius = e.subtract(1.0, uniform(key, shape, stream=2 * stream + 0x4000_0000))  # never 0
    angle = uniform(key, shape, stream=2 * stream + 0x4000_0001)
    z = e.multiply(
        e.sqrt(e.multiply(e.log(radius), -2.0)), e.cos(e.multiply(angle, 2 * math.pi))
    )
    z = z if std == 1.0 else e.multiply(z, std)
    return e.astype(z if mean == 0.0 else e.add(z, mean), as_dtype(dtype or float32))


def bernoulli(key: Node, p: Operand, shape: Sequence[int] = (), stream: int = 0) -> Node:
    """Random bools, true with probability ``p``."""
    return e.less(uniform(key, shape, stream=stream), p)


def permutation(key: Node, n: int) -> Node:
    """The numbers below ``n`` in random order, as int64.

    Sorted by 32 random bits; equal bits, rarer than one pair in ``2**33 / n**2``, keep their order.
    """
    return sorting.argsort(bits(key, (n,)), 0)


def categorical(key: Node, logits: Node, axis: int = -1) -> Node:
    """Random class numbers with probabilities ``softmax(logits)`` along an axis.

    By the Gumbel maximum: argmax(logits - log(-log(u))).
    """
    axis = normalize_axis(axis, logits.rank, "categorical")
    u = e.subtract(1.0, uniform(key, logits.shape))
    noise = e.negative(e.log(e.negative(e.log(e.minimum(u, 1 - 2.0**-24)))))
    return e.astype(argmax(e.add(logits, e.astype(noise, logits.dtype)), axis), DEFAULT_INT)


def randint(
    key: Node, low: int, high: int, shape: Shape = (), dtype: Any = None, stream: int = 0
) -> Node:
    """Random whole numbers from ``low`` to below ``high``, at most 2**24 apart."""
    if not 0 < high - low <= 2**24:
        raise ArgumentError(f"randint: {low} to {high} must span 1 to 2**24 numbers. {at()}")
    scaled = e.floor(e.multiply(uniform(key, shape, stream=stream), float(high - low)))
    whole = e.astype(e.minimum(scaled, float(high - low - 1)), DEFAULT_INT)
    return e.astype(e.add(whole, low), as_dtype(dtype or DEFAULT_INT))
