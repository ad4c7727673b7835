"""Python numbers in compiled functions: inputs in arithmetic, fixed where Python needs them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import TraceError

ONES = tw.ones(3)


def count(compiled: Any) -> int:
    """Return how often a function was captured."""
    return len(compiled._keys)


def test_numbers_in_arithmetic_are_inputs() -> None:
    @tw.compile
    def f(x: Any, a: Any, n: Any) -> Any:
        b = (a * 2 - 1) / 4 + n**2 - (3 - a) * n / 2 + -a
        return x * b + tw.full((1,), a) + tw.leaky_relu(-x, a), b

    def plain(a: float, n: float) -> float:
        return (a * 2 - 1) / 4 + n**2 - (3 - a) * n / 2 + -a

    for a, n in ((0.5, 3.0), (0.25, 4.0), (-1.5, 2.5)):
        y, b = f(ONES, a, n)
        assert y.dtype is tw.float32
        assert y.tolist() == pytest.approx([plain(a, n) + a - a] * 3, rel=1e-6)
        assert b.item() == pytest.approx(plain(a, n), rel=1e-6)
    assert count(f) == 1


def test_numbers_keep_the_precision_of_python() -> None:
    f = tw.compile(lambda x, a: x * (a / 3 + 1))
    assert f(tw.ones((), "float64"), 0.1).item() == 0.1 / 3 + 1
    assert f(tw.ones((), "float64"), 1).item() == 1 / 3 + 1
    third = tw.compile(lambda x, n, m: x + n / m)
    assert third(tw.zeros((), "float64"), 1, 3).item() == 1 / 3


def test_numbers_give_way_to_the_dtype_of_tensors() -> None:
    f = tw.compile(lambda x, a: (x + a, x * a * 2, a - x, a**x, x < a, tw.maximum(x, a)))
    for kind in ("float32", "bfloat16", "float64", "int32"):
        for number in (2, 1.5):
            got, eager = f(tw.ones(2, kind), number), f._function(tw.ones(2, kind), number)
            assert [g.dtype for g in got] == [g.dtype for g in eager], (kind, number)
            for g, e in zip(got, eager, strict=True):
                np.testing.assert_allclose(np.asarray(g, np.float64), np.asarray(e, np.float64))


def test_numbers_meet_numpy_as_python_numbers_do() -> None:
    f = tw.compile(lambda a: (np.float32(2) * a, np.ones(2, np.float32) * a, a + np.arange(2)))
    one, two, three = f(1.5)
    assert (one.item(), two.tolist(), three.tolist()) == (3, [1.5, 1.5], [1.5, 2.5])
    assert f(2.5)[0].item() == 5
    assert count(f) == 1


def test_numbers_that_python_needs_are_fixed() -> None:
    @tw.compile
    def f(x: Any, n: int) -> Any:
        total = tw.zeros((n, 3))
        for _ in range(n):
            total = total + x
        return (total * n).reshape((n, -1))[:n] if n > 1 else total

    assert f(ONES, 2).tolist() == [[4, 4, 4]] * 2
    assert f(ONES, 3).shape == (3, 3)
    assert f(ONES, 2).shape == (2, 3)
    assert f(ONES, 1).tolist() == [[1, 1, 1]]
    assert count(f) == 3


@pytest.mark.parametrize("use", [
    lambda n: f"{n:.1f}", lambda n: n // 2, lambda n: 7 % n, lambda n: round(n), lambda n: int(n),
    lambda n: n == 3, lambda n: n > 2, lambda n: [0, 1, 2, 3][n], lambda n: abs(n),
    lambda n: math.floor(n), lambda n: float(n), lambda n: hash(n), lambda n: bool(n),
])  # fmt: skip
def test_a_number_is_a_python_number_where_python_asks(use: Any) -> None:
    seen = []
    f = tw.compile(lambda x, n: seen.append(use(n)) or x * n)
    assert f(ONES, 3).tolist() == [3, 3, 3]
    assert f(ONES, 2).tolist() == [2, 2, 2]
    assert seen == [use(3), use(2)]
    assert count(f) == 2


def test_a_number_that_was_computed_cannot_be_fixed() -> None:
    with pytest.raises(TraceError, match=r"computed from an argument .*would be 4.0"):
        tw.compile(lambda x, a: x.reshape(int(a * 2)))(tw.ones(4), 2.0)


def test_nan_as_a_fixed_number_is_found_again() -> None:
    f = tw.compile(lambda x, a: x if a != a else x * 2)
    for _ in range(3):
        assert f(ONES, float("nan")).tolist() == [1, 1, 1]
    assert count(f) == 1


def test_bools_and_texts_are_part_of_the_signature() -> None:
    f = tw.compile(lambda x, on, how: (x * 2 if on else x) + len(how))
    assert f(ONES, True, "a").tolist() == [3, 3, 3]
    assert f(ONES, False, "ab").tolist() == [3, 3, 3]
    assert f(ONES, True, "a").tolist() == [3, 3, 3]
    assert count(f) == 2


def test_gradients_go_through_numbers() -> None:
    f = tw.compile(lambda x, a: tw.grad(lambda x: (x * a**2 / 2).sum())(x))
    assert f(ONES, 3.0).tolist() == [4.5] * 3
    assert f(ONES, 2.0).tolist() == [2.0] * 3
    g = tw.compile(lambda a: tw.grad(lambda a: a * a * 3)(a))
    assert g(2.0).item() == 12
    assert g(3.0).item() == 18
    assert (count(f), count(g)) == (1, 1)
