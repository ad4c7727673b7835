"""Indexing: gather, scatter-add, one-hot and the square brackets."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError
from thalweg.errors import where as at
from thalweg.graph.dtype import DEFAULT_FLOAT, DType, as_dtype, bool_, int64
from thalweg.graph.node import Node, Op
from thalweg.graph.shape import Shape, broadcast, normalize_axis
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.creation import arange
from thalweg.ops.record import CONSTANT, cast_node, define, full, require


def _wrapped(xp: Any, indices: Any, size: int) -> Any:
    """Return indices counted from the front; NumPy raises where they are out of range."""
    if indices.dtype.itemsize < 4:  # size may be beyond an int8
        indices = indices.astype("int32")
    if xp is np and indices.size and (indices.min() < -size or indices.max() >= size):
        bad = indices[(indices < -size) | (indices >= size)].flat[0]
        raise IndexError(f"index {bad} is out of range for an axis of size {size} {at()}")
    return xp.where(indices < 0, indices + size, indices)


def _add_at(xp: Any, target: Any, where: Any, updates: Any) -> Any:
    if hasattr(target, "at"):
        return target.at[where].add(updates)
    wide = target.astype("float32") if target.dtype.itemsize == 2 else target.copy()
    np.add.at(wide, where, updates.astype(wide.dtype))
    return wide.astype(target.dtype)


def _take_infer(x: Node, i: Node, *, axis: int) -> tuple[Shape, DType]:
    require(i, i.dtype.is_integer, "take", "whole numbers as indices")
    return x.shape[:axis] + i.shape + x.shape[axis + 1 :], x.dtype


def _take_rule(node: Node, g: Node) -> Sequence[Node | None]:
    x, i = node.inputs
    return _scatter_add(mv.zeros_like(x), i, g, axis=node.attrs["axis"]), None


_take = define(
    "take", "structured", "Slices of one axis picked by indices; negative ones count from the end.",
    _take_infer,
    lambda xp, x, i, *, axis: xp.take(x, _wrapped(xp, i, x.shape[axis]), axis=axis),
    _take_rule, domain=("real", "index"),
)  # fmt: skip


def _scatter_infer(x: Node, i: Node, u: Node, *, axis: int) -> tuple[Shape, DType]:
    require(x, x.dtype is not bool_, "scatter_add", "a number type")
    require(i, i.dtype.is_integer, "scatter_add", "whole numbers as indices")
    wanted = x.shape[:axis] + i.shape + x.shape[axis + 1 :]
    if u.shape != wanted:
        raise ShapeError(
            f"scatter_add: updates have shape {u.shape}; into {x.shape} at indices of shape "
            f"{i.shape} along axis {axis} they must have {wanted}. {at()}"
        )
    return x.shape, x.dtype


def _scatter_rule(node: Node, g: Node) -> Sequence[Node | None]:
    return g, None, _take(g, node.inputs[1], axis=node.attrs["axis"])


_scatter_add = define(
    "scatter_add", "structured", "A tensor with updates added at indices of one axis.",
    _scatter_infer,
    lambda xp, x, i, u, *, axis: _add_at(
        xp, x, (slice(None),) * axis + (_wrapped(xp, i, x.shape[axis]),), u
    ),
    _scatter_rule, domain=("real", "index", "real"),
)  # fmt: skip


def _along(xp: Any, i: Any, size: int, axis: int) -> tuple[Any, ...]:
    grid = [xp.arange(n).reshape([-1 if k == d else 1 for k in range(i.ndim)])
            for d, n in enumerate(i.shape)]  # fmt: skip
    grid[axis] = _wrapped(xp, i, size)
    return tuple(grid)


def _take_along_infer(x: Node, i: Node, *, axis: int) -> tuple[Shape, DType]:
    require(i, i.dtype.is_integer, "take_along_axis", "whole numbers as indices")
    rest = [s[:axis] + s[axis + 1 :] for s in (x.shape, i.shape)]
    if x.rank != i.rank or rest[0] != rest[1]:
        raise ShapeError(
            f"take_along_axis: shapes {x.shape} and {i.shape} must agree outside of axis {axis}. "
            f"{at()}"
        )
    return i.shape, x.dtype


_take_along = define(
    "take_along_axis", "structured", "Elements of one axis picked by indices, row by row.",
    _take_along_infer,
    lambda xp, x, i, *, axis: x[_along(xp, i, x.shape[axis], axis)],
    lambda node, g: (
        _add_along(mv.zeros_like(node.inputs[0]), node.inputs[1], g, axis=node.attrs["axis"]),
        None,
    ),
    domain=("real", "index_along"),
)  # fmt: skip


def _add_along_infer(x: Node, i: Node, u: Node, *, axis: int) -> tuple[Shape, DType]:
    require(x, x.dtype is not bool_, "add_along_axis", "a number type")
    _take_along_infer(x, i, axis=axis)
    return x.shape, x.dtype


_add_along: Op = define(
    "add_along_axis", "structured", "A tensor with updates added at indices, row by row.",
    _add_along_infer,
    lambda xp, x, i, u, *, axis: _add_at(xp, x, _along(xp, i, x.shape[axis], axis), u),
    lambda node, g: (g, None, _take_along(g, node.inputs[1], axis=node.attrs["axis"])),
    domain=("real", "index_along", "real"),
)  # fmt: skip


# --- the functions that apply them -------------------------------------------------------------


def take(x: Node, indices: Node, axis: int | None = None) -> Node:
    """Slices of one axis (without one: elements of the flattened tensor) picked by indices.

    Raises IndexError where an index is outside of ``-size`` to ``size - 1``.
    """
    if axis is None:
        x, axis = mv.reshape(x, (x.size,)), 0
    return _take(x, indices, axis=normalize_axis(axis, x.rank, "take"))


def take_along_axis(x: Node, indices: Node, axis: int = -1) -> Node:
    """Elements of one axis picked by indices, row by row; other axes of size 1 broadcast."""
    if x.rank != indices.rank:
        raise ShapeError(
            f"take_along_axis: got {x.rank} and {indices.rank} axes, wanted equally many. {at()}"
        )
    axis = normalize_axis(axis, x.rank, "take_along_axis")
    rest = broadcast(
        x.shape[:axis] + (1,) + x.shape[axis + 1 :],
        indices.shape[:axis] + (1,) + indices.shape[axis + 1 :],
        name="take_along_axis",
    )
    before, after = rest[:axis], rest[axis + 1 :]
    return _take_along(
        mv.broadcast_to(x, (*before, x.shape[axis], *after)),
        mv.broadcast_to(indices, (*before, indices.shape[axis], *after)), axis=axis,
    )  # fmt: skip


def scatter_add(x: Node, indices: Node, updates: Node, axis: int = 0) -> Node:
    """``x`` with ``updates`` added at ``indices`` of one axis; equal indices add up.

    ``updates`` has the shape of ``take(x, indices, axis)``.
    """
    axis = normalize_axis(axis, x.rank, "scatter_add")
    return _scatter_add(x, indices, cast_node(updates, x.dtype), axis=axis)


def one_hot(labels: Node, classes: int, dtype: Any = None) -> Node:
    """A new last axis of ``classes`` numbers: 1 at the label, 0 elsewhere."""
    require(labels, labels.dtype.is_integer, "one_hot", "whole numbers as labels")
    if classes > 2 ** (labels.dtype.bits - 1):
        labels = cast_node(labels, int64)
    hit = e.equal(mv.expand_dims(labels, -1), arange(classes, dtype=labels.dtype))
    return cast_node(hit, as_dtype(dtype or DEFAULT_FLOAT))


def _whole(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_, Node, np.ndarray)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def getitem(x: Node, key: Any) -> Node:
    """``x[key]`` for numbers, slices, ``None``, ``...`` and tensors of whole numbers."""
    parts = list(key) if isinstance(key, tuple) else [key]
    used = sum(1 for p in parts if p is not None and p is not Ellipsis)
    if used > x.rank:
        raise ShapeError(f"index: {used} indices for shape {x.shape}. {at()}")
    dots = next((i for i, p in enumerate(parts) if p is Ellipsis), len(parts))
    parts[dots : dots + 1] = [slice(None)] * (x.rank - used)
    starts, stops, steps, flips, shape, picks = [], [], [], [], [], {}
    axis = 0
    spots = [i for i, p in enumerate(parts) if isinstance(p, Node) or _whole(p) is not None]
    apart = spots != list(range(spots[0], spots[0] + len(spots))) if spots else False
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        number = _whole(part)
        if number is not None:
            if not -n <= number < n:
                raise ShapeError(
                    f"index {number} is out of range for size {n} of {x.shape}. {at()}"
                )
            part = slice(number % n, number % n + 1)
        if isinstance(part, slice):
            a, b, s = part.indices(n)
            count = len(range(a, b, s))
            if s < 0:
                flips.append(axis)
                a, b, s = n - 1 - a, n - 1 - a + max(count - 1, 0) * -s + (count > 0), -s
            starts.append(a)
            stops.append(max(min(b, n), a))
            steps.append(s)
            if number is None:
                shape.append(count)
        elif isinstance(part, Node):
            starts.append(0)
            stops.append(n)
            steps.append(1)
            picks[len(shape)] = part
            shape.append(n)
        else:
            raise ArgumentError(f"index {part!r} is not a number, slice or tensor. {at()}")
        axis += 1
    y = mv.flip(x, flips) if flips else x
    y = mv.reshape(mv.slice_(y, starts, stops, steps), shape)
    return _pick(y, picks, apart) if picks else y


def _pick(x: Node, picks: dict[int, Node], apart: bool) -> Node:
    """Index axes by tensors that broadcast together, as NumPy does.

    The axes of the indices take the place of the indexed axes, or, if a slice stood between two
    indices (``apart``), come first.
    """
    axes = list(picks)
    for i in picks.values():
        if i.dtype is bool_:
            raise ArgumentError(
                "index: a bool mask gives a shape that depends on the values; "
                f"use thalweg.where, or index outside of compile. {at()}"
            )
    first = axes[0]
    if len(axes) == 1:
        index = picks[first]
        y = _take(x, index, axis=first)
        if apart and first:
            y = mv.moveaxis(y, range(first, first + index.rank), range(index.rank))
        return y
    sizes = [x.shape[a] for a in axes]
    linear, outside = full((), 0, int64), full((), False, bool_)
    for i, n in zip(picks.values(), sizes, strict=True):
        wide = cast_node(i, int64)
        wrapped = e.where(e.less(wide, 0), e.add(wide, n), wide)
        bad = e.logical_or(e.less(wrapped, 0), e.greater_equal(wrapped, n))
        linear, outside = e.add(e.multiply(linear, n), wrapped), e.logical_or(outside, bad)
    linear = e.where(outside, math.prod(sizes), linear)  # no row of another axis by mistake
    front = mv.moveaxis(x, axes, range(len(axes)))
    joined = mv.reshape(front, (math.prod(sizes), *front.shape[len(axes) :]))
    y = _take(joined, linear, axis=0)
    if not apart and first:
        y = mv.moveaxis(y, range(linear.rank), range(first, first + linear.rank))
    return y


def array(value: np.ndarray[Any, Any]) -> Node:
    """A small array written down in the program."""
    frozen = value.copy()
    frozen.flags.writeable = False
    return CONSTANT(value=frozen)
