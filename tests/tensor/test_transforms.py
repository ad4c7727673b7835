"""Gradients, custom rules, recomputation, looking for NaN: at once and compiled."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, GradientError, NumericsError
from thalweg.nn import Module

X = np.array([0.5, -1.5, 2.0])


def both_ways(function: Callable[..., Any], *args: Any) -> Any:
    """Return a function's result, after a check that it is the same when compiled."""
    eager = function(*args)
    compiled = tw.compile(function)(*args)
    flat, again = tw_leaves(eager), tw_leaves(compiled)
    assert len(flat) == len(again)
    for a, b in zip(flat, again, strict=True):
        if isinstance(a, str):
            assert a == b
            continue
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), 1e-6, 1e-6)
    return eager


def tw_leaves(tree: Any) -> list[Any]:
    from thalweg.trees import flatten

    return flatten(tree)[0]


# --- grad and value_and_grad -------------------------------------------------------------------


def test_grad_has_the_structure_of_its_argument() -> None:
    tree = {"w": tw.tensor([1.0, 2.0]), "rest": [tw.tensor(3.0), (4.0, None)]}

    def loss(t: Any) -> Any:
        return (t["w"] ** 2).sum() * t["rest"][0] + t["rest"][1][0]

    value, grads = both_ways(tw.value_and_grad(loss), tree)
    assert value.item() == 19
    assert grads["w"].tolist() == [6, 12]
    assert grads["rest"][0].item() == 5
    assert grads["rest"][1][0].item() == 1
    assert grads["rest"][1][1] is None
    assert list(grads) == ["w", "rest"]


def test_argnums_names_arguments() -> None:
    f = lambda a, b, c: (a * b + c).sum()  # noqa: E731
    a, b, c = tw.tensor([1.0, 2.0]), tw.tensor([3.0, 4.0]), tw.tensor(5.0)
    assert both_ways(tw.grad(f, argnums=1), a, b, c).tolist() == [1, 2]
    assert both_ways(tw.grad(f, argnums=-1), a, b, c).item() == 2
    ga, gc_ = both_ways(tw.grad(f, argnums=(0, 2)), a, b, c)
    assert (ga.tolist(), gc_.item()) == ([3, 4], 2)
    (only,) = tw.grad(f, argnums=(1,))(a, b, c)
    assert only.tolist() == [1, 2]
    with pytest.raises(GradientError, match=r"argument 3 of 3 .*test_transforms\.py"):
        tw.grad(f, argnums=3)(a, b, c)


def test_has_aux_hands_on_anything() -> None:
    f = lambda x: ((x * x).sum(), {"double": x * 2, "text": "a", "none": None})  # noqa: E731
    (value, aux), grads = both_ways(tw.value_and_grad(f, has_aux=True), tw.tensor([1.0, 2.0]))
    assert (value.item(), aux["double"].tolist(), aux["text"]) == (5, [2, 4], "a")
    assert grads.tolist() == [2, 4]
    grads, aux = tw.grad(f, has_aux=True)(tw.tensor([3.0]))
    assert (grads.tolist(), aux["double"].tolist()) == ([6], [6])


def test_keywords_and_plain_arguments_pass_through() -> None:
    f = lambda x, n, *, scale, text="": (x**n).sum() * scale  # noqa: E731
    assert tw.grad(f)(tw.tensor([3.0]), 2, scale=10).tolist() == [60]
    assert tw.grad(f)(np.array([3.0]), 2, scale=np.float32(10)).dtype is tw.float64
    assert tw.grad(f)(3.0, 2, scale=10).item() == 60


def test_gradients_of_gradients() -> None:
    f = lambda x: tw.sin(x) * x**3  # noqa: E731
    x = 0.7
    for function, order in ((tw.grad(f), 1), (tw.grad(tw.grad(f)), 2),
                            (tw.grad(tw.grad(tw.grad(f))), 3)):  # fmt: skip
        got = both_ways(function, tw.tensor(x, dtype="float64")).item()
        # d^n(sin(x) x^3), by Leibniz' rule
        powers = [x**3, 3 * x**2, 6 * x, 6.0]
        from math import comb, pi, sin

        wanted = sum(comb(order, k) * powers[k] * sin(x + (order - k) * pi / 2)
                     for k in range(order + 1))  # fmt: skip
        assert got == pytest.approx(wanted, rel=1e-12)


