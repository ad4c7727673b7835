"""Movement: reshape, transpose, broadcast, slice, flip, pad, concatenate, and what they make."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from thalweg.errors import ArgumentError, ShapeError
from thalweg.errors import where as at
from thalweg.graph.dtype import DType
from thalweg.graph.node import Node, Op
from thalweg.graph.shape import (
    Shape,
    broadcast,
    normalize_axes,
    normalize_axis,
    resolve_reshape,
)
from thalweg.ops.record import Scalar, define, full, operands, to_node
from thalweg.ops.reductions import sum as sum_

_reshape = define(
    "reshape", "movement", "The same elements, in row-major order, in another shape.",
    lambda x, *, shape: (shape, x.dtype),
    lambda xp, x, *, shape: xp.reshape(x, shape),
    lambda node, g: (reshape(g, node.inputs[0].shape),),
)  # fmt: skip


def _inverse(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=lambda i: axes[i]))


_transpose = define(
    "transpose", "movement", "The axes in another order.",
    lambda x, *, axes: (tuple(x.shape[a] for a in axes), x.dtype),
    lambda xp, x, *, axes: xp.transpose(x, axes),
    lambda node, g: (permute_dims(g, _inverse(node.attrs["axes"])),),
)  # fmt: skip
_broadcast_to = define(
    "broadcast_to", "movement", "Axes of size 1, and missing ones in front, repeated.",
    lambda x, *, shape: (shape, x.dtype),
    lambda xp, x, *, shape: xp.broadcast_to(x, shape),
    lambda node, g: (sum_to(g, node.inputs[0].shape),),
)  # fmt: skip


def _slice_shape(shape: Shape, starts: Shape, stops: Shape, steps: Shape) -> Shape:
    return tuple(
        max(0, math.ceil((b - a) / s)) for a, b, s in zip(starts, stops, steps, strict=True)
    )


def _slice_rule(node: Node, g: Node) -> Sequence[Node | None]:
    x, a = node.inputs[0], node.attrs
    rows = zip(x.shape, g.shape, a["starts"], a["steps"], strict=True)
    pads = [(start, n - start - ((m - 1) * s + 1) if m else n - start) for n, m, start, s in rows]
    return (_pad(g, low=tuple(p[0] for p in pads), high=tuple(p[1] for p in pads),
                 interior=tuple(s - 1 for s in a["steps"]), value=0),)  # fmt: skip


_slice = define(
    "slice", "movement", "Every step-th element of each axis between start and stop.",
    lambda x, *, starts, stops, steps: (_slice_shape(x.shape, starts, stops, steps), x.dtype),
    lambda xp, x, *, starts, stops, steps: x[tuple(map(slice, starts, stops, steps))],
    _slice_rule,
)  # fmt: skip
_flip: Op = define(
    "flip", "movement", "Axes in reverse order.",
    lambda x, *, axes: (x.shape, x.dtype),
    lambda xp, x, *, axes: xp.flip(x, axes),
    lambda node, g: (_flip(g, axes=node.attrs["axes"]),),
)  # fmt: skip


def place(xp: Any, canvas: Any, where_: tuple[slice, ...], values: Any) -> Any:
    """Return the canvas with values written into a part of it, under NumPy or jax.numpy."""
    if hasattr(canvas, "at"):
        return canvas.at[where_].set(values)
    canvas = canvas.copy()
    canvas[where_] = values
    return canvas


def _pad_shape(shape: Shape, low: Shape, high: Shape, interior: Shape) -> Shape:
    rows = zip(shape, low, high, interior, strict=True)
    return tuple(n + max(n - 1, 0) * i + lo + hi for n, lo, hi, i in rows)


def _pad_meaning(xp: Any, x: Any, *, low: Shape, high: Shape, interior: Shape, value: Any) -> Any:
    shape = _pad_shape(x.shape, low, high, interior)
    rows = zip(x.shape, low, interior, strict=True)
    inside = tuple(slice(lo, lo + max(n - 1, 0) * (i + 1) + (n > 0), i + 1) for n, lo, i in rows)
    return place(xp, xp.full(shape, value, dtype=x.dtype), inside, x)


def _pad_rule(node: Node, g: Node) -> Sequence[Node | None]:
    x, a = node.inputs[0], node.attrs
    steps = tuple(i + 1 for i in a["interior"])
    stops = tuple(
        lo + (n - 1) * s + 1 if n else lo
        for lo, n, s in zip(a["low"], x.shape, steps, strict=True)
    )
    return (_slice(g, starts=a["low"], stops=stops, steps=steps),)


_pad = define(
    "pad", "movement", "One value put around each axis, and between its elements.",
    lambda x, *, low, high, interior, value: (_pad_shape(x.shape, low, high, interior), x.dtype),
    _pad_meaning, _pad_rule,
)  # fmt: skip


def _concatenate_rule(node: Node, g: Node) -> Sequence[Node | None]:
    axis, start, parts = node.attrs["axis"], 0, []
    for x in node.inputs:
        parts.append(narrow(g, axis, start, x.shape[axis]))
        start += x.shape[axis]
    return parts


def _concatenate_infer(*xs: Node, axis: int) -> tuple[Shape, DType]:
    shape = xs[0].shape
    return shape[:axis] + (sum(x.shape[axis] for x in xs),) + shape[axis + 1 :], xs[0].dtype


_concatenate = define(
    "concatenate", "movement", "Tensors joined along an axis.", _concatenate_infer,
    lambda xp, *xs, axis: xp.concatenate(xs, axis=axis), _concatenate_rule,
    domain=("real", "real"),
)  # fmt: skip


# --- the functions that apply them -------------------------------------------------------------


def reshape(x: Node, *shape: Any) -> Node:
    """The same elements, in row-major order, in another shape; one size may be -1."""
    wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    new = resolve_reshape(x.shape, wanted)
    return x if new == x.shape else _reshape(x, shape=new)


def permute_dims(x: Node, axes: Sequence[int]) -> Node:
    """The axes in another order: axis ``i`` of the result is axis ``axes[i]`` of ``x``."""
    order = tuple(normalize_axis(a, x.rank, "permute_dims") for a in axes)
    if sorted(order) != list(range(x.rank)):
        raise ShapeError(
            f"permute_dims: {tuple(axes)} does not name each of the {x.rank} axes of shape "
            f"{x.shape} once. {at()}"
        )
    return x if order == tuple(range(x.rank)) else _transpose(x, axes=order)


def transpose(x: Node, axes: Sequence[int] | None = None) -> Node:
    """The axes in another order, by default reversed."""
    return permute_dims(x, tuple(reversed(range(x.rank))) if axes is None else axes)


def matrix_transpose(x: Node) -> Node:
    """The last two axes exchanged."""
    if x.rank < 2:
        raise ShapeError(f"matrix_transpose: needs two axes, got shape {x.shape}. {at()}")
    return permute_dims(x, (*range(x.rank - 2), x.rank - 1, x.rank - 2))


def moveaxis(x: Node, source: int | Sequence[int], destination: int | Sequence[int]) -> Node:
    """Some axes moved to other places; the rest keep their order."""
    src = [source] if isinstance(source, int) else list(source)
    dst = [destination] if isinstance(destination, int) else list(destination)
    src = [normalize_axis(a, x.rank, "moveaxis") for a in src]
    dst = [normalize_axis(a, x.rank, "moveaxis") for a in dst]
    order = [a for a in range(x.rank) if a not in src]
    for d, s in sorted(zip(dst, src, strict=True)):
        order.insert(d, s)
    return permute_dims(x, order)


def swapaxes(x: Node, axis1: int, axis2: int) -> Node:
    """Two axes exchanged."""
    order = list(range(x.rank))
    a, b = (normalize_axis(i, x.rank, "swapaxes") for i in (axis1, axis2))
    order[a], order[b] = b, a
    return permute_dims(x, order)


def broadcast_to(x: Node, shape: Sequence[int]) -> Node:
    """``x`` repeated to a larger shape."""
    new = tuple(shape)
    if broadcast(x.shape, new, name="broadcast_to") != new:
        raise ShapeError(f"broadcast_to: {x.shape} does not broadcast to {new}. {at()}")
    return x if new == x.shape else _broadcast_to(x, shape=new)


def sum_to(x: Node, shape: Shape) -> Node:
    """``x`` summed over the axes along which ``shape`` was broadcast: the reverse of that."""
    if x.shape == shape:
        return x
    extra = x.rank - len(shape)
    if extra:
        x = sum_(x, axis=tuple(range(extra)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return sum_(x, axis=axes, keepdims=True) if axes else x


def expand_dims(x: Node, axis: int | Sequence[int] = 0) -> Node:
    """New axes of size 1, at these places of the result."""
    given = [axis] if isinstance(axis, int) else list(axis)
    rank = x.rank + len(given)
    places = {normalize_axis(a, rank, "expand_dims") for a in given}
    rest = iter(x.shape)
    return reshape(x, tuple(1 if i in places else next(rest) for i in range(rank)))


def squeeze(x: Node, axis: int | Sequence[int] | None = None) -> Node:
    """Axes of size 1 left out, by default all of them."""
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    axes = normalize_axes(axis, x.rank, "squeeze")
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(
                f"squeeze: axis {a} of {x.shape} has size {x.shape[a]}, not 1. {at()}"
            )
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def flatten(x: Node, start: int = 0) -> Node:
    """The axes from ``start`` on joined into one."""
    first = normalize_axis(start, x.rank, "flatten") if x.rank else 0
    return reshape(x, (*x.shape[:first], math.prod(x.shape[first:])))


def narrow(x: Node, axis: int, start: int, size: int) -> Node:
    """``size`` elements of one axis, from ``start`` on."""
    starts, stops = [0] * x.rank, list(x.shape)
    starts[axis], stops[axis] = start, start + size
    return slice_(x, starts, stops, [1] * x.rank)


def slice_(x: Node, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> Node:
    """Every step-th element of each axis between start and stop, all in bounds, steps positive."""
    a, b, s = tuple(starts), tuple(stops), tuple(steps)
    if a == (0,) * x.rank and b == x.shape and s == (1,) * x.rank:
        return x
    return _slice(x, starts=a, stops=b, steps=s)


def flip(x: Node, axis: int | Sequence[int] | None = None) -> Node:
    """Some axes, by default all, in reverse order."""
    axes = normalize_axes(axis, x.rank, "flip")
    return _flip(x, axes=axes) if axes else x


def pad(
    x: Node, widths: int | Sequence[Any], mode: str = "constant", value: Scalar = 0
) -> Node:
    """Elements put around: ``widths`` is one number, or ``(before, after)`` for each axis.

    ``mode``: ``"constant"`` (``value``), ``"reflect"``, ``"edge"`` (also ``"replicate"``) or
    ``"wrap"`` (also ``"circular"``), as ``numpy.pad`` has them.
    """
    if isinstance(widths, int):
        pairs = [(widths, widths)] * x.rank
    else:
        pairs = [(w, w) if isinstance(w, int) else (w[0], w[1]) for w in widths]
    if len(pairs) != x.rank or any(n < 0 for p in pairs for n in p):
        raise ShapeError(
            f"pad: {widths!r} must give a pair (before, after) of sizes from 0 on for each of "
            f"the {x.rank} axes of shape {x.shape}. {at()}"
        )
    if mode == "constant":
        value = full((), value, x.dtype).attrs["value"]  # raises where the dtype does not hold it
        return _pad(x, low=tuple(p[0] for p in pairs), high=tuple(p[1] for p in pairs),
                    interior=(0,) * x.rank, value=value)  # fmt: skip
    for axis, (before, after) in enumerate(pairs):
        x = _pad_axis(x, axis, before, after, mode)
    return x


def _pad_axis(x: Node, axis: int, before: int, after: int, mode: str) -> Node:
    n = x.shape[axis]
    limit = {"reflect": n - 1, "wrap": n, "circular": n}.get(mode, max(before, after))
    if mode not in ("reflect", "edge", "replicate", "wrap", "circular"):
        raise ArgumentError(
            f"pad: mode {mode!r} is unknown; use constant, reflect, edge or wrap. {at()}"
        )
    if not before and not after:
        return x
    if max(before, after) > limit or n == 0:
        raise ShapeError(f"pad: {mode} by {(before, after)} is too wide for size {n}. {at()}")
    if mode == "reflect":
        left = flip(narrow(x, axis, 1, before), axis)
        right = flip(narrow(x, axis, n - 1 - after, after), axis)
    elif mode in ("wrap", "circular"):
        left, right = narrow(x, axis, n - before, before), narrow(x, axis, 0, after)
    else:
        lead, rest = x.shape[:axis], x.shape[axis + 1 :]
        left = broadcast_to(narrow(x, axis, 0, 1), (*lead, before, *rest))
        right = broadcast_to(narrow(x, axis, n - 1, 1), (*lead, after, *rest))
    return concatenate([left, x, right], axis)


def concatenate(tensors: Sequence[Node], axis: int | None = 0) -> Node:
    """Tensors joined along an axis, other sizes equal; with axis None, flattened and joined."""
    if not tensors:
        raise ArgumentError(f"concatenate: got no tensors, wanted at least one. {at()}")
    nodes = operands(*tensors, name="concatenate")
    if axis is None:
        nodes, axis = tuple(reshape(n, (n.size,)) for n in nodes), 0
    axis = normalize_axis(axis, nodes[0].rank, "concatenate")
    rest = [(n.rank, n.shape[:axis], n.shape[axis + 1 :]) for n in nodes]
    if any(r != rest[0] for r in rest):
        got = " and ".join(str(n.shape) for n in nodes)
        raise ShapeError(
            f"concatenate: the shapes {got} differ outside of axis {axis}; "
            f"all other sizes must agree. {at()}"
        )
    return nodes[0] if len(nodes) == 1 else _concatenate(*nodes, axis=axis)


def stack(tensors: Sequence[Node], axis: int = 0) -> Node:
    """Tensors of one shape joined along a new axis."""
    nodes = [to_node(t, "stack") for t in tensors]
    if any(n.shape != nodes[0].shape for n in nodes):
        got = " and ".join(str(n.shape) for n in nodes)
        raise ShapeError(f"stack: the shapes {got} must be equal. {at()}")
    return concatenate([expand_dims(n, axis) for n in nodes], axis)


def split(x: Node, sections: int | Sequence[int], axis: int = 0) -> list[Node]:
    """Parts of one axis: so many equal ones, or cut before each of the given positions."""
    axis = normalize_axis(axis, x.rank, "split")
    n = x.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or n % sections:
            raise ShapeError(
                f"split: size {n} of axis {axis} is not divisible into {sections} parts; "
                f"give the positions to cut at. {at()}"
            )
        cuts = list(range(0, n + 1, n // sections)) if n else [0] * (sections + 1)
    else:
        cuts = [0, *(min(max(c + n if c < 0 else c, 0), n) for c in sections), n]
    return [narrow(x, axis, a, max(b - a, 0)) for a, b in itertools.pairwise(cuts)]


def unstack(x: Node, axis: int = 0) -> tuple[Node, ...]:
    """The slices of one axis, which is left out."""
    axis = normalize_axis(axis, x.rank, "unstack")
    return tuple(squeeze(narrow(x, axis, i, 1), axis) for i in range(x.shape[axis]))


def meshgrid(*tensors: Node, indexing: str = "xy") -> list[Node]:
    """Coordinates of a grid from those of its axes; ``"xy"`` lets the second one vary first."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}. {at()}")
    order = list(range(len(tensors)))
    if indexing == "xy":
        order[:2] = reversed(order[:2])
    shape = tuple(tensors[i].size for i in order)
    place = {i: tuple(-1 if k == p else 1 for k in range(len(shape))) for p, i in enumerate(order)}
    return [
        broadcast_to(reshape(t, tuple(t.size if n == -1 else 1 for n in place[i])), shape)
        for i, t in enumerate(tensors)
    ]


