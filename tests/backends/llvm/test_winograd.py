"""Convolutions with fewer products: right for every shape, used where they gain, the same bits."""

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
from thalweg.backends.llvm import compile as stages
from thalweg.backends.llvm.compile import simplified
from thalweg.backends.llvm.schedule import winograd
from thalweg.graph.dtype import bfloat16, float32
from thalweg.graph.node import Graph
from thalweg.graph.rewrite import topological
from thalweg.ops.convolution import conv
from thalweg.ops.record import INPUT, cast_node
from thalweg.settings import settings


@pytest.fixture(autouse=True)
def _many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small convolutions too, which would not gain; slices of few tiles."""
    monkeypatch.setattr(winograd._Work, "gains", lambda *_: True)
    monkeypatch.setattr(winograd, "ROWS", 6)
    monkeypatch.setattr(settings, "cache", False)


# Images, high, wide, channels, outputs: one slice; slices of an image, of several, of part of one.
# Bands of rows of one image and of two.
SHAPES = [(1, 4, 4, 1, 1), (3, 5, 7, 3, 17), (8, 6, 9, 4, 6), (16, 3, 4, 20, 5), (8, 20, 11, 7, 33),
          (1, 18, 12, 4, 9), (2, 17, 11, 5, 6)]  # fmt: skip


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradients(shape: Any, width: str) -> None:
    settings.vector, settings.threads = width, 3
    *images, channels, outputs = shape
    paddings: list[Any] = [1, ((2, 0), (1, 3)), 0 if min(images[1:]) >= 4 else 2]
    padding = paddings[(WIDTHS.index(width) + SHAPES.index(shape)) % 3]
    agree(lambda x, w: tw.sum(tw.sin(tw.conv(x, w, padding=padding))),
          draw(*images, channels), draw(3, 3, channels, outputs))  # fmt: skip


@pytest.mark.usefixtures("always")
@given_settings(max_examples=8, deadline=None)
@given(st.data())
def test_what_stands_around(draws: Any) -> None:
    """A bias, a second convolution, statistics of a batch, a residual: drawn sizes."""
    number = lambda low, high: draws.draw(st.integers(low, high))  # noqa: E731
    settings.vector, settings.threads = WIDTHS[number(0, len(WIDTHS) - 1)], number(1, 3)
    c, o, images = number(1, 20), number(1, 20), number(1, 17)

    def net(x: Any, v: Any, w: Any, b: Any) -> Any:
        y = tw.relu(tw.conv(x, v, padding=1) + b)
        y = (y - y.mean((0, 1, 2))) * tw.rsqrt(tw.var(y, (0, 1, 2)) + 1)
        return tw.sum(tw.sin(tw.conv(y, w, padding=1) + x))

    agree(net, draw(images, number(3, 9), number(3, 9), c), draw(3, 3, c, o), draw(3, 3, o, c),
          draw(o))  # fmt: skip


@pytest.mark.usefixtures("always")
def test_threads_do_not_change_a_bit() -> None:
    x, w = data(16, 10, 9, 5), data(3, 3, 5, 8)
    step = tw.value_and_grad(lambda x, w: tw.sum(tw.sin(tw.conv(x, w))), argnums=(0, 1))
    found = []
    for settings.threads in (1, 2, 3, 4):
        value, grads = tw.compile(step)(x, w)
        found.append(b"".join(t.numpy().tobytes() for t in (value, *grads)))
    assert len(set(found)) == 1


def _products(*shapes: tuple[int, ...], **how: Any) -> set[int]:
    """Return how many axes the contractions of a convolution have: 7 with fewer products."""
    inputs = [INPUT(shape=shape, dtype=float32) for shape in shapes]
    graph = Graph(inputs, [conv(*inputs, **how)])
    return {n.rank for n in topological(simplified(graph, 16).outputs) if n.op.name == "contract"}


def test_only_where_it_gains() -> None:
    images, weight = (32, 18, 18, 128), (3, 3, 128, 128)
    assert _products(images, weight) == {7}
    assert _products(images, (3, 3, 128, 64)) == {7}
    assert 7 not in _products(images, weight, stride=2)
    assert 7 not in _products(images, weight, dilation=2)
    assert 7 not in _products((32, 20, 20, 128), (5, 5, 128, 128))
    assert 7 not in _products((32, 18, 18, 3), (3, 3, 3, 64)), "few channels"
    assert 7 not in _products((1, 6, 6, 512), (3, 3, 512, 512)), "few tiles for a large weight"


def test_few_large_images_are_cut_into_bands_of_rows() -> None:
    settings.threads = 2
    step = tw.compile(lambda x, w: tw.relu(tw.conv(x, w, padding=1)))
    for images in (1, 2):
        text = step.explain(data(images, 64, 64, 64), data(3, 3, 64, 64))
        assert f"in chain 1 of {16 * images} slices" in text, text[: text.index("== llvm")]


def test_sixteen_bits_are_widened_first() -> None:
    """Sums of 16-bit numbers are not rounded before they are multiplied."""
    x, w = (INPUT(shape=s, dtype=float32) for s in ((32, 18, 18, 128), (3, 3, 128, 128)))
    graph = Graph([x, w], [conv(cast_node(x, bfloat16), cast_node(w, bfloat16))])
    nodes = topological(simplified(graph, 16).outputs)
    assert {n.dtype for n in nodes if n.op.name in ("add", "subtract", "contract")} == {float32}


def test_error_is_that_of_a_plain_sum() -> None:
    """Of rounding, against float64; numbers far from 0 too."""
    for offset in (0, 30):
        x, w = data(8, 12, 12, 64) + offset, data(3, 3, 64, 64) / 24
        exact = tw.conv(tw.tensor(x, "float64"), tw.tensor(w, "float64")).numpy()
        plain = tw.conv(tw.tensor(x), tw.tensor(w)).numpy()
        found = tw.compile(lambda x, w: tw.conv(x, w))(x, w).numpy()
        assert (found != plain).any()
        assert np.square(found - exact).mean() <= 4 * np.square(plain - exact).mean()


def test_threads_keep_one_slice() -> None:
    """What only the kernels of a chain need has room for a slice of each thread."""
    settings.threads = 2
    x, w = data(16, 18, 18, 64), data(3, 3, 64, 64) / 24
    step = tw.compile(lambda x, w: tw.relu(tw.conv(x, w)))
    check(lambda x, w: tw.relu(tw.conv(x, w)), x, w)
    text = step.explain(x, w)
    assert "in chain 1 of 16 slices" in text
    arena = int(text.split("arena: ")[1].split(" ")[0].replace(",", ""))
    numbers = 16 * 64 * 64 * 4  # bytes of a slice
    assert arena < 2 * 2 * numbers + x.nbytes + 3 * numbers


@pytest.mark.parametrize("n", [96, 128])
def test_what_a_gradient_multiplies_is_made_slice_by_slice(n: int) -> None:
    """The numbers of the tiles of images and gradients, the products, panels if any: one chain."""
    settings.threads = 2
    arrays = data(16, 18, 18, n), data(3, 3, n, n), data(16, 16, 16, n)

    def gradient(x: Any, w: Any, g: Any) -> Any:
        return tw.grad(lambda w: tw.sum(tw.conv(x, w) * g))(w)

    lines = tw.compile(gradient).explain(*arrays).split("\n")
    steps = [x.split()[1].split("[")[0] for x in lines if "in chain 1 of 8 slices" in x]
    assert sorted(steps) in (["contraction", "map", "map"], ["contraction", "map", "map", "pack"])
    check(gradient, *arrays, tolerance=2e-4)


def test_pieces_of_pieces_are_placed_once() -> None:
    """Pieces side by side, and such rows below each other: one kernel writes them all."""
    x = data(6, 10, 32)

    def woven(x: Any) -> Any:
        rows = [[tw.reshape(x[:, i::2, j::2] * (i - 2 * j + 3), (6, 5, 1, 16, 1))
                 for j in (0, 1)] for i in (0, 1)]  # fmt: skip
        return tw.concatenate([tw.concatenate(row, axis=4) for row in rows], axis=2)

    check(lambda x: woven(x) + 1, x)
    text = tw.compile(woven).explain(x)
    schedule = text[text.index("== schedule") : text.index("== llvm")]
    assert schedule.count(" map[") == 1, schedule