def test_hessian_vector_product() -> None:
    a = np.array([[2.0, 1, 0], [1, 3, -1], [0, -1, 4]])
    f = lambda x: tw.einsum("i,ij,j", x, tw.tensor(a), x) / 2  # noqa: E731
    v = np.array([1.0, -2.0, 0.5])
    product = tw.grad(lambda x: (tw.grad(f)(x) * v).sum())
    np.testing.assert_allclose(both_ways(product, tw.tensor(X)).numpy(), a @ v, 1e-12)


def test_inner_and_outer_variable_are_not_confused() -> None:
    inner = lambda x: tw.grad(lambda y: x + y)(x)  # noqa: E731 - d(x + y)/dy is 1, not 2
    assert both_ways(tw.grad(lambda x: x * inner(x)), tw.tensor(3.0)).item() == 1


def test_a_closed_over_tensor_is_constant_even_if_it_is_the_argument() -> None:
    x = tw.tensor(2.0)
    assert tw.grad(lambda y: y * x)(x).item() == 2
    assert tw.compile(lambda a: tw.grad(lambda y: y * a)(a))(x).item() == 2
    assert tw.grad(lambda a, b: a * b)(x, x).item() == 2
    assert [g.item() for g in tw.grad(lambda a, b: a * a * b, argnums=(0, 1))(x, x)] == [8, 4]


def test_what_the_result_does_not_depend_on_has_gradient_zero() -> None:
    x = tw.ones((2, 3))
    assert both_ways(tw.grad(lambda x: tw.tensor(1.0)), x).tolist() == [[0] * 3] * 2
    assert tw.grad(lambda x: tw.floor(x).sum())(x).tolist() == [[0] * 3] * 2
    assert tw.grad(lambda x: x.argmax().astype("float32"))(x).sum().item() == 0


@pytest.mark.parametrize(("function", "words"), [
    (lambda x: x, r"float32 of shape \(3,\)"), (lambda x: x.argmax(), "int64 of shape"),
    (lambda x: 3.0, "got 3.0"), (lambda x: None, "got None"), (lambda x: (x.sum(), 1), "got \\("),
])  # fmt: skip
def test_a_gradient_needs_one_floating_number(function: Any, words: str) -> None:
    with pytest.raises(GradientError, match=rf"{words}.*test_transforms\.py"):
        tw.grad(function)(tw.ones(3))


@pytest.mark.parametrize("bad", [2, tw.ones(2, "int32"), [tw.ones(2), np.array([True])]])
def test_gradients_exist_for_floating_types_only(bad: Any) -> None:
    with pytest.raises(GradientError, match=r"argument 0 holds (int64|int32|bool).*astype"):
        tw.grad(lambda x: tw.tensor(0.0))(bad)


