"""Plans of contractions: the shapes that each is chosen for, and that all give the right sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.backends.llvm.test_convolutions import agree, draw
from tests.backends.llvm.test_native import WIDTHS, check, data

import thalweg as tw
from thalweg.settings import settings


def plan_of(function: Any, *arrays: Any) -> str:
    """Return the line that describes the only contraction of a function."""
    lines = tw.compile(function).explain(*arrays).split("== llvm ir ==")[0].splitlines()
    [line] = [one for one in lines if " = A[" in one]
    return line.split(" | ")[1]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [1, 5, 8])
@pytest.mark.parametrize(("columns", "depth"), [(1, 64), (16, 33), (45, 8), (130, 67)])
def test_few_rows_meet_a_transposed_matrix(width: str, rows: int, columns: int, depth: int) -> None:
    """Vectors run along the sum, with what is left of it, of the columns and of the rows."""
    settings.vector, settings.threads = width, 2
    a, b, c = data(rows, depth), data(columns, depth), data(columns)
    check(lambda a, b: a @ b.mT, a, b)
    check(lambda a, b, c: tw.relu(a @ b.mT + c) * 2, a, b, c)
    check(lambda a, b: tw.matmul(a.mT.mT, b.mT), a.astype("f8"), b.astype("f8"))
    check(lambda a, b: tw.sum(tw.tanh(a @ b.mT), 0), a, b)


@pytest.mark.parametrize("width", WIDTHS)
def test_one_query_meets_many_keys(width: str) -> None:
    """Batches of both operands, one of the first alone, and rows that are a part of a matrix."""
    settings.vector, settings.threads = width, 3
    q, keys = data(3, 4, 1, 40), data(3, 4, 29, 40)
    check(lambda q, k: q @ k.mT, q, keys)
    check(lambda q, k: tw.softmax(q @ k.mT, -1), q, keys)
    check(lambda q, k: q[:, :1, :, 1:39] @ k[:, :1, :, 1:39].mT, q, keys)
    check(lambda q, k: tw.einsum("bhqd,hkd->bhqk", q, k), q[:, :, :, :], keys[0])
    check(lambda x, y: x @ y, data(50, 90), data(90, 1))


def test_vectors_run_along_the_sum_where_few_rows_meet_many_columns() -> None:
    settings.threads = 1
    turned = lambda a, b: a @ b.mT  # noqa: E731
    assert "along k" in plan_of(turned, data(8, 300), data(200, 300))
    assert "packed" in plan_of(turned, data(9, 300), data(200, 300))
    assert "along k" in plan_of(turned, data(32, 300), data(1000, 300))  # from far memory
    assert "packed" in plan_of(turned, data(33, 300), data(1000, 300))
    assert "along k" not in plan_of(lambda a, b: a @ b, data(1, 300), data(300, 200))


def test_a_large_weight_is_packed_where_it_is_not_streamed() -> None:
    settings.threads = 1
    product = lambda a, b: a @ b  # noqa: E731
    weight = data(700, 600)
    assert "packed" not in plan_of(product, data(64, 700), weight)
    assert "packed" in plan_of(product, data(65, 700), weight)
    assert "packed" not in plan_of(product, data(65, 300), data(300, 400))
    check(product, data(65, 700) / 32, weight)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_far_apart_are_copied(width: str, threads: int) -> None:
    """A gradient of weights that nothing is fused with; sums in parts whose last one is shorter."""
    settings.vector, settings.threads = width, threads
    for rows, columns, depth in ((300, 290, 450), (301, 130, 1700), (270, 257, 70)):
        a, b = data(depth, rows) / 16, data(depth, columns)
        check(lambda a, b: a.mT @ b, a, b)
    assert "copied" in plan_of(lambda a, b: a.mT @ b, data(450, 300), data(450, 290))


def test_products_are_the_same_for_any_number_of_threads() -> None:
    turned, far = (data(8, 500), data(700, 500)), (data(600, 300), data(600, 310))
    found = []
    for threads in (1, 2, 4):
        settings.threads = threads
        step = tw.compile(lambda a, b, c, d: (a @ b.mT, c.mT @ d))
        found.append([y.numpy().tobytes() for y in step(*turned, *far)])
    assert found[0] == found[1] == found[2]
    np.testing.assert_allclose(
        np.frombuffer(found[0][0], np.float32).reshape(8, 700), turned[0] @ turned[1].T, atol=1e-3
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_rows_are_added_by_index(width: str, threads: int) -> None:
    """Threads share vectors of the last axis, or what lies around; some rows are met twice."""
    settings.vector, settings.threads = width, threads
    source = np.random.default_rng(3)
    for table, axis, picked in (
        ((20, 70), 0, (9,)), ((20, 1), 0, (30,)), ((7, 3), 0, (4, 5)), ((50,), 0, (80,)),
        ((3, 11, 33), 1, (6,)), ((40, 5, 16), 1, (2, 3)), ((6, 9), 1, (14,)), ((4, 3, 40), 0, (5,)),
    ):  # fmt: skip
        index = source.integers(0, table[axis], picked)
        updates = data(*table[:axis], *picked, *table[axis + 1 :])
        check(lambda t, u, i=index, a=axis: tw.scatter_add(t, i, u, axis=a), data(*table), updates)
        check(
            lambda u, i=index, a=axis, t=table: tw.scatter_add(tw.zeros(t), i, u * 2, axis=a) + 1,
            updates,
        )
        check(
            lambda t, u, i=index, a=axis: tw.grad(
                lambda t: tw.sum(tw.sin(tw.take(t, i, axis=a)) * u)
            )(t),
            data(*table), updates,
        )  # fmt: skip
    whole = (np.arange(60).reshape(12, 5) % 7).astype(np.int32)
    check(lambda t: tw.scatter_add(t, np.array([0, 3, 3]), t[:3]), whole)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("channels", [7, 19, 48])
def test_products_that_lie_side_by_side_are_sums_of_vectors(width: str, channels: int) -> None:
    """Depthwise convolutions and their gradients, and batches along the last axis."""
    settings.vector, settings.threads = width, 3
    for stride, padding, dilation, multiplier in ((1, 1, 1, 1), (2, 0, 2, 1), (1, 2, 1, 3)):
        agree(
            lambda x, w, s=stride, p=padding, d=dilation: tw.sum(
                tw.sin(tw.conv(x, w, stride=s, padding=p, dilation=d, groups=channels))
            ),
            draw(2, 9, 8, channels), draw(3, 3, 1, channels * multiplier),
        )  # fmt: skip
    check(lambda a, b: tw.einsum("ikg,kg->ig", a, b), data(5, 6, channels), data(6, channels))
    check(lambda a, b: tw.einsum("ikg,jkg->jig", a, b), data(3, 4, channels), data(5, 4, channels))
    check(lambda a, b: tw.einsum("ig,jg->ijg", a, b), data(6, channels), data(2, channels))
    check(lambda a, b: tw.einsum("nikg,nig->kg", a, b), data(9, 40, 3, channels),
          data(9, 40, channels))  # fmt: skip


def test_a_depthwise_convolution_is_no_contraction() -> None:
    settings.threads = 1
    text = tw.compile(lambda x, w: tw.conv(x, w, groups=16)).explain(
        data(1, 6, 6, 16), data(3, 3, 1, 16)
    )
    assert "columns[1, 4, 4, 16]" in text.split("== llvm ir ==")[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_over_axes_in_the_middle(width: str) -> None:
    """Few rows are written down one by one, many in loops within loops."""
    settings.vector, settings.threads = width, 2
    for shape, axes in (((4, 3, 3, 20), (1, 2)), ((4, 5, 7, 33), (0, 2)), ((2, 6, 5, 48), (1,)),
                        ((3, 2, 2, 2, 40), (1, 2, 3)), ((30, 9, 96), (0,))):  # fmt: skip
        x = data(*shape)
        check(lambda x, a=axes: (tw.sum(x * x, a), tw.max(x, a), tw.mean(x, a) + 1), x)
        check(lambda x, a=axes: x - tw.mean(x, a, keepdims=True), x)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_product_that_is_only_read_transposed_is_written_so(width: str) -> None:
    """The gradient of a table that is met transposed, heads that are put side by side again."""
    settings.vector, settings.threads = width, 2
    x, w, g = data(9, 20), data(33, 20), data(9, 33)

    def gradient(x: Any, w: Any, g: Any) -> Any:
        return tw.grad(lambda w: tw.sum((x @ w.mT) * g))(w)

    def simplified(function: Any, *arrays: Any) -> str:
        text = tw.compile(function).explain(*arrays)
        return text.split("== simplified graph ==")[1].split("== schedule ==")[0]

    wanted = g.astype("f8").T @ x
    np.testing.assert_allclose(tw.compile(gradient)(x, w, g).numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert "transpose" not in simplified(gradient, x, w, g)
    q = data(2, 3, 5, 8)
    check(lambda q: tw.reshape(tw.transpose(q @ (q.mT @ q), (0, 2, 1, 3)), (2, 5, 24)), q)
    both = lambda a, b: ((a @ b).mT * 2, a @ b + 1)  # noqa: E731
    check(lambda a, b: both(a, b)[0] @ both(a, b)[1], data(7, 6), data(6, 7))
    assert "transpose" in simplified(both, data(7, 6), data(6, 7))
    a, b = data(3, 7, 6), data(3, 6, 5)
    for axes in ((1, 2, 0), (0, 2, 1)):  # columns that are a batch, or lie across memory
        turned = lambda a, b, axes=axes: tw.transpose(a @ b, axes)  # noqa: E731
        check(turned, a, b)
        assert "transpose" in simplified(turned, a, b)


@pytest.mark.parametrize("width", WIDTHS)
def test_addresses_are_made_once(width: str) -> None:
    """Windows, slices, short axes and turned tensors in one kernel, beside each other."""
    settings.vector, settings.threads = width, 2
    x = data(3, 9, 11, 6)

    def neighbours(x: Any) -> Any:
        parts = [x[:, i : i + 7, j : j + 9] for i in range(3) for j in range(3)]
        return sum(parts[1:], parts[0] * 2) - tw.flip(parts[4], (1, 3)) * parts[8]

    check(neighbours, x)
    check(lambda x: neighbours(x)[..., ::2] + neighbours(x * 3)[..., 1::2], x)
    check(lambda x: tw.sum(neighbours(x) * neighbours(x)[:, :1], (1, 2)), x)
    text = tw.compile(neighbours).explain(x).split("== llvm ir ==")[1]
    kernel = text.split("kernel0")[1].split("\n}")[0]
    assert kernel.count(" mul ") < 25, "each window multiplies its own way to where it begins"
