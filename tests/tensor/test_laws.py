"""Laws that hold for all inputs: transposes, compilation, broadcasting, batches, contractions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import thalweg as tw

laws = settings(max_examples=60, deadline=None, derandomize=True)
few = settings(laws, max_examples=15)  # each compiles a program
Array = np.ndarray[Any, Any]


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


# --- functions made at random ------------------------------------------------------------------

UNARY: tuple[Callable[[Any], Any], ...] = (
    tw.tanh, tw.sin, tw.sigmoid, tw.softplus, tw.erf, lambda x: x * x, lambda x: x * 0.5 + 1,
    lambda x: tw.softmax(x, -1), lambda x: x - x.mean(axis=-1, keepdims=True),
    lambda x: tw.cumulative_sum(x, axis=0) * 0.3, lambda x: tw.flip(x, 0),
    lambda x: tw.roll(x, 1, 1),
    lambda x: x.T.reshape(x.shape), lambda x: tw.pad(x, 1)[1:-1, 1:-1],
    lambda x: x @ (x.T @ x) * 0.1,
    lambda x: tw.concatenate([x[1:], x[:1] * 2]), lambda x: tw.where(x > 0.1, x, x * 0.2),
    lambda x: tw.take(x, tw.tensor([0, 0, -1])[: x.shape[0]], axis=0) if x.shape[0] <= 3 else x,
    lambda x: x / (1 + (x * x).sum(axis=0)), lambda x: tw.sort(x, axis=1),
)  # fmt: skip
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a / (b * b + 1), tw.maximum, tw.logaddexp,
    lambda a, b: (a @ b.T) @ b * 0.2, lambda a, b: tw.einsum("ab,ac->ab", a, b),
)  # fmt: skip


@st.composite
def programs(draw: Any) -> Callable[[Any, Any], Any]:
    """Draw a function of two matrices of one shape, made of a few steps."""
    steps = draw(st.lists(st.one_of(
        st.tuples(st.sampled_from(UNARY), st.integers(0, 9)),
        st.tuples(st.sampled_from(BINARY), st.integers(0, 9), st.integers(0, 9)),
    ), min_size=1, max_size=6))  # fmt: skip

    def program(a: Any, b: Any) -> Any:
        values = [a, b]
        for function, *places in steps:
            values.append(function(*[values[-1 - p % len(values)] for p in places]))
        return values[-1]

    return program


SHAPE = st.tuples(st.integers(1, 4), st.integers(1, 5))


@laws
@given(programs(), SHAPE, st.integers(0, 99))
def test_the_gradient_is_the_transpose_of_the_derivative(f: Any, shape: Any, seed: int) -> None:
    """<v, J u> = <J^T v, u>, with J u from central differences."""
    a, b, u, v = (numbers(seed + i, *shape) for i in range(4))
    h = 1e-5
    forward = (f(tw.tensor(a + h * u), tw.tensor(b)) - f(tw.tensor(a - h * u), tw.tensor(b))) / (
        2 * h
    )
    back = tw.grad(lambda x: (f(x, tw.tensor(b)) * v).sum())(tw.tensor(a))
    left, right = float((forward * v).sum()), float((back * u).sum())
    scale = 1 + np.abs(forward.numpy()).max() * np.abs(v).sum()
    assert abs(left - right) < 1e-6 * scale


@laws
@given(programs(), SHAPE, st.integers(0, 99))
def test_the_derivative_forward_is_the_gradient_of_the_gradient(
    f: Any, shape: Any, seed: int
) -> None:
    """<v, J u> = d/dt <J^T t, u> at v: the gradient is linear in the vector that is pulled back."""
    a, b, u, v = (tw.tensor(numbers(seed + i, *shape)) for i in range(4))
    pulled = lambda w: tw.grad(lambda x: (f(x, b) * w).sum())(a)  # noqa: E731
    forward = tw.grad(lambda w: (pulled(w) * u).sum())(v)
    np.testing.assert_allclose(float((forward * v).sum()), float((pulled(v) * u).sum()), 1e-8, 1e-8)


@few
@given(programs(), SHAPE, st.integers(0, 99))
def test_a_compiled_function_is_the_function(f: Any, shape: Any, seed: int) -> None:
    a, b = (tw.tensor(numbers(seed + i, *shape)) for i in range(2))
    np.testing.assert_allclose(tw.compile(f)(a, b).numpy(), f(a, b).numpy(), 1e-9, 1e-9)
    gradient = tw.grad(lambda a, b: f(a, b).sum(), argnums=(0, 1))
    for got, wanted in zip(tw.compile(gradient)(a, b), gradient(a, b), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), 1e-8, 1e-8)


@few
@given(programs(), SHAPE, st.integers(0, 99))
def test_recomputation_changes_nothing(f: Any, shape: Any, seed: int) -> None:
    a, b = (tw.tensor(numbers(seed + i, *shape)) for i in range(2))
    plain = tw.grad(lambda a, b: f(f(a, b), b).sum(), argnums=(0, 1))
    saving = tw.grad(lambda a, b: tw.checkpoint(f)(tw.checkpoint(f)(a, b), b).sum(), argnums=(0, 1))
    for got, wanted in zip(saving(a, b), plain(a, b), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), 1e-9, 1e-9)


# --- broadcasting and batches ------------------------------------------------------------------

POINTWISE = (tw.add, tw.subtract, tw.multiply, tw.maximum, tw.minimum, tw.atan2, tw.logaddexp,
             tw.hypot, tw.less, tw.equal)  # fmt: skip


@laws
@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=4),
       st.sampled_from(POINTWISE), st.integers(0, 99))  # fmt: skip
def test_broadcasting_is_tiling(shapes: Any, function: Any, seed: int) -> None:
    a, b = (numbers(seed + i, *s) for i, s in enumerate(shapes.input_shapes))
    x, y = tw.tensor(a), tw.tensor(b)
    wide = [tw.tensor(np.broadcast_to(v, shapes.result_shape)) for v in (a, b)]
    np.testing.assert_array_equal(function(x, y).numpy(), function(*wide).numpy())
    if not function(x, y).dtype.is_float:
        return
    total = lambda p, q: (function(p, q) * 2).sum()  # noqa: E731
    for narrow, full in zip(
        tw.grad(total, (0, 1))(x, y), tw.grad(total, (0, 1))(*wide), strict=True
    ):
        rank = full.ndim - narrow.ndim
        summed = full.numpy().sum(axis=tuple(range(rank)))
        axes = tuple(i for i, n in enumerate(narrow.shape) if n == 1)
        np.testing.assert_allclose(
            narrow.numpy(), summed.sum(axis=axes, keepdims=True), 1e-10, 1e-10
        )


ROWWISE: tuple[Callable[[Any], Any], ...] = (
    tw.softmax, tw.log_softmax, lambda x: tw.logsumexp(x, -1), lambda x: x.mean(axis=1), tw.gelu,
    lambda x: x @ tw.tensor(numbers(0, 4, 3)), lambda x: tw.sort(x, -1),
    lambda x: x.argmax(axis=-1),
    lambda x: tw.cumulative_sum(x, 1), lambda x: tw.top_k(x, 2)[0], lambda x: x[:, 1:3],
    lambda x: tw.one_hot(x.argmax(axis=1), 4), lambda x: x.var(axis=1), lambda x: tw.vecdot(x, x),
)  # fmt: skip


@laws
@given(st.sampled_from(ROWWISE), st.permutations(range(5)), st.integers(0, 99))
def test_permuting_a_batch_permutes_the_result(function: Any, order: Any, seed: int) -> None:
    x = numbers(seed, 5, 4)
    direct = function(tw.tensor(x[order])).numpy()
    np.testing.assert_allclose(direct, function(tw.tensor(x)).numpy()[order], 1e-13, 1e-13)
    if direct.dtype == np.float64:
        gradient = tw.grad(lambda x: (function(x) ** 2).sum())
        np.testing.assert_allclose(
            gradient(tw.tensor(x[order])).numpy(), gradient(tw.tensor(x)).numpy()[order],
            1e-11, 1e-11,
        )  # fmt: skip


# --- contractions ------------------------------------------------------------------------------


@st.composite
def matrix_pairs(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw two shapes that matmul takes: vectors, matrices, and batches that broadcast."""
    side = st.integers(0, 4)
    m, k, n = draw(side), draw(side), draw(side)
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    a, b = lead.input_shapes
    left = (k,) if draw(st.booleans()) and not a else (*a, m, k)
    right = (k,) if draw(st.booleans()) and not b else (*b, k, n)
    return left, right


