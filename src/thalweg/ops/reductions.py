"""Reductions: sums, products, extremes, their positions, and the statistics made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.errors import ShapeError
from thalweg.errors import where as at
from thalweg.graph.dtype import DEFAULT_INT, DType, bool_, float32, int64, to_float
from thalweg.graph.node import Node, Op
from thalweg.graph.shape import Shape, normalize_axes, normalize_axis, reduced
from thalweg.ops import elementwise as e
from thalweg.ops.record import OPS, cast_node, define, full, to_node

Axes = int | Sequence[int] | None


def _infer(name: str, result: DType | None) -> Callable[..., tuple[Shape, DType]]:
    def infer(x: Node, *, axes: Sequence[int], keepdims: bool) -> tuple[Shape, DType]:
        return reduced(x.shape, axes, keepdims), result or x.dtype

    return infer


def _meaning(function: str) -> Callable[..., Any]:
    def meaning(xp: Any, x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype.itemsize == 2 and x.dtype.kind in "fV" and function in ("sum", "prod"):
            wide = getattr(xp, function)(x.astype("float32"), axis=axes, keepdims=keepdims)
            return wide.astype(x.dtype)
        if function in ("sum", "prod"):
            return getattr(xp, function)(x, axis=axes, keepdims=keepdims, dtype=x.dtype)
        return getattr(xp, function)(x, axis=axes, keepdims=keepdims)

    return meaning


def _keep(node: Node, y: Node) -> Node:
    """Return a reduced node with the reduced axes back as size 1."""
    x = node.inputs[0]
    return _reshape(y, reduced(x.shape, node.attrs["axes"], True))


def _reshape(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else OPS["reshape"](x, shape=shape)


def _spread(node: Node, g: Node) -> Node:
    x = node.inputs[0]
    wide = _keep(node, g)
    return wide if wide.shape == x.shape else OPS["broadcast_to"](wide, shape=x.shape)


def _prod_rule(node: Node, g: Node) -> Sequence[Node | None]:
    x = node.inputs[0]
    zero = e.equal(x, 0)
    others = e.where(zero, 1, x)
    product = prod(others, axis=node.attrs["axes"], keepdims=True)
    zeros = sum(e.astype(zero, x.dtype), axis=node.attrs["axes"], keepdims=True)
    without = e.where(zero, e.where(e.equal(zeros, 1), product, 0), 0)
    rest = e.where(e.equal(zeros, 0), e.divide(product, others), 0)
    return (e.multiply(_keep(node, g), e.where(zero, without, rest)),)


def _extreme_rule(node: Node, g: Node) -> Sequence[Node | None]:
    x = node.inputs[0]
    hit = e.astype(e.equal(x, _keep(node, node)), x.dtype)
    count = sum(hit, axis=node.attrs["axes"], keepdims=True)
    return (e.multiply(hit, e.divide(_keep(node, g), count)),)


_sum = define(
    "sum", "reduction", "Sum over axes.", _infer("sum", None), _meaning("sum"),
    lambda node, g: (_spread(node, g),),
)  # fmt: skip
_prod = define(
    "prod", "reduction", "Product over axes.", _infer("prod", None), _meaning("prod"), _prod_rule
)
_max = define(
    "max", "reduction", "Largest element over axes; NaN wins; ties share the gradient.",
    _infer("max", None), _meaning("max"), _extreme_rule,
)  # fmt: skip
_min = define(
    "min", "reduction", "Smallest element over axes; NaN wins; ties share the gradient.",
    _infer("min", None), _meaning("min"), _extreme_rule,
)  # fmt: skip
_any = define(
    "any", "reduction", "Whether any element is true.", _infer("any", bool_), _meaning("any"),
    lambda node, g: (None,), domain=("bool",),
)  # fmt: skip
_all = define(
    "all", "reduction", "Whether all elements are true.", _infer("all", bool_), _meaning("all"),
    lambda node, g: (None,), domain=("bool",),
)  # fmt: skip


def _position(name: str, doc: str) -> Op:
    def meaning(xp: Any, x: Any, *, axis: int) -> Any:
        return getattr(xp, name)(x, axis=axis).astype("int64")

    return define(
        name, "structured", doc,
        lambda x, *, axis: (reduced(x.shape, (axis,), False), int64), meaning,
        lambda node, g: (None,),
    )  # fmt: skip


_argmax = _position("argmax", "Position of the first largest element along an axis; NaN wins.")
_argmin = _position("argmin", "Position of the first smallest element along an axis; NaN wins.")


# --- the functions that apply them -------------------------------------------------------------


def _apply(op: Op, x: Node, axis: Axes, keepdims: bool) -> Node:
    x = to_node(x, op.name)
    axes = normalize_axes(axis, x.rank, op.name)
    if op in (_max, _min) and math.prod(x.shape[a] for a in axes) == 0 and axes:
        raise ShapeError(f"{op.name}: no elements along axis {axis} of shape {x.shape}. {at()}")
    if op in (_any, _all):
        x = cast_node(x, bool_)
    if not axes:
        return x
    return op(x, axes=axes, keepdims=keepdims)


def _wide(x: Node) -> Node:
    return x if x.dtype.is_float else cast_node(x, DEFAULT_INT)


def sum(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Sum over axes, by default all; whole numbers and bools are added as int64."""
    return _apply(_sum, _wide(to_node(x, "sum")), axis, keepdims)


