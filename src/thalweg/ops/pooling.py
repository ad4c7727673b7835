"""Pooling over windows of the spatial axes, and changes of resolution; channels come last."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError
from thalweg.errors import where as at
from thalweg.graph.dtype import DType, bool_, int32
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.contraction import contract
from thalweg.ops.convolution import (
    Padding,
    Sizes,
    check_window,
    is_whole,
    pad_spatial,
    padding_pairs,
    per_axis,
    taps,
)
from thalweg.ops.creation import IOTA
from thalweg.ops.identity import custom
from thalweg.ops.record import CONSTANT, OPS, as_float, cast_node, require
from thalweg.ops.windows import OVERLAP_ADD, count

Counts = np.ndarray[tuple[int], np.dtype[np.float64]]
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def _spatial_rank(x: Node, name: str) -> int:
    if x.rank < 3:
        raise ShapeError(
            f"{name}: got shape {x.shape}; wanted (batch, ...spatial, channels), at least "
            f"3 axes. {at()}"
        )
    if not all(x.shape[1:-1]):
        raise ShapeError(
            f"{name}: got shape {x.shape}, in which a spatial axis has no elements; wanted at "
            f"least one in each. {at()}"
        )
    return x.rank - 2


def _lowest(dtype: DType) -> float | int:
    if dtype.is_float:
        return -math.inf
    return int(np.iinfo(dtype.numpy).min)


def _pool_shape(
    x: Node, size: Sizes, stride: Sizes | None, padding: Padding, dilation: Sizes, ceil: bool,
    name: str,
) -> tuple[Shape, Shape, Shape, list[tuple[int, int]], list[int]]:  # fmt: skip
    """Return sizes, strides, dilations, padding, and what ``ceil_mode`` adds at the end."""
    rank = _spatial_rank(x, name)
    sizes = per_axis(size, rank, name, "size")
    strides = sizes if stride is None else per_axis(stride, rank, name, "stride")
    dilations = per_axis(dilation, rank, name, "dilation")
    spatial = x.shape[1:-1]
    pairs = padding_pairs(padding, spatial, sizes, strides, dilations, name)
    check_window(spatial, pairs, sizes, dilations, name)
    for pair, k, d in zip(pairs, sizes, dilations, strict=True):
        if max(pair) > ((k - 1) * d + 1) // 2:  # else a window may lie in the padding alone
            raise ArgumentError(
                f"{name}: padding by {pair} is more than half of a window of {(k - 1) * d + 1} "
                f"elements; use less padding or a larger size. {at()}"
            )
    more = [0] * rank
    if ceil:
        for i, (n, (low, high), k, s, d) in enumerate(
            zip(spatial, pairs, sizes, strides, dilations, strict=True)
        ):
            whole, spread = n + low + high, (k - 1) * d + 1
            number = -(-(whole - spread) // s) + 1
            if (number - 1) * s >= n + low:  # no window starts beyond the end
                number -= 1
            more[i] = max(0, (number - 1) * s + spread - whole)
    return sizes, strides, dilations, pairs, more


def max_pool(
    x: Node, size: Sizes, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, channels_first: bool = False,
) -> Node:  # fmt: skip
    """The largest element of each window; of equal ones the first gets the gradient.

    ``x`` is ``(batch, ...spatial, channels)``; the stride is the size if it is not given. With
    ``ceil_mode`` a last window that leaves the input counts. Ranzato et al., 2007.
    """
    if channels_first:
        y = max_pool(mv.moveaxis(x, 1, -1), size, stride, padding, dilation, ceil_mode)
        return mv.moveaxis(y, -1, 1)
    require(x, x.dtype is not bool_, "max_pool", "a number type")
    sizes, strides, dilations, pairs, more = _pool_shape(
        x, size, stride, padding, dilation, ceil_mode, "max_pool"
    )
    wide = [(low, high + m) for (low, high), m in zip(pairs, more, strict=True)]
    padded = pad_spatial(x, wide, value=_lowest(x.dtype))
    y = functools.reduce(e.maximum, taps(padded, sizes, strides, dilations))
    if not x.dtype.is_float:
        return y

    def backward(g: Node, source: Node) -> Sequence[Node | None]:
        return (_to_largest(g, source, sizes, strides, dilations),)

    return custom(y, [padded], backward)


def _to_largest(g: Node, x: Node, sizes: Shape, strides: Shape, dilations: Shape) -> Node:
    """Put the gradient of each window at the place of its first largest element."""
    seen = taps(x, sizes, strides, dilations)
    top = functools.reduce(e.maximum, seen)
    place: Node = e.multiply(cast_node(e.equal(top, top), int32), 0)
    for number, value in reversed(list(enumerate(seen))):
        place = e.where(e.equal(value, top), number, place)
    rank = len(sizes)
    split = [g.shape[0]]
    for n in g.shape[1:-1]:
        split += [n, 1]
    split.append(g.shape[-1])
    numbers = mv.reshape(
        IOTA(size=math.prod(sizes), dtype=int32),
        (1, *(m for k in sizes for m in (1, k)), 1),
    )
    hit = e.equal(mv.reshape(place, split), numbers)
    spread = e.where(hit, mv.reshape(g, split), 0)
    return OVERLAP_ADD(spread, shape=x.shape, axes=tuple(range(1, rank + 1)), sizes=sizes,
                       strides=strides, dilations=dilations)  # fmt: skip


def avg_pool(
    x: Node, size: Sizes, stride: Sizes | None = None, padding: Padding = 0,
    ceil_mode: bool = False, count_padding: bool = True, channels_first: bool = False,
) -> Node:  # fmt: skip
    """The mean of each window; ``count_padding`` says whether padded zeros count as elements.

    ``x`` is ``(batch, ...spatial, channels)``; the stride is the size if it is not given.
    """
    if channels_first:
        y = avg_pool(mv.moveaxis(x, 1, -1), size, stride, padding, ceil_mode, count_padding)
        return mv.moveaxis(y, -1, 1)
    x = as_float(x, "avg_pool")
    sizes, strides, ones, pairs, more = _pool_shape(
        x, size, stride, padding, 1, ceil_mode, "avg_pool"
    )
    wide = [(low, high + m) for (low, high), m in zip(pairs, more, strict=True)]
    total = functools.reduce(e.add, taps(pad_spatial(x, wide), sizes, strides, ones))
    counts = [
        _window_counts(n, pair, m, k, s, count_padding)
        for n, pair, m, k, s in zip(x.shape[1:-1], pairs, more, sizes, strides, strict=True)
    ]
    if all((c == c[0]).all() for c in counts):
        return e.multiply(total, 1 / math.prod(int(c[0]) for c in counts))
    number = functools.reduce(np.multiply.outer, counts)
    return e.divide(total, CONSTANT(value=number[..., None].astype(x.dtype.numpy)))


def _window_counts(
    n: int, pair: tuple[int, int], more: int, size: int, stride: int, padding: bool
) -> Counts:
    """Return how many elements each window of an axis has."""
    low, high = pair
    starts = np.arange(count(n + low + high + more, size, stride, 1)) * stride
    first, last = (0, low + n + high) if padding else (low, low + n)
    inside = np.minimum(starts + size, last) - np.maximum(starts, first)
    counts: Counts = np.maximum(inside, 1).astype(np.float64)
    return counts


def _bins(n: int, outputs: int) -> list[tuple[int, int]]:
    return [(i * n // outputs, -(-(i + 1) * n // outputs)) for i in range(outputs)]


def adaptive_avg_pool(x: Node, output: Sizes, channels_first: bool = False) -> Node:
    """The mean of each of ``output`` nearly equal parts of every spatial axis, as in PyTorch."""
    if channels_first:
        return mv.moveaxis(adaptive_avg_pool(mv.moveaxis(x, 1, -1), output), -1, 1)
    x = as_float(x, "adaptive_avg_pool")
    outputs = per_axis(output, _spatial_rank(x, "adaptive_avg_pool"), "adaptive_avg_pool", "output")
    if all(o == 1 for o in outputs):
        return r.mean(x, axis=tuple(range(1, x.rank - 1)), keepdims=True)
    if all(n % o == 0 for n, o in zip(x.shape[1:-1], outputs, strict=True)):
        return avg_pool(x, [n // o for n, o in zip(x.shape[1:-1], outputs, strict=True)])
    for axis, o in enumerate(outputs, 1):
        weight = np.zeros((o, x.shape[axis]))
        for i, (low, high) in enumerate(_bins(x.shape[axis], o)):
            weight[i, low:high] = 1 / (high - low)
        x = _along(x, weight, axis)
    return x


def adaptive_max_pool(x: Node, output: Sizes, channels_first: bool = False) -> Node:
    """The largest element of each of ``output`` nearly equal parts of every spatial axis."""
    if channels_first:
        return mv.moveaxis(adaptive_max_pool(mv.moveaxis(x, 1, -1), output), -1, 1)
    outputs = per_axis(output, _spatial_rank(x, "adaptive_max_pool"), "adaptive_max_pool", "output")
    if all(n % o == 0 for n, o in zip(x.shape[1:-1], outputs, strict=True)):
        return max_pool(x, [n // o for n, o in zip(x.shape[1:-1], outputs, strict=True)])
    for axis, o in enumerate(outputs, 1):
        parts = [
            r.max(mv.narrow(x, axis, low, high - low), axis=axis, keepdims=True)
            for low, high in _bins(x.shape[axis], o)
        ]
        x = mv.concatenate(parts, axis)
    return x


def _along(x: Node, weight: Matrix, axis: int) -> Node:
    """Replace an axis by weighted sums of its elements; ``weight`` is (new size, old size)."""
    matrix = CONSTANT(value=weight.astype(x.dtype.numpy))
    labels = "abcdefgh"[: x.rank]
    old = labels[axis]
    return contract(x, matrix, (labels, "z" + old, labels.replace(old, "z")))


def resize(
    x: Node, size: Sizes, mode: str = "nearest", align_corners: bool = False,
    channels_first: bool = False,
) -> Node:  # fmt: skip
    """Other sizes of the spatial axes, by ``"nearest"`` or ``"linear"`` interpolation.

    ``"linear"`` (also ``"bilinear"``) takes pixels as areas, or, with ``align_corners``, as points
    of which the outermost stay where they are. As ``torch.nn.functional.interpolate``.
    """
    if channels_first:
        return mv.moveaxis(resize(mv.moveaxis(x, 1, -1), size, mode, align_corners), -1, 1)
    sizes = per_axis(size, _spatial_rank(x, "resize"), "resize", "size")
    if mode not in ("nearest", "linear", "bilinear", "trilinear"):
        raise ArgumentError(f"resize: mode {mode!r} is unknown; use 'nearest' or 'linear'. {at()}")
    for axis, m in enumerate(sizes, 1):
        n = x.shape[axis]
        if n == m:
            continue
        if mode == "nearest":
            x = _nearest(x, axis, n, m)
        else:
            x = _along(as_float(x, "resize"), _interpolation(n, m, align_corners), axis)
    return x


def _nearest(x: Node, axis: int, n: int, m: int) -> Node:
    if m % n == 0:
        return mv.repeat(x, m // n, axis)
    places = np.arange(m, dtype=np.int64) * n // m
    return OPS["take"](x, CONSTANT(value=places), axis=axis)


def _interpolation(n: int, m: int, align_corners: bool) -> Matrix:
    """Return the (m, n) matrix of linear interpolation."""
    if align_corners:
        place = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        place = np.maximum((np.arange(m) + 0.5) * (n / m) - 0.5, 0.0)
    low = np.minimum(place.astype(np.int64), n - 1)
    high = np.minimum(low + 1, n - 1)
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.arange(m), low), 1 - (place - low))
    np.add.at(matrix, (np.arange(m), high), place - low)
    return matrix


def _check_factor(factor: int, name: str) -> None:
    if not is_whole(factor, 1):
        raise ArgumentError(
            f"{name}: factor is {factor!r}; wanted a whole number from 1 on. {at()}"
        )


def pixel_shuffle(x: Node, factor: int, channels_first: bool = False) -> Node:
    """Channels spread over space: ``(n, h, w, c * f * f)`` becomes ``(n, h * f, w * f, c)``.

    Shi et al., "Real-time single image and video super-resolution", arXiv:1609.05158.
    """
    if channels_first:
        return mv.moveaxis(pixel_shuffle(mv.moveaxis(x, 1, -1), factor), -1, 1)
    _check_factor(factor, "pixel_shuffle")
    if x.rank != 4 or x.shape[-1] % (factor * factor):
        raise ShapeError(
            f"pixel_shuffle: got shape {x.shape} and factor {factor}; wanted (batch, height, "
            f"width, channels) with channels divisible by {factor * factor}. {at()}"
        )
    n, h, w, c = x.shape
    x = mv.reshape(x, (n, h, w, c // factor**2, factor, factor))
    x = mv.permute_dims(x, (0, 1, 4, 2, 5, 3))
    return mv.reshape(x, (n, h * factor, w * factor, c // factor**2))


def pixel_unshuffle(x: Node, factor: int, channels_first: bool = False) -> Node:
    """Space folded into channels: the reverse of ``pixel_shuffle``."""
    if channels_first:
        return mv.moveaxis(pixel_unshuffle(mv.moveaxis(x, 1, -1), factor), -1, 1)
    _check_factor(factor, "pixel_unshuffle")
    if x.rank != 4 or x.shape[1] % factor or x.shape[2] % factor:
        raise ShapeError(
            f"pixel_unshuffle: got shape {x.shape}; wanted (batch, height, width, channels) with "
            f"height and width divisible by {factor}. {at()}"
        )
    n, h, w, c = x.shape
    x = mv.reshape(x, (n, h // factor, factor, w // factor, factor, c))
    x = mv.permute_dims(x, (0, 1, 3, 5, 2, 4))
    return mv.reshape(x, (n, h // factor, w // factor, c * factor**2))