@laws
@given(matrix_pairs(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_matmul_is_that_of_numpy(pair: Any, left: bool, right: bool, seed: int) -> None:
    a, b = (numbers(seed + i, *s) for i, s in enumerate(pair))
    x, y = tw.tensor(a), tw.tensor(b)
    if left and a.ndim > 1:  # the same numbers, read transposed
        x = tw.tensor(np.swapaxes(a, -1, -2).copy()).mT
    if right and b.ndim > 1:
        y = tw.tensor(np.swapaxes(b, -1, -2).copy()).mT
    np.testing.assert_allclose((x @ y).numpy(), a @ b, 1e-12, 1e-12)
    ga, gb = tw.grad(lambda x, y: ((x @ y) ** 2).sum() / 2, (0, 1))(x, y)
    u, v = numbers(seed + 2, *a.shape), numbers(seed + 3, *b.shape)
    product = a @ b
    np.testing.assert_allclose(float((ga * u).sum()), (product * (u @ b)).sum(), 1e-9, 1e-9)
    np.testing.assert_allclose(float((gb * v).sum()), (product * (a @ v)).sum(), 1e-9, 1e-9)


@st.composite
def einsums(draw: Any) -> tuple[str, list[tuple[int, ...]]]:
    """Draw a specification over one to three operands, with repeated labels and dots."""
    size = {c: draw(st.integers(1, 3)) for c in "abcd"}
    terms = [draw(st.text("abcd", min_size=0, max_size=3)) for _ in range(draw(st.integers(1, 3)))]
    shapes = [tuple(size[c] for c in t) for t in terms]
    dots = draw(st.booleans())
    if dots:
        common = draw(st.sampled_from([(), (2,), (2, 3)]))
        for i in range(len(terms)):
            if i == 0 or draw(st.booleans()):
                cut = draw(st.integers(0, len(common)))
                terms[i], shapes[i] = "..." + terms[i], common[cut:] + shapes[i]
    used = sorted(set("".join(terms)) - {"."})
    if draw(st.booleans()):
        out = draw(st.permutations(used).map(lambda p: p[: draw(st.integers(0, len(p)))]))
        return ",".join(terms) + "->" + ("..." if dots else "") + "".join(out), shapes
    return ",".join(terms), shapes


@settings(laws, max_examples=150)
@given(einsums(), st.integers(0, 99))
def test_einsum_is_that_of_numpy(pair: Any, seed: int) -> None:
    spec, shapes = pair
    arrays = [numbers(seed + i, *s) for i, s in enumerate(shapes)]
    wanted = np.einsum(spec, *arrays)
    got = tw.einsum(spec, *map(tw.tensor, arrays))
    np.testing.assert_allclose(got.numpy(), wanted, 1e-11, 1e-11)
    # The sum of products is linear in each operand: <gradient, operand> is the result's sum.
    gradient = tw.grad(lambda x: tw.einsum(spec, x, *map(tw.tensor, arrays[1:])).sum())
    g = gradient(tw.tensor(arrays[0])).numpy()
    np.testing.assert_allclose((g * arrays[0]).sum(), wanted.sum(), 1e-9, 1e-9)


@laws
@given(st.integers(0, 3), st.integers(0, 99))
def test_tensordot_is_that_of_numpy(axes: int, seed: int) -> None:
    shape = (2, 3, 4)
    a, b = numbers(seed, *shape), numbers(seed + 1, *shape[3 - axes :], *shape[: 3 - axes])
    np.testing.assert_allclose(
        tw.tensordot(tw.tensor(a), tw.tensor(b), axes).numpy(), np.tensordot(a, b, axes),
        1e-12, 1e-12,
    )  # fmt: skip