class Linear(Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = tw.Parameter.of(np.array([1.0, 2.0], np.float32))
        self.frozen = tw.Parameter.of(np.array([5.0], np.float32), trainable=False)

    def forward(self, x: Any) -> Any:
        return (x * self.weight).sum() * self.frozen.sum()


def test_a_module_is_a_tree_wherever_it_stands() -> None:
    model, x = Linear(), tw.tensor([3.0, 4.0])
    assert tw.grad(lambda m, x: m(x))(model, x)["weight"].tolist() == [15, 20]
    assert "frozen" not in tw.grad(lambda m, x: m(x))(model, x)
    pair = {"a": model, "b": tw.tensor(2.0)}
    grads = both_ways(tw.grad(lambda t, x: t["a"](x) * t["b"]), pair, x)
    assert grads["a"]["weight"].tolist() == [30, 40]
    assert grads["b"].item() == 55


def test_the_graph_is_released() -> None:
    watched: list[Any] = []

    def loss(x: Any) -> Any:
        y = x * 2
        watched.append(weakref.ref(y))
        return (y * y).sum(), [y]

    (value, aux), grads = tw.value_and_grad(loss, has_aux=True)(tw.ones(1000))
    gc.collect()
    assert watched[0]() is None
    for tensor in (value, grads, aux[0]):
        assert tensor._node.inputs == ()
        assert tensor._node.value.base is None


def test_an_error_inside_leaves_things_clean() -> None:
    def broken(x: Any) -> Any:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        tw.grad(broken)(1.0)
    assert (tw.ones(2) + 1)._node.inputs == ()  # no graph is kept any more


# --- stop_gradient and custom rules ------------------------------------------------------------


def test_no_gradient_flows_through_stop_gradient() -> None:
    f = lambda x: (x * tw.stop_gradient(x)).sum()  # noqa: E731
    assert both_ways(tw.grad(f), tw.tensor([2.0, 3.0])).tolist() == [2, 3]


def test_custom_gradient_replaces_the_rule() -> None:
    straight = tw.custom_gradient(lambda x: tw.round(x), lambda g, x: g * 1)
    f = lambda x: (straight(x) * tw.tensor([1.0, 2.0, 3.0])).sum()  # noqa: E731
    value, grads = both_ways(tw.value_and_grad(f), tw.tensor([0.6, 1.2, -0.7]))
    assert (value.item(), grads.tolist()) == (0, [1, 2, 3])


def test_custom_gradient_can_be_differentiated_again() -> None:
    cube = tw.custom_gradient(lambda x: x * x * x, lambda g, x: g * 3 * x * x)
    assert both_ways(tw.grad(tw.grad(cube)), tw.tensor(2.0)).item() == 12


def test_custom_gradient_takes_several_arguments() -> None:
    product = tw.custom_gradient(
        lambda x, y, n: (x * y) ** n, lambda g, x, y, n: (g * y, None, None)
    )
    x, y = tw.tensor([2.0]), tw.tensor([3.0])
    f = lambda x, y: product(x, y, 2).sum()  # noqa: E731
    gx, gy = both_ways(tw.grad(f, argnums=(0, 1)), x, y)
    assert (gx.tolist(), gy.tolist()) == ([3], [0])
    assert product(x, y, 2).dtype is tw.float32  # the number stays a Python number
    assert product(x, y, 2).tolist() == [36]
    wrong = tw.custom_gradient(lambda x, y: x * y, lambda g, x, y: g)
    with pytest.raises(GradientError, match="gave 1 gradients for 2 arguments"):
        tw.grad(lambda x: wrong(x, y).sum())(x)


def test_a_rule_may_look_at_numbers_when_eager() -> None:
    seen = []
    f = tw.custom_gradient(lambda x: x * 1, lambda g, x: seen.append(g.item()) or g * x)
    assert tw.grad(lambda x: f(x) * 5)(3.0).item() == 15
    assert seen == [5]


# --- recomputation -----------------------------------------------------------------------------


def block(x: Any, w: Any) -> Any:
    return tw.tanh(tw.sin(x @ w) * 2)


def test_checkpoint_changes_no_number() -> None:
    source = np.random.default_rng(0)
    x, w = tw.tensor(source.normal(size=(2, 3))), tw.tensor(source.normal(size=(3, 3)))

    def plain(x: Any, w: Any) -> Any:
        return block(block(x, w), w).sum()

    def saving(x: Any, w: Any) -> Any:
        again = tw.checkpoint(block)
        return again(again(x, w), w).sum()

    wanted = tw.value_and_grad(plain, argnums=(0, 1))(x, w)
    got = both_ways(tw.value_and_grad(saving, argnums=(0, 1)), x, w)
    for a, b in zip(tw_leaves(wanted), tw_leaves(got), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-12)


def test_checkpoint_differentiates_what_it_closes_over() -> None:
    x = tw.tensor([0.3, 0.4])

    def loss(w: Any) -> Any:
        hidden = tw.exp(w)
        return tw.checkpoint(lambda y: tw.sin(y * hidden * w))(x * w).sum()

    wanted = tw.grad(lambda w: tw.sin(x * w * tw.exp(w) * w).sum())(tw.tensor([1.0, 2.0]))
    got = both_ways(tw.grad(loss), tw.tensor([1.0, 2.0]))
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), 1e-5)
    model = Linear()
    saving = tw.checkpoint(lambda m, x: tw.exp(m(x) * 0.01))
    plain = lambda m, x: tw.exp(m(x) * 0.01)  # noqa: E731
    a, b = both_ways(tw.grad(saving), model, x), tw.grad(plain)(model, x)
    np.testing.assert_allclose(a["weight"].numpy(), b["weight"].numpy(), 1e-6)


