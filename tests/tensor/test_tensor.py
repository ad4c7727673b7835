"""Tensors: creation, conversion, indexing, operators, promotion, printing, state."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import thalweg as tw
from thalweg.errors import ArgumentError, DTypeError, ShapeError, TraceError

fast = settings(max_examples=150, deadline=None, derandomize=True)


# --- creation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "dtype", "shape"), [
    (1, "int64", ()), (1.5, "float32", ()), (True, "bool", ()), ([1, 2], "int64", (2,)),
    ([[1.0], [2]], "float32", (2, 1)), ([True, False], "bool", (2,)), ([], "float32", (0,)),
    ([[], []], "float32", (2, 0)), (np.float64(2), "float64", ()),
    (np.arange(3, dtype=np.int16), "int16", (3,)), (np.zeros((2, 0)), "float64", (2, 0)),
    ((1, 2.5), "float32", (2,)), (np.zeros(2, ">f4"), "float32", (2,)), (range(3), "int64", (3,)),
])  # fmt: skip
def test_tensor_takes_dtype_and_shape_of_the_data(data: Any, dtype: str, shape: Any) -> None:
    x = tw.tensor(data)
    assert (x.dtype.name, x.shape) == (dtype, shape)
    np.testing.assert_array_equal(x.numpy(), np.asarray(data))


def test_tensor_converts() -> None:
    assert tw.tensor([1.7, -1.7], dtype=tw.int32).tolist() == [1, -1]
    assert tw.tensor([1, 0], dtype=bool).tolist() == [True, False]
    assert tw.tensor(tw.ones(2), dtype="float64").dtype is tw.float64
    assert tw.tensor([tw.ones(2), tw.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    assert tw.tensor([1.0, tw.tensor(2.0)]).tolist() == [1, 2]
    assert tw.tensor(0.1, dtype="float64").item() == 0.1


@pytest.mark.parametrize("data", [[[1, 2], [3]], [1, [2]]])
def test_ragged_lists_are_refused(data: Any) -> None:
    with pytest.raises(ShapeError, match="equal lengths"):
        tw.tensor(data)


@pytest.mark.parametrize("data", ["text", ["a"], [None], 1j, object(), {"a": 1}, np.zeros(2, "U3"),
                                  np.zeros(2, "M8[s]")])  # fmt: skip
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_what_are_no_numbers_is_refused(data: Any, dtype: Any) -> None:
    with pytest.raises(DTypeError, match=r"cannot hold .*test_tensor\.py"):
        tw.tensor(data, dtype)


def test_a_tensor_never_shares_its_numbers() -> None:
    array = np.ones((2, 3), np.float32)
    x = tw.tensor(array)
    array[:] = 5
    assert x.sum().item() == 6
    x.numpy()[:] = 7
    np.asarray(x)[:] = 7
    assert x.sum().item() == 6
    with pytest.raises(ArgumentError, match="by a copy only"):
        np.asarray(x, copy=False)
    others = [+x, x.T, x.T.T, x.reshape(2, 3), x[:], x[...], tw.tensor(x), copy.copy(x), x * 1,
              copy.deepcopy(x), tw.broadcast_to(x, (2, 3)), tw.stop_gradient(x), tw.reshape(x, -1),
              tw.asarray(x), x.astype("float32"), tw.concatenate([x]), x.sum(axis=())]  # fmt: skip
    x._node.value[:] = 9  # what a compiled program does to state
    for other in others:
        assert np.asarray(other).max() == 1


# --- conversion --------------------------------------------------------------------------------


def test_python_numbers_come_out() -> None:
    assert isinstance(tw.tensor(2.5).item(), float)
    assert isinstance(tw.tensor(2).item(), int)
    assert isinstance(tw.tensor(True).item(), bool)
    assert isinstance(tw.tensor(2.5).astype("bfloat16").item(), float)
    assert float(tw.tensor([2.5])) == 2.5
    assert int(tw.tensor(2.5)) == 2
    assert [10, 20, 30][tw.tensor(1)] == 20
    assert bool(tw.tensor([0.0])) is False
    assert f"{tw.tensor(2.5):.3f}" == "2.500"
    assert len(tw.ones((3, 2))) == 3
    assert [r.tolist() for r in tw.tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
    with pytest.raises(DTypeError, match="float32 is not a whole number"):
        range(tw.tensor(2.0))
    with pytest.raises(ShapeError, match=r"item\(\) needs one element, the shape is \(2,\)"):
        bool(tw.ones(2))
    with pytest.raises(ShapeError, match="without axes"):
        len(tw.ones(()))


def test_dlpack_goes_both_ways() -> None:
    x = tw.tensor([[1.0, 2.0], [3.0, 4.0]])
    array = np.from_dlpack(x)
    np.testing.assert_array_equal(array, x.numpy())

    class Foreign:
        shape = (3,)

        def __dlpack__(self, **options: Any) -> Any:
            return np.arange(3.0).__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return (1, 0)

    assert (tw.ones(3, "float64") + Foreign()).tolist() == [1, 2, 3]
    assert tw.tensor(Foreign()).tolist() == [0, 1, 2]


def test_repr_shows_numbers_and_dtype() -> None:
    assert repr(tw.tensor([1.0, 2.5])) == "Tensor([1. , 2.5], dtype=float32)"
    assert repr(tw.tensor(3)) == "Tensor(3, dtype=int64)"
    assert repr(tw.ones(2, "bfloat16")) == "Tensor([1., 1.], dtype=bfloat16)"
    assert repr(tw.Parameter.of(np.ones(1))) == "Parameter([1.], dtype=float64)"
    assert "..." in repr(tw.zeros((100, 100)))
    assert repr(tw.float32) == "thalweg.float32"
    shown = []
    tw.compile(lambda x: shown.append(repr(x)) or x * 1)(tw.ones((2, 3)))
    assert shown == ["Tensor(captured, shape=(2, 3), dtype=float32)"]


# --- operators ---------------------------------------------------------------------------------

OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!="]


@pytest.mark.parametrize("sign", OPERATORS)
def test_operators_are_those_of_numpy(sign: str) -> None:
    a, b = np.array([1.5, 2.0, 3.25]), np.array([2.0, 2.0, 0.5])
    operate = eval(f"lambda x, y: x {sign} y")
    for left, right in ((tw.tensor(a), tw.tensor(b)), (a, tw.tensor(b)), (tw.tensor(a), b)):
        got = operate(left, right)
        assert isinstance(got, tw.Tensor)
        np.testing.assert_allclose(got.numpy(), operate(a, b), 1e-14)
    for number in (2, 1.5, np.float64(1.5), True):
        for x, y in ((tw.tensor(a), number), (number, tw.tensor(a))):
            got = operate(x, y)
            assert got.dtype is (tw.bool_ if sign in "<=>===!=" else tw.float64)
            plain = [v.numpy() if isinstance(v, tw.Tensor) else v for v in (x, y)]
            np.testing.assert_allclose(got.numpy(), operate(*plain), 1e-14)


@pytest.mark.parametrize("sign", ["&", "|", "^", "<<", ">>"])
def test_bit_operators_are_those_of_numpy(sign: str) -> None:
    a, b = np.array([5, 2, 7]), np.array([1, 3, 2])
    operate = eval(f"lambda x, y: x {sign} y")
    assert operate(tw.tensor(a), tw.tensor(b)).tolist() == operate(a, b).tolist()
    assert operate(a, tw.tensor(b)).tolist() == operate(a, b).tolist()
    assert operate(tw.tensor(a), 2).tolist() == operate(a, 2).tolist()
    assert operate(2, tw.tensor(b)).tolist() == operate(2, b).tolist()


def test_unary_operators() -> None:
    x = tw.tensor([1.5, -2.0])
    assert (-x).tolist() == [-1.5, 2]
    assert abs(x).tolist() == [1.5, 2]
    assert (+x).tolist() == [1.5, -2]
    assert (~tw.tensor([True, False])).tolist() == [False, True]
    assert (~tw.tensor([5])).tolist() == [-6]


def test_a_tensor_is_not_none_and_not_text() -> None:
    x = tw.ones(2)
    assert x not in (None, "mean")
    assert (x != None) is True  # noqa: E711 - what a default argument may be asked
    with pytest.raises(DTypeError, match="is not a tensor or a number"):
        x < None  # noqa: B015


def test_whole_numbers_are_compared_beyond_their_dtype() -> None:
    x = tw.tensor([0, 200]).astype("uint8")
    assert (x > -1).tolist() == [True, True]
    assert (x < 300).tolist() == [True, True]
    assert (x == 1000).tolist() == [False, False]
    with pytest.raises(ArgumentError, match="-1 does not exist in dtype uint8"):
        x + -1


def test_elements_are_not_changed_one_by_one() -> None:
    x = tw.ones(2)
    with pytest.raises(ArgumentError, match=r"thalweg\.where.*test_tensor\.py"):
        x[0] = 3.0


def test_powers_keep_the_dtype() -> None:
    x = tw.tensor([2, 3])
    assert (x**2).dtype is tw.int64
    assert (x**2.0).dtype is tw.float32
    assert (x**0.5).dtype is tw.float32
    assert (2**x).tolist() == [4, 8]
    assert (x.astype("bfloat16") ** 3).tolist() == [8, 27]


# --- indexing ----------------------------------------------------------------------------------

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)


@st.composite
def basic_index(draw: Any) -> tuple[tuple[int, ...], Any]:
    shape = draw(SHAPES)
    return shape, draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))


@fast
@given(basic_index())
def test_basic_indexing_is_that_of_numpy(pair: Any) -> None:
    shape, key = pair
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(tw.tensor(array)[key].numpy(), array[key])


@st.composite
def mixed_index(draw: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Slices, numbers, None and arrays of whole numbers that broadcast together."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    key: list[Any] = []
    for n in shape[: draw(st.integers(1, len(shape)))]:
        kind = draw(st.sampled_from(["slice", "number", "array", "array", "none"]))
        if kind == "none":
            key.append(None)
        if kind in ("slice", "none"):
            key.append(draw(st.slices(n)))
        elif kind == "number":
            key.append(draw(st.integers(-n, n - 1)))
        else:
            places = draw(st.sampled_from([(2,), (3, 1), (1,), (2,)]))
            key.append(np.array(draw(st.lists(
                st.integers(-n, n - 1), min_size=int(np.prod(places)),
                max_size=int(np.prod(places)),
            ))).reshape(places))  # fmt: skip
    if draw(st.booleans()):
        key.append(Ellipsis)
    return shape, tuple(key)


@fast
@given(mixed_index(), st.booleans())
def test_indexing_by_arrays_is_that_of_numpy(pair: Any, as_tensors: bool) -> None:
    shape, key = pair
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    ours = tuple(tw.tensor(k) if as_tensors and isinstance(k, np.ndarray) else k for k in key)
    np.testing.assert_array_equal(tw.tensor(array)[ours].numpy(), array[key])


@pytest.mark.parametrize(
    "key",
    [
        (0, slice(None), [1, 0]),
        (slice(None), 1, slice(None), [0, 2, 1]),
        (slice(None), [0, 1], None, [2, 0]),
        (slice(None), [0, 1], 2),
        (slice(None), 0, [[0, 1], [2, 0]]),
        ([1, 0], None, 0),
        (..., [0, 1], slice(None), 1),
    ],
)
def test_indices_apart_come_first(key: Any) -> None:
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(tw.tensor(array)[key].numpy(), array[key])


@settings(fast, max_examples=20)
@given(mixed_index())
def test_indexing_is_the_same_when_compiled(pair: Any) -> None:
    shape, key = pair
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    got = tw.compile(lambda x: x[key] * 1)(array)
    np.testing.assert_array_equal(got.numpy(), array[key])


@fast
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=st.just(1.0)),
       st.data())  # fmt: skip
def test_masks_are_those_of_numpy(array: Any, data: Any) -> None:
    array = np.arange(array.size, dtype=np.float32).reshape(array.shape)
    rank = data.draw(st.integers(1, array.ndim))
    mask = data.draw(hnp.arrays(np.bool_, array.shape[:rank]))
    x = tw.tensor(array)
    np.testing.assert_array_equal(x[tw.tensor(mask)].numpy(), array[mask])
    np.testing.assert_array_equal(x[mask].numpy(), array[mask])
    if rank == 1:
        np.testing.assert_array_equal(x[mask.tolist()].numpy(), array[mask])


def test_index_by_list_and_by_captured_number() -> None:
    x = tw.arange(12).reshape(3, 4)
    assert x[[2, 0]].tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert x[[]].shape == (0, 4)
    assert x[tw.tensor(1)].tolist() == [4, 5, 6, 7]
    assert x[:, tw.tensor(-1)].tolist() == [3, 7, 11]
    pick = tw.compile(lambda x, i: (x[i], x[1:, i], x[i, i]))
    row, column, one = pick(x, tw.tensor(2))
    assert (row.tolist(), column.tolist(), one.item()) == ([8, 9, 10, 11], [6, 10], 10)
    assert tw.grad(lambda y: (y[tw.tensor([0, 0])] * 2).sum())(tw.ones(3)).tolist() == [4, 0, 0]
    assert tw.grad(lambda y: y[::-2].sum())(tw.ones(4)).tolist() == [0, 1, 0, 1]
    assert tw.grad(lambda y: y[y > 1].sum())(tw.tensor([1.0, 2.0])).tolist() == [0, 1]


@pytest.mark.parametrize("pair", [([0, 3], [0, 0]), ([0, 0], [0, 2]), ([-4, 0], [0, 0])])
def test_no_index_reaches_into_another_row(pair: Any) -> None:
    x = tw.zeros((3, 2))
    with pytest.raises(IndexError):
        x[tw.tensor(pair[0]), tw.tensor(pair[1])]


def test_a_mask_cannot_be_captured() -> None:
    with pytest.raises(ArgumentError, match=r"mask gives a shape that depends on the values"):
        tw.compile(lambda x: x[x > 0])(tw.ones(3))


# --- state -------------------------------------------------------------------------------------


def test_assign_replaces_all_numbers() -> None:
    x = tw.zeros((2, 2))
    x.assign([[1, 2], [3, 4]])
    assert x.dtype is tw.float32
    assert x.tolist() == [[1, 2], [3, 4]]
    source = np.ones((2, 2))
    x.assign(source)
    source[:] = 5
    assert x.sum().item() == 4
    x.assign(x.T)
    with pytest.raises(ShapeError, match=r"assign: .*\(2, 2\).*\(2,\)"):
        x.assign(tw.ones(2))
    y = tw.zeros(())
    y.assign(3)
    assert y.item() == 3


def test_parameters_are_tensors_of_their_own_kind() -> None:
    p = tw.Parameter.of(np.ones(2, np.float32), trainable=False)
    again = copy.deepcopy(p)
    assert isinstance(again, tw.Parameter)
    assert again.trainable is False
    assert type(p + 1) is tw.Tensor
    assert type(tw.tensor(p)) is tw.Tensor


# --- threads and memory ------------------------------------------------------------------------


def test_each_thread_has_its_own_context() -> None:
    inside, done, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        inside.wait(10)
        seen.append((tw.ones(2) + 1).tolist())
        seen.append(tw.grad(lambda x: x * x)(3.0).item())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    @tw.compile
    def captured(x: Any) -> Any:
        inside.set()
        assert done.wait(10)  # the other thread computes while this one records
        return x * 2

    assert captured(tw.ones(2)).tolist() == [2, 2]
    thread.join()
    assert seen == [[2, 2], 6]


def test_a_long_eager_loop_with_its_graph_stays_linear() -> None:
    def long(x: Any) -> Any:
        for _ in range(3000):  # quadratic work would take minutes
            x = x * 1.0001
        return x

    assert tw.grad(long)(1.0).item() == pytest.approx(1.0001**3000, rel=1e-4)


def test_leaked_placeholders_are_refused() -> None:
    class Kept:
        it: Any

    @tw.compile
    def leaking(x: Any) -> Any:
        Kept.it = x * 2
        return x

    leaking(tw.ones(2))
    for use in (lambda: Kept.it + 1, lambda: Kept.it.numpy(), lambda: tw.compile(
            lambda x: x + Kept.it)(tw.ones(2))):  # fmt: skip
        with pytest.raises(TraceError, match=r"test_tensor\.py"):
            use()
