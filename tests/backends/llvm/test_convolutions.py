"""Convolutions, long sums and loops on every vector width and several threads, against eager."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from tests.backends.llvm.test_native import WIDTHS

import thalweg as tw
from thalweg.backends.llvm import compile as stages
from thalweg.settings import settings

source = np.random.default_rng(11)


def draw(*shape: int) -> tw.Tensor:
    """Return normal numbers."""
    return tw.tensor(source.normal(size=shape))


def agree(function: Any, *tensors: tw.Tensor) -> None:
    """Compare value and all gradients of a function, compiled and eager."""
    step = tw.value_and_grad(function, argnums=tuple(range(len(tensors))))
    value, grads = step(*tensors)
    got, found = tw.compile(step)(*tensors)
    # Many terms of either sign: their sum may be near 0 and keep few digits.
    np.testing.assert_allclose(got.numpy(), value.numpy(), rtol=1e-10, atol=1e-12)
    for a, b in zip(found, grads, strict=True):
        scale = max(1.0, np.abs(b.numpy()).max())
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-10 * scale)


CONFIGURATIONS = [  # spatial shape, channels, outputs, kernel, stride, padding, dilation, groups
    ((9,), 3, 5, 3, 1, 1, 1, 1), ((7, 5), 1, 6, 5, 1, 2, 1, 1), ((8, 6), 4, 17, 3, 2, 1, 1, 1),
    ((6, 7), 6, 6, 3, 1, 1, 1, 6), ((9, 9), 4, 8, 3, 2, 2, 2, 2), ((5, 4, 6), 2, 3, 2, 2, 0, 1, 1),
    ((7, 7), 3, 4, 1, 2, 0, 1, 1), ((10, 10), 2, 33, 4, 3, 1, 1, 1), ((1, 1), 5, 3, 1, 1, 0, 1, 1),
    ((3, 3), 4, 2, 2, 1, 0, 2, 2),
]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CONFIGURATIONS, ids=str)
def test_convolution(case: Any, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and both gradients, of the transposed convolution too."""
    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)
    settings.vector, settings.threads = width, 3
    shape, channels, outputs, k, stride, padding, dilation, groups = case
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    kernel = (k,) * len(shape)
    agree(lambda x, w: tw.sum(tw.sin(tw.conv(x, w, padding=padding, **options))),
          draw(2, *shape, channels), draw(*kernel, channels // groups, outputs))  # fmt: skip
    crop = min(padding, k - 1)
    agree(lambda x, w: tw.sum(tw.sin(tw.conv_transpose(x, w, padding=crop, **options))),
          draw(2, *shape, channels), draw(*kernel, channels, outputs // groups))  # fmt: skip


@given_settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    """Drawn configurations: strides, dilations, groups, odd sizes, one example."""
    number = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    rank, groups = number(1, 2), number(1, 3)
    kernel = [number(1, 4) for _ in range(rank)]
    dilation = [number(1, 2) for _ in range(rank)]
    stride = [number(1, 3) for _ in range(rank)]
    padding = [(number(0, 2), number(0, 2)) for _ in range(rank)]
    shape = [
        max((k - 1) * d + 1 - sum(p), 1) + number(0, 5)
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    inner, outer = number(1, 3), number(1, 3)

    def loss(x: Any, w: Any) -> Any:
        y = tw.conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return tw.sum(tw.sin(y))

    agree(loss, draw(number(1, 2), *shape, inner * groups), draw(*kernel, inner, outer * groups))


WIDE = [  # batch, spatial shape, channels, outputs, kernel, stride, padding, dilation, groups
    (8, (8, 8), 20, 30, (3, 3), 1, 1, 1, 1), (5, (4, 4), 128, 96, (3, 3), 1, 1, 1, 1),
    (3, (7, 7), 33, 65, (5, 5), 1, 2, 1, 1), (1, (4, 4), 96, 520, (3, 3), 1, 1, 1, 1),
    (4, (5, 4), 27, 58, (2, 1), (2, 1), [(0, 1), (1, 0)], 1, 1),
    (3, (5, 6), 44, 134, (2, 3), (3, 2), [(0, 1), (2, 1)], (2, 1), 2),
    (2, (14, 14), 16, 32, (4, 4), 2, 1, 1, 1), (4, (1, 1), 50, 33, (4, 4), 1, 3, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("case", WIDE, ids=str)
def test_wide_convolution(case: Any, threads: int) -> None:
    """Zeros at borders left out, tiles of several rows of an image, weights streamed."""
    settings.threads = threads
    batch, shape, channels, outputs, kernel, stride, padding, dilation, groups = case
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    agree(lambda x, w: tw.sum(tw.sin(tw.conv(x, w, **options))),
          draw(batch, *shape, channels), draw(*kernel, channels // groups, outputs))  # fmt: skip


SINGLE = [((1, 1), (7, 7), 1, 1), ((1, 5), (4, 3), 2, 1), ((5, 1), (2, 3), 2, 2),
          ((1, 1, 2), (3, 2, 3), 1, 1)]  # fmt: skip


@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_single_windows_are_put_where_they_belong(case: Any) -> None:
    """A transposed convolution of one position along an axis, as image generators begin."""
    shape, kernel, stride, dilation = case
    options = {"stride": stride, "dilation": dilation}
    agree(lambda x, w: tw.sum(tw.sin(tw.conv_transpose(x, w, **options))),
          draw(3, *shape, 10), draw(*kernel, 10, 20))  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", [(3, 2, 0, 1), (2, 2, 0, 1), (3, 1, 1, 2), (2, 3, 1, 1)], ids=str)
def test_pooling(case: Any, width: str) -> None:
    """Largest elements and means of windows, with gradients."""
    settings.vector, settings.threads = width, 2
    size, stride, padding, dilation = case

    def loss(x: Any) -> Any:
        top = tw.max_pool(x, size, stride, padding, dilation)
        mean = tw.avg_pool(x, size, stride, padding, count_padding=False)
        return tw.sum(tw.sin(top)) + tw.sum(tw.cos(mean))

    agree(loss, draw(2, 9, 8, 5))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", [(64, 5003, 96), (33, 9000, 17), (100, 4096, 300)], ids=str)
def test_sums_in_parts(
    case: Any, width: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long sums are cut into parts, with the same bits on any number of threads."""
    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)
    m, k, n = case
    numbers = np.random.default_rng(k)
    a = tw.tensor(numbers.normal(size=(m, k)), dtype="float32")
    b = tw.tensor(numbers.normal(size=(k, n)), dtype="float32")
    settings.vector, settings.threads = width, 1
    one = tw.compile(lambda a, b: tw.relu(a @ b) + 1)(a, b).numpy()
    settings.threads = threads
    got = tw.compile(lambda a, b: tw.relu(a @ b) + 1)(a, b).numpy()
    assert got.tobytes() == one.tobytes()
    wanted = np.maximum(a.numpy().astype(float) @ b.numpy(), 0) + 1
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("width", WIDTHS)
def test_recurrent_layer(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop in time with gradients."""
    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)
    settings.vector, settings.threads = width, 2
    layer = tw.nn.LSTM(3, 5, bidirectional=True, dtype="float64").reset_parameters(0)
    agree(lambda x: tw.sum(tw.sin(layer(x, lengths=[4, 6])[0])), draw(2, 6, 3))
