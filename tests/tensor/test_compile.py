"""Compilation: what is an input, what is fixed, what is refused, and that nothing is silent."""

from __future__ import annotations

import logging
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import (
    ArgumentError,
    NumericsError,
    RecompilationWarning,
    ShapeError,
    TraceError,
)
from thalweg.nn import Module
from thalweg.tensor.context import context

ONES = tw.ones(3)


def count(compiled: Any) -> int:
    """Return how often a function was captured."""
    return len(compiled._keys)


# --- closures are inputs -----------------------------------------------------------------------


def test_assigning_to_a_closed_over_tensor_is_seen() -> None:
    w = tw.ones(3)
    f = tw.compile(lambda x: x * w)
    assert f(ONES).tolist() == [1, 1, 1]
    w.assign([1, 2, 3])
    assert f(ONES).tolist() == [1, 2, 3]
    w.assign([4, 5, 6])
    assert f(ONES).tolist() == [4, 5, 6]
    assert count(f) == 1


def test_binding_a_closed_over_name_anew_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    w = tw.ones(3)

    @tw.compile
    def f(x: Any) -> Any:
        return x * w

    assert f(ONES).tolist() == [1, 1, 1]
    w = tw.zeros(3)
    with caplog.at_level(logging.INFO, "thalweg.compile"):
        assert f(ONES).tolist() == [0, 0, 0]
    assert "f is compiled again: 'w', a name from outside, stands for something" in caplog.text
    assert f(ONES).tolist() == [0, 0, 0]
    assert count(f) == 2
    assert sum(map(len, f._traces.values())) == 1  # the program of the old tensor is let go


def test_changing_a_closed_over_array_is_seen() -> None:
    array = np.ones(3, np.float32)
    f = tw.compile(lambda x: tw.tensor(array) + x * array)
    assert f(ONES).tolist() == [2, 2, 2]
    array[1] = 5
    assert f(ONES).tolist() == [2, 10, 2]
    assert count(f) == 1


SCALE = 2.0
TABLE = {"w": tw.ones(3), "k": 1}


def helper(x: Any) -> Any:
    return x * SCALE


def test_globals_that_functions_read_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    f = tw.compile(lambda x: helper(x) + TABLE["w"] * TABLE["k"])
    assert f(ONES).tolist() == [3, 3, 3]
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    assert f(ONES).tolist() == [5, 5, 5]
    monkeypatch.setitem(TABLE, "w", tw.zeros(3))
    assert f(ONES).tolist() == [4, 4, 4]
    monkeypatch.setitem(globals(), "helper", lambda x: x * 0)
    assert f(ONES).tolist() == [0, 0, 0]
    assert f(ONES).tolist() == [0, 0, 0]
    assert count(f) == 4


class Thing:
    def __init__(self) -> None:
        self.scale, self.w, self.unread = 2.0, tw.ones(3), 0

    @tw.compile
    def step(self, x: Any, *, extra: float = 0.0) -> Any:
        self.w.assign(self.w + 1)
        return x * self.scale + self.part() + extra

    def part(self) -> Any:
        return self.w * 1


def test_methods_see_the_attributes_of_their_object() -> None:
    thing, other = Thing(), Thing()
    assert thing.step(ONES).tolist() == [4, 4, 4]
    thing.scale = 3.0
    assert thing.step(ONES).tolist() == [6, 6, 6]
    thing.w = tw.zeros(3)
    assert thing.step(ONES).tolist() == [4, 4, 4]
    assert thing.w.tolist() == [1, 1, 1]
    captured = count(Thing.step)
    thing.unread = 5
    assert thing.step(ONES, extra=1.5).tolist() == [6.5, 6.5, 6.5]
    assert thing.step(ONES, extra=2.5).tolist() == [8.5, 8.5, 8.5]
    assert count(Thing.step) == captured + 1
    assert other.step(ONES).tolist() == [4, 4, 4]
    assert Thing.step(other, ONES).tolist() == [5, 5, 5]
    assert "graph" in thing.step.explain(ONES)
    assert thing.step.repeat(tw.steps(np.ones((2, 3), np.float32))).shape == (2, 3)


def test_what_is_stored_outside_is_refused() -> None:
    thing = Thing()

    @tw.compile
    def functional(x: Any) -> Any:
        thing.w = thing.w + x  # would happen once and never again
        return x

    with pytest.raises(TraceError, match=r"stores in 'w', .*assign"):
        functional(ONES)


