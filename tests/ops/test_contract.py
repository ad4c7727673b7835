"""Every operation against what its record promises: value, gradient, dtypes, compilation, jax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.ops.cases import NO_VALUE, Case, cases, cases_of, tolerance

import thalweg as tw
from thalweg import autodiff
from thalweg.backends.reference import compute, evaluate
from thalweg.errors import ArgumentError, DTypeError, ShapeError
from thalweg.graph.dtype import DTYPES, as_dtype
from thalweg.graph.node import Node, Op
from thalweg.ops import elementwise as e
from thalweg.ops import reductions as r
from thalweg.ops.record import OPS, leaf
from thalweg.tensor.tensor import finish, lift

Array = np.ndarray[Any, Any]
TESTED = [op for op in OPS.values() if op.name not in NO_VALUE]
# Their gradient is a decision, not the derivative of their value.
DECIDED = {"stop_gradient", "custom_gradient"}


def by_name(op: Op) -> str:
    return op.name


def node_of(case: Case) -> Node:
    return case.op(*map(leaf, case.arrays), **case.attrs)


def close(got: Array, wanted: Array, relative: float, name: str) -> None:
    """Compare numbers; small ones relative to the largest finite one, as sums are exact to that."""
    if got.dtype.kind != "V" and relative == 0:
        np.testing.assert_array_equal(got, wanted, err_msg=name)
        return
    wide = got.astype(np.float64)
    finite = np.abs(wanted[np.isfinite(wanted)])
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(wide, wanted, relative, relative * min(scale, 10.0), err_msg=name)


def widened(array: Array) -> Array:
    kind = as_dtype(array.dtype)
    return array.astype(
        np.float64 if kind.is_float else np.int64 if kind.is_integer else array.dtype
    )


def in_float64(case: Case) -> Array:
    """Return the meaning of a case in the widest type, rounded to the dtype of the result."""
    attrs = dict(case.attrs)
    if attrs.get("dtype") is not None and attrs["dtype"].is_float:
        attrs["dtype"] = tw.float64
    with np.errstate(all="ignore"):
        wide = np.asarray(case.op.meaning(np, *map(widened, case.arrays), **attrs))
        dtype = node_of(case).dtype
        # Rounding lets numbers beyond the largest become infinite, as they must.
        return wide.astype(dtype.numpy).astype(wide.dtype) if dtype.is_float else wide.astype(
            dtype.numpy)  # fmt: skip


def test_every_operation_has_cases() -> None:
    assert {c.op.name for c in cases()} == {op.name for op in TESTED}


def test_an_operation_without_cases_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Op("new", "structured", "", lambda x: (x.shape, x.dtype), lambda xp, x: x)
    monkeypatch.setitem(OPS, "new", made)
    with pytest.raises(LookupError, match="'new' has no cases"):
        list(cases())


@pytest.mark.parametrize("op", TESTED, ids=by_name)
def test_value_is_that_of_numpy_in_float64(op: Op) -> None:
    for case in cases_of(op):
        node = node_of(case)
        value = evaluate([node])[0]
        assert value.shape == node.shape, case.id
        assert value.dtype == node.dtype.numpy, case.id
        if "word" in op.domain:  # the words wrap; tests of random numbers know the right ones
            continue
        with np.errstate(all="ignore"):
            close(value, in_float64(case), tolerance(value.dtype), case.id)


@pytest.mark.parametrize("op", TESTED, ids=by_name)
def test_inputs_are_left_alone(op: Op) -> None:
    for case in list(cases_of(op))[:12]:
        before = [a.copy() for a in case.arrays]
        evaluate([node_of(case)])
        for a, b in zip(case.arrays, before, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=case.id)


# --- gradients ---------------------------------------------------------------------------------


def smooth_cases(op: Op) -> list[Case]:
    """Return the float64 cases that finite differences can judge."""
    found = []
    for case in cases_of(op):
        main = case.arrays and case.arrays[-1 if op.kind == "elementwise" else 0].dtype
        kind = case.id.removeprefix(op.name + "-")
        if main != np.float32 or kind.startswith(("special", "strided")) or (
            op.name == "cast" and not case.attrs["dtype"].is_float
        ):  # fmt: skip
            continue
        arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in case.arrays]
        attrs = {**case.attrs, **({"dtype": tw.float64} if op.name == "cast" else {})}
        if sum(a.size for a in arrays) <= 120 and node_of(case).dtype.is_float:
            found.append(Case(op, tuple(arrays), attrs, case.id))
    return found


def pulled_back(case: Case, arrays: Sequence[Array], g: Array) -> list[Node]:
    """Return the inputs' gradients for the gradient ``g`` of the result, after the inputs."""
    inputs = [leaf(a) for a in arrays]
    out = case.op(*inputs, **case.attrs)
    found = autodiff.gradients(out, leaf(g), inputs)
    zeros = [leaf(np.zeros(a.shape)) for a in arrays]
    return inputs + [z if n is None else n for n, z in zip(found, zeros, strict=True)]


