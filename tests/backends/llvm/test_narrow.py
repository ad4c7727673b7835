"""Short last axes: lanes over several axes, and positions of a convolution side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from tests.backends.llvm.test_convolutions import agree, draw
from tests.backends.llvm.test_native import WIDTHS, check, data

import thalweg as tw
from thalweg.backends.llvm.codegen.covers import covering
from thalweg.backends.llvm.compile import simplified
from thalweg.graph.dtype import float32
from thalweg.graph.node import Graph
from thalweg.graph.rewrite import topological
from thalweg.ops.convolution import conv
from thalweg.ops.record import INPUT
from thalweg.settings import settings

SHAPES = [(5, 2), (7, 3), (4, 14, 6), (3, 5, 2, 3), (2, 9, 1, 5), (6, 1), (3, 700, 3), (2, 2, 2, 2)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_element_wise_work_over_short_axes(width: str, shape: tuple[int, ...], dtype: str) -> None:
    """Every way to read beside the lanes: repeated, reversed, apart, transposed, counted, cast."""
    settings.vector = width
    x = (data(*shape) * 9).astype(dtype)
    last, row = x[(0,) * (x.ndim - 1)], x[..., :1].copy()
    turned = np.ascontiguousarray(x.swapaxes(-1, -2))
    numbers = np.arange(shape[-1])
    check(lambda a, b: a + b, x, last)
    check(lambda a, b: a * b, x, row)
    check(lambda a, b: a + tw.flip(b, -1) - tw.flip(b, -2), x, x)
    check(lambda a, b: a + tw.swapaxes(b, -1, -2), x, turned)
    check(lambda a, b: (a == b.astype(a.dtype)) * (tw.arange(shape[-1]) + b), x, numbers)
    check(lambda a: a[..., ::2, :].astype("float64") * 2, x)
    check(lambda a, b: tw.pad(a + b, 1), x, last)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s) > 1], ids=str)
def test_sums_of_few_columns(width: str, shape: tuple[int, ...]) -> None:
    settings.vector, x = width, data(*shape)
    leading = tuple(range(len(shape) - 1))
    check(lambda a: (tw.sum(a * a, leading), tw.sum(a, leading[1:] or leading)), x)
    check(lambda a: (tw.max(a, leading), tw.min(a, leading[:1]), tw.prod(a, leading[-1:])), x)
    check(lambda a: tw.any(a > 1, leading), x)


@pytest.mark.parametrize("width", WIDTHS)
def test_pooling_of_few_channels(width: str) -> None:
    settings.vector = width
    for channels in (1, 2, 3, 5, 6, 7):
        agree(lambda x: tw.sum(tw.sin(tw.max_pool(x, 2))), draw(2, 8, 6, channels))
        agree(lambda x: tw.sum(tw.sin(tw.avg_pool(x, 3, stride=2))), draw(2, 7, 9, channels))


@pytest.mark.parametrize("width", WIDTHS)
@given_settings(max_examples=15, deadline=None)
@given(st.data())
def test_convolutions_of_few_outputs(width: str, draws: Any) -> None:
    """Forward with what is fused behind it, and both gradients."""
    number = lambda low, high: draws.draw(st.integers(low, high))  # noqa: E731
    settings.vector, rank = width, number(1, 2)
    channels, outputs, batch = number(1, 3), number(1, 8), number(1, 9)
    kernel = tuple(number(1, 6) for _ in range(rank))
    options = {"stride": number(1, 2), "padding": number(0, 2)}
    places = tuple(number(max(k, 2), 18) for k in kernel)
    agree(
        lambda x, w, b: tw.sum(tw.sin(tw.relu(tw.conv(x, w, **options) + b) * b)),
        draw(batch, *places, channels), draw(*kernel, channels, outputs), draw(outputs),
    )  # fmt: skip


def test_positions_are_joined_where_lanes_would_be_empty_only() -> None:
    """Six outputs of 16 lanes take two positions, 16 take one; in 8 lanes six are enough."""

    def widths(outputs: int, lanes: int) -> list[int]:
        inputs = [
            INPUT(shape=shape, dtype=float32) for shape in ((2, 10, 10, 1), (5, 5, 1, outputs))
        ]
        graph = Graph(inputs, [conv(*inputs)])
        nodes = topological(simplified(graph, lanes).outputs)
        return [n.attrs["sizes"][-1] for n in nodes if n.op.name == "windows"]

    assert widths(6, 16) == [6]
    assert widths(16, 16) == [5]
    assert widths(6, 8) == [5]


def test_covers() -> None:
    """All of the last axes that fit, and as many positions of the one before."""
    one = covering((64, 14, 2, 6), range(4), 16)
    assert one is not None
    assert (one.axis, one.step, one.whole) == (1, 1, (2, 3))
    assert one.lanes(1) == {1: (0,) * 12, 2: (0,) * 6 + (1,) * 6, 3: (*range(6), *range(6))}
    two = covering((64, 28, 6), [0, 1], 16, divides=True)
    assert two is not None
    assert (two.axis, two.step) == (1, 2)
    assert covering((64, 28, 12), range(3), 16) is None
    assert covering((3, 7, 6), [0, 1], 16, divides=True) is None


NARROWED = [
    ("float32", "bfloat16"), ("float32", "float16"), ("float64", "float32"),
    ("int32", "int8"), ("int32", "int16"), ("int64", "int32"), ("int64", "int8"),
]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("wide", "narrow"), NARROWED)
@pytest.mark.parametrize("columns", [5, 9, 17])  # one more than the lanes of a width
def test_the_last_lane_of_a_narrowed_vector_is_stored_narrow(
    width: str, wide: str, narrow: str, columns: int
) -> None:
    """LLVM stores a lone lane with its old width, over what lies behind it, unless told not to."""
    settings.vector, settings.threads = width, 1
    x = (data(6, columns) * 9).astype(wide)
    low = lambda a: tw.astype(a, narrow)  # noqa: E731
    check(lambda a: tw.concatenate([low(a + 1), low(a * 2 - a)], 1), x)
    check(lambda a: tw.pad(low(a + 1), ((0, 0), (0, 2)), value=7), x)
    check(lambda a: (low(a.T + 1), low(a - tw.max(a, 0)), low(tw.sum(a, 0)), low(tw.flip(a, 1))), x)
    if narrow.startswith(("b", "f")):
        right = data(columns, columns).astype(wide)
        check(lambda a, b: tw.matmul(low(a), low(b)), x, right, tolerance=0.02)