# --- signatures and their messages -------------------------------------------------------------


def test_each_recompilation_says_what_changed(caplog: pytest.LogCaptureFixture) -> None:
    @tw.compile
    def f(x: Any, n: Any = 1) -> Any:
        return x.sum() * (1 if n == 1 else 2)

    with caplog.at_level(logging.INFO, "thalweg.compile"):
        f(tw.ones(3), 1)
        assert caplog.text == ""
        f(tw.ones(4), 1)
        assert "argument leaf 0 was float32[3] and is float32[4]" in caplog.text
        f(tw.ones(4, "float64"), 1)
        assert "was float32[4] and is float64[4]" in caplog.text
        f(tw.ones(4, "float64"), 2)
        assert "number 1 of the arguments was 1 and is 2" in caplog.text
        f(tw.ones(4, "float64"), 2.0)
        assert "leaf 1 was int and is float" in caplog.text
        f(x=tw.ones(4), n=2)
        assert "the structure of the arguments changed" in caplog.text


def test_more_than_eight_signatures_warn_on_the_users_line() -> None:
    f = tw.compile(lambda x: x * 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(1, 9):
            f(tw.ones(n))
    with pytest.warns(RecompilationWarning, match="compiled for 9 signatures") as caught:
        f(tw.ones(9))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(tw.ones(10))  # once is enough


def test_keywords_lists_and_dicts_are_arguments() -> None:
    f = tw.compile(
        lambda tree, *more, scale, **rest: {
            "sum": tree["a"] + tree["b"][0] + sum(more) * scale,
            "rest": list(rest.values()),
            "n": None,
        }
    )
    got = f({"a": ONES, "b": [ONES]}, ONES, ONES, scale=2.0, z=ONES * 3)
    assert got["sum"].tolist() == [6, 6, 6]
    assert got["rest"][0].tolist() == [3, 3, 3]
    assert got["n"] is None


def test_results_may_be_anything() -> None:
    f = tw.compile(lambda x: (x, "text", 5, None, [x * 2, {"a": 1.5}], x.shape))
    x, text, five, none, (y, d), shape = f(ONES)
    assert (text, five, none, d, shape) == ("text", 5, None, {"a": 1.5}, (3,))
    assert (x.tolist(), y.tolist()) == ([1] * 3, [2] * 3)


# --- what cannot be captured -------------------------------------------------------------------


@pytest.mark.parametrize(("function", "words"), [
    (lambda x: x if x.sum() > 0 else -x, "`if`.*thalweg.where"),
    (lambda x: x.numpy(), r"numpy\(\) needs the numbers"),
    (lambda x: float(x.sum()), r"float\(\) needs the numbers"),
    (lambda x: np.asarray(x), "conversion to NumPy needs"),
    (lambda x: x.reshape(x.argmax()), "needs the numbers"),
    (lambda x: [0, 1][x.argmax()], "an index needs the numbers"),
])  # fmt: skip
def test_what_needs_numbers_names_the_line_and_the_remedy(function: Any, words: str) -> None:
    with pytest.raises(TraceError, match=f"(?s){words}") as caught:
        tw.compile(function)(ONES)
    assert f"at {__file__}:" in str(caught.value)


def test_an_error_names_the_line_of_the_function() -> None:
    @tw.compile
    def f(x: Any) -> Any:
        return x @ tw.ones((4, 5))  # the guilty line

    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(4, 5\)(?s:.*)the guilty line"):
        f(tw.ones((2, 3)))


def test_an_exception_leaves_things_clean() -> None:
    state = tw.zeros(())

    @tw.compile
    def f(x: Any, fail: bool) -> Any:
        state.assign(state + 1)
        if fail:
            raise RuntimeError("mine")
        return x * 2

    with pytest.raises(RuntimeError, match="mine"):
        f(ONES, True)
    assert context.recorder is None
    assert state.item() == 0
    assert (tw.ones(2) + 1).tolist() == [2, 2]
    assert f(ONES, False).tolist() == [2, 2, 2]
    assert state.item() == 1


def test_only_functions_are_compiled() -> None:
    with pytest.raises(ArgumentError, match="wants a function, got 3"):
        tw.compile(3)  # type: ignore[arg-type]


def test_an_array_argument_that_is_assigned_to_must_be_a_tensor() -> None:
    f = tw.compile(lambda x: x.assign(x * 2))
    x = tw.ones(3)
    f(x)
    assert x.tolist() == [2, 2, 2]
    with pytest.raises(TraceError, match="must be a tensor then, got ndarray"):
        f(np.ones(3, np.float32))


# --- state and results -------------------------------------------------------------------------


def test_state_is_updated_in_place_and_results_have_their_own_buffers() -> None:
    w = tw.zeros(3)

    @tw.compile
    def f(x: Any) -> Any:
        before = w
        w.assign(w + x)
        return before, w, w.reshape(3, 1), x

    x = np.ones(3, np.float32)
    first = f(x)
    buffer = w._node.value
    second = f(x)
    assert w._node.value is buffer
    assert w.tolist() == [2, 2, 2]
    assert [r.numpy().ravel().tolist() for r in first] == [[1] * 3] * 4
    assert [r.numpy().ravel().tolist() for r in second] == [[2] * 3] * 3 + [[1] * 3]
    x[:] = 9
    assert second[3].tolist() == [1, 1, 1]
    arrays = [r._node.value for r in (*first, *second)] + [buffer]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])