def differences(function: Any, arrays: Sequence[Array], which: int, step: float = 1e-6) -> Array:
    """Return the central differences of a number with respect to one array."""
    result = np.zeros(arrays[which].shape)
    for place in np.ndindex(result.shape):
        values = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[which][place] += sign * step
            values.append(function(moved))
        result[place] = (values[0] - values[1]) / (2 * step)
    return result


@pytest.mark.parametrize("op", [o for o in TESTED if o.name not in DECIDED], ids=by_name)
def test_gradient_is_the_finite_difference(op: Op) -> None:
    for case in smooth_cases(op):
        g = np.random.default_rng(3).normal(size=node_of(case).shape)

        def number(arrays: Sequence[Array], case: Case = case, g: Array = g) -> float:
            out = compute(case.op(*map(leaf, arrays), **case.attrs), arrays)
            return float((out * g).sum())

        found = evaluate(pulled_back(case, case.arrays, g)[len(case.arrays) :])
        for i, array in enumerate(case.arrays):
            if array.dtype == np.float64:
                wanted = differences(number, case.arrays, i)
                np.testing.assert_allclose(found[i], wanted, 1e-5, 1e-6, err_msg=f"{case.id} {i}")


@pytest.mark.parametrize("op", [o for o in TESTED if o.name not in DECIDED], ids=by_name)
def test_gradient_of_gradient_is_the_finite_difference(op: Op) -> None:
    small = [c for c in smooth_cases(op) if sum(a.size for a in c.arrays) <= 20]
    for case in small[:4]:
        source = np.random.default_rng(4)
        g = source.normal(size=node_of(case).shape)
        weights = [source.normal(size=a.shape) for a in case.arrays]

        def total(arrays: Sequence[Array], case: Case = case, g: Array = g,
                  weights: Any = weights) -> tuple[list[Node], Node]:  # fmt: skip
            nodes = pulled_back(case, arrays, g)
            inputs, first = nodes[: len(arrays)], nodes[len(arrays) :]
            products = [r.sum(e.multiply(n, leaf(w))) for n, w in zip(first, weights, strict=True)]
            result = products[0]
            for product in products[1:]:
                result = e.add(result, product)
            return inputs, result

        inputs, loss = total(case.arrays)
        second = autodiff.gradients(loss, leaf(np.ones(())), inputs)
        for i, array in enumerate(case.arrays):
            if array.dtype != np.float64:
                continue
            value = lambda arrays, t=total: float(evaluate([t(arrays)[1]])[0])  # noqa: E731
            wanted = differences(value, case.arrays, i)
            got = np.zeros(array.shape) if second[i] is None else evaluate([second[i]])[0]
            np.testing.assert_allclose(got, wanted, 2e-5, 1e-6, err_msg=f"{case.id} {i}")


# --- compiled, and under jax -------------------------------------------------------------------


def brief(op: Op) -> list[Case]:
    """Return about a dozen cases of an operation, of all kinds."""
    found = list(cases_of(op))
    return found[:: max(1, len(found) // 12)]


@pytest.mark.parametrize("op", TESTED, ids=by_name)
def test_compiled_equals_eager(op: Op) -> None:
    chosen = brief(op)

    @tw.compile
    def together(*rows: Any) -> list[tw.Tensor]:
        pairs = zip(chosen, rows, strict=True)
        return [finish(op(*[lift(t) for t in row], **c.attrs)) for c, row in pairs]

    got = together(*[[tw.tensor(a) for a in c.arrays] for c in chosen])
    for case, tensor in zip(chosen, got, strict=True):
        eager = evaluate([node_of(case)])[0]
        assert tensor.shape == eager.shape, case.id
        assert tensor.dtype.numpy == eager.dtype, case.id
        with np.errstate(all="ignore"):
            wide = eager.astype(np.float64) if tensor.dtype.is_float else eager
            close(tensor.numpy(), wide, tolerance(eager.dtype), case.id)


@pytest.mark.parametrize("op", TESTED, ids=by_name)
def test_meaning_is_the_same_under_jax(op: Op) -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        for case in brief(op)[::3]:
            node = node_of(case)
            wanted = evaluate([node])[0]
            run = jax.jit(lambda *xs, c=case: c.op.meaning(jax.numpy, *xs, **c.attrs))
            got = np.asarray(run(*map(jax.numpy.asarray, case.arrays)))
            assert got.dtype == wanted.dtype, case.id
            assert got.shape == wanted.shape, case.id
            with np.errstate(all="ignore"):
                wide = wanted.astype(np.float64) if node.dtype.is_float else wanted
                close(got, wide, 4 * tolerance(wanted.dtype), case.id)


# --- dtypes ------------------------------------------------------------------------------------

KINDS = [d for d in DTYPES.values() if d.name != "bfloat16"]


@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "minimum", "where"])
def test_two_dtypes_meet_as_in_numpy(name: str) -> None:
    function = getattr(tw, name)
    for a in KINDS:
        for b in KINDS:
            x, y = tw.zeros(2, a), tw.zeros(2, b)
            got = tw.where(True, x, y) if name == "where" else function(x, y)
            assert got.dtype.numpy == np.result_type(a.numpy, b.numpy), (a, b)


