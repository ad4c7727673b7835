"""Sliding windows as a view, and their reverse: with a contraction they make convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.graph.node import Node, Op
from thalweg.graph.shape import Shape
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.record import OPS, define

# The attributes of both: ``axes`` of the plain tensor (ascending), and for each of them the
# ``sizes``, ``strides`` and ``dilations`` of the windows. An axis becomes two: the number of the
# window, and the place in it.


def count(n: int, size: int, stride: int, dilation: int) -> int:
    """Return how many windows fit into an axis of ``n`` elements."""
    return max(0, (n - (size - 1) * dilation - 1) // stride + 1)


def _windows_shape(
    shape: Shape, axes: Shape, sizes: Shape, strides: Shape, dilations: Shape
) -> Shape:
    out: list[int] = []
    for d, n in enumerate(shape):
        if d in axes:
            i = axes.index(d)
            out += [count(n, sizes[i], strides[i], dilations[i]), sizes[i]]
        else:
            out.append(n)
    return tuple(out)


def _windows_meaning(
    xp: Any, x: Any, *, axes: Shape, sizes: Shape, strides: Shape, dilations: Shape
) -> Any:
    if isinstance(x, np.ndarray):
        shape, steps = _windows_shape(x.shape, axes, sizes, strides, dilations), []
        for d, step in enumerate(x.strides):
            i = axes.index(d) if d in axes else None
            steps += [step] if i is None else [step * strides[i], step * dilations[i]]
        return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)
    for i, d in reversed(list(enumerate(axes))):
        number = count(x.shape[d], sizes[i], strides[i], dilations[i])
        first = np.arange(number)[:, None] * strides[i]
        x = xp.take(x, first + np.arange(sizes[i])[None, :] * dilations[i], axis=d)
    return x


WINDOWS: Op = define(
    "windows", "movement", "Each of some axes read through a window that slides along it.",
    lambda x, **a: (_windows_shape(x.shape, **a), x.dtype), _windows_meaning,
    lambda node, g: (OVERLAP_ADD(g, shape=node.inputs[0].shape, **node.attrs),),
)  # fmt: skip


def _overlap_meaning(
    xp: Any, g: Any, *, shape: Shape, axes: Shape, sizes: Shape, strides: Shape, dilations: Shape
) -> Any:
    total = xp.zeros(shape, dtype=g.dtype)
    for place in np.ndindex(*sizes):
        target: list[Any] = [slice(None)] * len(shape)
        source: list[Any] = []
        for d in range(len(shape)):
            source.append(slice(None))
            if d in axes:
                i = axes.index(d)
                start = place[i] * dilations[i]
                number = count(shape[d], sizes[i], strides[i], dilations[i])
                target[d] = slice(start, start + max(0, number - 1) * strides[i] + (number > 0),
                                  strides[i])  # fmt: skip
                source.append(place[i])
        if hasattr(total, "at"):
            total = total.at[tuple(target)].add(g[tuple(source)])
        else:
            total[tuple(target)] += g[tuple(source)]
    return total


OVERLAP_ADD: Op = define(
    "overlap_add", "movement", "Windows put back where they were read, overlaps added.",
    lambda g, *, shape, **_: (shape, g.dtype), _overlap_meaning,
    lambda node, g: (
        WINDOWS(g, **{k: v for k, v in node.attrs.items() if k != "shape"}),
    ),
)  # fmt: skip


def windows(
    x: Node, axes: Sequence[int], sizes: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> Node:  # fmt: skip
    """Each axis of ``axes`` (ascending) replaced by two: number of the window, place in it."""
    return WINDOWS(x, axes=tuple(axes), sizes=tuple(sizes), strides=tuple(strides),
                   dilations=tuple(dilations))  # fmt: skip


def expanded(node: Node) -> Node:
    """An ``overlap_add`` written with slices and sums: what a backend without it can run.

    Position ``s * q + f`` of the result (stride ``s``) is reached by the windows ``q - t`` at their
    places ``s * t + f``, for ``t`` from 0 to ``ceil(size / s) - 1``: so many slices are added.
    """
    g, a = node.inputs[0], node.attrs
    for axis, size, stride, dilation in zip(
        a["axes"], a["sizes"], a["strides"], a["dilations"], strict=True
    ):
        g = _overlap_axis(g, axis, node.shape[axis], size, stride, dilation)
    return g


def _overlap_axis(g: Node, axis: int, n: int, size: int, stride: int, dilation: int) -> Node:
    """Put the windows of one axis back; the two axes of the windows are ``axis`` and the next."""
    number = g.shape[axis]
    spread = (size - 1) * dilation + 1
    terms, places = -(-spread // stride), -(-n // stride)
    zero = [0] * g.rank
    low, high, interior = list(zero), list(zero), list(zero)
    interior[axis + 1], high[axis + 1] = dilation - 1, terms * stride - spread
    low[axis], high[axis] = terms - 1, max(0, places - number)
    if any(low + high + interior):
        g = OPS["pad"](g, low=tuple(low), high=tuple(high), interior=tuple(interior), value=0)
    total = None
    for t in range(terms):
        part = mv.narrow(mv.narrow(g, axis, terms - 1 - t, places), axis + 1, t * stride, stride)
        total = part if total is None else e.add(total, part)
    assert total is not None
    whole = total.shape[:axis] + (places * stride,) + total.shape[axis + 2 :]
    return mv.narrow(mv.reshape(total, whole), axis, 0, n)