def prod(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Product over axes, by default all; whole numbers and bools are multiplied as int64."""
    return _apply(_prod, _wide(to_node(x, "prod")), axis, keepdims)


def count_nonzero(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Number of elements that are not 0 over axes, by default all."""
    return sum(e.not_equal(x, 0), axis, keepdims)


def max(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Largest element over axes, by default all; NaN wins; ties share the gradient."""
    return _apply(_max, x, axis, keepdims)


def min(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Smallest element over axes, by default all; NaN wins; ties share the gradient."""
    return _apply(_min, x, axis, keepdims)


def any(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Whether any element over axes, by default all, is true."""
    return _apply(_any, x, axis, keepdims)


def all(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Whether all elements over axes, by default all, are true."""
    return _apply(_all, x, axis, keepdims)


def _apply_position(op: Op, x: Node, axis: int | None, keepdims: bool) -> Node:
    rank = x.rank
    flat = _reshape(x, (x.size,)) if axis is None else x
    at_axis = 0 if axis is None else normalize_axis(axis, rank, op.name)
    if flat.shape[at_axis] == 0:
        raise ShapeError(f"{op.name}: no elements along axis {axis} of shape {x.shape}. {at()}")
    found = op(flat, axis=at_axis)
    if not keepdims:
        return found
    return _reshape(found, (1,) * rank if axis is None else reduced(x.shape, (at_axis,), True))


def argmax(x: Node, axis: int | None = None, keepdims: bool = False) -> Node:
    """Position of the first largest element along an axis, or in the flattened tensor."""
    return _apply_position(_argmax, x, axis, keepdims)


def argmin(x: Node, axis: int | None = None, keepdims: bool = False) -> Node:
    """Position of the first smallest element along an axis, or in the flattened tensor."""
    return _apply_position(_argmin, x, axis, keepdims)


def _count(x: Node, axis: Axes) -> int:
    return math.prod(x.shape[a] for a in normalize_axes(axis, x.rank, "mean"))


def _widened(x: Node) -> Node:
    """Return ``x`` in the type in which its statistics are accumulated."""
    return cast_node(x, float32) if x.dtype.is_float and x.dtype.bits == 16 else x


def mean(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """Arithmetic mean over axes, by default all; of no elements it is NaN."""
    x = to_node(x, "mean")
    wide = _widened(cast_node(x, to_float(x.dtype)))
    count = _count(x, axis)
    if not count:
        return full(reduced(x.shape, normalize_axes(axis, x.rank), keepdims), math.nan, wide.dtype)
    return cast_node(e.multiply(sum(wide, axis, keepdims), 1 / count), to_float(x.dtype))


def var(x: Node, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Node:
    """Variance over axes, by default all: squared distance from the mean over count - correction.

    Computed in two passes, so that a large mean does not swallow it.
    """
    x = to_node(x, "var")
    wide = _widened(cast_node(x, to_float(x.dtype)))
    centred = e.subtract(wide, mean(wide, axis, keepdims=True))
    total = sum(e.square(centred), axis, keepdims)
    return cast_node(e.divide(total, float(_count(x, axis) - correction)), to_float(x.dtype))


def std(x: Node, axis: Axes = None, correction: float = 0, keepdims: bool = False) -> Node:
    """Standard deviation over axes, by default all: the root of the variance."""
    return e.sqrt(var(x, axis, correction, keepdims))


def logsumexp(x: Node, axis: Axes = None, keepdims: bool = False) -> Node:
    """log(sum(exp(x))) over axes, by default all, computed without overflow."""
    x = e.astype(x, to_float(x.dtype))
    top = OPS["stop_gradient"](max(x, axis, keepdims=True))
    top = e.where(e.isfinite(top), top, 0)
    total = e.log(sum(e.exp(e.subtract(x, top)), axis, keepdims=True))
    result = e.add(total, top)
    return result if keepdims else _reshape(
        result, reduced(x.shape, normalize_axes(axis, x.rank), False)
    )
