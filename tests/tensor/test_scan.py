"""Loops in time against loops in Python: values, gradients, second gradients, every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, ShapeError, TraceError

T, B, C, H = 7, 3, 5, 4


def _draw(*shape: int) -> tw.Tensor:
    return tw.tensor(np.random.default_rng(sum(shape)).standard_normal(shape) * 0.5)


ARGS = (_draw(C, H), _draw(H, H), _draw(H), _draw(T, B, C), _draw(B, H))


def _step(w: Any, u: Any, b: Any, x: Any, h: Any) -> Any:
    return tw.tanh(x @ w + h @ u + b)


def _unrolled(args: Any, reverse: bool = False) -> Any:
    w, u, b, x, h = args
    rows = [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        h = _step(w, u, b, x[t], h)
        rows[t] = h
    return h, tw.stack(rows)


def _scanned(args: Any, reverse: bool = False) -> Any:
    w, u, b, x, h = args

    def body(h: Any, row: Any) -> Any:
        new = _step(w, u, b, row, h)
        return new, new

    return tw.scan(body, h, x, reverse=reverse)


def _loss(loop: Any, reverse: bool, args: Any) -> Any:
    h, rows = loop(args, reverse)
    return tw.sum(tw.sin(rows)) + tw.sum(h * h)


def _close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradients(reverse: bool, compiled: bool) -> None:
    """A scan and a loop in Python agree."""
    maybe = tw.compile if compiled else lambda f: f
    _close(maybe(lambda a: _scanned(a, reverse))(ARGS), _unrolled(ARGS, reverse))
    one, grads = maybe(tw.value_and_grad(lambda a: _loss(_scanned, reverse, a)))(ARGS)
    two, wanted = tw.value_and_grad(lambda a: _loss(_unrolled, reverse, a))(ARGS)
    _close([one, *grads], [two, *wanted])


@pytest.mark.parametrize("compiled", [False, True])
def test_second_gradients(compiled: bool) -> None:
    """The gradient of a gradient runs through the loop that goes back."""

    def twice(loop: Any) -> Any:
        inner = tw.grad(lambda a: _loss(loop, False, a))
        return tw.grad(lambda a: tw.sum(inner(a)[1] ** 2))

    maybe = tw.compile if compiled else lambda f: f
    _close(maybe(twice(_scanned))(ARGS), twice(_unrolled)(ARGS), 1e-10)


@pytest.mark.parametrize("compiled", [False, True])
def test_trees_and_several_carries(compiled: bool) -> None:
    """Carries and rows may be trees; a carry may be a whole number, or stay as it is."""

    def run(x: Any, y: Any) -> Any:
        def body(carry: Any, row: Any) -> Any:
            total, count, fixed = carry["sum"], carry["n"], carry["fixed"]
            new = {"sum": total * 0.9 + row[0] * fixed, "n": count + 1, "fixed": fixed}
            return new, (total, {"twice": row[1] * 2})

        start = {"sum": tw.zeros((2,), dtype="float64"), "n": tw.tensor(0), "fixed": y[0] * 0 + 2}
        return tw.scan(body, start, (x, y))

    x, y = _draw(T, 2), _draw(T, 2)
    end, (totals, rest) = (tw.compile(run) if compiled else run)(x, y)
    total = np.zeros(2)
    for t in range(T):
        np.testing.assert_allclose(totals.numpy()[t], total)
        total = total * 0.9 + x.numpy()[t] * 2
    np.testing.assert_allclose(end["sum"].numpy(), total)
    assert end["n"].item() == T
    np.testing.assert_allclose(rest["twice"].numpy(), 2 * y.numpy())


@pytest.mark.parametrize("compiled", [False, True])
def test_length_without_rows(compiled: bool) -> None:
    """A scan may run without rows."""

    def run(x: Any) -> Any:
        return tw.scan(lambda c, _: (c * 2, c), x, length=5)

    end, rows = (tw.compile(run) if compiled else run)(tw.tensor(1.0))
    assert end.item() == 32
    assert rows.tolist() == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("compiled", [False, True])
def test_scan_in_scan(compiled: bool) -> None:
    """A loop in a loop, with gradients."""

    def run(x: Any) -> Any:
        def inner(c: Any, v: Any) -> Any:
            return tw.sin(c + v), c

        def outer(c: Any, row: Any) -> Any:
            end, rows = tw.scan(inner, c, row)
            return end, tw.sum(rows)

        end, sums = tw.scan(outer, x[0, 0] * 0, x)
        return end + tw.sum(sums)

    def plain(x: Any) -> Any:
        c, total = x[0, 0] * 0, 0.0
        for i in range(3):
            for j in range(4):
                total = total + c
                c = tw.sin(c + x[i, j])
        return c + total

    x = _draw(3, 4)
    got = (tw.compile if compiled else lambda f: f)(tw.value_and_grad(run))(x)
    _close(got, tw.value_and_grad(plain)(x))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_threads(threads: int) -> None:
    """A loop gives the same bits on any number of threads."""
    x, w = _draw(20, 33, 17), _draw(17, 17)

    def run(x: Any, w: Any) -> Any:
        return tw.scan(lambda h, r: ((n := tw.tanh(h @ w + r)), n), x[0], x)

    before = tw.settings.threads
    try:
        tw.settings.threads = 1
        one = tw.compile(run)(x, w)[1].numpy()
        tw.settings.threads = threads
        many = tw.compile(run)(x, w)[1].numpy()
    finally:
        tw.settings.threads = before
    assert one.tobytes() == many.tobytes()


def test_an_index_out_of_range_inside_is_reported() -> None:
    """A gather in the body names itself; nothing is read out of bounds."""
    table, tokens = _draw(5, 2), tw.tensor([0, 1, 7])

    def run(table: Any, tokens: Any) -> Any:
        return tw.scan(lambda c, i: (c + tw.take(table, i, axis=0), c), table[0], tokens)

    with pytest.raises(IndexError, match="axis 0 of size 5"):
        tw.compile(run)(table, tokens)


def test_bad_use() -> None:
    """Errors say what is wrong."""
    x = _draw(3, 2)
    with pytest.raises(ArgumentError, match="length"):
        tw.scan(lambda c, _: (c, c), x)
    with pytest.raises(ShapeError, match="number of rows"):
        tw.scan(lambda c, r: (c, c), x, (x, _draw(4, 2)))
    with pytest.raises(ShapeError, match="carry 0"):
        tw.scan(lambda c, r: (c[0], c), x, x)
    with pytest.raises(ArgumentError, match="structure"):
        tw.scan(lambda c, r: ((c, c), c), x, x)
    with pytest.raises(ArgumentError, match="0"):
        tw.scan(lambda c, r: (c, c), x, tw.zeros((0, 2)))
    state = tw.Parameter.of(np.zeros(2))

    def assigns(c: Any, r: Any) -> Any:
        state.assign(r)
        return c, c

    with pytest.raises(TraceError, match="assigns"):
        tw.scan(assigns, x, x)


EQUAL_RESULTS = {  # a carry that turns out to be a stacked row, once the body is simplified
    "same": lambda h, x: (h + x, h + x),
    "turned": lambda h, x: (h + x, x + h),
    "shared": lambda h, x: (h + x, tw.exp(h + x) / tw.sum(tw.exp(h + x))),
    "softmax": lambda h, x: (tw.softmax(h + x), h),
    "fixed": lambda h, x: (h, h * x),
}


@pytest.mark.parametrize("name", EQUAL_RESULTS)
def test_results_that_turn_out_equal(name: str) -> None:
    """Values and gradients of a compiled loop are those of the eager one."""

    def run(h: Any, x: Any) -> Any:
        last, rows = tw.scan(EQUAL_RESULTS[name], h, x)
        return tw.sum(tw.sin(last)) + tw.sum(tw.cos(rows))

    def both(h: Any, x: Any) -> Any:
        return (run(h, x), *tw.grad(run, (0, 1))(h, x), *tw.scan(EQUAL_RESULTS[name], h, x))

    h, x = _draw(3), _draw(5, 3)
    for got, want in zip(tw.compile(both)(h, x), both(h, x), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-12)


def test_two_carries_that_turn_out_equal() -> None:
    def run(h: Any, x: Any) -> Any:
        return tw.scan(lambda c, r: ((c[0] + r, r + c[0]), c[0] + r), (h, h), x)

    (a, b), rows = tw.compile(run)(_draw(3), _draw(5, 3))
    (c, d), wanted = run(_draw(3), _draw(5, 3))
    for got, want in ((a, c), (b, d), (rows, wanted)):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-12)


def test_softmax_of_outer_tensors_inside_a_loop() -> None:
    """Rules of custom gradients read their arguments, which the loop replaces."""

    def loss(w: Any) -> Any:
        step = lambda h, x: (h, tw.softmax((h + x) @ w))  # noqa: E731
        return tw.sum(tw.scan(step, tw.zeros((2, 4), dtype="float64"), _draw(3, 2, 4))[1] ** 2)

    w = _draw(4, 4)
    numbers = np.zeros((4, 4))
    for place in np.ndindex(4, 4):
        step = np.zeros((4, 4))
        step[place] = 1e-6
        numbers[place] = (loss(w + step) - loss(w - step)).item() / 2e-6
    np.testing.assert_allclose(tw.grad(loss)(w).numpy(), numbers, atol=1e-8)
    np.testing.assert_allclose(tw.compile(tw.grad(loss))(w).numpy(), numbers, atol=1e-8)