def diagonal(x: Node, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """The elements of a diagonal of two axes, in a new last axis."""
    a, b = normalize_axis(axis1, x.rank, "diagonal"), normalize_axis(axis2, x.rank, "diagonal")
    if a == b:
        raise ShapeError(f"diagonal: axes {axis1} and {axis2} of {x.shape} are the same. {at()}")
    x = moveaxis(x, (a, b), (-2, -1))
    *lead, m, n = x.shape
    start = offset if offset >= 0 else -offset * n
    count = max(0, min(m, n - offset) if offset >= 0 else min(m + offset, n))
    flat = reshape(x, (*lead, m * n))
    start = start if count else 0
    stop = start + (count - 1) * (n + 1) + 1 if count else 0
    return slice_(flat, [0] * len(lead) + [start], [*lead, stop], [1] * len(lead) + [n + 1])


def trace(x: Node, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """The sum of a diagonal of two axes."""
    return sum_(diagonal(x, offset, axis1, axis2), axis=-1)


def roll(x: Node, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Node:
    """Elements moved along an axis, those that leave at the end coming back in front."""
    if axis is None:
        if not isinstance(shift, int):
            raise ArgumentError(f"roll: several shifts {shift!r} need an axis each. {at()}")
        return reshape(roll(reshape(x, (-1,)) if x.size else x, shift, 0), x.shape)
    shifts = [shift] if isinstance(shift, int) else list(shift)
    axes = [axis] if isinstance(axis, int) else list(axis)
    if len(shifts) == 1:
        shifts = shifts * len(axes)
    for s, a in zip(shifts, axes, strict=True):
        a = normalize_axis(a, x.rank, "roll")
        n = x.shape[a]
        if n and s % n:
            cut = n - s % n
            x = concatenate([narrow(x, a, cut, n - cut), narrow(x, a, 0, cut)], a)
    return x


def tile(x: Node, repetitions: int | Sequence[int]) -> Node:
    """The tensor repeated so many times along each axis."""
    times = [repetitions] if isinstance(repetitions, int) else list(repetitions)
    rank = max(len(times), x.rank)
    times = [1] * (rank - len(times)) + times
    shape = (1,) * (rank - x.rank) + x.shape
    wide = reshape(x, [k for n in shape for k in (1, n)])
    wide = broadcast_to(wide, [k for t, n in zip(times, shape, strict=True) for k in (t, n)])
    return reshape(wide, [t * n for t, n in zip(times, shape, strict=True)])


def repeat(x: Node, repeats: int, axis: int | None = None) -> Node:
    """Each element repeated so many times in a row; without an axis, of the flattened tensor."""
    if axis is None:
        return repeat(reshape(x, (x.size,)), repeats, 0)
    a = normalize_axis(axis, x.rank, "repeat")
    wide = expand_dims(x, a + 1)
    shape = x.shape[: a + 1] + (repeats,) + x.shape[a + 1 :]
    new = x.shape[:a] + (x.shape[a] * repeats,) + x.shape[a + 1 :]
    return reshape(broadcast_to(wide, shape), new)


def zeros_like(x: Node) -> Node:
    """Zeros of the shape and dtype of ``x``."""
    return full(x.shape, 0, x.dtype)
