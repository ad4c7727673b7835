"""Convolution, pooling and resizing written out in loops: what the functions are compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def conv(x: Array, w: Array, stride: int = 1, padding: int = 0, dilation: int = 1,
         groups: int = 1, mode: str = "constant") -> Array:  # fmt: skip
    """Convolution, channels last, position by position."""
    rank, kernel = w.ndim - 2, w.shape[:-2]
    x = np.pad(x, [(0, 0), *[(padding, padding)] * rank, (0, 0)], mode)
    sizes = [
        (n - (k - 1) * dilation - 1) // stride + 1
        for n, k in zip(x.shape[1:-1], kernel, strict=True)
    ]
    inner, outputs = w.shape[-2], w.shape[-1] // groups
    y = np.zeros((x.shape[0], *sizes, w.shape[-1]))
    for at in np.ndindex(*sizes):
        for tap in np.ndindex(*kernel):
            place = tuple(a * stride + t * dilation for a, t in zip(at, tap, strict=True))
            for g in range(groups):
                ins = slice(g * inner, (g + 1) * inner)
                outs = slice(g * outputs, (g + 1) * outputs)
                y[(slice(None), *at, outs)] += x[(slice(None), *place, ins)] @ w[tap][:, outs]
    return y


def conv_transpose(x: Array, w: Array, stride: int = 1, padding: int = 0, extra: int = 0,
                   groups: int = 1) -> Array:  # fmt: skip
    """Transposed convolution: each input element adds a kernel to the output."""
    kernel, inner = w.shape[:-2], w.shape[-2] // groups
    grown = [(n - 1) * stride + k for n, k in zip(x.shape[1:-1], kernel, strict=True)]
    y = np.zeros((x.shape[0], *(n + extra for n in grown), w.shape[-1] * groups))
    outs = w.shape[-1]
    for at in np.ndindex(*x.shape[1:-1]):
        for tap in np.ndindex(*kernel):
            place = tuple(a * stride + t for a, t in zip(at, tap, strict=True))
            for g in range(groups):
                some = slice(g * inner, (g + 1) * inner)
                target = (slice(None), *place, slice(g * outs, (g + 1) * outs))
                y[target] += x[(slice(None), *at, some)] @ w[tap][some]
    cut = [slice(padding, n - padding + extra) for n in grown]
    return y[(slice(None), *cut)]


def pool(x: Array, size: int, stride: int, padding: int, function: Any, empty: float) -> Array:
    """Windows of the spatial axes reduced by a function."""
    rank = x.ndim - 2
    x = np.pad(
        x, [(0, 0), *[(padding, padding)] * rank, (0, 0)], "constant", constant_values=empty
    )
    sizes = [(n - size) // stride + 1 for n in x.shape[1:-1]]
    y = np.zeros((x.shape[0], *sizes, x.shape[-1]))
    for at in np.ndindex(*sizes):
        window = tuple(slice(a * stride, a * stride + size) for a in at)
        y[(slice(None), *at)] = function(x[(slice(None), *window)], axis=tuple(range(1, rank + 1)))
    return y


def adaptive(x: Array, outputs: int, function: Any) -> Array:
    """Nearly equal parts of the spatial axes reduced by a function."""
    rank = x.ndim - 2
    y = np.zeros((x.shape[0], *(outputs,) * rank, x.shape[-1]))
    for at in np.ndindex(*(outputs,) * rank):
        part = tuple(
            slice(a * n // outputs, math.ceil((a + 1) * n / outputs))
            for a, n in zip(at, x.shape[1:-1], strict=True)
        )
        y[(slice(None), *at)] = function(x[(slice(None), *part)], axis=tuple(range(1, rank + 1)))
    return y


def resize(x: Array, sizes: Sequence[int], mode: str) -> Array:
    """Each pixel of the result from the one or two nearest ones along each axis."""
    for axis, m in enumerate(sizes, 1):
        n = x.shape[axis]
        rows = []
        for i in range(m):
            if mode == "nearest":
                rows.append(np.take(x, i * n // m, axis))
                continue
            place = max((i + 0.5) * n / m - 0.5, 0.0)
            low = min(int(place), n - 1)
            high, part = min(low + 1, n - 1), place - low
            rows.append(np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part)
        x = np.stack(rows, axis)
    return x


def shuffled(x: Array, factor: int) -> Array:
    """Channels spread over space, pixel by pixel."""
    n, h, w, c = x.shape
    c //= factor**2
    y = np.zeros((n, h * factor, w * factor, c))
    for i, j, k in itertools.product(range(h * factor), range(w * factor), range(c)):
        source = k * factor**2 + (i % factor) * factor + j % factor
        y[:, i, j, k] = x[:, i // factor, j // factor, source]
    return y
