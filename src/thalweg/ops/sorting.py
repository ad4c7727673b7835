"""Order along an axis: cumulative sums, sorting, the largest few."""

from __future__ import annotations

from typing import Any

from thalweg.errors import ArgumentError
from thalweg.errors import where as at
from thalweg.graph.dtype import DEFAULT_INT, bool_, int64
from thalweg.graph.node import Node, Op
from thalweg.graph.shape import normalize_axis
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.indexing import take_along_axis
from thalweg.ops.record import cast_node, define


def _cumsum_meaning(xp: Any, x: Any, *, axis: int) -> Any:
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return xp.cumsum(x.astype("float32"), axis=axis).astype(x.dtype)
    return xp.cumsum(x, axis=axis, dtype=x.dtype)


_cumsum: Op = define(
    "cumulative_sum", "structured", "Running sum along an axis.",
    lambda x, *, axis: (x.shape, x.dtype), _cumsum_meaning,
    lambda node, g: (
        mv.flip(_cumsum(mv.flip(g, node.attrs["axis"]), axis=node.attrs["axis"]),
                node.attrs["axis"]),
    ),
)  # fmt: skip
_argsort = define(
    "argsort", "structured", "Positions that sort an axis; equal elements keep their order.",
    lambda x, *, axis: (x.shape, int64),
    lambda xp, x, *, axis: xp.argsort(x, axis=axis, stable=True).astype("int64"),
    lambda node, g: (None,),
)  # fmt: skip


def cumulative_sum(x: Node, axis: int | None = None) -> Node:
    """Running sum along an axis; without one ``x`` must have a single axis."""
    if axis is None:
        if x.rank != 1:
            raise ArgumentError(f"cumulative_sum: name an axis of shape {x.shape}. {at()}")
        axis = 0
    wide = x if x.dtype.is_float else cast_node(x, DEFAULT_INT)
    return _cumsum(wide, axis=normalize_axis(axis, x.rank, "cumulative_sum"))


cumsum = cumulative_sum


def diff(x: Node, n: int = 1, axis: int = -1) -> Node:
    """Differences of neighbours along an axis, taken ``n`` times."""
    axis = normalize_axis(axis, x.rank, "diff")
    change = e.not_equal if x.dtype is bool_ else e.subtract
    for _ in range(min(n, x.shape[axis])):
        size = x.shape[axis] - 1
        x = change(mv.narrow(x, axis, 1, size), mv.narrow(x, axis, 0, size))
    return x


def argsort(x: Node, axis: int = -1, descending: bool = False) -> Node:
    """Positions that sort an axis; equal elements keep their order, NaN comes last if ascending."""
    axis = normalize_axis(axis, x.rank, "argsort")
    if not descending:
        return _argsort(x, axis=axis)
    order = mv.flip(_argsort(mv.flip(x, axis), axis=axis), axis)
    return e.subtract(x.shape[axis] - 1, order)


def sort(x: Node, axis: int = -1, descending: bool = False) -> Node:
    """Elements in order along an axis."""
    return take_along_axis(x, argsort(x, axis, descending), axis)


def top_k(x: Node, k: int, axis: int = -1) -> tuple[Node, Node]:
    """The ``k`` largest elements along an axis, largest first, and their positions."""
    axis = normalize_axis(axis, x.rank, "top_k")
    if not 0 <= k <= x.shape[axis]:
        raise ArgumentError(
            f"top_k: k = {k} must be from 0 to the size {x.shape[axis]} of axis {axis}. {at()}"
        )
    places = mv.narrow(argsort(x, axis, descending=True), axis, 0, k)
    return take_along_axis(x, places, axis), places