def test_checkpoint_can_be_differentiated_again() -> None:
    f = tw.checkpoint(lambda x: tw.sin(x) ** 2)
    wanted = tw.grad(tw.grad(lambda x: tw.sin(x) ** 2))(0.3).item()
    assert both_ways(tw.grad(tw.grad(f)), tw.tensor(0.3)).item() == pytest.approx(wanted, rel=1e-5)


def test_checkpoint_returns_one_tensor() -> None:
    with pytest.raises(ArgumentError, match="must return one tensor, got 'a'"):
        tw.checkpoint(lambda x: "a")(tw.ones(2))


# --- looking for NaN ---------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_debug_nans_names_the_operation_and_the_line(compiled: bool) -> None:
    def bad(x: Any) -> Any:
        y = tw.log(x)  # the line that is named
        return y * 0

    run = tw.compile(bad) if compiled else bad
    assert np.isnan(run(tw.tensor([-1.0])).item())  # looks only when it is asked to
    with (
        tw.debug_nans(),
        pytest.raises(NumericsError, match=r"operation log made a NaN .*the line that is named"),
    ):
        run(tw.tensor([-1.0]))
    assert np.isnan(run(tw.tensor([-1.0])).item())
    with tw.debug_nans(), tw.debug_nans(False):
        run(tw.tensor([-1.0]))
    with tw.debug_nans():
        assert run(tw.tensor([1.0])).tolist() == [0]


def test_debug_nans_looks_into_gradients() -> None:
    with (
        tw.debug_nans(),
        pytest.raises(NumericsError, match="operation divide made an infinity"),
    ):
        tw.grad(lambda x: tw.sqrt(x).sum())(tw.zeros(2))


@pytest.mark.parametrize("compiled", [False, True])
def test_what_was_computed_before_is_constant_to_a_later_gradient(compiled: bool) -> None:
    """Two networks trained in turn: the second gradient does not run through the first update."""
    from thalweg import nn

    def step(one: nn.Linear, two: nn.Linear, x: tw.Tensor) -> tuple[tw.Tensor, tw.Tensor]:
        drawn = tw.tanh(one(x))
        _, grads = tw.value_and_grad(lambda m: tw.mean(m(drawn) ** 2))(two)
        two.weight.assign(two.weight - 0.5 * grads["weight"])
        _, later = tw.value_and_grad(lambda m: tw.mean(two(tw.tanh(m(x))) ** 2))(one)
        _, none = tw.value_and_grad(lambda m: tw.mean(drawn) + tw.sum(m.bias))(one)
        return later["weight"], none["weight"]

    one, two = (nn.Linear(3, 3, dtype="float64").reset_parameters(seed) for seed in (0, 1))
    x = tw.tensor([[0.5, -1.0, 2.0]], dtype="float64")
    first = two.weight.numpy()
    later, none = (tw.compile(step) if compiled else step)(one, two, x)
    h = 1e-6
    wanted = np.zeros((3, 3))
    start = one.weight.numpy()
    for place in np.ndindex(3, 3):
        values = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * h
            one.weight.assign(moved)
            values.append(tw.mean(two(tw.tanh(one(x))) ** 2).item())
        wanted[place] = (values[0] - values[1]) / (2 * h)
    one.weight.assign(start)
    np.testing.assert_allclose(later.numpy(), wanted, rtol=1e-6, atol=1e-9)
    assert not none.numpy().any()
    assert np.abs(two.weight.numpy() - first).max() > 0