def test_assignments_are_read_in_order() -> None:
    w = tw.ones(())

    @tw.compile
    def f() -> Any:
        a = w * 1
        w.assign(w + 1)
        b = w * 10
        w.assign(b + a)
        return a, b, w * 1

    assert [t.item() for t in f()] == [1, 20, 21]
    assert w.item() == 21
    assert [t.item() for t in f()] == [21, 220, 241]


def test_two_states_can_change_places() -> None:
    a, b = tw.tensor([1.0, 2.0]), tw.tensor([3.0, 4.0])

    @tw.compile
    def swap() -> None:
        old = a * 1
        a.assign(b)
        b.assign(old)

    assert swap() is None
    assert (a.tolist(), b.tolist()) == ([3, 4], [1, 2])
    swap()
    assert (a.tolist(), b.tolist()) == ([1, 2], [3, 4])


def test_a_tensor_made_inside_may_be_assigned_to() -> None:
    @tw.compile
    def f(x: Any) -> Any:
        y = x * 2
        y.assign(y + 1)
        return y

    assert f(ONES).tolist() == [3, 3, 3]
    assert f(ONES).tolist() == [3, 3, 3]
    assert ONES.tolist() == [1, 1, 1]


def test_random_state_goes_on() -> None:
    generator = tw.random.Generator(3)
    f = tw.compile(lambda: generator.uniform((2,)))
    got = [f().tolist() for _ in range(3)]
    generator.seed(3)
    assert [generator.uniform((2,)).tolist() for _ in range(3)] == got
    assert len({tuple(g) for g in got}) == 3