def test_bfloat16_meets_others_as_float16_does() -> None:
    for other in KINDS:
        got = (tw.zeros(2, tw.bfloat16) + tw.zeros(2, other)).dtype
        like = (tw.zeros(2, tw.float16) + tw.zeros(2, other)).dtype
        if other is tw.float16:
            assert got is tw.float32
        else:
            assert got is (tw.bfloat16 if like is tw.float16 else like), other


@pytest.mark.parametrize("kind", DTYPES.values(), ids=str)
def test_python_numbers_give_way_to_tensors(kind: Any) -> None:
    x = tw.ones(2, kind)
    assert (x + True).dtype is kind
    assert (x + 1).dtype is (tw.int64 if kind is tw.bool_ else kind)
    assert (1.5 + x).dtype is (kind if kind.is_float else tw.float32)
    assert tw.where(tw.tensor([True, False]), x, 0).dtype is (
        tw.int64 if kind is tw.bool_ else kind
    )
    assert (x == 1).dtype is tw.bool_


@pytest.mark.parametrize("kind", [d for d in DTYPES.values() if not d.is_float], ids=str)
def test_functions_of_whole_numbers_are_float32(kind: Any) -> None:
    x = tw.ones((2, 3), kind)
    for name in ("exp", "log", "sin", "sqrt", "tanh", "erf", "sigmoid", "mean", "var", "softmax"):
        assert getattr(tw, name)(x).dtype is tw.float32, name
    assert (x / x).dtype is tw.float32
    for name in ("sum", "prod", "cumulative_sum"):
        axis = {} if name != "cumulative_sum" else {"axis": 0}
        assert getattr(tw, name)(x, **axis).dtype is tw.int64, name
    for name in ("argmax", "argsort"):
        assert getattr(tw, name)(x, axis=0).dtype is tw.int64, name


@pytest.mark.parametrize("kind", [d for d in DTYPES.values() if d.is_float], ids=str)
def test_functions_of_floats_keep_their_dtype(kind: Any) -> None:
    x = tw.ones((2, 3), kind)
    names = ("exp", "sum", "mean", "std", "softmax", "cumulative_sum", "logsumexp", "gelu", "sort")
    for name in names:
        axis = {"axis": 0} if name == "cumulative_sum" else {}
        assert getattr(tw, name)(x, **axis).dtype is kind, name
    assert (x @ x.T).dtype is kind


# --- what is refused ---------------------------------------------------------------------------

PAIRS = [o for o in TESTED if o.kind == "elementwise" and len(o.domain) == 2]


@pytest.mark.parametrize("op", PAIRS, ids=by_name)
def test_shapes_that_do_not_fit_are_named(op: Op) -> None:
    good = next(c for c in cases_of(op) if c.arrays[0].shape == (2, 3))
    bad = leaf(np.resize(good.arrays[1], (4,)))
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(4,\)") as caught:
        op(leaf(good.arrays[0]), bad)
    assert op.name in str(caught.value)
    assert "test_contract.py" in str(caught.value)


@pytest.mark.parametrize(("name", "dtype"), [
    ("exp", "int64"), ("divide", "int32"), ("subtract", "bool"), ("negative", "bool"),
    ("bitwise_and", "float32"), ("bitwise_left_shift", "float64"), ("contract", "bool"),
    ("square", "bool"), ("erf", "uint8"),
])  # fmt: skip
def test_dtypes_that_do_not_fit_are_named(name: str, dtype: str) -> None:
    op = OPS[name]
    x = leaf(np.ones((2, 2), as_dtype(dtype).numpy))
    attrs = {"spec": ("ab", "bc", "ac")} if name == "contract" else {}
    with pytest.raises(DTypeError, match=rf"dtype {dtype}.*test_contract\.py"):
        op(*[x] * len(op.domain), **attrs)


