"""Convolutions in any number of dimensions: sliding windows and one contraction.

The last axis holds the channels. A convolution is a contraction of a window view with the weight,
so its gradients are contractions too, and no backend copies the windows (Dumoulin and Visin, "A
guide to convolution arithmetic for deep learning", arXiv:1603.07285).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError
from thalweg.errors import where as at
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape
from thalweg.ops import movement as mv
from thalweg.ops.contraction import contract
from thalweg.ops.record import Scalar, operands
from thalweg.ops.windows import OVERLAP_ADD, windows

Sizes = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
_WINDOW, _PLACE = "ABCDEFGH", "IJKLMNOP"  # labels of the two axes of each window


def is_whole(value: object, least: int) -> bool:
    """Whether a value is a whole number from ``least`` on; True and False are none.

    >>> is_whole(2, 1), is_whole(2.0, 1), is_whole(True, 1), is_whole(0, 1)
    (True, False, False, False)
    """
    return (
        isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        and int(value) >= least
    )  # fmt: skip


def per_axis(value: Sizes, rank: int, name: str, what: str, least: int = 1) -> Shape:
    """Return one number for each spatial axis."""
    numbers: tuple[Any, ...] = (
        tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    )
    if len(numbers) != rank or not all(is_whole(n, least) for n in numbers):
        raise ArgumentError(
            f"{name}: {what} is {value!r}; wanted a whole number from {least} on, or {rank} of "
            f"them, one for each spatial axis. {at()}"
        )
    return tuple(int(n) for n in numbers)


def padding_pairs(
    padding: Padding, spatial: Shape, sizes: Shape, strides: Shape, dilations: Shape, name: str
) -> list[tuple[int, int]]:
    """Return how much is put before and after each spatial axis."""
    rank = len(spatial)
    if padding == "valid":
        return [(0, 0)] * rank
    if padding == "same":
        pairs = []
        for n, k, s, d in zip(spatial, sizes, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            pairs.append((total // 2, total - total // 2))
        return pairs
    given: Any = padding if isinstance(padding, (tuple, list)) else (padding,) * rank
    found = [tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in given]
    if len(found) != rank or any(
        len(pair) != 2 or not all(is_whole(n, 0) for n in pair) for pair in found
    ):
        raise ArgumentError(
            f"{name}: padding is {padding!r}; wanted 'same', 'valid', a whole number from 0 on, or "
            f"{rank} numbers or pairs (before, after), one for each spatial axis. {at()}"
        )
    return [(int(low), int(high)) for low, high in found]


def check_window(
    spatial: Shape, pairs: Sequence[tuple[int, int]], sizes: Shape, dilations: Shape, name: str
) -> None:
    """Raise a ShapeError where a window is larger than the padded input, or has no elements."""
    if not all(sizes):
        raise ShapeError(
            f"{name}: the kernel has the shape {tuple(sizes)}; every axis needs at least one "
            f"element. {at()}"
        )
    for n, (low, high), k, d in zip(spatial, pairs, sizes, dilations, strict=True):
        if n + low + high < (k - 1) * d + 1:
            raise ShapeError(
                f"{name}: a window of {k} with dilation {d} covers {(k - 1) * d + 1} elements, "
                f"the padded input has {n + low + high} (spatial shape {spatial}); "
                f"use a smaller kernel or more padding. {at()}"
            )


def pad_spatial(
    x: Node, pairs: Sequence[tuple[int, int]], mode: str = "zeros", value: Scalar = 0
) -> Node:
    """The spatial axes (from 1 on) padded; ``mode`` zeros, reflect, replicate or circular."""
    if not any(n for pair in pairs for n in pair):
        return x
    widths = [(0, 0), *pairs] + [(0, 0)] * (x.rank - 1 - len(pairs))
    return mv.pad(x, widths, "constant" if mode == "zeros" else mode, value)


def _check(x: Node, weight: Node, groups: int, side: int, name: str) -> int:
    """Return the number of spatial axes, or raise; ``side`` as for ``_grouped``."""
    rank = weight.rank - 2
    if not is_whole(groups, 1):
        raise ArgumentError(
            f"{name}: groups is {groups!r}; wanted a whole number from 1 on. {at()}"
        )
    if rank < 1 or x.rank != weight.rank:
        raise ShapeError(
            f"{name}: got an input of shape {x.shape} and a weight of shape {weight.shape}; wanted "
            f"(batch, ...spatial, channels) and (...kernel, channels, channels): the same number "
            f"of axes, at least 3. {at()}"
        )
    channels = weight.shape[-2] * (groups if side else 1)
    if x.shape[-1] != channels:
        first = x.shape[1] == channels
        hint = (
            "; the channels seem to come first: give channels_first=True, or move them with "
            "thalweg.moveaxis(x, 1, -1)" if first else
            "; change the input, the weight or groups"
        )  # fmt: skip
        raise ShapeError(
            f"{name}: the input {x.shape} has {x.shape[-1]} channels in its last axis, the weight "
            f"{weight.shape} with groups={groups} takes {channels}{hint}. {at()}"
        )
    return rank


def _labels(rank: int, place: bool) -> str:
    return "".join(w + (p if place else "") for w, p in
                   zip(_WINDOW[:rank], _PLACE[:rank], strict=True))  # fmt: skip


def conv(
    x: Node, weight: Node, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1,
    groups: int = 1, padding_mode: str = "zeros", channels_first: bool = False,
) -> Node:  # fmt: skip
    """Convolution (without reversal of the kernel, as the field has it) in 1, 2, 3 dimensions.

    ``x`` is ``(batch, ...spatial, channels)`` and ``weight`` ``(...kernel, channels // groups,
    outputs)``; the result is ``(batch, ...positions, outputs)``. ``padding``: ``"same"``,
    ``"valid"``, a number, or numbers or pairs for each axis, of zeros or as ``padding_mode`` says
    (``"reflect"``, ``"replicate"``, ``"circular"``). With ``channels_first``, ``x`` and the result
    have their channels in axis 1. LeCun et al., "Backpropagation applied to handwritten zip code
    recognition", 1989.

    Compiled, 3 x 3 windows over many channels take fewer products (Lavin and Gray,
    arXiv:1509.09308); then an infinite input can make NaN of outputs beside those that see it.
    """
    if channels_first:
        y = conv(mv.moveaxis(x, 1, -1), weight, stride, padding, dilation, groups, padding_mode)
        return mv.moveaxis(y, -1, 1)
    x, weight = operands(x, weight, name="conv")
    rank = _check(x, weight, groups, 1, "conv")
    outputs = weight.shape[-1]
    if outputs % groups:
        raise ShapeError(
            f"conv: {outputs} outputs (weight {weight.shape}) cannot be divided among "
            f"groups={groups}. {at()}"
        )
    spatial, sizes = x.shape[1:-1], weight.shape[:-2]
    strides = per_axis(stride, rank, "conv", "stride")
    dilations = per_axis(dilation, rank, "conv", "dilation")
    pairs = padding_pairs(padding, spatial, sizes, strides, dilations, "conv")
    check_window(spatial, pairs, sizes, dilations, "conv")
    x, weight, group, o = _grouped(x, weight, groups, 1)
    x = pad_spatial(x, pairs, padding_mode)
    seen = windows(x, range(1, rank + 1), sizes, strides, dilations)
    c = "c" if weight.rank - rank - len(group) - len(o) else ""
    a = "n" + _labels(rank, True) + group + c
    b = _PLACE[:rank] + (c + group + o if o else group + c)
    y = contract(seen, weight, (a, b, "n" + _labels(rank, False) + group + o))
    return mv.reshape(y, (*y.shape[: rank + 1], outputs))


def _grouped(x: Node, weight: Node, groups: int, side: int) -> tuple[Node, Node, str, str]:
    """Split channels into groups; a depthwise convolution has neither inner nor outer channels.

    ``side`` 1: the weight's last axis holds the groups, 0: its last but one.
    """
    if groups == 1:
        return x, weight, "", "o"
    inner, outer = weight.shape[-2:]
    own = (outer if side else inner) // groups
    other = inner if side else outer
    kernel = weight.shape[:-2]
    if own == 1 and other == 1:
        return x, mv.reshape(weight, (*kernel, groups)), "g", ""
    x = mv.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
    if side:
        return x, mv.reshape(weight, (*kernel, inner, groups, own)), "g", "o"
    return x, mv.reshape(weight, (*kernel, groups, own, outer)), "g", "o"


def conv_transpose(
    x: Node, weight: Node, stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0,
    dilation: Sizes = 1, groups: int = 1, channels_first: bool = False,
) -> Node:  # fmt: skip
    """The transposed convolution: the gradient of ``conv`` with respect to its input.

    ``x`` is ``(batch, ...spatial, channels)`` and ``weight`` ``(...kernel, channels, outputs //
    groups)``. The size of each axis becomes ``(n - 1) * stride - 2 * padding + dilation * (kernel -
    1) + output_padding + 1``. Zeiler et al., "Deconvolutional networks", 2010.
    """
    if channels_first:
        x = mv.moveaxis(x, 1, -1)
        y = conv_transpose(x, weight, stride, padding, output_padding, dilation, groups)
        return mv.moveaxis(y, -1, 1)
    name = "conv_transpose"
    x, weight = operands(x, weight, name=name)
    rank = _check(x, weight, groups, 0, name)
    if weight.shape[-2] % groups:
        raise ShapeError(
            f"{name}: {weight.shape[-2]} channels cannot be divided among groups={groups}. {at()}"
        )
    strides = per_axis(stride, rank, name, "stride")
    dilations = per_axis(dilation, rank, name, "dilation")
    crop = per_axis(padding, rank, name, "padding", 0)
    extra = per_axis(output_padding, rank, name, "output_padding", 0)
    spatial, sizes, outputs = x.shape[1:-1], weight.shape[:-2], weight.shape[-1] * groups
    if not all(spatial + sizes):
        raise ShapeError(
            f"{name}: got an input of shape {x.shape} and a weight of shape {weight.shape}; every "
            f"spatial axis and every axis of the kernel needs at least one element. {at()}"
        )
    if any(p >= max(s, d) for p, s, d in zip(extra, strides, dilations, strict=True)):
        raise ArgumentError(
            f"{name}: output_padding {output_padding!r} must be smaller than the stride "
            f"{strides} or the dilation {dilations} of its axis. {at()}"
        )
    x, weight, group, o = _grouped(x, weight, groups, 0)
    c = "c" if o else ""
    a = "n" + _WINDOW[:rank] + group + c
    b = _PLACE[:rank] + group + c + o
    seen = contract(x, weight, (a, b, "n" + _labels(rank, True) + group + o))
    grown = tuple(
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(spatial, strides, sizes, dilations, strict=True)
    )
    rest = tuple(seen.shape[1 + 2 * rank :])
    y = OVERLAP_ADD(seen, shape=(x.shape[0], *grown, *rest), axes=tuple(range(1, rank + 1)),
                    sizes=sizes, strides=strides, dilations=dilations)  # fmt: skip
    y = _cropped(y, crop, extra, grown, name)
    return mv.reshape(y, (*y.shape[: rank + 1], outputs))


def _cropped(y: Node, crop: Shape, extra: Shape, grown: Shape, name: str) -> Node:
    """Leave out ``crop`` on both sides of each spatial axis, but ``extra`` less at the end."""
    final = [n - 2 * p + e for n, p, e in zip(grown, crop, extra, strict=True)]
    if min(final) < 1:
        raise ShapeError(
            f"{name}: padding {crop} leaves nothing of the size {grown}; use less padding, or a "
            f"larger kernel. {at()}"
        )
    for axis, (n, p, size) in enumerate(zip(grown, crop, final, strict=True), 1):
        if p + size > n:
            widths = [(0, p + size - n if d == axis else 0) for d in range(y.rank)]
            y = mv.pad(y, widths)
        y = mv.narrow(y, axis, p, size)
    return y


def taps(x: Node, sizes: Shape, strides: Shape, dilations: Shape) -> list[Node]:
    """What each place of a window sees, one tensor a place."""
    rank = len(sizes)
    found = []
    for number in range(math.prod(sizes)):
        starts, stops, steps = [0] * x.rank, list(x.shape), [1] * x.rank
        rest = number
        for i in reversed(range(rank)):
            rest, place = divmod(rest, sizes[i])
            n = (x.shape[i + 1] - (sizes[i] - 1) * dilations[i] - 1) // strides[i] + 1
            starts[i + 1], steps[i + 1] = place * dilations[i], strides[i]
            stops[i + 1] = starts[i + 1] + (n - 1) * strides[i] + 1
        found.append(mv.slice_(x, starts, stops, steps))
    return found


__all__ = [
    "Padding", "Sizes", "check_window", "conv", "conv_transpose", "is_whole", "pad_spatial",
    "padding_pairs", "per_axis", "taps",
]  # fmt: skip