class Layer(Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = tw.Parameter.of(np.ones(3, np.float32))
        self.scale = 2.0

    def forward(self, x: Any) -> Any:
        return (x * self.w * self.scale).sum()


def test_attributes_of_modules_are_part_of_the_signature() -> None:
    layer = Layer()
    f = tw.compile(lambda m, x: m(x))
    assert f(layer, ONES).item() == 6
    layer.scale = 3.0
    assert f(layer, ONES).item() == 9
    layer.w.assign([1, 1, 2])
    assert f(layer, ONES).item() == 12
    layer.w = tw.Parameter.of(np.zeros(3, np.float32))
    assert f(layer, ONES).item() == 0
    assert f(Layer(), ONES).item() == 6


def test_a_whole_training_step_is_one_program() -> None:
    def train(step_of: Any) -> list[float]:
        layer = Layer()

        def step(x: Any, rate: float) -> Any:
            loss, grads = tw.value_and_grad(lambda m: (m(x) - 1) ** 2)(layer)
            layer.w.assign(layer.w - rate * grads["w"])
            return loss

        run = step_of(step)
        return [run(ONES, 0.01 * (i + 1)).item() for i in range(5)]

    assert train(tw.compile) == pytest.approx(train(lambda f: f), rel=1e-5)


# --- compiled within compiled, gradients of compiled -------------------------------------------


def test_compiled_functions_call_one_another() -> None:
    inner = tw.compile(lambda x, n: x * n)
    outer = tw.compile(lambda x, n: inner(x, n) + inner(x * 2, 3))
    assert outer(ONES, 2).tolist() == [8, 8, 8]
    assert outer(ONES, 5).tolist() == [11, 11, 11]
    assert (count(inner), count(outer)) == (0, 1)
    assert tw.grad(lambda x: outer(x, 2).sum())(ONES).tolist() == [8, 8, 8]
    assert tw.compile(tw.grad(lambda x: outer(x, 2).sum()))(ONES).tolist() == [8, 8, 8]


def test_what_a_wrapped_function_reads_is_watched() -> None:
    w = tw.ones(3)

    def loss(x: Any) -> Any:
        return (x * w).sum()

    f = tw.compile(tw.grad(loss))
    assert f(ONES).tolist() == [1, 1, 1]
    w = tw.zeros(3)
    assert f(ONES).tolist() == [0, 0, 0]


# --- many steps in one call --------------------------------------------------------------------


def test_repeat_is_a_loop_of_calls() -> None:
    source = np.random.default_rng(0)
    data = source.normal(size=(10, 3)).astype(np.float32)
    index = source.integers(0, 10, (4, 2))
    rates = np.linspace(0.1, 0.4, 4).astype(np.float32)

    def made() -> Any:
        w = tw.zeros(3)

        @tw.compile
        def step(x: Any, rate: Any, k: float) -> Any:
            w.assign(w + x.sum(axis=0) * rate * k)
            return w.sum(), {"w": w * 1}

        return w, step

    w, step = made()
    total, tree = step.repeat(tw.rows(data, index), tw.steps(rates), 2.0)
    v, one = made()
    results = [one(data[index[s]], rates[s : s + 1][0], 2.0) for s in range(4)]
    np.testing.assert_allclose(total.numpy(), [t.item() for t, _ in results], 1e-5)
    np.testing.assert_allclose(tree["w"].numpy(), [d["w"].numpy() for _, d in results], 1e-5)
    np.testing.assert_allclose(w.numpy(), v.numpy(), 1e-5)
    assert count(step) == 1
    none, _ = step.repeat(tw.rows(data, index[:0]), tw.steps(rates[:0]), 2.0)
    assert none.shape == (0,)


@pytest.mark.parametrize(("call", "words"), [
    (lambda f, d: f.repeat(d), "needs arguments made by"),
    (lambda f, d: f.repeat(tw.steps(d), tw.steps(d[:2])), r"got \[2, 3\]"),
    (lambda f, d: f.repeat(tw.rows(d, [[0, 3]])), "values from 0 to 2"),
    (lambda f, d: f.repeat(tw.rows(d, [0, 1])), r"shape \(steps, batch\)"),
])  # fmt: skip
def test_repeat_refuses_what_is_no_loop(call: Any, words: str) -> None:
    f = tw.compile(lambda *x: x[0])
    with pytest.raises(ArgumentError, match=words):
        call(f, np.ones((3, 2), np.float32))


# --- settings, threads, arrays of other kinds --------------------------------------------------


def test_arrays_of_other_layouts_and_byte_orders() -> None:
    f = tw.compile(lambda x: x * 2 + x.T)
    a = np.arange(9, dtype=np.float32).reshape(3, 3)
    for given in (
        a,
        a.astype(">f4"),
        np.asfortranarray(a),
        a[::-1][::-1],
        np.repeat(a, 2, 1)[:, ::2],
    ):
        np.testing.assert_array_equal(f(given).numpy(), a * 2 + a.T)
    a.flags.writeable = False
    np.testing.assert_array_equal(f(a).numpy(), a * 2 + a.T)
    assert tw.add(a.astype(">f4"), 0).tolist() == a.tolist()
    assert tw.reshape(a.astype(">f4"), (9,)).tolist() == a.ravel().tolist()


def test_many_threads_may_call_one_function() -> None:
    f = tw.compile(lambda x, n: (x * n).sum() + x.size)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for i in range(30):
            n, size = float(seed + i), 2 + (seed + i) % 4
            if f(np.ones(size, np.float32), n).item() != n * size + size:
                wrong.append((n, size))

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_debug_nans_is_seen_by_what_is_compiled_already() -> None:
    f = tw.compile(lambda x: tw.log(x))
    f(-ONES)
    with tw.debug_nans(), pytest.raises(NumericsError):
        f(-ONES)