x23, x45 = tw.ones((2, 3)), tw.ones((4, 5))
REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "matmul": (lambda: x23 @ x45, ShapeError, r"\(2, 3\) and \(4, 5\)"),
    "matmul of a number": (lambda: tw.matmul(x23, 2.0), ShapeError, r"use \*"),
    "einsum sizes": (lambda: tw.einsum("ab,bc->ac", x23, x45), ShapeError, r"'b' has size 3"),
    "einsum rank": (lambda: tw.einsum("abc->a", x23), ShapeError, r"\(2, 3\)"),
    "einsum count": (lambda: tw.einsum("ab,bc->ac", x23), ArgumentError, "2 operands, got 1"),
    "einsum output": (lambda: tw.einsum("ab->ad", x23), ArgumentError, "'ad'"),
    "tensordot": (lambda: tw.tensordot(x23, x45), ShapeError, r"\(2, 3\) and \(4, 5\)"),
    "reshape": (lambda: x23.reshape(4), ShapeError, r"\(2, 3\) has 6 elements"),
    "reshape -1": (lambda: x23.reshape(-1, -1), ShapeError, "at most one -1"),
    "permute_dims": (lambda: tw.permute_dims(x23, (0, 0)), ShapeError, r"\(2, 3\)"),
    "broadcast_to": (lambda: tw.broadcast_to(x23, (2, 4)), ShapeError, r"\(2, 3\).*\(2, 4\)"),
    "squeeze": (lambda: tw.squeeze(x23, 0), ShapeError, "size 2, not 1"),
    "concatenate": (lambda: tw.concatenate([x23, x45]), ShapeError, r"\(2, 3\) and \(4, 5\)"),
    "concatenate ranks": (lambda: tw.concatenate([x23, tw.ones(2)], 1), ShapeError, r"\(2,\)"),
    "concatenate nothing": (lambda: tw.concatenate([]), ArgumentError, "no tensors"),
    "stack": (lambda: tw.stack([x23, x45]), ShapeError, r"\(2, 3\) and \(4, 5\)"),
    "split": (lambda: tw.split(x23, 2, 1), ShapeError, "not divisible into 2"),
    "pad": (lambda: tw.pad(x23, [(1, 1)]), ShapeError, "2 axes"),
    "pad mode": (lambda: tw.pad(x23, 1, "edgy"), ArgumentError, "'edgy' is unknown"),
    "pad reflect": (lambda: tw.pad(x23, 2, "reflect"), ShapeError, "too wide for size 2"),
    "axis": (lambda: x23.sum(axis=2), ShapeError, "axis 2 does not exist .* -2 to 1"),
    "axis twice": (lambda: x23.sum(axis=(0, -2)), ShapeError, "named twice"),
    "axis kind": (lambda: x23.sum(axis=1.5), ArgumentError, "whole number, got 1.5"),
    "max of nothing": (lambda: tw.zeros((0, 2)).max(axis=0), ShapeError, r"\(0, 2\)"),
    "argmax of nothing": (lambda: tw.zeros((0,)).argmax(), ShapeError, r"\(0,\)"),
    "take": (lambda: x23.take(tw.tensor([7]), axis=1), IndexError, "7 is out of range.*size 3"),
    "take floats": (lambda: x23.take(tw.ones(2), axis=1), DTypeError, "whole numbers"),
    "scatter": (lambda: tw.scatter_add(x23, tw.tensor([0]), x45), ShapeError, r"\(4, 5\)"),
    "one_hot": (lambda: tw.one_hot(tw.ones(2), 3), DTypeError, "float32"),
    "index": (lambda: x23[5], ShapeError, "index 5 is out of range for size 2"),
    "indices": (lambda: x23[0, 0, 0], ShapeError, r"3 indices for shape \(2, 3\)"),
    "index kind": (lambda: x23["a"], ArgumentError, "'a' is not"),
    "text": (lambda: x23 + "a", DTypeError, "'a' is not a tensor"),
    "no number of the dtype": (lambda: tw.ones(2, "uint8") + 300, ArgumentError, "300 .* uint8"),
    "negative power": (lambda: tw.ones(2, "int32") ** -1, ArgumentError, "power of -1"),
    "shape": (lambda: tw.zeros((2, -1)), ArgumentError, r"\(2, -1\)"),
    "arange": (lambda: tw.arange(0, 3, 0), ArgumentError, "step must not be 0"),
    "top_k": (lambda: tw.top_k(x23, 4), ArgumentError, "k = 4 .* size 3"),
    "dtype": (lambda: tw.zeros(2, "float31"), DTypeError, "did you mean 'float32'"),
    "diagonal": (lambda: tw.diagonal(x23, 0, 1, -1), ShapeError, "the same"),
    "meshgrid": (lambda: tw.meshgrid(x23, indexing="no"), ArgumentError, "'no'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_was_got_and_where(name: str) -> None:
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=f"(?s){words}") as caught:
        call()
    assert "test_contract.py" in str(caught.value)
