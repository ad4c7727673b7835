"""Creation: tensors that depend on no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from thalweg.errors import ArgumentError
from thalweg.errors import where as at
from thalweg.graph.dtype import DEFAULT_FLOAT, DEFAULT_INT, DType, as_dtype
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.record import Operand, define, operands
from thalweg.ops.record import full as full_node

Size = int | Sequence[int]
IOTA = define(
    "iota", "leaf", "The numbers 0, 1, 2, ... of one axis.",
    lambda *, size, dtype: ((size,), dtype),
    lambda xp, *, size, dtype: xp.arange(size, dtype=dtype.numpy),
    lambda node, g: (), domain=(),
)  # fmt: skip


def _shape(size: Size) -> tuple[int, ...]:
    shape = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if any(not hasattr(n, "__index__") or n < 0 for n in shape):
        raise ArgumentError(f"a shape is made of whole numbers from 0 on, got {shape}. {at()}")
    return tuple(n.__index__() for n in shape)


def full(shape: Size, fill_value: Operand, dtype: Any = None) -> Node:
    """A tensor filled with one number."""
    kind = None if dtype is None else as_dtype(dtype)
    if isinstance(fill_value, Node):
        value = operands(fill_value, name="full")[0]
        return mv.broadcast_to(e.astype(value, kind or value.dtype), _shape(shape))
    return full_node(_shape(shape), fill_value, kind)


def zeros(shape: Size, dtype: Any = None) -> Node:
    """A tensor of zeros, float32 unless told otherwise."""
    return full_node(_shape(shape), 0, as_dtype(dtype or DEFAULT_FLOAT))


def ones(shape: Size, dtype: Any = None) -> Node:
    """A tensor of ones, float32 unless told otherwise."""
    return full_node(_shape(shape), 1, as_dtype(dtype or DEFAULT_FLOAT))


def _like(x: Node, dtype: Any) -> DType:
    return x.dtype if dtype is None else as_dtype(dtype)


def zeros_like(x: Node, dtype: Any = None) -> Node:
    """Zeros of the shape, and if not told otherwise the dtype, of ``x``."""
    return full_node(x.shape, 0, _like(x, dtype))


def ones_like(x: Node, dtype: Any = None) -> Node:
    """Ones of the shape, and if not told otherwise the dtype, of ``x``."""
    return full_node(x.shape, 1, _like(x, dtype))


def full_like(x: Node, fill_value: Operand, dtype: Any = None) -> Node:
    """One number, in the shape and if not told otherwise the dtype of ``x``."""
    return full(x.shape, fill_value, _like(x, dtype))


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None
) -> Node:
    """The numbers from ``start`` (0 if only one is given) below ``stop`` in steps."""
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ArgumentError(f"arange: the step must not be 0. {at()}")
    whole = all(isinstance(v, int) for v in (start, stop, step))
    kind = as_dtype(dtype) if dtype is not None else DEFAULT_INT if whole else DEFAULT_FLOAT
    size = max(0, math.ceil((stop - start) / step))
    numbers = IOTA(size=size, dtype=kind)
    scaled = numbers if step == 1 else e.multiply(numbers, step)
    return scaled if start == 0 else e.add(scaled, start)


def linspace(start: float, stop: float, num: int, dtype: Any = None, endpoint: bool = True) -> Node:
    """``num`` evenly spaced numbers from ``start`` to ``stop``."""
    kind = as_dtype(dtype or DEFAULT_FLOAT)
    step = (stop - start) / max(num - 1 if endpoint else num, 1)
    return e.add(e.multiply(IOTA(size=num, dtype=kind), float(step)), float(start))


def eye(rows: int, columns: int | None = None, k: int = 0, dtype: Any = None) -> Node:
    """Ones on the ``k``-th diagonal, zeros elsewhere."""
    across = mv.expand_dims(IOTA(size=rows, dtype=DEFAULT_INT), 1)
    along = IOTA(size=rows if columns is None else columns, dtype=DEFAULT_INT)
    return e.astype(e.equal(e.add(across, k), along), as_dtype(dtype or DEFAULT_FLOAT))


def _triangle(x: Node, k: int, lower: bool) -> Node:
    across = mv.expand_dims(IOTA(size=x.shape[-2], dtype=DEFAULT_INT), 1)
    along = IOTA(size=x.shape[-1], dtype=DEFAULT_INT)
    compare = e.less_equal if lower else e.greater_equal
    keep = compare(along, e.add(across, k))
    return e.where(keep, x, 0)


def tril(x: Node, k: int = 0) -> Node:
    """Matrices with the elements above the ``k``-th diagonal set to 0."""
    return _triangle(x, k, True)


def triu(x: Node, k: int = 0) -> Node:
    """Matrices with the elements below the ``k``-th diagonal set to 0."""
    return _triangle(x, k, False)
